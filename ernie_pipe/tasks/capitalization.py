"""Capitalization: was the word written with a capital before it was lower-cased?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ernie_pipe.errors import InputError
from ernie_pipe.tasks.marked import MarkedTokens
from ernie_pipe.text.encode import SpecialIds
from ernie_pipe.text.passages import CAPITALISED


class Capitalization(MarkedTokens):
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
    mark: ClassVar[int] = CAPITALISED
    needs: ClassVar[str] = "passages with a capital letter"

    def prepare(self, special: SpecialIds) -> None:
        """Learn which tokens begin a word in letters; `InputError` where the vocabulary keeps capitals."""
        if special.cased:
            raise InputError(
                "capitalization: this vocabulary tells A from a, so the answer stands in the input: "
                "leave the task out, or use a vocabulary that lower-cases"
            )
        self.asked = np.zeros(special.size, dtype=bool)
        self.asked[[number for token, number in special.vocab.items() if token[:1].upper() != token[:1]]] = True
