from itertools import combinations, permutations

import numpy as np
import pytest

from ernie_pipe import draws
from ernie_pipe.config import validate
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError
from ernie_pipe.tasks.sentence_reordering import SentenceReordering, SentenceReorderingSettings
from tests.tasks.toys import Labelled

TOY = Labelled.random(60)
ORDERS = [order for n in (1, 2, 3) for order in permutations(range(n))]


@pytest.fixture(scope="module")
def task():
    return SentenceReordering(SentenceReorderingSettings())


def anchors(task, passages):
    return np.flatnonzero(task.eligible(passages)).tolist()


@pytest.mark.parametrize(("most", "classes"), [(2, 3), (3, 9), (4, 33), (6, 873)])
def test_classes_are_the_permutations_of_one_to_m_segments(most, classes):
    assert SentenceReordering(SentenceReorderingSettings(max_segments=most)).classes == classes


def test_the_label_names_the_permutation_that_restores_the_text(task):
    for anchor in anchors(task, TOY):
        ids, starts = TOY.get(anchor)[0], TOY.sentence_starts(anchor)[1:].tolist()
        for key in draws.key(anchor, np.arange(20)):
            example = task.example(TOY, anchor, key)
            order = ORDERS[example.label]
            possible = [
                [ids[slice(*borders)] for borders in zip([0, *cuts], [*cuts, len(ids)], strict=True)]
                for cuts in combinations(starts, len(order) - 1)
            ]
            shuffled = [np.concatenate([pieces[i] for i in order]).tolist() for pieces in possible]
            assert example.parts[0][0].tolist() in shuffled


def test_all_nine_classes_are_equally_likely_for_one_passage(task):
    listed = task.examples(TOY, np.full(9000, anchors(task, TOY)[0]), draws.key(np.arange(9000)))
    labels = [example.label for example in listed]
    counts = np.bincount(labels, minlength=9)
    # Chi-square of 8 degrees of freedom: above 26.1 once in a thousand.
    assert ((counts - 1000) ** 2 / 1000).sum() < 26


def test_tokens_and_their_bits_are_the_same_in_every_order(task, data):
    passages = Passages(data)
    for anchor in anchors(task, passages)[:100]:
        ids, bits, _ = passages.get(anchor)
        (part,) = task.example(passages, anchor, draws.key(anchor)).parts
        assert sorted(zip(*part, strict=True)) == sorted(zip(ids, bits, strict=True))


def test_passages_with_fewer_sentences_than_segments_are_not_eligible(task):
    assert task.eligible(Labelled([[[4, 4], [4, 4, 4], [3] * 4]])).tolist() == [False, True, True]


def test_a_wrong_setting_names_the_right_one():
    with pytest.raises(InputError, match="unknown key `max_segment`; did you mean `max_segments`"):
        validate(SentenceReordering.Settings, {"max_segment": 3}, where="tasks.sentence_reordering")


@pytest.mark.parametrize("m", [7, 10**9])
def test_more_classes_than_can_be_learned_are_refused(m):
    with pytest.raises(InputError, match=f"`max_segments`: {m} segments have more than 1,000 permutations"):
        validate(SentenceReordering.Settings, {"max_segments": m}, where="tasks.sentence_reordering")
