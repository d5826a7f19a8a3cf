import numpy as np
import pytest

from ernie_pipe import draws
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.tasks.sentence_distance import ADJACENT, OTHER_DOCUMENT, SAME_DOCUMENT, SentenceDistance
from tests.tasks.toys import Labelled

TOY = Labelled.random(60)
TASK = SentenceDistance(SentenceDistance.Settings())


def examples(passages, repeats):
    for anchor in np.flatnonzero(TASK.eligible(passages)).tolist():
        keys = draws.key(anchor, np.arange(repeats))
        for example in TASK.examples(passages, np.full(repeats, anchor), keys):
            yield anchor, example


def test_labels_are_true():
    for anchor, example in examples(TOY, 40):
        (a, _), (b, _) = example.parts
        (here,), (there,) = ({TOY.place[i] for i in part.tolist()} for part in (a, b))
        assert here[0] == TOY.document[anchor]
        apart = there[1] - here[1]
        if example.label == ADJACENT:
            assert there[0] == here[0]
            assert apart == 1
        elif example.label == SAME_DOCUMENT:
            assert there[0] == here[0]
            assert abs(apart) > 1
        else:
            assert example.label == OTHER_DOCUMENT
            assert there[0] != here[0]


@pytest.mark.parametrize("documents", [[[[5, 5, 5]], [[5]]], [[[5, 5], [5]], [[5]]], [[[5], [5, 5, 5]], [[5]]]])
def test_short_documents_give_no_empty_sentence(documents):
    for _, example in examples(Labelled(documents), 50):
        assert all(len(part) for part, _ in example.parts)


def test_sentences_of_one_token_are_no_error():
    for _, example in examples(Labelled([[[1, 1, 1, 1, 6], [1]], [[1]]]), 50):
        assert [len(part) > 0 for part, _ in example.parts] == [True, True]


def test_the_three_classes_are_equally_likely():
    counts = np.bincount([example.label for _, example in examples(TOY, 60)])
    expected = counts.sum() / 3
    assert ((counts - expected) ** 2 / expected).sum() < 13.8


def test_lengths_do_not_depend_on_the_label():
    # The other draws are the same whatever the label: changing it alone must leave both lengths.
    lengths = np.array([(e.label, *(len(part) for part, _ in e.parts)) for _, e in examples(TOY, 60)])
    means = np.array([lengths[lengths[:, 0] == label, 1:].mean(axis=0) for label in range(3)])
    assert np.ptp(means, axis=0) == pytest.approx([0, 0], abs=0.25)


def test_the_same_document_s_sentence_comes_from_all_of_it():
    passages = Labelled([[[9, 9, 9], [9, 9, 9]], [[9]]])
    seen = {
        passages.place[example.parts[1][0][0]][1]
        for anchor, example in examples(passages, 200)
        if example.label == SAME_DOCUMENT and anchor == 0
    }
    assert seen == {2, 3, 4, 5}


def test_one_document_alone_cannot_serve():
    assert not TASK.eligible(Labelled([[[5, 5, 5, 5]]])).any()


def test_the_sample_corpus_can_serve_and_gives_whole_beginnings(data):
    passages = Passages(data)
    for anchor, example in list(examples(passages, 1))[:100]:
        starts = passages.sentence_starts(anchor).tolist()
        ids = passages.get(anchor)[0].tolist()
        assert any(ids[start : start + len(example.parts[0][0])] == example.parts[0][0].tolist() for start in starts)


class Copied(Labelled):
    """The second document is a copy of the first."""

    def get(self, passage):
        return super().get(0 if passage == 1 else passage)


def test_a_copy_of_the_document_gives_no_other_document():
    copied = Copied([[[4, 3, 5, 4]], [[4, 3, 5, 4]], [[6, 6, 6, 6]]])
    own = copied.get(0)[0].tolist()
    other = [
        example.parts[1][0][0] in own
        for anchor, example in examples(copied, 300)
        if example.label == OTHER_DOCUMENT and anchor < 2
    ]
    assert len(other) > 100
    assert np.mean(other) < 0.02
