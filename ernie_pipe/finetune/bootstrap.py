"""Bootstrap confidence intervals of scores: how far a score would move with another test set of this size.

Percentile bootstrap (Efron and Tibshirani 1993, An Introduction to the Bootstrap, §13.3) over examples: the examples
are drawn with replacement, as often as there are, and the score is taken of each draw. Draws are seeded, and made of
how often each example (or each kind of equal examples) comes up, so a score that depends on sums is one product of
matrices for all draws.

Shapes: `N` examples or kinds of equal ones, `K` quantities summed over examples, `L` labels, `R` draws at a time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

Intervals = dict[str, list[float]]
Scores = Callable[[np.ndarray], Mapping[str, np.ndarray]]

RESAMPLES = 1000
LEVEL = 0.95
_CELLS = 1_000_000
"""Counts held at a time."""


def of_means(values: Mapping[str, Sequence[float]], *, seed: int = 1) -> Intervals:
    """Return the interval of the mean of each list, one value an example: exact match, F1 an answer, right or not."""
    rows = np.array(list(values.values()), dtype=float).T
    return of_sums(rows, lambda sums: {name: sums[:, k] / len(rows) for k, name in enumerate(values)}, seed=seed)


def of_f1(found: Sequence[int], predicted: Sequence[int], gold: Sequence[int], *, seed: int = 1) -> Intervals:
    """Return the intervals of micro precision, recall and F1 from the counts of each example."""

    def scores(sums: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "precision": _ratio(sums[:, 0], sums[:, 1]),
            "recall": _ratio(sums[:, 0], sums[:, 2]),
            "f1": _ratio(2 * sums[:, 0], sums[:, 1] + sums[:, 2]),
        }

    return of_sums(np.array([found, predicted, gold], dtype=float).T, scores, seed=seed)


def of_classes(gold: Sequence[str], predicted: Sequence[str], *, seed: int = 1) -> Intervals:
    """Return the intervals of accuracy, macro F1 and MCC, as `metrics.classification` defines them."""
    labels = {label: i for i, label in enumerate(sorted({*gold, *predicted}))}
    pairs = np.array([(labels[right], labels[answer]) for right, answer in zip(gold, predicted, strict=True)])
    kinds, counts = np.unique(pairs, axis=0, return_counts=True)
    one = np.eye(len(labels))
    rows = np.hstack([one[kinds[:, 0]] * (kinds[:, :1] == kinds[:, 1:]), one[kinds[:, 1]], one[kinds[:, 0]]])
    return of_sums(rows, class_scores, counts=counts, seed=seed)


def class_scores(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Return accuracy, macro F1 and MCC from [R, 3 L]: right, answered and true examples of each label.

    Macro F1 is the mean over labels that occur; MCC that of Gorodkin 2004 for many classes, 0 where undefined.
    """
    right, answered, true = np.split(sums, 3, axis=1)
    total = true.sum(axis=1)
    occurs = (answered + true) > 0
    f1 = _ratio(2 * right, answered + true)
    cross = right.sum(axis=1) * total - (answered * true).sum(axis=1)
    spread = (total**2 - (answered**2).sum(axis=1)) * (total**2 - (true**2).sum(axis=1))
    return {
        "accuracy": right.sum(axis=1) / total,
        "macro_f1": f1.sum(axis=1) / occurs.sum(axis=1),
        "mcc": _ratio(cross, np.sqrt(spread)),
    }


def of_label_sets(gold: np.ndarray, predicted: np.ndarray, *, seed: int = 1) -> Intervals:
    """Return the intervals of `metrics.label_sets` from [N, L] indicators of the labels."""
    exact = (gold == predicted).all(axis=1, keepdims=True)
    rows = np.hstack([gold & predicted, predicted, gold, exact]).astype(float)

    def scores(sums: np.ndarray) -> dict[str, np.ndarray]:
        right, answered, true = np.split(sums[:, :-1], 3, axis=1)
        return {
            "micro_f1": _ratio(2 * right.sum(axis=1), (answered + true).sum(axis=1)),
            "macro_f1": _ratio(2 * right, answered + true).mean(axis=1),
            "exact": sums[:, -1] / len(rows),
        }

    return of_sums(rows, scores, seed=seed)


