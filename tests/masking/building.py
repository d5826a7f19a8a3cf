"""Packed batches of random units, and what tests of masking share."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ernie_pipe import draws
from ernie_pipe.masking import LEVELS, Masked, MaskingRule, mask_units, unit_starts
from ernie_pipe.text.passages import ENTITY_START, IN_ENTITY, IN_PHRASE, PHRASE_START, WORD_START

MASK, REPLACEMENTS = 4, np.arange(5, 500)


@dataclass
class Batch:
    """Packed `[CLS] … [SEP]` sequences of random units."""

    ids: np.ndarray
    bits: np.ndarray
    maskable: np.ndarray
    sequence: np.ndarray
    keys: np.ndarray

    def mask(self, rule: MaskingRule, types: np.ndarray | None = None) -> Masked:
        return mask_units(
            self.ids, self.bits, self.maskable, self.sequence, self.keys,
            rule=rule, mask_id=MASK, replacements=REPLACEMENTS, types=types,
        )  # fmt: skip

    def units(self, level: str) -> np.ndarray:
        """The number of its unit for each text token, at one level."""
        starts = unit_starts(self.bits, self.maskable, np.full(len(self.ids), LEVELS.index(level)))
        return (np.cumsum(starts) - 1)[self.maskable]

    def is_predicted(self, masked: Masked) -> np.ndarray:
        """Whether each text token is predicted."""
        return np.isin(np.flatnonzero(self.maskable), masked.positions)

    def words(self, masked: Masked) -> np.ndarray:
        """How many words each predicted unit has."""
        return np.bincount(masked.units, (self.bits[masked.positions] & WORD_START) > 0).astype(int)


def random_bits(rng: np.random.Generator, sequences: int, length: int) -> np.ndarray:
    """(sequences, length): words of 1 to 4 tokens, a third of them in phrases or entities of 1 to 3 words."""
    starts = np.zeros(sequences * length, bool)
    ends = np.cumsum(rng.choice([1, 1, 2, 2, 3, 4], len(starts)))
    starts[ends[ends < len(starts)]] = True
    starts[::length] = True
    word = np.cumsum(starts) - 1
    opens = np.zeros(word[-1] + 1, bool)
    borders = np.cumsum(rng.integers(1, 4, len(opens)))
    opens[borders[borders < len(opens)]] = True
    opens[word[::length]] = True
    kind = rng.choice([0, 0, 0, 0, 1, 2], len(opens))[np.cumsum(opens) - 1][word]
    first = starts & opens[word] & (kind > 0)
    bits = np.where(starts, WORD_START, 0) | np.choose(kind, [0, IN_PHRASE, IN_ENTITY])
    bits |= np.where(first, np.choose(kind, [0, PHRASE_START, ENTITY_START]), 0)
    return bits.astype(np.uint8).reshape(sequences, length)


@cache
def batch(length: int, sequences: int, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    ids, bits = rng.integers(5, 500, (sequences, length + 2)), np.zeros((sequences, length + 2), np.uint8)
    ids[:, 0], ids[:, -1] = 2, 3
    bits[:, 1:-1] = random_bits(rng, sequences, length)
    maskable = np.tile(np.r_[False, np.ones(length, bool), False], sequences)
    sequence = np.repeat(np.arange(sequences), length + 2)
    return Batch(ids.ravel(), bits.ravel(), maskable, sequence, draws.key(seed, np.arange(sequences)))


def chi_square(counts: np.ndarray, shares: Any) -> float:
    expected = counts.sum() * np.array(shares)
    return float(((counts - expected) ** 2 / expected).sum())
