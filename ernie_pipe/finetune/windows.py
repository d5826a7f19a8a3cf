"""Cutting token sequences longer than the model takes, and putting the scores of the pieces together again.

Pure functions of positions: windows are half-open `(start, end)` over the tokens of one text.
"""

from collections.abc import Sequence

import numpy as np

Window = tuple[int, int]


def overlapping(length: int, capacity: int, overlap: int) -> list[Window]:
    """Cover `length` tokens by windows of at most `capacity` that share at least `overlap` tokens.

    All windows of a long text are full: the last one is moved left to end with the text. No window covers
    nothing: an empty text has none.
    """
    if length <= capacity:
        return [(0, length)] if length else []
    starts = list(range(0, length - capacity, capacity - overlap))
    return [(start, start + capacity) for start in [*starts, length - capacity]]


def consecutive(joined: Sequence[bool], capacity: int) -> list[Window]:
    """Cut a text into windows of at most `capacity` tokens; `joined[i]` asks for no cut before token `i`.

    A run of joined tokens longer than a window is cut all the same.
    """
    cuts = [0]
    while len(joined) - cuts[-1] > capacity:
        end = cuts[-1] + capacity
        cut = next((i for i in range(end, cuts[-1], -1) if not joined[i]), end)
        cuts.append(cut)
    return list(zip(cuts, [*cuts[1:], len(joined)], strict=True)) if joined else []


def stitch(length: int, windows: Sequence[Window], scores: Sequence[np.ndarray]) -> np.ndarray:
    """Merge the rows of overlapping windows: each token's row comes from where its context is widest.

    `scores[w]` is [tokens of window w, labels]; the result is [length, labels]. The two ends of the text
    itself cut no context off, so they count as infinitely far.
    """
    merged = np.zeros((length, scores[0].shape[1] if scores else 0), dtype=np.float32)
    best = np.full(length, -1)
    for (start, end), rows in zip(windows, scores, strict=True):
        margin = _margins(start, end, length)
        better = margin > best[start:end]
        merged[start:end][better] = rows[better]
        best[start:end][better] = margin[better]
    return merged


def _margins(start: int, end: int, length: int) -> np.ndarray:
    positions = np.arange(start, end)
    left = positions - start if start else np.full(end - start, length)
    right = end - 1 - positions if end < length else np.full(end - start, length)
    return np.minimum(left, right)
