"""How well cosines of vectors tell what belongs together: the field's scores for each kind of data.

Shapes: N examples, H width of a vector. Vectors are float32 [N, H] of length 1, one array for each column of sentences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import bootstrap, metrics, report, thresholds
from ernie_pipe.finetune.embedder_data import Kind, Sentences, kind_of, likeness
from ernie_pipe.finetune.metrics import Metrics

MAIN: dict[Kind, str] = {
    "graded": "spearman",
    "classes": "spearman",
    "binary": "accuracy",
    "triplets": "accuracy",
    "pairs": "mrr",
}
"""The score by which epochs and seeds are compared, for each kind of dev data."""
_BLOCK = 1024


@dataclass(frozen=True)
class Judged:
    """Scores, and what stands behind them for each example.

    `answers` is what the model says (a cosine, a class, a rank), `losses` how wrong that is (0 for not at all), and
    `parts` the values whose means are scores; without any, `graded` has the numbers that were correlated.
    """

    metrics: Metrics
    answers: Sequence[str]
    losses: np.ndarray
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)
    graded: tuple[np.ndarray, np.ndarray] | None = None

    def report(self, examples: Sequence[Sentences], *, seed: int) -> report.Report:
        """Return intervals and the worst errors."""
        if self.graded is None:
            intervals = bootstrap.of_means({name: part.tolist() for name, part in self.parts.items()}, seed=seed)
        else:
            intervals = bootstrap.of_correlations(*self.graded, seed=seed)
        errors = [
            {
                "where": example.where,
                "gold": example.label or "first",
                "predicted": answer,
                "loss": round(float(loss), 6),
                **dict(zip(("text", "text_pair", "negative"), example.texts, strict=False)),
            }
            for example, answer, loss in zip(examples, self.answers, self.losses, strict=True)
            if loss > 0
        ]
        return {
            "examples": len(examples),
            "metrics": self.metrics,
            "intervals": intervals,
            "worst": report.worst(errors),
        }


def judge(vectors: Sequence[np.ndarray], examples: Sequence[Sentences], threshold: float | None = None) -> Judged:
    """Score vectors by what the examples are; pairs labelled 0 and 1 need the `threshold`."""
    kind = kind_of(examples)
    if kind == "triplets":
        return _triplets(vectors)
    if kind == "pairs":
        return _retrieval(vectors, examples)
    cosines, gold = cosines_of(*vectors), np.array(likeness(examples))
    if kind == "binary":
        assert threshold is not None
        return _binary(cosines, gold, threshold)
    return _graded(cosines, gold)


def cosines_of(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of vectors, float32 [N]."""
    return np.einsum("nh,nh->n", one, other)


def _graded(cosines: np.ndarray, gold: np.ndarray) -> Judged:
    """Spearman's and Pearson's correlation; the loss is the difference of ranks, as a share of all."""
    from scipy.stats import rankdata

    found = metrics.graded(gold, cosines)
    ranks = [rankdata(side) for side in (gold, cosines)]
    scores = {name: found[name] for name in ("spearman", "pearson")}
    losses = np.abs(ranks[0] - ranks[1]) / len(gold)
    return Judged(scores, [f"{cosine:.4f}" for cosine in cosines], losses, graded=(gold, cosines))


def _binary(cosines: np.ndarray, gold: np.ndarray, threshold: float) -> Judged:
    from sklearn.metrics import f1_score

    answers = cosines >= threshold
    right = answers == (gold == 1)
    found = {
        "accuracy": float(np.mean(right)),
        "f1": float(f1_score(gold == 1, answers, zero_division=0)),
        "spearman": metrics.graded(gold, cosines)["spearman"],
        "threshold": threshold,
    }
    said = [f"{int(answer)} ({cosine:.4f})" for answer, cosine in zip(answers, cosines, strict=True)]
    return Judged(found, said, np.abs(cosines - threshold) * ~right, {"accuracy": right.astype(float)})


def _triplets(vectors: Sequence[np.ndarray]) -> Judged:
    anchors, positives, negatives = vectors
    near, far = cosines_of(anchors, positives), cosines_of(anchors, negatives)
    right = near > far
    said = [f"{a:.4f} against {b:.4f}" for a, b in zip(near, far, strict=True)]
    found = {"accuracy": float(np.mean(right))}
    return Judged(found, said, np.where(right, 0, far - near + 1e-6), {"accuracy": right.astype(float)})


def best_threshold(vectors: Sequence[np.ndarray], examples: Sequence[Sentences]) -> float:
    """Return the cosine that parts pairs labelled 0 from those labelled 1 with the fewest errors.

    It lies halfway between two that occur; of equally good ones it is the lowest.
    """
    cosines, gold = cosines_of(*vectors).astype(np.float64), np.array(likeness(examples)) == 1
    if gold.all() or not gold.any():
        raise InputError(f"{examples[0].where}: every label is `{examples[0].label}`: no threshold can be chosen")
    order = np.argsort(cosines, kind="stable")
    cosines, gold = cosines[order], gold[order]
    # A cut before place i misses the ones below it and takes the zeros from there on for ones.
    errors = np.concatenate([[0], np.cumsum(gold)]) + np.concatenate([np.cumsum(~gold[::-1])[::-1], [0]])
    return thresholds.best_cut(cosines, -errors, near=-2.0)


def _retrieval(vectors: Sequence[np.ndarray], examples: Sequence[Sentences]) -> Judged:
    """How high each text finds its own among all second ones: mean reciprocal rank, and the share ranked first.

    Copies of a text are one; the text itself and others that belong to it are no errors; ties count against.
    """
    ranks = _ranks(vectors, examples)
    parts = {"mrr": 1 / ranks, "first": (ranks == 1).astype(float)}
    found = {name: float(np.mean(part)) for name, part in parts.items()}
    return Judged(found, [f"rank {rank:.0f}" for rank in ranks], np.log(ranks), parts)


def _ranks(vectors: Sequence[np.ndarray], examples: Sequence[Sentences]) -> np.ndarray:
    anchors, positives = vectors
    place = {text: i for i, text in enumerate(dict.fromkeys(item.texts[1] for item in examples))}
    own = np.array([place[item.texts[1]] for item in examples])
    candidates = np.zeros((len(place), positives.shape[1]), dtype=np.float32)
    candidates[own] = positives
    belonging: dict[str, list[int]] = {}
    for item, index in zip(examples, own.tolist(), strict=True):
        belonging.setdefault(item.texts[0], []).append(index)
    ranks = np.zeros(len(examples))
    for start in range(0, len(examples), _BLOCK):
        found = anchors[start : start + _BLOCK] @ candidates.T
        for i, row in enumerate(found, start=start):
            right = row[own[i]]
            row[belonging[examples[i].texts[0]]] = -np.inf
            if examples[i].texts[0] in place:
                row[place[examples[i].texts[0]]] = -np.inf
            ranks[i] = 1 + np.count_nonzero(row >= right)
    return ranks
