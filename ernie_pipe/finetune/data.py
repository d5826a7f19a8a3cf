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
    PAIR_COLUMNS,
    TEXT_COLUMNS,
    Record,
    Records,
    from_python,
    has_header,
    parse_json,
    read_records,
    table_form,
)
from ernie_pipe.finetune.lines import read_lines
from ernie_pipe.finetune.wording import many

log = logging.getLogger(__name__)

Source = str | Path | Iterable[Mapping[str, Any]]
Label = str | tuple[str, ...]
"""A class or a number as it is written, or the classes of a text that may have several or none."""
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?", re.ASCII)
_SURROGATES = re.compile("[\ud800-\udfff]")
_LONGEST_LABEL = 1000


@dataclass(frozen=True)
class LabelledText:
    """A text and its label; `where` is its file and line."""

    text: str
    label: Label
    where: str


@dataclass(frozen=True)
class Columns:
    """Names of columns to read; an empty one is found by the names in `files`, or by what it holds."""

    text: str = ""
    second: str = ""
    label: str = ""

    @property
    def named(self) -> list[str]:
        """The names that are not empty."""
        return [name for name in (self.text, self.second, self.label) if name]


FOUND = Columns()
"""Every column is found by itself."""


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


def is_blank(text: str) -> bool:
    """Tell whether a text shows nothing: spaces, control and zero-width characters, of which no token is made."""
    return not text or all(character.isspace() or not character.isprintable() for character in text)


def encodable(text: str) -> str:
    """Replace lone surrogates, which no tokenizer takes, by U+FFFD; positions stay as they are."""
    return _SURROGATES.sub("\ufffd", text)


def read_classification(source: Source, name: str = "data", columns: Columns = FOUND) -> list[LabelledText]:
    """Read texts with a label each; blank texts are skipped and counted.

    `InputError`: no text or label column, a column for a second text, a record without a label, nothing left.
    """
    records = records_of(source, name, columns)
    text_column, label_column = _text_and_label_of(records, columns)
    tally, examples = Tally(), []
    for row in records.rows:
        text, label = text_of(row, text_column), label_of(row, label_column)
        if is_blank(text):
            tally.add("an empty text, skipped", row.where)
        else:
            examples.append(LabelledText(text, label, row.where))
    form = f"{records.form}, text in `{text_column}`, label in `{label_column}`"
    return told(records.name, form, examples, tally)


def records_of(source: Source, name: str, columns: Columns = FOUND) -> Records:
    """Return the records of a file, of a list of dicts or of a Dataset, called `name` in messages."""
    return read_records(source, columns.named) if isinstance(source, str | Path) else from_python(source, name)


def check_guess(records: Records, label: str, names: str) -> None:
    """Refuse a column taken for the labels that holds no such thing or begins with a header; warn where it may be."""
    values = [row.values[label] for row in records.rows]
    graded = all(map(is_number, values)) and not all(map(str.isdecimal, values))
    if len(values) > 20 and len(set(values)) > len(values) // 2 and not graded:
        raise InputError(
            f"{records.name}: no column looks like a label: `{label}` has {len(set(values))} different values in "
            f"{len(values)} lines: add a first line that names the columns, for example {names}"
        )
    if len(values) > 2 and not is_number(values[0]) and all(map(is_number, values[1:])):
        raise InputError(
            f"{records.name}:1: `{values[0]}` is no number, as all labels below it are: if this line is a header, name "
            f"it {names}, or say which columns to read by --set text_column=… --set label_column=…"
        )
    if len(values) > 20 and not is_number(values[0]) and values.count(values[0]) == 1:
        log.warning(
            "%s:1: label `%s` occurs once: if this line is a header, name it %s", records.name, values[0], names
        )


def is_number(label: str) -> bool:
    """Tell whether a label is written as a finite decimal number."""
    return _NUMBER.fullmatch(label) is not None


def _text_and_label_of(records: Records, columns: Columns) -> tuple[str, str]:
    if records.header or columns.text or columns.label:
        for first, second in PAIR_COLUMNS:
            if not columns.text and first in records.columns and second in records.columns:
                raise InputError(
                    f"{records.name}: two texts, `{first}` and `{second}`: use the task pair for them, "
                    f"or read one alone by --set text_column={first}"
                )
        text = column_of(records, [columns.text] if columns.text else TEXT_COLUMNS, "text")
        return text, column_of(records, [columns.label] if columns.label else LABEL_COLUMNS, "label")
    if len(records.columns) != 2:
        raise InputError(
            f"{records.name}: no header and {many(len(records.columns), 'columns')}: give two, set apart by tabs or "
            "commas, or a first line that names them `text` and `label`; two texts and a label are for the task pair, "
            "a character and its tag a line for the task tagger"
        )
    # The label is the column with fewer different values, and the shorter one in a tiny file.
    label, text = sorted(records.columns, key=lambda column: variety(records.rows, column))
    check_guess(records, label, "text and label")
    return text, label


