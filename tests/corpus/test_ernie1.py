"""ERNIE 1.0's lines: parsed whole or refused with the reason, and passages that say the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.corpus.ernie1 import doc_ids, parse, passages
from ernie_pipe.text.document import Unusable
from ernie_pipe.text.encode import SpecialIds
from ernie_pipe.text.passages import ELSEWHERE, WORD_START, Tally

PAD, CLS, SEP, MASK, UNK, SIZE = 0, 1, 2, 3, 19, 20
SPECIAL = SpecialIds(pad=PAD, unk=UNK, cls=CLS, sep=SEP, mask=MASK, size=SIZE)


def line_of(a, b, follows=1, **changed):
    """A line from two lists of words, each a list of ids; `changed` replaces a field."""
    flat = [[number for word in words for number in word] for words in (a, b)]
    marks = [[int(place > 0) for word in words for place in range(len(word))] for words in (a, b)]
    fields = {
        "ids": [CLS, *flat[0], SEP, *flat[1], SEP],
        "types": [0] * (len(flat[0]) + 2) + [1] * (len(flat[1]) + 1),
        "positions": range(len(flat[0]) + len(flat[1]) + 3),
        "labels": [-1, *marks[0], -1, *marks[1], -1],
        "follows": [follows],
    }
    return ";".join(" ".join(map(str, numbers)) for numbers in (fields | changed).values())


A, B = [[4, 5], [6]], [[7], [8, 9, 10]]


def test_a_line_is_two_sentences_without_special_tokens():
    sample = parse(line_of(A, B), SPECIAL)
    assert (sample.ids, sample.labels, sample.follows) == (([4, 5, 6], [7, 8, 9, 10]), ([0, 1, 0], [0, 0, 1, 1]), True)
    assert not parse(line_of(A, B, follows=0), SPECIAL).follows


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        ("", "not five fields", "1 fields"),
        ("1 2;0 0;0 1;0", "not five fields", "4 fields"),
        (line_of(A, B) + ";1", "not five fields", "6 fields"),
        (line_of(A, B, positions=["x"]), "not whole numbers", "positions: 'x'"),
        (line_of(A, B, ids=["1_0"]), "not whole numbers", "token ids: '1_0'"),
        (line_of(A, B, ids=["１"]), "not whole numbers", "token ids"),
        (line_of(A, B, ids=["1.5"]), "not whole numbers", "token ids"),
        (line_of(A, B, types=[]), "not whole numbers", "sentence types: ''"),
        (line_of(A, B, labels=[-1, 0]), "lengths differ", "10 token ids, 10 sentence types, 10 positions, 2 seg"),
        (line_of(A, B, follows=2), "next-sentence label", "2, expected 0 or 1"),
        (line_of(A, [[SIZE]]), "id outside the vocabulary", "20, the vocabulary has 0 to 19"),
        (line_of(A, [[-4]]), "id outside the vocabulary", "-4"),
        (line_of(A, [[10**30]]), "id outside the vocabulary", "1000000"),
        (line_of(A, [[SEP]]), "no [CLS] A [SEP] B [SEP]", "ids begin with 1 and end with 2, expected 1 … 2 … 2"),
        (line_of([[CLS]], B), "no [CLS] A [SEP] B [SEP]", ""),
        ("4 5 2 6 2;0 0 0 1 1;0 1 2 3 4;-1 0 -1 0 -1;1", "no [CLS] A [SEP] B [SEP]", "begin with 4"),
        ("1 5 2 6 7;0 0 0 1 1;0 1 2 3 4;-1 0 -1 0 -1;1", "no [CLS] A [SEP] B [SEP]", "end with 7"),
        ("1 5 6 7 2;0 0 0 1 1;0 1 2 3 4;-1 0 0 0 -1;1", "no [CLS] A [SEP] B [SEP]", ""),
        (line_of([[MASK]], B), "special token inside", "id 3"),
        (line_of([[PAD]], B), "special token inside", "id 0"),
        (line_of([], B), "empty sentence", ""),
        (line_of(A, []), "empty sentence", ""),
        (line_of(A, B, types=[0] * 10), "sentence types or positions", ""),
        (line_of(A, B, positions=range(1, 11)), "sentence types or positions", ""),
        (line_of(A, B, labels=[0] * 10), "seg labels", ""),
        (line_of(A, B, labels=[-1, 0, 2, 0, -1, 0, 0, 1, 1, -1]), "seg labels", ""),
        (line_of(A, B, labels=[-1, 0, -1, 0, -1, 0, 0, 1, 1, -1]), "seg labels", ""),
    ],
)
def test_a_malformed_line_is_refused_with_its_reason(line, reason, detail):
    with pytest.raises(Unusable) as caught:
        parse(line, SPECIAL)
    assert caught.value.args[0] == reason
    assert detail in caught.value.args[1]


def made(*lines, max_tokens=512):
    tally = Tally()
    samples = [parse(line, SPECIAL) for line in lines]
    return passages(samples, SPECIAL, max_tokens=max_tokens, tally=tally), tally


def test_sentences_that_follow_are_one_document_random_ones_two():
    lines = [line_of(A, B), line_of(B, A, follows=0)]
    found, tally = made(*lines)
    assert doc_ids([parse(line, SPECIAL) for line in lines], ["f#1", "f#2"]) == ["f#1", "f#2.1", "f#2.2"]
    assert found.document.tolist() == [0, 1, 2]
    assert found.index.tolist() == [0, 0, 0]
    assert found.offsets.tolist() == [0, 7, 11, 14]
    assert np.split(found.sentence_starts, found.sentence_offsets[1:-1])[0].tolist() == [0, 3]
    assert found.sentence_starts.tolist() == [0, 3, 0, 0]
    assert (tally.tokens, tally.sentences, tally.units["word"]) == (14, 4, 8)
    assert tally.lengths["word"] == {"1": 4, "2": 2, "3": 2}


def test_unit_labels_become_word_starts():
    found, _ = made(line_of(A, B))
    assert found.ids.tolist() == [4, 5, 6, 7, 8, 9, 10]
    assert found.bits.tolist() == [1, 0, 1, 1, 1, 0, 0]
    assert not found.types.any()
    torn = line_of(A, B, labels=[-1, 1, 1, 0, -1, 1, 0, 1, 1, -1])
    assert made(torn)[0].bits.tolist() == [1, 0, 1, 1, 1, 0, 0]


def test_a_sentence_longer_than_a_passage_is_cut_at_a_word_and_counted():
    found, tally = made(line_of([[4, 5, 6], [7, 8, 9], [4, 10, 11]], B), max_tokens=7)
    assert [part.tolist() for part in np.split(found.ids, found.offsets[1:-1])] == [
        [4, 5, 6], [7, 8, 9], [4, 10, 11], [7, 8, 9, 10],
    ]  # fmt: skip
    assert (tally.split_sentences, tally.sentences) == (1, 2)
    assert found.index.tolist() == [0, 1, 2, 3]
    assert [bool(bit & ELSEWHERE) for bit in found.bits] == [
        True, False, False, True, True, True, True, True, False, True, True, True, True,
    ]  # fmt: skip


WORDS = st.lists(st.lists(st.integers(4, SIZE - 1), min_size=1, max_size=5), min_size=1, max_size=12)


@given(st.lists(st.tuples(WORDS, WORDS, st.integers(0, 1)), min_size=1, max_size=6), st.integers(8, 40))
def test_no_token_and_no_word_is_lost(lines, max_tokens):
    found, tally = made(*(line_of(*line) for line in lines), max_tokens=max_tokens)
    sentences = [words for a, b, _ in lines for words in (a, b)]
    assert found.ids.tolist() == [number for words in sentences for word in words for number in word]
    assert np.diff(found.offsets).max() <= max_tokens - 2
    assert found.document[-1] + 1 == sum(2 - follows for _, _, follows in lines)
    starts = np.flatnonzero(found.bits & WORD_START)
    wanted = np.cumsum([0, *(len(word) for words in sentences for word in words)])[:-1]
    assert set(wanted) <= set(starts)
    assert len(starts) == len(wanted) == tally.units["word"]
    assert tally.unknown == (found.ids == UNK).sum()
