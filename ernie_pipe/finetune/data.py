"""Examples for the heads, from files, lists of dicts or `datasets.Dataset`.

Readers say in one line what they read and in one line a kind what they repaired or left out, with the first
place: nothing is dropped without being counted. What cannot be right is an `InputError` with its line.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.files import (
    LABEL_COLUMNS,
    TEXT_COLUMNS,
    Record,
    Records,
    from_python,
    has_header,
    read_lines,
    read_records,
    table_form,
)

log = logging.getLogger(__name__)

Source = str | Path | Iterable[Mapping[str, Any]]
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class LabelledText:
    """A text and its class; `where` is its file and line."""

    text: str
    label: str
    where: str


class Tally:
    """Counts what a reader repaired or left out, with the place of the first of each kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, kind: str, where: str, count: int = 1) -> None:
        """Count `count` cases of `kind`, seen at `where`."""
        if count:
            self.counts[kind] += count
            self.first.setdefault(kind, where)

    def report(self, name: str) -> None:
        """Say each kind in one line."""
        for kind, count in self.counts.items():
            log.warning("%s: %d × %s, first at %s", name, count, kind, self.first[kind])


def encodable(text: str) -> str:
    """Replace lone surrogates, which no tokenizer takes, by U+FFFD; positions stay as they are."""
    return _SURROGATES.sub("\ufffd", text)


def read_classification(source: Source, name: str = "data") -> list[LabelledText]:
    """Read texts with a class each; empty texts are skipped and counted.

    `InputError`: no text or label column, a record without a label, nothing left.
    """
    records = read_records(source) if isinstance(source, str | Path) else from_python(source, name)
    text_column, label_column = _text_and_label(records)
    tally, examples = Tally(), []
    for row in records.rows:
        text, label = text_of(row, text_column), _label(row, label_column)
        if text.strip():
            examples.append(LabelledText(text, label, row.where))
        else:
            tally.add("an empty text, skipped", row.where)
    form = f"{records.form}, text in `{text_column}`, label in `{label_column}`"
    return told(records.name, form, examples, tally)


def _text_and_label(records: Records) -> tuple[str, str]:
    if records.header:
        return column_of(records, TEXT_COLUMNS, "text"), column_of(records, LABEL_COLUMNS, "label")
    if len(records.columns) != 2:
        raise InputError(
            f"{records.name}: no header and {len(records.columns)} columns: "
            "give two columns, or a first line that names them `text` and `label`"
        )
    # The label is the column with fewer different values, and the shorter one in a tiny file.
    label, text = sorted(records.columns, key=lambda column: _variety(records.rows, column))
    first = records.rows[0].values[label]
    if len(records.rows) > 20 and sum(row.values[label] == first for row in records.rows) == 1:
        log.warning("%s:1: label `%s` occurs once: if this line is a header, name it text, label", records.name, first)
    return text, label


def _variety(rows: Sequence[Record], column: str) -> tuple[int, int]:
    values = [row.values[column] for row in rows]
    return len(set(values)), sum(map(len, values))


def column_of(records: Records, names: Iterable[str], what: str) -> str:
    """Return the first of `names` that is a column; `InputError` lists the columns there are."""
    for name in names:
        if name in records.columns:
            return name
    raise InputError(
        f"{records.name}: no {what} column among {', '.join(records.columns)}: name it {' or '.join(names)}"
    )


def text_of(row: Record, column: str) -> str:
    """Return the text of a row; `InputError` with its line when it is no string."""
    value = row.values.get(column)
    if not isinstance(value, str):
        raise InputError(f"{row.where}: `{column}` must be a string, found {value!r}")
    return value


def _label(row: Record, column: str) -> str:
    value = row.values.get(column)
    label = "" if value is None else str(value).strip()
    if not label or isinstance(value, list | dict):
        raise InputError(f"{row.where}: no label in `{column}`: give one, or leave the line out")
    return label


def told(name: str, form: str, examples: list, tally: Tally) -> list:
    """Say what was read and what was left out; `InputError` when nothing is left."""
    log.info("%s: %s, %d examples", name, form, len(examples))
    tally.report(name)
    if not examples:
        raise InputError(f"{name}: no example is left")
    return examples


def read_texts(path: str | Path) -> list[str]:
    """Read the texts to predict, empty ones too: the text column of TSV, CSV or jsonl, else every line."""
    lines = read_lines(path)
    form = table_form(lines)
    number, first = next((number, line) for number, line in lines if line.strip())
    cells = first.split("\t" if form == "TSV" else ",")
    header = has_header(cells)
    if form != "jsonl" and (not header or len(cells) == 1):
        texts = [line for _, line in lines[number if header else 0 :]]
        log.info("%s: one text a line%s, %d texts", path, " below a header" if header else "", len(texts))
        return texts
    records = read_records(path)
    column = column_of(records, TEXT_COLUMNS, "text")
    log.info("%s: %s, text in `%s`, %d texts", path, records.form, column, len(records.rows))
    return [text_of(row, column) for row in records.rows]


def check_labels(found: Iterable[tuple[str, str]], known: Iterable[str], what: str) -> None:
    """Refuse the first (label, where) whose label is not among `known`."""
    known = set(known)
    for label, where in found:
        if label not in known:
            raise InputError(f"{where}: unknown {what} `{label}`: the training data has {', '.join(sorted(known))}")


def label_order(labels: Iterable[str]) -> list[str]:
    """Return the different labels in the order of their ids: numbers by value, else by name."""
    unique = set(labels)
    by_value: Callable[[str], Any] = int if all(label.isdecimal() for label in unique) else str
    return sorted(unique, key=lambda label: (by_value(label), label))
