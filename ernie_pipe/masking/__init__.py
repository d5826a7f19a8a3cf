"""Dynamic masking of whole units, vectorised over a packed batch (numpy alone, no state).

`units.py` says where units begin at each level, `pieces.py` joins words to n-grams and spans, `choose.py` draws which
are predicted, `similar.py` has words that stand for others. What each strategy does and was measured at:
docs/masking.md.

Shapes: `T` tokens of a packed batch, `B` sequences, `M` predicted tokens, `U` units. All draws are functions of one
uint64 key a sequence, so the same batch is masked the same way wherever it is built.
"""

from dataclasses import dataclass, field

import numpy as np

from ernie_pipe import draws
from ernie_pipe.masking import choose, pieces, similar
from ernie_pipe.masking.pieces import Units, geometric
from ernie_pipe.masking.similar import SimilarWords
from ernie_pipe.masking.units import LEVELS, unit_starts
from ernie_pipe.text.passages import WORD_START

__all__ = [
    "LENGTHS",
    "LEVELS",
    "STRATEGIES",
    "Masked",
    "MaskingRule",
    "SimilarWords",
    "geometric",
    "mask_units",
    "similar",
    "unit_starts",
]

STRATEGIES = ("units", "ngram", "span")
# The chances of 1, 2 … consecutive units as published: by MacBERT, by SpanBERT.
LENGTHS = {"units": None, "ngram": (0.4, 0.3, 0.2, 0.1), "span": geometric(0.2, 10)}
# Streams 1, 2, 6, 7 and 8 belong to choose.py, pieces.py and similar.py.
_LEVEL, _ACTION, _TOKEN_ACTION, _REPLACEMENT = 0, 3, 4, 5
_MASKING = 0x6D61736B


@dataclass(frozen=True)
class MaskingRule:
    """How to mask.

    `rate`: share of tokens to predict; `levels`: mixture over `LEVELS`, drawn per sequence; `mask`, `random`:
    shares of predicted units that become `[MASK]` or random tokens (the rest stays); `scope`: draw that action
    `per_unit` (SpanBERT, PMI-Masking) or `per_token` (ERNIE as released).

    `lengths`: none for single units, or the chances of 1, 2 … consecutive units that are predicted together.
    `type_weights`: (256, float) weight by entity type, 0 being no entity. `similar`: words to stand in for `[MASK]`.
    """

    levels: dict[str, float]
    rate: float = 0.15
    mask: float = 0.8
    random: float = 0.1
    scope: str = "per_unit"
    lengths: tuple[float, ...] | None = None
    type_weights: np.ndarray | None = None
    similar: SimilarWords | None = None


@dataclass(frozen=True)
class Masked:
    """The changed ids (T), where a token is predicted (M, rising), what it was (M), the level per sequence (B).

    `units` (M, rising from 0): the predicted unit that each token belongs to. `words`, `fallbacks`: how many words a
    similar one was to stand for, and how many of them had none and became random tokens.
    """

    input_ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    levels: np.ndarray
    units: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    words: int = 0
    fallbacks: int = 0


def mask_units(
    ids: np.ndarray,
    bits: np.ndarray,
    maskable: np.ndarray,
    sequence: np.ndarray,
    keys: np.ndarray,
    *,
    rule: MaskingRule,
    mask_id: int,
    replacements: np.ndarray,
    types: np.ndarray | None = None,
) -> Masked:
    """Mask a packed batch.

    `ids`, `bits`, `maskable` (false at special tokens) and `sequence` (index of the sequence, rising) have shape
    (T), `keys` (B). Every unit of a sequence is predicted with the chance `rate`, long ones as often as short ones,
    and the tokens of a sequence differ from `rate` of it by less than its longest unit (`choose.py`; the budget of
    whole units: PMI-Masking, arXiv 2010.01825). Random tokens come from `replacements`, the ids that are not special.

    With `rule.lengths` the units are pieces of consecutive ones (`pieces.py`). With `rule.type_weights` the chance of a
    unit is in proportion to its weight, the mean over its tokens by `types` (T); each run of text without a special
    token in it keeps its `rate`.
    """
    # Tasks draw labels and cuts from the same keys: without a key of their own, masks would give them away.
    keys = draws.key(keys, _MASKING)
    level = _draw_levels(rule, keys)
    first = np.flatnonzero(unit_starts(bits, maskable, level.astype(np.uint8)[sequence]))
    if not len(first):
        return Masked(ids.copy(), first, ids[:0], level)
    # Whatever may not be masked ends a unit: its tokens are the maskable ones from its first on, without a gap.
    sizes = np.add.reduceat(maskable, first, dtype=np.int64)
    owner = sequence[first]
    counts = np.bincount(owner, minlength=len(keys))
    index = np.arange(len(first)) - (np.cumsum(counts) - counts)[owner]
    units = Units(first, sizes, owner, draws.extend(draws.key(keys)[owner], index))
    chosen = _choose(units, keys, rule, types)
    return _replace(ids, bits, chosen, level, rule, mask_id, replacements)


