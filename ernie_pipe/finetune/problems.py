"""The three problems of sequence classification: which one labels pose, and what logits answer to it.

Pure functions and one record of a judged set. Shapes: `N` examples, `L` labels.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import bootstrap, metrics, report, thresholds
from ernie_pipe.finetune.data import Label, is_number

Problem = Literal["single", "multi", "regression"]
PROBLEM_TYPES: dict[Problem, str] = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}
"""The names that transformers has for them, in `config.problem_type`."""
DEV_METRICS: dict[Problem, str] = {"single": "macro_f1", "multi": "micro_f1", "regression": "spearman"}
SCORE = "score"
"""The label of a regression's one output."""
_GRADES = 5


def choose(labels: Sequence[Label], *, graded_integers: bool, separator: str = "|") -> tuple[Problem, str]:
    """Return the problem that labels pose, and what tells it."""
    if any(isinstance(label, tuple) for label in labels):
        return "multi", "labels are lists"
    names = {label for label in labels if isinstance(label, str)}
    if _are_joined(names, separator):
        return "multi", f"cells hold several labels, set apart by `{separator}`"
    if all(map(is_number, names)):
        if not all(name.lstrip("+-").isdecimal() for name in names):
            return "regression", "labels are numbers with decimals"
        values = sorted(map(int, names))
        if graded_integers and len(values) >= _GRADES and values == list(range(values[0], values[-1] + 1)):
            return "regression", f"labels are the grades {values[0]} to {values[-1]}"
    return "single", f"{len(names)} different labels"


def _are_joined(names: set[str], separator: str) -> bool:
    """Tell whether labels are several in one cell: each part of every such cell stands in another cell too.

    So `体育|财经` beside `体育` and `财经` is two labels, and the paths `新闻|体育` and `新闻|财经` are one each.
    """
    cells = [_parts(name, separator) for name in names]
    seen = Counter(part for cell in cells for part in cell)
    joined = [cell for cell in cells if len(cell) > 1]
    return bool(joined) and all(seen[part] > 1 for cell in joined for part in cell)


def _parts(label: str, separator: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in label.split(separator) if part.strip()))


def of_config(config: Any) -> Problem:
    """Return the problem of a transformers config; one that names none is a regression when it has one label."""
    for problem, name in PROBLEM_TYPES.items():
        if config.problem_type == name:
            return problem
    return "regression" if config.num_labels == 1 else "single"


def target(label: Label, problem: Problem, separator: str, where: str) -> Any:
    """Return a label as its problem takes it: a string, a tuple of strings or a float; else `InputError`."""
    if problem == "multi":
        if isinstance(label, tuple):
            return label
        return _parts(label, separator)
    if isinstance(label, tuple):
        raise InputError(
            f"{where}: several labels {list(label)!r} for a model that gives one: train with problem multi"
        )
    if problem == "single":
        return label
    if not is_number(label):
        raise InputError(f"{where}: label `{label}` is no number: correct it, or set problem to single")
    return float(label)


def encoded(value: Any, problem: Problem, ids: Mapping[str, int]) -> Any:
    """Return what the loss takes for a target: a class's id, L indicators in the order of `ids`, or the number."""
    if problem == "single":
        return ids[value]
    return [float(label in value) for label in ids] if problem == "multi" else value


def probabilities(rows: np.ndarray, problem: Problem) -> np.ndarray:
    """Return what the pipeline shows for logits [..., L]: softmax, sigmoids, or the numbers themselves."""
    if problem == "single":
        from ernie_pipe.finetune import inference

        return inference.probabilities(rows)
    return 0.5 * (1 + np.tanh(rows / 2)) if problem == "multi" else rows


