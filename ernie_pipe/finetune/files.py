"""Reading the files that users bring: bytes → text → records with the line each came from.

A format is chosen by content, never by the file's name, and is said aloud: JSON (one object a line, objects over
several lines, or one list), TSV, CSV, or columns set apart by `||`. Line ends are `\\n` and `\\r\\n` alone:
`str.splitlines` also cuts at U+2028, U+0085 and others, which real texts contain.
"""

import codecs
import csv
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_pipe.errors import InputError

log = logging.getLogger(__name__)

TEXT_COLUMNS = ("text", "text_a", "sentence", "review", "content")
LABEL_COLUMNS = ("label", "labels", "gold_label", "score", "similarity", "label_desc")
PAIR_COLUMNS = (
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("text", "text_pair"),
    ("premise", "hypothesis"),
    ("query", "title"),
    ("question1", "question2"),
    ("query1", "query2"),
    ("text1", "text2"),
    ("sentence_a", "sentence_b"),
    ("sent1", "sent2"),
    ("anchor", "positive"),
)
"""Names of the two texts of a pair; the first that a source has both of is taken."""
TRIPLET_COLUMNS = (("anchor", "positive", "negative"), ("query", "positive", "negative"))
"""Names of a text, one that belongs to it and one that does not."""
DELIMITERS = {"TSV": "\t", "CSV": ",", "||": "||"}
_JSON_START = re.compile(r'\{("|$)|\[\s*(\{\s*("|$)|$)')
_HEADER_NAMES = {*TEXT_COLUMNS, *LABEL_COLUMNS, *(name for pair in PAIR_COLUMNS for name in pair)}


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
    """Return the numbered lines of a file in UTF-8, GB18030, or UTF-16 with its mark.

    `InputError`: no such file, nothing in it, none of these encodings.
    """
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
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            text = data.decode("utf-16")
        except UnicodeDecodeError:
            raise InputError(f"{path}: marked as UTF-16, but it does not decode: convert the file to UTF-8") from None
        log.info("%s: read as UTF-16", path)
        return text
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
    """Read a table, with or without a header, or JSON: whichever the first line looks like."""
    lines = read_lines(path)
    form = table_form(lines)
    return read_jsonl(lines, path) if form == "jsonl" else _read_table(lines, path, form)


def table_form(lines: list[Line]) -> str:
    """Return `jsonl`, `TSV`, `||` or `CSV`: what the first line that is not blank looks like."""
    # Stripped of spaces alone: a tab at an end is an empty cell.
    first = next(line for _, line in lines if line.strip()).strip(" ")
    if _is_object(first) or (_JSON_START.match(first) and "\t" not in first):
        return "jsonl"
    if "\t" in first:
        return "TSV"
    return "||" if first.count("||") >= 2 else "CSV"


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def read_jsonl(lines: list[Line], path: str | Path) -> Records:
    """Read JSON objects: one a line, over several lines one after another, or in one list.

    Blank lines between objects are allowed. `InputError` names the line where an object that is none begins.
    """
    first = next(line for _, line in lines if line.strip()).strip()
    if first.startswith("["):
        form, found = "a JSON list", _json_values(lines, path, inside=True)
    elif first == "{":
        form, found = "JSON objects over several lines", _json_values(lines, path)
    else:
        form, found = "jsonl", _json_lines(lines, path)
    rows = []
    for number, values in found:
        if not isinstance(values, dict):
            raise InputError(f"{path}:{number}: expected a JSON object, found a {type(values).__name__}")
        rows.append(Record(f"{path}:{number}", values))
    if not rows:
        raise InputError(f"{path}: an empty list")
    return Records(str(path), form, tuple(dict.fromkeys(key for row in rows for key in row.values)), rows)


def _json_lines(lines: list[Line], path: str | Path) -> Iterator[tuple[int, Any]]:
    for number, line in lines:
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}:{number}: not JSON: {error}; write one object a line") from None


def _json_values(lines: list[Line], path: str | Path, *, inside: bool = False) -> Iterator[tuple[int, Any]]:
    """Yield the values of a text of JSON values, or those `inside` its one list, each with its first line."""
    text = "\n".join(line for _, line in lines)
    decoder = json.JSONDecoder()
    gap = re.compile(r"[\s,]*" if inside else r"\s*")
    position, number = 0, 1
    if inside:
        position = text.index("[") + 1
        number += text.count("\n", 0, position)
    while True:
        start = _end(gap, text, position)
        number += text.count("\n", position, start)
        if start == len(text) or (inside and text[start] == "]"):
            break
        try:
            value, position = decoder.raw_decode(text, start)
        except ValueError as error:
            raise InputError(f"{path}:{number}: not JSON: {error}; write one object a line") from None
        yield number, value
        number += text.count("\n", start, position)
    rest = text[start + 1 :] if inside else ""
    if (inside and start == len(text)) or rest.strip():
        raise InputError(f"{path}:{number}: not JSON: the list ends at no `]`, or more follows it")


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return found.end() if found else start


def _read_table(lines: list[Line], path: str | Path, form: str) -> Records:
    cells = _cells(lines, path, DELIMITERS[form])
    _, first = next(cells)
    header = has_header(first)
    columns = tuple(_names(first) if header else (f"column {i + 1}" for i in range(len(first))))
    rows = []
    for number, values in _cells(lines, path, DELIMITERS[form]):
        if len(values) != len(columns):
            raise InputError(f"{path}:{number}: {len(values)} columns where the first line has {len(columns)}")
        rows.append(Record(f"{path}:{number}", dict(zip(columns, values, strict=True))))
    if not rows[header:]:
        raise InputError(f"{path}: a header and no lines below it")
    return Records(str(path), f"{form} {'with' if header else 'without'} a header", columns, rows[header:], header)


def has_header(cells: Iterable[str]) -> bool:
    """Tell whether a first line names columns: one of the known names stands in it."""
    return any(name in _HEADER_NAMES for name in _names(cells))


def _names(cells: Iterable[str]) -> list[str]:
    return [cell.strip().lower() for cell in cells]


def _cells(lines: list[Line], path: str | Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Cut lines into cells; quotes mean something in CSV alone: texts in TSV begin with stray ones."""
    if delimiter != ",":
        yield from ((number, line.split(delimiter)) for number, line in lines if line.strip())
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


def from_python(data: Any, name: str) -> Records:
    """Take a list of dicts, a `datasets.Dataset` or a pandas DataFrame.

    Class ids of a Dataset become their names, missing values of a DataFrame None.
    """
    if hasattr(data, "to_dict") and hasattr(data, "iterrows"):
        columns = [str(column) for column in data.columns]
        known = data.astype(object).where(data.notna(), None)
        data = [dict(zip(columns, row, strict=True)) for row in known.itertuples(index=False, name=None)]
    elif isinstance(data, Mapping):
        keys = ", ".join(map(str, data))
        raise InputError(f"{name}: a {type(data).__name__} of {keys}: give one split, or a list of dicts")
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