def of_correlations(gold: np.ndarray, predicted: np.ndarray, *, seed: int = 1) -> Intervals:
    """Return the intervals of Spearman's and Pearson's correlation; ranks are taken anew in each draw."""
    x, y = np.array(gold, dtype=float), np.array(predicted, dtype=float)
    return _intervals(_draws(np.ones(len(x), dtype=int), seed), lambda draws: correlations(draws, x, y))


def correlations(draws: np.ndarray, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Return both correlations of `x` and `y` where example n counts `draws[r, n]` times; 0 where undefined."""
    total = draws.sum(axis=1)
    # Ranks are 1 to `total`, whatever ties there are: their mean needs no sum.
    rank_x, rank_y = (_ranks(draws, side) - (total[:, None] + 1) / 2 for side in (x, y))
    moments = [np.einsum("rn,rn,rn->r", draws, a, b) for a, b in [(rank_x, rank_y), (rank_x, rank_x), (rank_y, rank_y)]]
    x, y = x - x.mean(), y - y.mean()
    sums = draws @ np.stack([x, y, x * y, x * x, y * y], axis=1)
    whole = sums[:, 2:].T * total
    both, of_x, of_y = whole - np.stack([sums[:, 0] * sums[:, 1], sums[:, 0] ** 2, sums[:, 1] ** 2])
    # What rounding leaves of the variance of equal values is none.
    of_x, of_y = (np.where(part > 1e-12 * of, part, 0) for part, of in [(of_x, whole[1]), (of_y, whole[2])])
    return {
        "spearman": _ratio(moments[0], np.sqrt(moments[1] * moments[2])),
        "pearson": _ratio(both, np.sqrt(of_x * of_y)),
    }


def _ranks(draws: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the mean rank [R, N] of each example among those drawn: equal values share theirs."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.add.reduceat(draws[:, order], starts, axis=1)
    return (np.cumsum(sizes, axis=1) - (sizes - 1) / 2)[:, group]


def of_sums(rows: np.ndarray, scores: Scores, *, counts: np.ndarray | None = None, seed: int = 1) -> Intervals:
    """Return the interval of every score that is a function of sums over examples.

    `rows` is [N, K], `counts` says how many examples each row stands for (one each), and `scores` takes [R, K], the
    sums of R draws, to R values a score.
    """
    counts = np.ones(len(rows), dtype=int) if counts is None else counts
    return _intervals(_draws(counts, seed), lambda draws: scores(draws @ rows))


def _draws(counts: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Yield [R, N] arrays, RESAMPLES rows in all: how often each kind comes up when all examples are drawn."""
    generator, total, kinds = np.random.default_rng(seed), int(counts.sum()), len(counts)
    left = RESAMPLES
    while left:
        size = min(left, max(1, _CELLS // kinds))
        if total == kinds:
            chosen = generator.integers(kinds, size=(size, kinds)) + np.arange(size)[:, None] * kinds
            yield np.bincount(chosen.ravel(), minlength=size * kinds).reshape(size, kinds).astype(float)
        else:
            yield generator.multinomial(total, counts / total, size=size).astype(float)
        left -= size


def _intervals(draws: Iterator[np.ndarray], scores: Scores) -> Intervals:
    parts = [scores(draw) for draw in draws]
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return {
        name: [float(bound) for bound in np.quantile(np.concatenate([part[name] for part in parts]), tails)]
        for name in parts[0]
    }


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return `above / below`, 0 where nothing is below."""
    return np.divide(above, below, out=np.zeros_like(above, dtype=float), where=below > 0)
