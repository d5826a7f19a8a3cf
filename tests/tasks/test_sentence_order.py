import numpy as np
import pytest

from ernie_pipe import draws
from ernie_pipe.tasks.sentence_order import IN_ORDER, SWAPPED, SentenceOrder
from tests.tasks.toys import Labelled

TOY = Labelled.random(60)
TASK = SentenceOrder(SentenceOrder.Settings())


def examples(passages, repeats):
    for anchor in np.flatnonzero(TASK.eligible(passages)).tolist():
        keys = draws.key(anchor, np.arange(repeats))
        for example in TASK.examples(passages, np.full(repeats, anchor), keys):
            yield anchor, example


def test_labels_are_true_and_both_parts_of_one_length():
    for anchor, example in examples(TOY, 40):
        (one, _), (two, _) = example.parts
        assert len(one) == len(two)
        assert {TOY.place[i][0] for i in [*one, *two]} == {TOY.document[anchor]}
        assert example.label == (IN_ORDER if one[0] < two[0] else SWAPPED)


def test_both_parts_begin_with_sentences_the_first_with_the_passage():
    begins = {TOY.get(n)[0][at] for n in range(len(TOY)) for at in TOY.sentence_starts(n).tolist()}
    for anchor, example in examples(TOY, 20):
        firsts = sorted(part[0] for part, _ in example.parts)
        assert firsts[0] == TOY.get(anchor)[0][0]
        assert set(firsts) <= begins


def test_half_of_the_examples_are_swapped():
    labels = [example.label for _, example in examples(TOY, 60)]
    assert np.mean(labels) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(labels)))


def test_several_borders_are_used_and_little_is_cut_away():
    # The passage's second half goes on into the next passage where it is short.
    passages = Labelled([[[20] * 10, [20] * 10]])
    seconds, lengths = set(), []
    for anchor, example in examples(passages, 200):
        if anchor == 0:
            seconds.add(max(part[0] for part, _ in example.parts))
            lengths.append(sum(len(part) for part, _ in example.parts))
    assert len(seconds) == 3
    assert np.mean(lengths) > 0.8 * 200
    assert max(lengths) < 200
