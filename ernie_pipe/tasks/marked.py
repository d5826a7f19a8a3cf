"""Tasks on tokens whose label is a bit that `encode` has set."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ernie_pipe.corpus.reader import Eligibility, Passages
from ernie_pipe.tasks.base import Example, PackedBatch, Targets, Task


class MarkedTokens(Task):
    """Tell of every token that is asked whether it has the bit `mark` (1) or not (0).

    Anchors are passages in which some token has it. `prepare` sets `asked` (vocabulary, bool): the tokens that are
    asked. What masking hides is asked too.
    """

    mark: ClassVar[int]
    pooled: ClassVar[bool] = False

    asked = np.zeros(1, dtype=bool)

    @property
    def classes(self) -> int:
        return 2

    def eligible(self, passages: Passages | Eligibility) -> np.ndarray:
        return (passages.marks & self.mark) > 0

    def example(self, passages: Passages, anchor: int, key: np.ndarray) -> Example:
        ids, bits, _ = passages.get(anchor)
        return Example([(ids, bits)])

    def targets(self, batch: PackedBatch, number: int, levels: dict[str, float] | None = None) -> Targets:
        """Return the asked tokens of the task's sequences, and which have the bit."""
        mine = (batch.task == number)[batch.sequence] & batch.maskable
        positions = np.flatnonzero(mine & self.asked[batch.input_ids])
        return Targets(positions, ((batch.unit_bits[positions] & self.mark) > 0).astype(np.int64))
