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
_DRAW_BITS = 28


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
    codes = bits & np.uint8(_UNIT_BITS)
    codes[1:] |= (bits[:-1] & np.uint8(IN_ENTITY)) << np.uint8(1)
    codes |= level.astype(np.uint8) << np.uint8(6)
    starts = _STARTS[codes]
    starts[1:] |= ~maskable[:-1]
    starts[:1] = True
    starts &= maskable
    return starts


def _start_table() -> np.ndarray:
    """Return for each code (level, whether the token before is in an entity, unit bits) whether a unit begins."""
    codes = np.arange(256)
    word, phrase, entity = ((codes & bit) > 0 for bit in (WORD_START, PHRASE_START, ENTITY_START))
    in_phrase, in_entity = (codes & IN_PHRASE) > 0, (codes & IN_ENTITY) > 0
    leaves_entity = ((codes & IN_ENTITY << 1) > 0) & ~in_entity
    by_phrase = phrase | (word & ~in_phrase)
    by_entity = entity | (~in_entity & (by_phrase | leaves_entity))
    return np.choose(codes >> 6, [np.ones_like(word), word, by_phrase, by_entity])


_UNIT_BITS = WORD_START | PHRASE_START | ENTITY_START | IN_PHRASE | IN_ENTITY
_STARTS = _start_table()


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
    first = np.flatnonzero(unit_starts(bits, maskable, level.astype(np.uint8)[sequence]))
    if not len(first):
        return Masked(ids.copy(), first, ids[:0], level)
    # Whatever may not be masked ends a unit: its tokens are the maskable ones from its first on, without a gap.
    sizes = np.add.reduceat(maskable, first, dtype=np.int64)
    owner = sequence[first]
    index = np.arange(len(first)) - _begins(owner, len(keys))[owner]
    unit_keys = draws.extend(draws.key(keys)[owner], index)
    chosen = _choose(sizes, owner, index, unit_keys, rule.rate)
    return _replace(ids, first[chosen], sizes[chosen], unit_keys[chosen], level, rule, mask_id, replacements)


def _replace(
    ids: np.ndarray,
    first: np.ndarray,
    sizes: np.ndarray,
    unit_keys: np.ndarray,
    level: np.ndarray,
    rule: MaskingRule,
    mask_id: int,
    replacements: np.ndarray,
) -> Masked:
    """Put `[MASK]`, random tokens or nothing in place of the chosen units (first token, size, key of each)."""
    inside = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    positions = np.repeat(first, sizes) + inside
    token_keys = draws.extend(np.repeat(draws.key(unit_keys), sizes), inside)
    action = (
        np.repeat(draws.uniform(unit_keys, _ACTION), sizes)
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


def _begins(owner: np.ndarray, sequences: int) -> np.ndarray:
    """Return (B) how many units stand before those of each sequence."""
    counts = np.bincount(owner, minlength=sequences)
    return np.cumsum(counts) - counts


def _choose(sizes: np.ndarray, owner: np.ndarray, index: np.ndarray, unit_keys: np.ndarray, rate: float) -> np.ndarray:
    """Return which units are predicted, rising; unit u is number `index[u]` of sequence `owner[u]`."""
    total = np.bincount(owner, weights=sizes)
    draw = draws.bits(unit_keys, _ORDER) >> np.uint64(64 - _DRAW_BITS)
    early = _early(draw, sizes, owner, rate * total, rate)
    order = early[_shuffled(draw[early], owner[early], index[early])]
    owner_in_order, sizes_in_order = owner[order], sizes[order]
    before = np.cumsum(sizes_in_order) - sizes_in_order
    begins = _begins(owner_in_order, len(total))
    # A sequence without a unit is never asked for.
    at_start = before[np.minimum(begins, len(before) - 1)]
    left = (rate * total + at_start)[owner_in_order] - before
    inside = np.flatnonzero(left > 0)
    candidates, share = order[inside], left[inside] / sizes_in_order[inside]
    # A unit that fits is taken; the one that overflows, with the probability that keeps the expectation.
    taken = share >= 1
    unsure = np.flatnonzero(~taken)
    taken[unsure] = draws.uniform(unit_keys[candidates[unsure]], _OVERFLOW) < share[unsure]
    return np.sort(candidates[taken])


def _early(draw: np.ndarray, sizes: np.ndarray, owner: np.ndarray, budget: np.ndarray, rate: float) -> np.ndarray:
    """Return the units that may come before their sequence's budget is reached: only these need to be put in order.

    Those with a low draw, where they fill the budget together; all of the sequence where they do not.
    """
    likely = draw < np.uint64(min(1.0, 1.5 * rate + 0.05) * 2**_DRAW_BITS)
    reached = np.bincount(owner, weights=sizes * likely) >= budget
    return np.flatnonzero(likely | ~reached[owner])


def _shuffled(draw: np.ndarray, owner: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return the order of units by sequence, inside a sequence by draw (ties, one in many thousands, by number).

    One number a unit, sorted at once: 20 bits of its sequence, 28 of its draw, 16 of its place.
    """
    assert owner[-1] < 1 << 20, "a micro-batch of more than a million sequences"
    return np.argsort(owner.astype(np.uint64) << np.uint64(44) | draw << np.uint64(16) | index.astype(np.uint64))