def _choose(units: Units, keys: np.ndarray, rule: MaskingRule, types: np.ndarray | None) -> Units:
    """Return the units, or pieces of them, that are predicted."""
    if rule.lengths is None and rule.type_weights is None:
        return units.take(choose.alike(units.sizes, units.owner, units.keys, keys, rule.rate))
    run = units.runs()
    budget = rule.rate * np.bincount(run, weights=units.sizes)
    weights = np.ones(len(run))
    if rule.lengths is not None:
        units, run, weights = pieces.walk(units, run, rule.lengths, rule.rate)
    if rule.type_weights is not None:
        assert types is not None, "weights by type need the types of the tokens"
        weights = weights * _means(rule.type_weights[types], units)
    chance = choose.chances(units.sizes, weights, run, budget)
    return units.take(choose.weighted(units.sizes, units.owner, units.keys, keys, chance))


def _means(values: np.ndarray, units: Units) -> np.ndarray:
    """Return the mean of `values` (T) over each unit, by its own tokens alone: the same in any batch."""
    borders = np.stack([units.first, units.first + units.sizes], axis=1).ravel()
    return np.add.reduceat(np.append(values, 0.0), borders)[::2] / units.sizes


def _replace(
    ids: np.ndarray,
    bits: np.ndarray,
    chosen: Units,
    level: np.ndarray,
    rule: MaskingRule,
    mask_id: int,
    replacements: np.ndarray,
) -> Masked:
    """Put `[MASK]`, similar words, random tokens or nothing in place of the chosen units."""
    sizes = chosen.sizes
    inside = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    positions = np.repeat(chosen.first, sizes) + inside
    number = np.repeat(np.arange(len(sizes)), sizes)
    token_keys = draws.extend(draws.key(chosen.keys)[number], inside)
    action = (
        draws.uniform(chosen.keys, _ACTION)[number]
        if rule.scope == "per_unit"
        else draws.uniform(token_keys, _TOKEN_ACTION)
    )
    changed = ids.copy()
    hidden = action < rule.mask
    swapped = (action >= rule.mask) & (action < rule.mask + rule.random)
    words = fallbacks = 0
    if rule.similar is None:
        changed[positions[hidden]] = mask_id
    elif hidden.any():
        at = positions[hidden]
        begins = np.flatnonzero((inside[hidden] == 0) | ((bits[at] & np.uint8(WORD_START)) > 0))
        lengths = np.diff(begins, append=len(at))
        changed[at], found = rule.similar.stand_ins(ids[at], begins, lengths, token_keys[hidden][begins])
        swapped[np.flatnonzero(hidden)[np.repeat(~found, lengths)]] = True
        words, fallbacks = len(found), int((~found).sum())
    changed[positions[swapped]] = replacements[draws.below(len(replacements), token_keys[swapped], _REPLACEMENT)]
    return Masked(changed, positions, ids[positions], level, number, words, fallbacks)


def _draw_levels(rule: MaskingRule, keys: np.ndarray) -> np.ndarray:
    shares = np.cumsum([rule.levels.get(name, 0.0) for name in LEVELS])
    level = np.searchsorted(shares, draws.uniform(keys, _LEVEL) * shares[-1], side="right")
    return np.minimum(level, len(LEVELS) - 1)
