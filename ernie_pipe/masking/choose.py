"""Which units are predicted: every one with exactly its chance, and always close to the budget of tokens.

The units of a sequence are laid out by length, those of one length in random order, and taken at equal steps from a
random start (systematic sampling: Madow 1949, Ann. Math. Stat. 20). So the chance of a unit does not depend on its
length, as it does where units are taken until a budget is full: there the one that overflows is more often a long one,
and whatever is done with it makes long units rarer or the budget larger. And because neighbours in that layout are
alike, the tokens of a sequence differ from the budget by less than its longest unit: another start moves every choice
by at most one step, so the changes add up to at most the longest length.

Shapes: `U` units in the order of the text, `B` sequences.
"""

import numpy as np

from ernie_pipe import draws

_ORDER, _START = 1, 2
_DRAW_BITS, _PLACE_BITS, _LONGEST = 20, 16, 255
# Fractions of a chance that are counted: whole numbers add up the same wherever a sequence stands in its batch.
_ONE = 1 << 40


def alike(sizes: np.ndarray, owner: np.ndarray, unit_keys: np.ndarray, keys: np.ndarray, rate: float) -> np.ndarray:
    """Return the numbers of the chosen units (rising), each chosen with the same chance `rate`.

    `sizes` (U, tokens), `owner` (U, sequence of each, rising), `unit_keys` (U) and `keys` (B) for the draws.
    Only the number to take of each length matters, so nothing needs to be put in order but a few of the units.
    """
    short = np.minimum(sizes, _LONGEST)
    width = int(short.max()) + 1
    cell = owner * width + short
    held = np.bincount(cell, minlength=len(keys) * width)
    behind = np.cumsum(held.reshape(len(keys), width), axis=1)
    start = draws.uniform(keys, _START)[:, None]
    steps = np.floor(start + rate * np.concatenate([np.zeros_like(behind[:, :1]), behind], axis=1))
    quota = np.diff(steps, axis=1).astype(np.int64).ravel()
    draw = draws.bits(unit_keys, _ORDER) >> np.uint64(64 - _DRAW_BITS)
    # The lowest draws of each cell are taken: those above are looked at only where too few lie below.
    low = draw < np.uint64(min(1.0, 1.5 * rate + 0.05) * (1 << _DRAW_BITS))
    lacking = np.bincount(cell[low], minlength=len(quota)) < quota
    early = np.flatnonzero((low & (quota > 0)[cell]) | lacking[cell])
    order = early[_order(draw[early], short[early], owner[early], early - _begins(owner, len(keys))[owner[early]])]
    cell = cell[order]
    rank = np.arange(len(cell)) - _begins(cell, len(quota))[cell]
    return np.sort(order[rank < quota[cell]])


def weighted(
    sizes: np.ndarray, owner: np.ndarray, unit_keys: np.ndarray, keys: np.ndarray, chance: np.ndarray
) -> np.ndarray:
    """Return the numbers of the chosen units (rising), unit u with the chance `chance[u]` (U, at most 1)."""
    draw = draws.bits(unit_keys, _ORDER) >> np.uint64(64 - _DRAW_BITS)
    begins = _begins(owner, len(keys))
    order = _order(draw, np.minimum(sizes, _LONGEST), owner, np.arange(len(owner)) - begins[owner])
    until = np.concatenate([[0], np.cumsum(np.rint(chance[order] * _ONE).astype(np.int64))])
    start = (draws.uniform(keys, _START) * _ONE).astype(np.int64)
    # Putting in order moves no unit to another sequence.
    shift = (start - until[np.minimum(begins, len(order))])[owner]
    taken = (until[1:] + shift) // _ONE > (until[:-1] + shift) // _ONE
    return np.sort(order[taken])


def chances(sizes: np.ndarray, weights: np.ndarray, run: np.ndarray, budget: np.ndarray) -> np.ndarray:
    """Return (U) chances in proportion to `weights`, 1 at most, that make `budget[run]` tokens on average.

    `run` (U, rising): the stretch of text that each unit lies in. Where a chance would exceed 1 it is 1, and the
    others of its run share what is left.
    """
    sure = np.zeros(len(sizes), dtype=bool)
    while True:
        taken = np.bincount(run, weights=sizes * sure, minlength=len(budget))
        open_ = np.bincount(run, weights=sizes * weights * ~sure, minlength=len(budget))
        scale = np.divide(budget - taken, open_, out=np.zeros(len(budget)), where=open_ > 0)
        chance = np.where(sure, 1.0, scale[run] * weights)
        above = chance > 1
        if not above.any():
            return chance
        sure |= above


def _begins(group: np.ndarray, groups: int) -> np.ndarray:
    """Return (groups) how many stand before those of each group; `group` is rising."""
    counts = np.bincount(group, minlength=groups)
    return np.cumsum(counts) - counts


def _order(draw: np.ndarray, size: np.ndarray, owner: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return the order by sequence, length, draw and (ties, one in a million) place: one number a unit, sorted."""
    assert not len(owner) or owner[-1] < 1 << 20, "a micro-batch of more than a million sequences"
    packed = owner.astype(np.uint64) << np.uint64(8) | size.astype(np.uint64)
    packed = packed << np.uint64(_DRAW_BITS) | draw
    return np.argsort(packed << np.uint64(_PLACE_BITS) | place.astype(np.uint64))
