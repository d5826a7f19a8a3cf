"""Tag sequences and spans, as pure functions: BIO, BIOES and BMES in, spans and BIO out.

Positions count whatever the sequence holds, characters or tokens. In BMES the M reads as I; E ends a span,
S is a span of one.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

_INSIDE = ("I", "M", "E")


class Span(NamedTuple):
    """`sequence[start:end]` is an entity of `type`."""

    start: int
    end: int
    type: str


def split_tag(tag: str) -> tuple[str, str]:
    """Return the position letter and the type of a tag; `ValueError` names a tag of no known scheme."""
    prefix, _, kind = tag.partition("-")
    if tag != "O" and (prefix not in ("B", "I", "M", "E", "S") or not kind):
        raise ValueError(f"tag {tag!r} is none of O, B-TYPE, I-TYPE, M-TYPE, E-TYPE, S-TYPE")
    return prefix, kind


def marks_ends(tags: Iterable[str]) -> bool:
    """Tell whether the scheme of `tags` closes its spans (BIOES, BMES) or not (BIO)."""
    return any(tag[0] in "ES" for tag in tags)


def to_spans(tags: Sequence[str], *, ends: bool = False) -> tuple[list[Span], int]:
    """Return the spans of `tags` and the number of illegal steps that were repaired on the way.

    An I, M or E that continues nothing of its type begins a new span, as in seqeval. With `ends`, a span
    that no E closes is kept and counted too.
    """
    spans: list[Span] = []
    repairs = 0
    is_open = False
    for position, tag in enumerate(tags):
        prefix, kind = split_tag(tag)
        if prefix in _INSIDE and is_open and spans[-1].type == kind:
            spans[-1] = spans[-1]._replace(end=position + 1)
        else:
            repairs += (prefix in _INSIDE) + (is_open and ends)
            if prefix != "O":
                spans.append(Span(position, position + 1, kind))
        is_open = prefix in ("B", "I", "M")
    return spans, repairs + (is_open and ends)


def from_spans(spans: Iterable[Span], length: int) -> list[str]:
    """Return BIO tags for a sequence of `length`; spans must not overlap."""
    tags = ["O"] * length
    for start, end, kind in spans:
        tags[start:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start - 1)
    return tags


def bio_labels(types: Iterable[str]) -> list[str]:
    """Return the labels of a tagger for these entity types, in the order of their ids."""
    return ["O", *(f"{prefix}-{kind}" for kind in sorted(set(types)) for prefix in "BI")]


def without_overlaps(spans: Iterable[Span]) -> tuple[list[Span], int]:
    """Keep the longest of overlapping spans, in order of start; return them and how many were left out."""
    kept: list[Span] = []
    dropped = 0
    for span in sorted(spans, key=lambda span: (span.start - span.end, span.start)):
        if any(span.start < other.end and other.start < span.end for other in kept):
            dropped += 1
        else:
            kept.append(span)
    return sorted(kept), dropped
