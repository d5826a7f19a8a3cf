"""Reading the tables and JSON that users bring: lines → records with the line each came from.

A format is chosen by content, never by the file's name, and is said aloud: JSON (one object a line, objects over
several lines, or one list), TSV, CSV, or columns set apart by `||`.
"""

import csv
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.lines import Line, read_lines
from ernie_pipe.finetune.wording import many

log = logging.getLogger(__name__)

TEXT_COLUMNS = ("text", "text_a", "sentence", "review", "content", "文本", "内容", "句子", "评论")
LABEL_COLUMNS = ("label", "labels", "gold_label", "score", "similarity", "label_desc", "标签", "类别", "分数", "相似度")
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
    ("文本1", "文本2"),
    ("句子1", "句子2"),
    ("问题1", "问题2"),
    ("前提", "假设"),
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


def read_records(path: str | Path, named: Iterable[str] = ()) -> Records:
    """Read a table, with or without a header, or JSON: whichever the first line looks like.

    A first line with one of the `named` columns is a header, whatever else stands in it.
    """
    lines = read_lines(path)
    form = table_form(lines)
    return read_jsonl(lines, path) if form == "jsonl" else _read_table(lines, path, form, named)


def parse_json(text: str) -> Any:
    """Return the value of a JSON text; `ValueError` also when it is nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


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
        return isinstance(parse_json(line), dict)
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
                yield number, parse_json(line)
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
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}:{number}: not JSON: {error}; write one object a line") from None
        yield number, value
        number += text.count("\n", start, position)
    rest = text[start + 1 :] if inside else ""
    if (inside and start == len(text)) or rest.strip():
        raise InputError(f"{path}:{number}: not JSON: the list ends at no `]`, or more follows it")


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return found.end() if found else start


def _read_table(lines: list[Line], path: str | Path, form: str, named: Iterable[str]) -> Records:
    cells = _cells(lines, path, DELIMITERS[form])
    number, first = next(cells)
    header = has_header(first, named)
    names = _names(first) if header else [""] * len(first)
    columns = tuple(name or f"column {i + 1}" for i, name in enumerate(names))
    _check_different(columns, f"{path}:{number}")
    rows = []
    for number, values in _cells(lines, path, DELIMITERS[form]):
        if len(values) != len(columns):
            raise InputError(f"{path}:{number}: {many(len(values), 'columns')} where the first line has {len(columns)}")
        rows.append(Record(f"{path}:{number}", dict(zip(columns, values, strict=True))))
    if not rows[header:]:
        raise InputError(f"{path}: a header and no lines below it")
    return Records(str(path), f"{form} {'with' if header else 'without'} a header", columns, rows[header:], header)


def _check_different(columns: Iterable[Any], where: str) -> None:
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise InputError(f"{where}: two columns are called `{twice[0]}`: rename one")


def has_header(cells: Iterable[str], named: Iterable[str] = ()) -> bool:
    """Tell whether a first line names columns: one of the known names, or of those `named`, stands in it."""
    names = _names(cells)
    known = [name for name in names if name in _HEADER_NAMES]
    # A Chinese name alone, as 评论, may be a class.
    return (
        bool(set(_names(named)) & set(names))
        or len(known) > 1
        or len(known) == len(names)
        or any(map(str.isascii, known))
    )


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

    Class ids of a Dataset become their names, missing values of a DataFrame None, arrays lists. `InputError`: something
    else, two columns of one name, nothing in it.
    """
    if hasattr(data, "to_dict") and hasattr(data, "iterrows"):
        columns = [str(column) for column in data.columns]
        _check_different(columns, name)
        known = data.astype(object).where(data.notna(), None)
        data = [dict(zip(columns, row, strict=True)) for row in known.itertuples(index=False, name=None)]
    elif isinstance(data, Mapping):
        keys = ", ".join(map(str, data))
        raise InputError(f"{name}: a {type(data).__name__} of {keys}: give one split, or a list of dicts")
    if not isinstance(data, Iterable):
        raise InputError(f"{name}: a {type(data).__name__}: give a file, a list of dicts, a Dataset or a DataFrame")
    decode = _class_names(getattr(data, "features", None) or {})
    rows = []
    for index, values in enumerate(data):
        where = f"{name}[{index}]"
        if not isinstance(values, Mapping):
            raise InputError(f"{where}: expected a dict with the names of its columns, found a {type(values).__name__}")
        rows.append(Record(where, {str(key): _named(value, decode.get(key)) for key, value in values.items()}))
    if not rows:
        raise InputError(f"{name}: no examples")
    return Records(name, "Python", tuple(dict.fromkeys(key for row in rows for key in row.values)), rows)


def _class_names(features: Mapping[str, Any]) -> dict[str, list[str]]:
    inner = {key: getattr(feature, "feature", feature) for key, feature in features.items()}
    return {key: feature.names for key, feature in inner.items() if hasattr(feature, "names")}


def _named(value: Any, names: list[str] | None) -> Any:
    if hasattr(value, "tolist"):
        # What NumPy and pandas hold, as plain values.
        value = value.tolist()
    if names is None or value is None:
        return value
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    # ClassLabel marks a missing label by -1, which must not pick the last name.
    return names[value] if value >= 0 else None
