"""Capitalization: was the word written with a capital before it was lower-cased?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ernie_pipe.corpus.reader import Eligibility, Passages
from ernie_pipe.errors import InputError
from ernie_pipe.tasks.base import Example, PackedBatch, Targets, Task
from ernie_pipe.text.encode import SpecialIds
from ernie_pipe.text.passages import CAPITALISED


class Capitalization(Task):
    """Tell of every word in letters whether it was capitalised (1) before the text was lower-cased, or not (0).

    Teaches: which words are names and abbreviations; the model reads lower case alone.
    Input: a passage, `[CLS] A [SEP]`; labels (M): 0 or 1 at the first token of every word whose script has capitals.
    Asked nowhere else: Chinese characters, digits and `[UNK]` have none, and would make 0 the answer nearly always.
    Anchors are passages with a capital at least, where a vocabulary lower-cases; others have nothing to learn from.
    A word that masking hides is asked too, of what it was: about as many of the positions as masking's rate.
    Honest labels: the input is lower-cased, so nothing in a token tells; a vocabulary that tells A from a is refused.
    `majority/capitalization` in the log is what always answering the commoner class would reach.
    Source: Sun et al. 2020 (ERNIE 2.0), section 4.1 (capitalization prediction task).
    Neighbours: `knowledge_masking`, `token_document`.
    """

    name: ClassVar[str] = "capitalization"
    pooled: ClassVar[bool] = False
    needs: ClassVar[str] = "passages with a capital letter"

    _asked = np.zeros(1, dtype=bool)

    def prepare(self, special: SpecialIds) -> None:
        """Learn which tokens begin a word in letters; `InputError` where the vocabulary keeps capitals."""
        if special.cased:
            raise InputError(
                "capitalization: this vocabulary tells A from a, so the answer stands in the input: "
                "leave the task out, or use a vocabulary that lower-cases"
            )
        self._asked = np.zeros(special.size, dtype=bool)
        self._asked[[number for token, number in special.vocab.items() if token[:1].upper() != token[:1]]] = True

    @property
    def classes(self) -> int:
        return 2

    def eligible(self, passages: Passages | Eligibility) -> np.ndarray:
        return (passages.marks & CAPITALISED) > 0

    def example(self, passages: Passages, anchor: int, key: np.ndarray) -> Example:
        ids, bits, _ = passages.get(anchor)
        return Example([(ids, bits)])

    def targets(self, batch: PackedBatch, number: int, levels: dict[str, float] | None = None) -> Targets:
        """Return the words in letters of the task's sequences, and which had a capital."""
        mine = (batch.task == number)[batch.sequence] & batch.maskable
        positions = np.flatnonzero(mine & self._asked[batch.input_ids])
        return Targets(positions, ((batch.unit_bits[positions] & CAPITALISED) > 0).astype(np.int64))
