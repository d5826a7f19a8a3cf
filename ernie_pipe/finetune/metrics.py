"""The field's metrics: of classes, of sets of labels, of graded scores, and of entities' spans.

Every function returns scores as floats and counts as whole numbers; `mean_and_deviation` and `table` go by that.
"""

import statistics
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ernie_pipe.finetune import wording
from ernie_pipe.text.tags import Span, from_spans

Metrics = dict[str, Any]


def classification(gold: Sequence[str], predicted: Sequence[str]) -> Metrics:
    """Return accuracy, macro F1 and Matthews' correlation.

    Macro F1 is the mean over the classes that occur in gold or predictions. Micro F1 of single labels equals
    accuracy, so it has no column of its own.
    """
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    with warnings.catch_warnings():
        # One label on both sides leaves MCC undefined: 0, with nothing to warn of.
        warnings.simplefilter("ignore")
        return {
            "accuracy": float(accuracy_score(gold, predicted)),
            "macro_f1": float(f1_score(gold, predicted, average="macro", zero_division=0)),
            "mcc": float(matthews_corrcoef(gold, predicted)),
            "examples": len(gold),
        }


def label_sets(gold: np.ndarray, predicted: np.ndarray) -> Metrics:
    """Return micro and macro F1 and the share of exactly right sets, from [N, L] indicators of the labels.

    Macro F1 is the mean over all labels of the model: one that occurs nowhere counts 0, as in scikit-learn.
    """
    from sklearn.metrics import f1_score

    return {
        "micro_f1": float(f1_score(gold, predicted, average="micro", zero_division=0)),
        "macro_f1": float(f1_score(gold, predicted, average="macro", zero_division=0)),
        "exact": float((gold == predicted).all(axis=1).mean()),
        "examples": len(gold),
    }


def graded(gold: np.ndarray, predicted: np.ndarray) -> Metrics:
    """Return Spearman's and Pearson's correlation, 0 where one side is constant, and the mean absolute error."""
    from scipy.stats import pearsonr, spearmanr

    gold, predicted = np.asarray(gold, dtype=float), np.asarray(predicted, dtype=float)
    defined = bool(np.ptp(gold) > 0 and np.ptp(predicted) > 0)
    return {
        "spearman": float(spearmanr(gold, predicted).statistic) if defined else 0.0,
        "pearson": float(pearsonr(gold, predicted).statistic) if defined else 0.0,
        "mean_error": float(np.abs(gold - predicted).mean()),
        "examples": len(gold),
    }


def per_label(gold: np.ndarray, predicted: np.ndarray, labels: Sequence[str]) -> dict[str, Metrics]:
    """Return precision, recall, F1 and examples of each label, from [N, L] indicators."""
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(gold, predicted, labels=range(len(labels)), zero_division=0)
    return {
        label: {"precision": float(p), "recall": float(r), "f1": float(f1), "examples": int(n)}
        for label, p, r, f1, n in zip(labels, *columns, strict=True)
    }


def spans(lengths: Sequence[int], gold: Sequence[Iterable[Span]], predicted: Sequence[Iterable[Span]]) -> Metrics:
    """Return seqeval's span precision, recall and F1, over all and per type, on tags of characters.

    `lengths` are the texts' lengths in characters. Tags of characters, not of tokens, so that an entity
    which no token border fits counts as the miss it is.
    """
    from seqeval.metrics import classification_report

    tags = [
        [from_spans(found, length) for length, found in zip(lengths, side, strict=True)] for side in (gold, predicted)
    ]
    if not any(tag != "O" for side in tags for sentence in side for tag in sentence):
        # seqeval fails where neither side has an entity.
        return {
            "precision": 0.0,
            "recall": 0.0,
            "f1": 0.0,
            "entities": 0,
            "examples": len(lengths),
            "per_type": {},
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = classification_report(*tags, output_dict=True, zero_division=0)
    rows = {name: _row(row) for name, row in report.items()}
    total = rows.pop("micro avg")
    per_type = {name: row for name, row in sorted(rows.items()) if not name.endswith(" avg")}
    return {**total, "examples": len(lengths), "per_type": per_type}


def _row(row: Mapping[str, Any]) -> Metrics:
    values = {"precision": row["precision"], "recall": row["recall"], "f1": row["f1-score"]}
    return {**{name: float(value) for name, value in values.items()}, "entities": int(row["support"])}


def mean_and_deviation(runs: Sequence[Metrics]) -> Metrics:
    """Return mean and sample standard deviation of every score, the floats, over runs of different seeds."""
    names = [name for name, value in runs[0].items() if isinstance(value, float)]
    columns = {name: [run[name] for run in runs] for name in names}
    return {
        name: {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}
        for name, values in columns.items()
    }


def table(rows: Mapping[str, Metrics], first: str = "") -> str:
    """Return an aligned table, one line a row: scores by four decimals, `mean ± std` where given, counts.

    The column `first` stands first, where there is such a one.
    """
    names = list(dict.fromkeys(name for row in rows.values() for name, value in row.items() if name != "per_type"))
    names.sort(key=lambda name: name != first)
    cells = [["", *names]]
    cells += [[title, *(_cell(row.get(name, "")) for name in names)] for title, row in rows.items()]
    widths = [max(wording.width(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = ("  ".join([wording.left(row[0], widths[0]), *map(wording.right, row[1:], widths[1:])]) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['mean']:.4f} ± {value['std']:.4f}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
