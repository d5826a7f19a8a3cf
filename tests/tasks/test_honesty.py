"""The label of a sequence task must not be readable from the form of its examples."""

import numpy as np
import pytest

from ernie_pipe.corpus.reader import Passages
from ernie_pipe.tasks import Example, find
from tests.pretrain.building import batches
from tests.tasks.honesty import (
    advantage,
    assert_form_tells_nothing,
    assert_masks_tell_nothing,
    examples,
    form,
)
from tests.tasks.toys import Labelled

SEQUENCE_TASKS = ("sentence_reordering", "sentence_distance", "next_sentence", "sentence_order")
TOKEN_TASKS = ("knowledge_masking", "token_document", "capitalization")
sequence_tasks = pytest.mark.parametrize("name", SEQUENCE_TASKS)


def task_of(name):
    return find(name)(find(name).Settings())


@sequence_tasks
def test_a_classifier_that_sees_only_the_form_stays_at_chance(name, data):
    assert_form_tells_nothing(task_of(name), Passages(data))


@sequence_tasks
def test_masks_do_not_give_the_label_away(name, data):
    share = {"tasks": {name: 1.0}, "steps": 80, "levels": {"basic": 0.5, "entity": 0.5}}
    settings = {} if name == "sentence_reordering" else {name: {}}
    tasks = {"knowledge_masking": {}, "sentence_reordering": {"max_segments": 2}, **settings}
    assert_masks_tell_nothing(batches(data, tasks=tasks, stages=[share]), 80)


@pytest.mark.parametrize("name", ["sentence_distance", "next_sentence", "sentence_order"])
def test_how_the_parts_begin_and_end_does_not_give_the_label_away(name):
    # Every token of this corpus tells where it stood: whether a part was cut can be seen.
    passages = Labelled.random(300, seed=3)
    anchors, listed = examples(task_of(name), passages, 12_000)
    begins = {passages.get(n)[0][at] for n in range(len(passages)) for at in passages.sentence_starts(n).tolist()}
    cut = [[end for p, _ in e.parts for end in (p[0] in begins, p[-1] + 1 in begins)] for e in listed]
    labels = np.array([example.label for example in listed])
    features = np.concatenate([form(anchors, listed), cut], axis=1)
    assert advantage(features, labels, passages.document[anchors] % 2 == 0) < 4


@pytest.mark.parametrize("name", [*SEQUENCE_TASKS, *TOKEN_TASKS])
def test_no_example_is_longer_than_its_anchor(name, data):
    passages = Passages(data)
    task = task_of(name)
    anchors, listed = examples(task, passages, 3000)
    lengths = [1 + sum(len(part) + 1 for part, _ in example.parts) for example in listed]
    assert (np.array(lengths) <= passages.tokens[anchors] + 2).all()
    assert all(len(part) for example in listed for part, _ in example.parts)
    assert all(len(example.parts) == task.parts for example in listed)


class Telling(find("next_sentence")):
    """Next sentence as it is easily got wrong: what is random is one token shorter."""

    def example(self, passages, anchor, key):
        made = super().example(passages, anchor, key)
        first, (ids, bits) = made.parts
        return Example([first, (ids[: len(ids) - made.label], bits[: len(ids) - made.label])], made.label)


def test_the_harness_sees_a_label_in_the_form():
    passages = Labelled([[[9, 9, 9]]] * 40)
    anchors, listed = examples(Telling(Telling.Settings()), passages, 4000)
    labels = np.array([example.label for example in listed])
    assert advantage(form(anchors, listed), labels, passages.document[anchors] % 2 == 0) > 4
