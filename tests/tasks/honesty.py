"""Can a label be read from the form of an example? For every sequence-level task, and any kind of passages.

Form: lengths, where special tokens and token types stand, how many tokens there are. A decision tree that sees nothing
else must be no better than the commonest answer.
"""

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from ernie_pipe import draws
from ernie_pipe.pretrain.batch import pack
from ernie_pipe.pretrain.plan import Slots
from ernie_pipe.text.encode import SpecialIds

SPECIAL = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4, size=1 << 16)


def examples(task, passages, count, seed=11):
    """(anchors, examples): so many, of the passages that can anchor one in turn."""
    anchors = np.flatnonzero(task.eligible(passages))
    chosen = anchors[np.arange(count) % len(anchors)]
    keys = draws.key(seed, np.arange(count))
    return chosen, task.examples(passages, chosen, keys)


def form(anchors, listed):
    """(examples, columns): length, places of special tokens, lengths and token types between, the same for each."""
    packed = pack(listed, Slots(np.zeros(len(listed), int), anchors, draws.key(anchors)), SPECIAL)
    most = max(len(example.parts) for example in listed)
    rows = []
    for start, end in zip(packed.starts[:-1], packed.starts[1:], strict=True):
        separators = np.flatnonzero(packed.input_ids[start:end] == SPECIAL.sep)
        changes = np.flatnonzero(np.diff(packed.token_types[start:end]))[: 2 * most]
        row = np.full(1 + 5 * most, -1)
        row[: len(separators) + 1] = end - start, *separators
        row[1 + most : 1 + most + len(separators)] = np.diff([0, *separators])
        row[1 + 2 * most : 1 + 2 * most + len(separators)] = packed.token_types[start:end][separators]
        row[1 + 3 * most : 1 + 3 * most + len(changes)] = changes
        rows.append(row)
    return np.array(rows)


def advantage(features, labels, held_out, leaf=30):
    """How far a tree is above the commonest answer on the examples `held_out` (mask), in standard deviations."""
    tree = DecisionTreeClassifier(min_samples_leaf=leaf, random_state=0).fit(features[~held_out], labels[~held_out])
    chance = np.bincount(labels[held_out]).max() / held_out.sum()
    return (tree.score(features[held_out], labels[held_out]) - chance) / np.sqrt(chance * (1 - chance) / held_out.sum())


def assert_form_tells_nothing(task, passages, count=12_000):
    """Train the tree on the examples of half of the documents, ask it about the others."""
    anchors, listed = examples(task, passages, count)
    labels = np.array([example.label for example in listed])
    assert len(np.unique(labels)) > 1
    assert advantage(form(anchors, listed), labels, passages.document_of(anchors) % 2 == 0) < 4


def assert_masks_tell_nothing(builder, steps, leaf=20):
    """The number of hidden tokens and the level of masking must not tell the label either; one task's batches."""
    labels, features = [], []
    for step in range(steps):
        for built in builder.step(step, range(builder.plan.settings.batch.micro_batches)):
            packed = built.packed
            hidden = packed.sequence[built.targets["knowledge_masking"].positions]
            labels.append(packed.labels)
            features.append(np.stack([packed.levels, np.bincount(hidden, minlength=len(packed.task))], axis=1))
    labels = np.concatenate(labels)
    assert advantage(np.concatenate(features), labels, np.arange(len(labels)) >= len(labels) // 2, leaf) < 4
