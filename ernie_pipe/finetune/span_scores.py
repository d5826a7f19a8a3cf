"""From the scores of a span's first and last tokens to the likeliest spans: pure functions of arrays.

Shapes: `T` context tokens of a window, `L` tokens of the longest span allowed.
"""

from typing import NamedTuple

import numpy as np

_NEVER = np.float32(-np.inf)


class SpanScore(NamedTuple):
    """Tokens `first` to `last`, both inside the span, and the sum of their two scores."""

    first: int
    last: int
    score: float


def best_spans(
    starts: np.ndarray, ends: np.ndarray, usable: tuple[np.ndarray, np.ndarray], longest: int, count: int
) -> tuple[list[SpanScore], float]:
    """Return the `count` best spans, best first, and the logarithm of the sum of exp(score) over all legal ones.

    `starts` and `ends` are float [T]; `usable` holds bool [T] each, where a span may begin and where it may end.
    Equal scores: the one that begins first, then the shorter one. No legal span: no spans and -inf.
    """
    if not len(starts):
        return [], float(_NEVER)
    longest = min(longest, len(starts))
    padded = np.concatenate([np.where(usable[1], ends, _NEVER), np.full(longest - 1, _NEVER)])
    # [T, L]: row i holds the spans that begin at token i, column k those of k + 1 tokens.
    table = np.where(usable[0], starts, _NEVER)[:, None] + np.lib.stride_tricks.sliding_window_view(padded, longest)
    flat = table.ravel()
    order = np.argsort(-flat, kind="stable")[:count] if len(flat) <= count else _top(flat, count)
    spans = [SpanScore(int(i // longest), int(i // longest + i % longest), float(flat[i])) for i in order]
    return [span for span in spans if np.isfinite(span.score)], log_sum(flat)


def _top(flat: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the `count` greatest values, greatest first, the earlier of equal ones first."""
    least = np.partition(flat, len(flat) - count)[len(flat) - count]
    places = np.flatnonzero(flat >= least)
    return places[np.argsort(-flat[places], kind="stable")][:count]


def log_sum(scores: np.ndarray) -> float:
    """Return log(sum(exp(scores))), -inf of no scores."""
    top = float(scores.max(initial=_NEVER))
    return top + float(np.log(np.exp(scores - top, dtype=np.float64).sum())) if np.isfinite(top) else top