def variety(rows: Sequence[Record], column: str) -> tuple[int, int]:
    """Return how many different values a column has, and their length in all: labels have little of both."""
    values = [row.values[column] for row in rows]
    return len(set(values)), sum(map(len, values))


def column_of(records: Records, names: Iterable[str], what: str) -> str:
    """Return the first of `names` that is a column; `InputError` lists the columns there are."""
    known = list(names)
    # Tables have their headers in lower case.
    for spelt in (spelt for name in known for spelt in (name, name.lower())):
        if spelt in records.columns:
            return spelt
    have = ", ".join(records.columns)
    if len(known) == 1:
        raise InputError(f"{records.name}: no {what} column `{known[0]}`: there are {have}")
    raise InputError(f"{records.name}: no {what} column among {have}: name it {' or '.join(known[:3])}")


def text_of(row: Record, column: str) -> str:
    """Return the text of a row; `InputError` with its line when it is no string."""
    value = row.values.get(column)
    if not isinstance(value, str):
        raise InputError(f"{row.where}: `{column}` must be a string, found {value!r}")
    return value


def label_of(row: Record, column: str) -> Label:
    """Return a label as it is written, or several: a list, in a table a JSON list in the cell."""
    value = row.values.get(column)
    if isinstance(value, str) and value.startswith("["):
        value = _json_list(value)
    if isinstance(value, list | tuple):
        if not all(isinstance(item, str | int) and str(item).strip() for item in value):
            raise InputError(f"{row.where}: `{column}` must be a list of labels, found {value!r}")
        return tuple(dict.fromkeys(str(item).strip() for item in value))
    label = "" if value is None else str(value).strip()
    if label == "nan" and not isinstance(value, str):
        # As pandas writes a missing value to JSON.
        label = ""
    if not label or isinstance(value, dict):
        raise InputError(f"{row.where}: no label in `{column}`: give one, or leave the line out")
    if len(label) > _LONGEST_LABEL or _SURROGATES.search(label):
        what = f"{len(label)} characters" if len(label) > _LONGEST_LABEL else "half a character (a lone surrogate)"
        raise InputError(f"{row.where}: a label of `{column}` holds {what}: correct it, or name another column")
    return label


def _json_list(cell: str) -> Any:
    try:
        value = parse_json(cell)
    except ValueError:
        return cell
    return value if isinstance(value, list) else cell


def told(name: str, form: str, examples: list, tally: Tally) -> list:
    """Say what was read, what was left out and what is there twice; `InputError` when nothing is left."""
    log.info("%s: %s, %s", name, form, many(len(examples), "examples"))
    tally.report(name)
    _tell_repeated(name, examples)
    if not examples:
        raise InputError(f"{name}: no example is left")
    return examples


def _tell_repeated(name: str, examples: Sequence[Any]) -> None:
    """Say how many examples stand there before already, and how many of these with another label."""
    labels: dict[str, Any] = {}
    repeated, unlike = 0, []
    for example in examples:
        label = getattr(example, "label", None)
        if example.text in labels:
            repeated += 1
            unlike += [example.where] * (labels[example.text] != label)
        else:
            labels[example.text] = label
    if repeated:
        log.info("%s: repeated texts: %d, all kept", name, repeated)
    if unlike:
        log.warning("%s: repeated texts with another label than before: %d, first at %s", name, len(unlike), unlike[0])


def read_texts(path: str | Path, named: str = "") -> list[str]:
    """Read the texts to predict, empty ones too: the text column of TSV, CSV or jsonl, else every line.

    `named` is the column to read where it is not called as usual.
    """
    lines = read_lines(path)
    form = table_form(lines)
    number, first = next((number, line) for number, line in lines if line.strip())
    cells = first.split("\t" if form == "TSV" else ",")
    header = has_header(cells, [named] if named else [])
    if form != "jsonl" and (not header or len(cells) == 1):
        texts = [line for _, line in lines[number if header else 0 :]]
        below = " below a header" if header else ""
        log.info("%s: one text a line%s, %s", path, below, many(len(texts), "texts"))
        return texts
    records = read_records(path, [named] if named else [])
    column = column_of(records, [named] if named else TEXT_COLUMNS, "text")
    log.info("%s: %s, text in `%s`, %s", path, records.form, column, many(len(records.rows), "texts"))
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
