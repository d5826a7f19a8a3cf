import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.text.tags import Span, bio_labels, from_spans, marks_ends, to_spans, without_overlaps

PER, LOC = "PER", "LOC"


@pytest.mark.parametrize(
    ("tags", "spans", "repairs"),
    [
        ("B-LOC I-LOC O B-PER", [(0, 2, LOC), (3, 4, PER)], 0),
        ("B-LOC B-LOC I-LOC", [(0, 1, LOC), (1, 3, LOC)], 0),
        ("B-LOC M-LOC E-LOC S-PER O", [(0, 3, LOC), (3, 4, PER)], 0),
        ("B-LOC I-LOC E-LOC I-LOC", [(0, 3, LOC), (3, 4, LOC)], 2),
        ("O I-LOC I-LOC", [(1, 3, LOC)], 1),
        ("B-LOC I-PER", [(0, 1, LOC), (1, 2, PER)], 1),
        ("S-LOC B-LOC O", [(0, 1, LOC), (1, 2, LOC)], 1),
        ("", [], 0),
    ],
)
def test_tags_to_spans(tags, spans, repairs):
    tags = tags.split()
    assert to_spans(tags, ends=marks_ends(tags)) == (spans, repairs)


@pytest.mark.parametrize("tag", ["LOC", "B-", "X-LOC", "o", "", "B_LOC"])
def test_an_unknown_tag_is_refused(tag):
    with pytest.raises(ValueError, match="is none of"):
        to_spans([tag])


@st.composite
def spans_and_length(draw):
    edges = sorted(draw(st.sets(st.integers(0, 20), max_size=8)))
    kinds = draw(st.lists(st.sampled_from([LOC, PER, None]), min_size=8, max_size=8))
    spans = [Span(a, b, kind) for a, b, kind in zip(edges, edges[1:], kinds, strict=False) if kind]
    return spans, 20


@given(spans_and_length())
def test_spans_survive_bio(case):
    spans, length = case
    assert to_spans(from_spans(spans, length)) == (spans, 0)


@given(st.lists(st.sampled_from([f"{p}-{t}" for p in "BIMES" for t in (LOC, PER)] + ["O"])))
def test_every_tag_but_o_is_in_just_one_span(tags):
    spans, _ = to_spans(tags)
    covered = [i for span in spans for i in range(span.start, span.end)]
    assert covered == [i for i, tag in enumerate(tags) if tag != "O"]


def test_the_longest_of_overlapping_spans_is_kept():
    spans = [Span(0, 2, PER), Span(1, 5, LOC), Span(5, 6, PER), Span(2, 3, LOC)]
    assert without_overlaps(spans) == ([Span(1, 5, LOC), Span(5, 6, PER)], 2)


def test_labels_start_with_o():
    assert bio_labels([PER, LOC, PER]) == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
