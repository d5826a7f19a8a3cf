"""The label of a sequence task must not be readable from the form of its examples."""

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

from ernie_pipe import draws
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.pretrain.batch import pack
from ernie_pipe.pretrain.plan import Slots
from ernie_pipe.tasks import find
from ernie_pipe.text.encode import SpecialIds, load_encoder
from tests.pretrain.building import batches

SEQUENCE_TASKS = ("sentence_reordering", "sentence_distance")


def examples(task, passages, count):
    anchors = np.flatnonzero(task.eligible(passages))
    chosen = anchors[np.arange(count) % len(anchors)]
    keys = draws.key(11, np.arange(count))
    return chosen, [task.example(passages, anchor, key) for anchor, key in zip(chosen.tolist(), keys, strict=True)]


def form(data, anchors, listed):
    """Lengths and special-token positions of packed examples, the same number of columns for each."""
    special = SpecialIds.of(load_encoder(f"{data}/tokenizer"))
    packed = pack(listed, Slots(np.zeros(len(listed), int), anchors, draws.key(anchors)), special)
    rows = []
    for start, end in zip(packed.starts[:-1], packed.starts[1:], strict=True):
        separators = np.flatnonzero(packed.input_ids[start:end] == special.sep)
        rows.append([end - start, *separators, *np.diff([0, *separators])])
    return np.array(rows)


@pytest.mark.parametrize("name", SEQUENCE_TASKS)
def test_a_classifier_that_sees_only_the_form_stays_at_chance(name, data):
    passages = Passages(data)
    task = find(name)(find(name).Settings())
    anchors, listed = examples(task, passages, 12_000)
    labels = np.array([example.label for example in listed])
    features = form(data, anchors, listed)
    held_out = passages.document[anchors] % 2 == 0
    tree = DecisionTreeClassifier(min_samples_leaf=30, random_state=0).fit(features[~held_out], labels[~held_out])
    chance = np.bincount(labels[~held_out]).max() / (~held_out).sum()
    deviation = np.sqrt(chance * (1 - chance) / held_out.sum())
    assert tree.score(features[held_out], labels[held_out]) < 1 / task.classes + 4 * deviation


@pytest.mark.parametrize("name", SEQUENCE_TASKS)
def test_masks_do_not_give_the_label_away(name, data):
    share = {"tasks": {name: 1.0}, "steps": 80, "levels": {"basic": 0.5, "entity": 0.5}}
    builder = batches(data, stages=[share])
    labels, levels, masked = [], [], []
    for step in range(80):
        for built in builder.step(step, range(4)):
            packed = built.packed
            labels.append(packed.labels)
            levels.append(packed.levels)
            masked.append(
                np.bincount(packed.sequence[built.targets["knowledge_masking"].positions], minlength=len(packed.task))
            )
    labels, form_ = np.concatenate(labels), np.stack([np.concatenate(levels), np.concatenate(masked)], axis=1)
    half = len(labels) // 2
    tree = DecisionTreeClassifier(min_samples_leaf=20, random_state=0).fit(form_[:half], labels[:half])
    chance = 1 / len(np.unique(labels))
    assert tree.score(form_[half:], labels[half:]) < chance + 4 * np.sqrt(chance * (1 - chance) / half)


@pytest.mark.parametrize("name", ["knowledge_masking", *SEQUENCE_TASKS])
def test_no_example_is_longer_than_its_anchor(name, data):
    passages = Passages(data)
    task = find(name)(find(name).Settings())
    anchors, listed = examples(task, passages, 3000)
    lengths = [1 + sum(len(part) + 1 for part, _ in example.parts) for example in listed]
    assert (np.array(lengths) <= passages.tokens[anchors] + 2).all()
    assert all(len(example.parts) == task.parts for example in listed)
