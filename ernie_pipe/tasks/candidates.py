"""What stands in for a part of an example: passages spread over the corpus, and whether two texts are nearly one.

Memory is bounded whatever the size of the corpus: a task keeps some thousand numbers, found in one pass over the
mapped index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from ernie_pipe.corpus.reader import Eligibility, Passages
from ernie_pipe.text.document import ROLES

MOST = 16_384
# Two texts share so much of the shorter one's tokens: nearly the same.
NEARLY = 0.75
AROUND = 8
_PAGE = 1 << 18
Made = TypeVar("Made")


class Kept(Generic[Made]):
    """What was made of some passages, made once for each of the last few (the training and the held-out ones)."""

    def __init__(self, make: Callable[[Passages], Made]) -> None:
        self._make = make
        self._made: list[tuple[Any, Made]] = []

    def of(self, passages: Passages | Eligibility) -> Made:
        """Return what was made of `passages`, or of the whole that they are a part of."""
        whole = passages.passages if isinstance(passages, Eligibility) else passages
        for known, made in self._made:
            if known is whole:
                return made
        made = self._make(whole)
        self._made = [*self._made[-3:], (whole, made)]
        return made


def spread(passages: Passages, wanted: Callable[[Eligibility], np.ndarray], most: int = MOST) -> np.ndarray:
    """Return at most `most` of the passages that `wanted` says yes to (rising, int64), evenly spaced among them."""
    starts = range(0, len(passages), _PAGE)
    pages = [(start, min(start + _PAGE, len(passages))) for start in starts]
    total = sum(int(np.count_nonzero(wanted(passages.part(*page)))) for page in pages)
    step = -(-total // most)
    found, rank = [np.zeros(0, np.int64)], 0
    for start, stop in pages:
        here = np.flatnonzero(wanted(passages.part(start, stop)))
        found.append(start + here[(rank + np.arange(len(here))) % max(1, step) == 0])
        rank += len(here)
    return np.concatenate(found)


def role_bits(*names: str) -> int:
    """Return the set of roles as in `Passages.roles`."""
    return sum(1 << ROLES.index(name) for name in names)


def shared(part: Sequence[int], whole: Sequence[int]) -> float:
    """Return which share of the distinct ids of `part` stands in `whole`."""
    distinct = set(part)
    return len(distinct.intersection(whole)) / len(distinct)


def nearly_equal(first: Sequence[int], second: Sequence[int]) -> bool:
    """Return whether the ids of the shorter text stand, but for a few, in the other."""
    return shared(*((first, second) if len(first) <= len(second) else (second, first))) >= NEARLY


def around(passages: Passages, anchor: int) -> range:
    """Return the passages of the anchor's document, at most `AROUND` to either side."""
    document = int(passages.document_of(np.array([anchor]))[0])
    first, last = passages.first_passage(document), passages.first_passage(document + 1)
    return range(max(first, anchor - AROUND), min(last, anchor + AROUND + 1))
