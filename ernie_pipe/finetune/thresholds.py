"""Thresholds chosen by data: from which value on an answer is given, so that a score is the highest.

Pure functions of arrays; what is chosen on a dev set flatters the scores of that set a little. Shapes: `N` values or
examples, `L` labels.
"""

import numpy as np

_MARGIN = 1e-6


def best_cut(values: np.ndarray, scores: np.ndarray, *, near: float) -> float:
    """Return the cut of the highest score: halfway between two values, or outside of all, at `near` where that is so.

    `values` [N] ascend, and `scores[i]` of [N + 1] is that of a cut with i values below it. No cut goes between equal
    values; of equally good ones the nearest to `near` is taken.
    """
    values, scores = values.astype(np.float64), scores.astype(np.float64)
    outside = [min(near, values[0] - _MARGIN)], [max(near, values[-1] + _MARGIN)]
    edges = np.concatenate([outside[0], (values[:-1] + values[1:]) / 2, outside[1]])
    scores[1:-1][values[:-1] == values[1:]] = -np.inf
    best = np.flatnonzero(scores == scores.max())
    return float(edges[best[np.argmin(np.abs(edges[best] - near))]])


def of_labels(shares: np.ndarray, gold: np.ndarray, *, near: float = 0.5) -> float | None:
    """Return the probability from which on labels are given with the best micro F1; None where none is right.

    `shares` are probabilities [N, L], `gold` boolean indicators [N, L].
    """
    if not gold.any():
        return None
    order = np.argsort(shares, axis=None, kind="stable")
    found = gold.ravel()[order]
    total = int(found.sum())
    right = total - np.concatenate([[0], np.cumsum(found)])
    given = np.arange(len(found), -1, -1)
    return best_cut(shares.ravel()[order], 2 * right / (given + total), near=near)


def of_empty_answers(margins: np.ndarray, spans: np.ndarray, empty: np.ndarray, *, near: float = 0.0) -> float | None:
    """Return what an empty answer must be ahead by for the best total score; None where one kind always wins.

    `margins` [N] say how far it is ahead of the best span, `spans` and `empty` [N] what either would score. It is the
    sweep over dev of SQuAD 2.0's script (Rajpurkar et al. 2018, arXiv 1806.03822), with the cut halfway
    between two margins instead of on one.
    """
    if not (spans > empty).any() or not (empty > spans).any():
        return None
    order = np.argsort(margins, kind="stable")
    gains = np.cumsum((spans - empty)[order])
    return best_cut(margins[order], np.concatenate([[0.0], gains]), near=near)
