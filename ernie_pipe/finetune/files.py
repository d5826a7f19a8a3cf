"""Reading the files that users bring: bytes → text → records with the line each came from.

A format is chosen by content, never by the file's name, and is said aloud. Line ends are `\\n` and `\\r\\n`
alone: `str.splitlines` also cuts at U+2028, U+0085 and others, which real texts contain.
"""

import csv
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_pipe.errors import InputError

log = logging.getLogger(__name__)

TEXT_COLUMNS = ("text", "text_a", "sentence", "review")
LABEL_COLUMNS = ("label", "labels")
_DELIMITERS = {"TSV": "\t", "CSV": ","}


@dataclass(frozen=True)
class Record:
    """One record of a source; `where` names its file and line, or its place in a list."""

    where: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Records:
    """All records of a source; without a header the columns are called `column 1`, `column 2` …"""

    name: str
    form: str
    columns: tuple[str, ...]
    rows: list[Record]
    header: bool = True


Line = tuple[int, str]


def read_lines(path: str | Path) -> list[Line]:
    """Return the numbered lines of a UTF-8 or GB18030 file; `InputError` when missing, empty or neither."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: not readable: {error.strerror}") from None
    text = _decode(data, path)
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return list(enumerate(lines[:-1] if lines[-1] == "" else lines, start=1))


def _decode(data: bytes, path: str | Path) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        utf8 = error
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        line = data.count(b"\n", 0, utf8.start) + 1
        raise InputError(f"{path}:{line}: neither UTF-8 nor GB18030: convert the file to UTF-8") from None
    log.info("%s: read as GB18030", path)
    return text


def read_records(path: str | Path) -> Records:
    """Read TSV or CSV, with or without a header, or jsonl: whichever the first line looks like."""
    lines = read_lines(path)
    form = table_form(lines)
    return read_jsonl(lines, path) if form == "jsonl" else _read_table(lines, path, form)


def table_form(lines: list[Line]) -> str:
    """Return `jsonl`, `TSV` or `CSV`: what the first line that is not blank looks like."""
    first = next(line for _, line in lines if line.strip()).strip()
    if _is_object(first) or first == "{" or (first.startswith('{"') and "\t" not in first):
        return "jsonl"
    return "TSV" if "\t" in first else "CSV"


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def read_jsonl(lines: list[Line], path: str | Path) -> Records:
    """Read one JSON object a line; blank lines between objects are allowed."""
    rows = []
    for number, line in lines:
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}:{number}: not JSON: {error}; write one object a line") from None
        if not isinstance(values, dict):
            raise InputError(f"{path}:{number}: expected a JSON object, found a {type(values).__name__}")
        rows.append(Record(f"{path}:{number}", values))
    return Records(str(path), "jsonl", tuple(dict.fromkeys(key for row in rows for key in row.values)), rows)


def _read_table(lines: list[Line], path: str | Path, form: str) -> Records:
    cells = _cells(lines, path, _DELIMITERS[form])
    _, first = next(cells)
    header = has_header(first)
    columns = tuple(_names(first) if header else (f"column {i + 1}" for i in range(len(first))))
    rows = []
    for number, values in _cells(lines, path, _DELIMITERS[form]):
        if len(values) != len(columns):
            raise InputError(f"{path}:{number}: {len(values)} columns where the first line has {len(columns)}")
        rows.append(Record(f"{path}:{number}", dict(zip(columns, values, strict=True))))
    if not rows[header:]:
        raise InputError(f"{path}: a header and no lines below it")
    return Records(str(path), f"{form} {'with' if header else 'without'} a header", columns, rows[header:], header)


def has_header(cells: Iterable[str]) -> bool:
    """Tell whether a first line names columns: one of the known names stands in it."""
    return any(name in TEXT_COLUMNS + LABEL_COLUMNS for name in _names(cells))


def _names(cells: Iterable[str]) -> list[str]:
    return [cell.strip().lower() for cell in cells]


def _cells(lines: list[Line], path: str | Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Cut lines into cells; quotes mean something in CSV alone: texts in TSV begin with stray ones."""
    if delimiter == "\t":
        yield from ((number, line.split("\t")) for number, line in lines if line.strip())
        return
    reader = csv.reader((f"{line}\n" for _, line in lines), strict=True)
    start = 1
    try:
        for cells in reader:
            if cells:
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}:{start}: not CSV: {error}") from None


def from_python(data: Iterable[Any], name: str) -> Records:
    """Take a list of dicts or a `datasets.Dataset`; class ids of a Dataset become their names."""
    decode = _class_names(getattr(data, "features", None) or {})
    rows = []
    for index, values in enumerate(data):
        where = f"{name}[{index}]"
        if not isinstance(values, Mapping):
            raise InputError(f"{where}: expected a dict, found a {type(values).__name__}")
        rows.append(Record(where, {key: _named(value, decode.get(key)) for key, value in values.items()}))
    if not rows:
        raise InputError(f"{name}: no examples")
    return Records(name, "Python", tuple(dict.fromkeys(key for row in rows for key in row.values)), rows)


def _class_names(features: Mapping[str, Any]) -> dict[str, list[str]]:
    inner = {key: getattr(feature, "feature", feature) for key, feature in features.items()}
    return {key: feature.names for key, feature in inner.items() if hasattr(feature, "names")}


def _named(value: Any, names: list[str] | None) -> Any:
    if names is None or value is None:
        return value
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    # ClassLabel marks a missing label by -1, which must not pick the last name.
    return names[value] if value >= 0 else None
