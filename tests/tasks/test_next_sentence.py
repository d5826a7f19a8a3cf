import numpy as np
import pytest

from ernie_pipe import draws
from ernie_pipe.tasks.next_sentence import FOLLOWS, RANDOM, NextSentence
from tests.tasks.toys import Labelled, Written

TOY = Labelled.random(60)
TASK = NextSentence(NextSentence.Settings())


def examples(passages, repeats):
    for anchor in np.flatnonzero(TASK.eligible(passages)).tolist():
        keys = draws.key(anchor, np.arange(repeats))
        for example in TASK.examples(passages, np.full(repeats, anchor), keys):
            yield anchor, example


def test_labels_are_true():
    for anchor, example in examples(TOY, 40):
        (a, _), (b, _) = example.parts
        first, last, second = (TOY.place[i] for i in (a[0], a[-1], b[0]))
        assert first[0] == last[0] == TOY.document[anchor]
        if example.label == FOLLOWS:
            assert second == (last[0], last[1] + 1)
        else:
            assert example.label == RANDOM
            assert second[0] != last[0]


def test_b_begins_with_a_sentence_that_is_no_passage_s_first_and_runs_on():
    inner = {TOY.get(n)[0][at] for n in range(len(TOY)) for at in TOY.sentence_starts(n)[1:].tolist()}
    for _, example in examples(TOY, 20):
        ids, _ = example.parts[1]
        assert ids[0] in inner
        assert ids.tolist() == list(range(ids[0], ids[0] + len(ids)))


def test_half_of_the_examples_follow():
    labels = [example.label for _, example in examples(TOY, 60)]
    assert np.mean(labels) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(labels)))


def test_the_passage_is_filled_but_for_a_few_tokens():
    passages = Labelled([[[20] * 10] * 30] * 3)
    lengths = [sum(len(part) for part, _ in example.parts) for _, example in examples(passages, 20)]
    # Less only where the other document ends.
    assert np.quantile(lengths, 0.05) >= 200 - 1 - 16
    assert max(lengths) < 200


def test_where_only_copies_are_left_everything_follows():
    copies = Written([[[[9, 8, 7, 6, 5], [15, 16, 17, 18, 19]]]] * 3)
    assert TASK.eligible(copies).all()
    assert {example.label for _, example in examples(copies, 30)} == {FOLLOWS}


def test_one_document_or_one_sentence_cannot_serve():
    assert not TASK.eligible(Labelled([[[9, 9]]])).any()
    assert TASK.eligible(Labelled([[[9, 9], [18]], [[4]]])).tolist() == [True, False, False]