def answer(row: np.ndarray, problem: Problem, labels: Sequence[str], threshold: float) -> dict[str, Any]:
    """Return the answer that logits [L] give.

    `{"label", "score"}` with the label's probability, or with the number for a regression; for multi `labels`, the
    likeliest first, and `scores` of all labels.
    """
    shares = probabilities(row, problem)
    best = int(shares.argmax())
    if problem != "multi":
        return {"label": labels[best], "score": float(shares[best])}
    given = [i for i in np.argsort(-shares, kind="stable") if shares[i] >= threshold]
    return {
        "labels": [labels[i] for i in given],
        "scores": {label: float(share) for label, share in zip(labels, shares, strict=True)},
    }


def losses(rows: np.ndarray, targets: np.ndarray, problem: Problem) -> np.ndarray:
    """Return the loss [N] of logits [N, L]: cross-entropy, the sum over labels of theirs, or the squared error.

    `targets` are ids [N], indicators [N, L] or numbers [N].
    """
    rows = rows.astype(float)
    if problem == "single":
        highest = rows.max(axis=1)
        total = highest + np.log(np.exp(rows - highest[:, None]).sum(axis=1))
        return total - rows[np.arange(len(rows)), targets]
    if problem == "multi":
        return (np.logaddexp(0, rows) - targets * rows).sum(axis=1)
    return (rows[:, 0] - targets) ** 2


@dataclass(frozen=True)
class Judged:
    """A set of examples beside the model's answers: `values` as `target` returns them, `rows` logits [N, L]."""

    problem: Problem
    labels: list[str]
    values: list[Any]
    rows: np.ndarray
    threshold: float

    @cached_property
    def targets(self) -> np.ndarray:
        """Ids [N], boolean indicators [N, L], or numbers [N]."""
        ids = {label: i for i, label in enumerate(self.labels)}
        if self.problem == "multi":
            found = np.zeros((len(self.values), len(self.labels)), dtype=bool)
            for row, value in enumerate(self.values):
                found[row, [ids[label] for label in value]] = True
            return found
        return np.array([ids[value] for value in self.values] if self.problem == "single" else self.values)

    @cached_property
    def answered(self) -> np.ndarray:
        """The answers in the form of `targets`."""
        if self.problem == "single":
            return self.rows.argmax(axis=1)
        return probabilities(self.rows, "multi") >= self.threshold if self.problem == "multi" else self.rows[:, 0]

    def best_threshold(self) -> float | None:
        """The threshold of the best micro F1 of sets of labels; None where no example has a label."""
        return thresholds.of_labels(probabilities(self.rows, "multi"), self.targets)

    @property
    def gold(self) -> list[Any]:
        """The right answers as they are written."""
        return self._written(self.targets)

    @property
    def predicted(self) -> list[Any]:
        """The model's answers as they are written."""
        return self._written(self.answered)

    def _written(self, side: np.ndarray) -> list[Any]:
        if self.problem == "single":
            return [self.labels[i] for i in side]
        if self.problem == "multi":
            return [[self.labels[i] for i in np.flatnonzero(row)] for row in side]
        return [float(value) for value in side]

    @property
    def metrics(self) -> metrics.Metrics:
        """The scores."""
        if self.problem == "single":
            return metrics.classification(self.gold, self.predicted)
        judge = metrics.label_sets if self.problem == "multi" else metrics.graded
        return judge(self.targets, self.answered)

    def intervals(self, *, seed: int) -> bootstrap.Intervals:
        """The bootstrap intervals of the scores."""
        if self.problem == "single":
            return bootstrap.of_classes(self.gold, self.predicted, seed=seed)
        judge = bootstrap.of_label_sets if self.problem == "multi" else bootstrap.of_correlations
        return judge(self.targets, self.answered, seed=seed)

    def details(self) -> report.Report:
        """The scores by label, and the confusions where a text has one label."""
        if self.problem == "regression":
            return {}
        one = np.eye(len(self.labels), dtype=bool)
        gold, predicted = self.targets, self.answered
        if self.problem == "single":
            gold, predicted = one[gold], one[predicted]
        found: report.Report = {"per_label": metrics.per_label(gold, predicted, self.labels)}
        if self.problem == "single":
            found["confusion"] = report.confusion(self.gold, self.predicted, self.labels)
        return found
