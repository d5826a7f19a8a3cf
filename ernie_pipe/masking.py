"""Dynamic masking of whole units, vectorised over a packed batch (numpy alone, no state).

Shapes: `T` tokens of a packed batch, `B` sequences, `M` predicted tokens. All draws are functions of one
uint64 key a sequence, so the same batch is masked the same way wherever it is built.
"""

from dataclasses import dataclass

import numpy as np

from ernie_pipe import draws
from ernie_pipe.text.passages import ENTITY_START, IN_ENTITY, IN_PHRASE, PHRASE_START, WORD_START

LEVELS = ("basic", "word", "phrase", "entity")
_LEVEL, _ORDER, _OVERFLOW, _ACTION, _TOKEN_ACTION, _REPLACEMENT = range(6)
_MASKING = 0x6D61736B


@dataclass(frozen=True)
class MaskingRule:
    """How to mask.

    `rate`: share of tokens to predict; `levels`: mixture over `LEVELS`, drawn per sequence; `mask`, `random`:
    shares of predicted units that become `[MASK]` or random tokens (the rest stays); `scope`: draw that action
    `per_unit` (SpanBERT, PMI-Masking) or `per_token` (ERNIE as released).
    """

    levels: dict[str, float]
    rate: float = 0.15
    mask: float = 0.8
    random: float = 0.1
    scope: str = "per_unit"


@dataclass(frozen=True)
class Masked:
    """The changed ids (T), where a token is predicted (M, rising), what it was (M), the level per sequence (B)."""

    input_ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    levels: np.ndarray


def unit_starts(bits: np.ndarray, maskable: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return (T, bool) where a unit begins at the level (index into `LEVELS`) of each token.

    A level partitions the whole sequence: `basic` = tokens; `word` = words; `phrase` = phrases, elsewhere
    words; `entity` = entities, elsewhere phrases, elsewhere words (Sun et al. 2019, section 3.2).
    """
    word, phrase, entity = ((bits & bit) > 0 for bit in (WORD_START, PHRASE_START, ENTITY_START))
    in_phrase, in_entity = (bits & IN_PHRASE) > 0, (bits & IN_ENTITY) > 0
    leaves_entity = np.roll(in_entity, 1) & ~in_entity
    by_phrase = phrase | (word & ~in_phrase)
    by_entity = entity | (~in_entity & (by_phrase | leaves_entity))
    starts = np.choose(level, [np.ones_like(word), word, by_phrase, by_entity])
    after_special = ~np.roll(maskable, 1)
    after_special[:1] = True
    return (starts | after_special) & maskable


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
) -> Masked:
    """Mask a packed batch.

    `ids`, `bits`, `maskable` (false at special tokens) and `sequence` (index of the sequence, rising) have shape
    (T), `keys` (B). Units of a sequence are taken in random order until `rate` of its tokens are reached; the
    unit that would overflow is taken with the probability that keeps the expectation exact (SPEC: whole-unit
    budget; PMI-Masking, arXiv 2010.01825), so long units are neither skipped nor favoured. Random tokens come
    from `replacements`, the ids that are not special.
    """
    # Tasks draw labels and cuts from the same keys: without a key of their own, masks would give them away.
    keys = draws.key(keys, _MASKING)
    level = _draw_levels(rule, keys)
    starts = unit_starts(bits, maskable, level[sequence])
    unit_of_token = np.cumsum(starts) - 1
    tokens = np.flatnonzero(maskable)
    if not len(tokens):
        return Masked(ids.copy(), tokens, ids[:0], level)
    first = np.flatnonzero(starts)
    sizes = np.bincount(unit_of_token[tokens], minlength=len(first))
    owner = sequence[first]
    unit_keys = _unit_keys(owner, keys)
    chosen = _choose(sizes, owner, unit_keys, rule.rate)
    positions = tokens[chosen[unit_of_token[tokens]]]
    units = unit_of_token[positions]
    inside = positions - first[units]
    token_keys = draws.key(unit_keys[units], inside)
    action = (
        draws.uniform(unit_keys[units], _ACTION)
        if rule.scope == "per_unit"
        else draws.uniform(token_keys, _TOKEN_ACTION)
    )
    changed = ids.copy()
    changed[positions[action < rule.mask]] = mask_id
    swapped = (action >= rule.mask) & (action < rule.mask + rule.random)
    changed[positions[swapped]] = replacements[draws.below(len(replacements), token_keys[swapped], _REPLACEMENT)]
    return Masked(changed, positions, ids[positions], level)


def _draw_levels(rule: MaskingRule, keys: np.ndarray) -> np.ndarray:
    shares = np.cumsum([rule.levels.get(name, 0.0) for name in LEVELS])
    level = np.searchsorted(shares, draws.uniform(keys, _LEVEL) * shares[-1], side="right")
    return np.minimum(level, len(LEVELS) - 1)


def _unit_keys(owner: np.ndarray, keys: np.ndarray) -> np.ndarray:
    first_of_owner = np.searchsorted(owner, owner)
    return draws.key(keys[owner], np.arange(len(owner)) - first_of_owner)


def _choose(sizes: np.ndarray, owner: np.ndarray, unit_keys: np.ndarray, rate: float) -> np.ndarray:
    """Return (units, bool): which units are predicted."""
    order = np.lexsort((draws.uniform(unit_keys, _ORDER), owner))
    sorted_owner, sorted_sizes = owner[order], sizes[order]
    running = np.cumsum(sorted_sizes)
    first = np.searchsorted(sorted_owner, sorted_owner)
    before = running - sorted_sizes - (running - sorted_sizes)[first]
    budget = rate * np.bincount(owner, weights=sizes)[sorted_owner]
    share = np.clip((budget - before) / sorted_sizes, 0.0, 1.0)
    chosen = np.zeros(len(sizes), dtype=bool)
    chosen[order] = draws.uniform(unit_keys[order], _OVERFLOW) < share
    return chosen
