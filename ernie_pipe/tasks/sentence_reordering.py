"""Sentence reordering: a paragraph is cut into segments and permuted; name the permutation."""

from __future__ import annotations

from itertools import permutations
from math import factorial
from typing import ClassVar

import numpy as np
from pydantic import Field

from ernie_pipe import draws
from ernie_pipe.config import Settings
from ernie_pipe.corpus.reader import Eligibility, Passages
from ernie_pipe.tasks.base import Example, Task


class SentenceReorderingSettings(Settings):
    """Settings of `sentence_reordering`."""

    max_segments: int = Field(3, ge=2, le=5, description="m: the paragraph is cut into 1..m segments")


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
    Settings: ClassVar[type[Settings]] = SentenceReorderingSettings

    def __init__(self, settings: SentenceReorderingSettings) -> None:
        super().__init__(settings)
        m = settings.max_segments
        self._orders = [order for n in range(1, m + 1) for order in permutations(range(n))]

    @property
    def classes(self) -> int:
        return sum(factorial(n) for n in range(1, self.settings.max_segments + 1))

    def eligible(self, passages: Passages | Eligibility) -> np.ndarray:
        return passages.sentences >= self.settings.max_segments

    def example(self, passages: Passages, anchor: int, key: np.ndarray) -> Example:
        ids, bits, _ = passages.get(anchor)
        starts = passages.sentence_starts(anchor).astype(np.int64)
        label = int(draws.below(len(self._orders), key, 0))
        order = self._orders[label]
        cuts = _cuts(starts, len(order), key)
        borders = [0, *cuts, len(ids)]
        pieces = np.concatenate([np.arange(borders[i], borders[i + 1]) for i in order])
        return Example([(ids[pieces], bits[pieces])], label)


def _cuts(starts: np.ndarray, segments: int, key: np.ndarray) -> list[int]:
    """Draw `segments` − 1 borders among the sentence starts (the first sentence's excepted)."""
    ranks = draws.uniform(draws.key(key, np.arange(len(starts) - 1)), 1)
    return sorted(starts[1:][np.argsort(ranks, kind="stable")[: segments - 1]].tolist())
