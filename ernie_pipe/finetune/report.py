"""What lies behind a score: intervals, confusions and the worst errors, as `report.json` and as printed lines.

Every head gives a report in this form (each part may be missing):

- `examples`: how many there were
- `metrics`: the scores, and `intervals`: `{score: [low, high]}` from `bootstrap.intervals`
- `per_label`: `{label: {precision, recall, f1, examples}}`
- `confusion`: `{"labels": [...], "counts": [...]}`; `counts[i][j]` examples of label i were answered with label j
- `worst`: the errors with the highest loss first, each `{where, gold, predicted, loss}` and what the input was

It quotes texts of the data it is about: keep it as private as the data.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ernie_pipe.finetune.metrics import table

FILE = "report.json"
WORST = 20
"""Errors that a report keeps."""
_PRINTED_ERRORS = 5
_PRINTED_LABELS = 8
_PRINTED_SCORES = 20
_PRINTED_CHARACTERS = 60

_PARTS = {
    "intervals": "intervals",
    "per_label": "scores by label",
    "confusion": "confusions",
    "worst": "the worst errors",
}
Report = dict[str, Any]


def worst(errors: Sequence[Mapping[str, Any]], count: int = WORST) -> list[dict[str, Any]]:
    """Return the `count` errors of the highest `loss`; equal losses keep their order."""
    return [dict(error) for error in sorted(errors, key=lambda error: -error["loss"])[:count]]


def confusion(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Return `labels` and the matrix `counts`: a row a gold label, a column a predicted one."""
    ids = {label: i for i, label in enumerate(labels)}
    counts = [[0] * len(labels) for _ in labels]
    for right, answer in zip(gold, predicted, strict=True):
        counts[ids[right]][ids[answer]] += 1
    return {"labels": list(labels), "counts": counts}


def contents(reports: Mapping[str, Report]) -> str:
    """Return what `write` finds to write, in words; empty: it writes no file."""
    if not any(reports.values()):
        return ""
    found = [words for part, words in _PARTS.items() if any(report.get(part) for report in reports.values())]
    return ", ".join(found) or "scores"


def write(folder: Path, reports: Mapping[str, Report]) -> None:
    """Write the reports that are not empty to `report.json` in `folder`, by the name of their set."""
    given = {name: report for name, report in reports.items() if report}
    if given:
        write_json(folder / FILE, given)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON to read by eye too; a lone surrogate becomes its JSON escape."""
    text = json.dumps(data, ensure_ascii=False, indent=1)
    path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def render(name: str, report: Report) -> str:
    """Return the report of the set `name` as lines to print: the whole of it is in `report.json`."""
    parts = [_intervals(name, report), _scores(name, report), _confusion(name, report), _errors(name, report)]
    return "\n".join(line for part in parts for line in part)


def _intervals(name: str, report: Report) -> list[str]:
    bounds = report.get("intervals", {})
    shown = [f"{score} {low:.4f} to {high:.4f}" for score, (low, high) in bounds.items()]
    return [f"{name}, 95 % intervals: {', '.join(shown)}"] if shown else []


def _scores(name: str, report: Report) -> list[str]:
    rows = report.get("per_label", {})
    return [f"{name}, by label:", table(rows, first="f1")] if 0 < len(rows) <= _PRINTED_SCORES else []


def _confusion(name: str, report: Report) -> list[str]:
    matrix = report.get("confusion")
    if not matrix:
        return []
    rows = {
        label: dict(zip(matrix["labels"], counts, strict=True))
        for label, counts in zip(matrix["labels"], matrix["counts"], strict=True)
    }
    if len(rows) <= _PRINTED_LABELS:
        return [f"{name}, right label by row, answer by column:", table(rows)]
    wrong = [(-n, gold, answer) for gold, row in rows.items() for answer, n in row.items() if n and gold != answer]
    most = ", ".join(f"{gold} → {answer} {-n}" for n, gold, answer in sorted(wrong)[:_PRINTED_ERRORS])
    return [f"{name}, most often confused: {most}"] if most else []


def _errors(name: str, report: Report) -> list[str]:
    errors = report.get("worst", [])[:_PRINTED_ERRORS]
    if not errors:
        return []
    lines = [f"{name}, worst errors (right → answered):"]
    for error in errors:
        known = ("where", "gold", "predicted", "loss")
        given = " | ".join(_short(value) for key, value in error.items() if key not in known)
        lines.append(f"  {error['where']}: {_short(error['gold'])} → {_short(error['predicted'])}: {given}")
    return lines


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    if not text:
        return "(none)"
    return text if len(text) <= _PRINTED_CHARACTERS else text[: _PRINTED_CHARACTERS - 1] + "…"
