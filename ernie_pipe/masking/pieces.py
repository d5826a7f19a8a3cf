"""Words → runs of consecutive words: the n-grams of MacBERT, the spans of SpanBERT.

A walk from left to right through each run of text (a segment) draws a length at its pointer, takes the next so many
words as one piece, and jumps past them (MacBERT: Cui et al. 2020, arXiv 2004.13922, section 3.2; ymcui/MacBERT#13).
So pieces never overlap, and the text is cut into them without a gap. Which of them are predicted is then drawn like
any other unit: this is how the walk is reconciled with a budget of 15 %, for were every piece predicted, all would be.
SpanBERT (Joshi et al. 2020, arXiv 1907.10529, section 3.1) draws a length, then a place, until the budget is reached;
pieces of the same walk with its lengths have the same law, and no draw is wasted on a place that is taken.

Two things keep the lengths exact. What the last draw has no room for is no piece (cut short, it would make short
ones too many): the rest stays unmasked, at a random place between the pieces, so that the end of a text is not spared.
And a long piece has fewer places in a text than a short one: each is weighted by the inverse of how often the walk
makes one of its length. Where the rest is so long that the others could hardly fill the budget, it is a piece after
all: in segments of a few words the lengths bend to what fits.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ernie_pipe import draws

_LENGTH, _REST = 6, 7
_KNOWN = 1024


@dataclass(frozen=True)
class Units:
    """What may be predicted, in the order of the text (arrays of U): first token, tokens, sequence, key."""

    first: np.ndarray
    sizes: np.ndarray
    owner: np.ndarray
    keys: np.ndarray

    def take(self, numbers: np.ndarray) -> "Units":
        """Return these units alone."""
        return Units(self.first[numbers], self.sizes[numbers], self.owner[numbers], self.keys[numbers])

    def runs(self) -> np.ndarray:
        """Return (U, rising) the run of text that each unit lies in: it ends where something is not maskable."""
        opens = np.ones(len(self.first), dtype=np.int64)
        opens[1:] = (self.first[1:] != self.first[:-1] + self.sizes[:-1]) | (self.owner[1:] != self.owner[:-1])
        return np.cumsum(opens) - 1


def geometric(p: float, longest: int) -> tuple[float, ...]:
    """Return the chances of the lengths 1 to `longest`: Geometric(p), cut off there and made to sum to 1.

    With p = 0.2 and 10 the mean is 3.797 words; lengths beyond that are not clipped to it, which would give 4.463.
    """
    weights = p * (1 - p) ** np.arange(longest)
    return tuple((weights / weights.sum()).tolist())


def walk(
    words: Units, run: np.ndarray, lengths: tuple[float, ...], rate: float
) -> tuple[Units, np.ndarray, np.ndarray]:
    """Return the pieces, their run and their weights; `lengths[n - 1]` is the chance of a piece of n words."""
    begins = np.flatnonzero(np.diff(run, prepend=-1))
    counts = np.diff(begins, append=len(run))
    drawn = _draw(draws.uniform(words.keys, _LENGTH), lengths)
    # Piece number k of a run has the draw of its k-th word: more draws than needed, and no loop.
    behind = np.cumsum(drawn)
    behind -= (behind[begins] - drawn[begins])[run]
    full = behind <= counts[run]
    pieces = np.add.reduceat(full, begins, dtype=np.int64)
    covered = np.where(pieces > 0, behind[np.maximum(begins + pieces - 1, 0)], 0)
    rest = counts - covered
    place = draws.below(pieces + 1, words.keys[begins], _REST)
    at = np.flatnonzero(full)
    of = run[at]
    later = at - begins[of] >= place[of]
    start, length = behind[at] - drawn[at] + later * rest[of] + begins[of], drawn[at]
    # The rest stands before piece number `place`.
    before = np.where(place > 0, behind[np.maximum(begins + place - 1, 0)], 0) + begins
    kept = _needed(words, begins, counts, before, rest, rate)
    if len(kept):
        start, length = np.concatenate([start, before[kept]]), np.concatenate([length, rest[kept]])
        order = np.argsort(start)
        start, length = start[order], length[order]
    last = start + length - 1
    first, of = words.first[start], run[start]
    sizes = words.first[last] + words.sizes[last] - first
    weights = 1 / _times_made(lengths, counts[of] - length)
    return Units(first, sizes, words.owner[start], words.keys[start]), of, weights


def _needed(
    words: Units, begins: np.ndarray, counts: np.ndarray, before: np.ndarray, rest: np.ndarray, rate: float
) -> np.ndarray:
    """Return the runs whose rest must be a piece: the others would be predicted at more than every second token."""
    some = np.flatnonzero(rest)
    begins, before, ends = begins[some], before[some], words.first + words.sizes
    tokens = ends[begins + counts[some] - 1] - words.first[begins]
    spared = ends[before + rest[some] - 1] - words.first[before]
    return some[2 * rate * tokens > tokens - spared]


def _draw(uniform: np.ndarray, lengths: tuple[float, ...]) -> np.ndarray:
    drawn = np.ones(len(uniform), dtype=np.int64)
    for limit in np.cumsum(lengths)[:-1].tolist():
        drawn += uniform >= limit
    return drawn


def _times_made(lengths: tuple[float, ...], room: np.ndarray) -> np.ndarray:
    """Return how many borders the walk has on average up to and including word `room`.

    A piece of n words in a run of W is made p(n) times the borders up to W − n: dividing by them leaves p(n).
    """
    table, slope = _borders(lengths)
    return table[np.minimum(room, _KNOWN - 1)] + np.maximum(room - (_KNOWN - 1), 0) * slope


@lru_cache(maxsize=16)
def _borders(lengths: tuple[float, ...]) -> tuple[np.ndarray, float]:
    """Return the renewal function of the lengths, and how fast it rises in the long run (1 / mean)."""
    chance = np.array(lengths)
    border = np.zeros(_KNOWN)
    border[0] = 1
    for at in range(1, _KNOWN):
        reach = min(at, len(chance))
        border[at] = chance[:reach] @ border[at - reach : at][::-1]
    return np.cumsum(border), float(1 / (chance * np.arange(1, len(chance) + 1)).sum())
