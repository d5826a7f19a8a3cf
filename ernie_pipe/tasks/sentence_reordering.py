"""Sentence reordering: a paragraph is cut into segments and permuted; name the permutation."""

from __future__ import annotations

from itertools import permutations
from math import factorial
from typing import ClassVar

import numpy as np
from pydantic import Field, field_validator

from ernie_pipe import draws
from ernie_pipe.config import Settings
from ernie_pipe.corpus.reader import Eligibility, Passages
from ernie_pipe.tasks.base import Example, Task
from ernie_pipe.tasks.sentences import is_running

# Of six segments there are 873 permutations, of seven 5,913: no head of them is learned from sentences.
LIMIT = 1000


def _classes(m: int) -> int:
    return sum(factorial(n) for n in range(1, m + 1))


class SentenceReorderingSettings(Settings):
    """Settings of `sentence_reordering`."""

    max_segments: int = Field(3, ge=2, description="m: the paragraph is cut into 1..m segments")

    @field_validator("max_segments")
    @classmethod
    def _within_limit(cls, m: int) -> int:
        # Above nine there are too many to be counted.
        if m > 9 or _classes(m) > LIMIT:
            raise ValueError(f"{m} segments have more than {LIMIT:,} permutations to tell apart: set it to 6 or less")
        return m


class SentenceReordering(Task):
    """Name the permutation of the 1..m segments into which a passage was cut.

    Teaches: the order of sentences, hence cause, time and reference between them.
    Input: the passage's own sentences in another order, `[CLS] A [SEP]`; labels: 0 .. Σ n! − 1 (m = 3: 9).
    Honest labels: all classes are equally likely for every eligible passage (it has m sentences or more), the
    segments are not marked, and the tokens are the same in every order, so the form says nothing.
    Ceiling: the three identities (n = 1, 2, 3) read the same, and with two segments some orders do as well, so about
    five in nine is the best that can be reached with m = 3.
    Source: Sun et al. 2020 (ERNIE 2.0), section 4.2 (sentence reordering task).
    Neighbours: `sentence_distance`, `sentence_order`.
    """

    name: ClassVar[str] = "sentence_reordering"
    needs: ClassVar[str] = "passages of at least `max_segments` sentences (`ernie-pipe encode --max-tokens`)"
    Settings: ClassVar[type[Settings]] = SentenceReorderingSettings

    def __init__(self, settings: SentenceReorderingSettings) -> None:
        super().__init__(settings)
        m = settings.max_segments
        self._orders = [order for n in range(1, m + 1) for order in permutations(range(n))]

    @property
    def classes(self) -> int:
        return _classes(self.settings.max_segments)

    def eligible(self, passages: Passages | Eligibility) -> np.ndarray:
        return is_running(passages) & (passages.sentences >= self.settings.max_segments)

    def examples(self, passages: Passages, anchors: np.ndarray, keys: np.ndarray) -> list[Example]:
        """Cut each anchor where sentences begin, and join the pieces in the order that is its label."""
        labels = draws.below(len(self._orders), keys, 0).tolist()
        borders = _borders(passages, anchors, keys)
        made = []
        for anchor, label, drawn in zip(anchors.tolist(), labels, borders, strict=True):
            ids, bits, _ = passages.get(anchor)
            order = self._orders[label]
            cuts = [0, *sorted(drawn[: len(order) - 1]), len(ids)]
            pieces = [slice(cuts[number], cuts[number + 1]) for number in order]
            part = (np.concatenate([ids[piece] for piece in pieces]), np.concatenate([bits[piece] for piece in pieces]))
            made.append(Example([part], label))
        return made


def _borders(passages: Passages, anchors: np.ndarray, keys: np.ndarray) -> list[list[int]]:
    """Return where the sentences of each anchor begin (the first one excepted), in drawn order."""
    starts = [passages.sentence_starts(anchor)[1:] for anchor in anchors.tolist()]
    counts = np.array([len(of) for of in starts])
    owner = np.repeat(np.arange(len(starts)), counts)
    ends = np.cumsum(counts)
    inside = np.arange(len(owner)) - (ends - counts)[owner]
    ranks = draws.uniform(draws.extend(draws.key(keys)[owner], inside), 1)
    ordered = np.concatenate(starts)[np.lexsort((ranks, owner))].tolist()
    return [ordered[end - count : end] for end, count in zip(ends.tolist(), counts.tolist(), strict=True)]
