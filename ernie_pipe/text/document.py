"""Raw files → records: splits of files, read in parallel, that together give every record exactly once.

In: `Split`s (a byte range of a file and how to read it). Out: `Record` or `Rejected`, each with its file and
line. A split owns the records that *begin* in its byte range, so any cut of a file gives the same records.
"""

import codecs
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import pyarrow.parquet as pq

from ernie_pipe.corpus.storage import COMPRESSED, is_compressed, list_files, open_stream, resolve
from ernie_pipe.errors import InputError
from ernie_pipe.text import formats
from ernie_pipe.text.formats import ROLES, Unusable
from ernie_pipe.text.lexicon import ENTITY_TYPES

__all__ = [
    "FORMATS",
    "ROLES",
    "Record",
    "Rejected",
    "Split",
    "Unusable",
    "count_lines",
    "format_of",
    "plan_splits",
    "read",
]

FORMATS = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".txt": "text", ".text": "text",
    ".parquet": "parquet",
    ".yml": "yaml", ".yaml": "yaml",
}  # fmt: skip
_FIELDS = ("id", "doc_id", "title", "label", "turns", "query", "entities")
_SURROGATES = re.compile("[\ud800-\udfff]")
# How pyarrow's codecs complain about bad data; any other OSError (a network's) must fail the task.
_DAMAGED = re.compile("compress|inflate")


@dataclass(frozen=True, slots=True)
class Split:
    """Bytes `start`..`end` of `path` (`end` −1: to the end; Parquet: row groups), read as `format`.

    `documents` says what a record of a text file is: the `file`, a block between `blank-line`s, or a `line`.
    """

    path: str
    source: str
    format: str
    start: int = 0
    end: int = -1
    lines_before: int = 0
    encoding: str = "auto"
    documents: str = "file"
    text_field: str = "text"
    entity_types: tuple[str, ...] = ENTITY_TYPES
    name: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One document: its text (`\\n` between paragraphs) and where it comes from.

    `segments` are (character offset, role) where a dialogue turn, query or title begins; `entities` are
    (start, end, type) that the document brought along; `repaired` counts characters replaced by U+FFFD.
    """

    doc_id: str
    source: str
    text: str
    title: str | None = None
    label: str | None = None
    segments: tuple[tuple[int, str], ...] = ()
    entities: tuple[tuple[int, int, str], ...] = ()
    repaired: int = 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that cannot be used: `reason` is a short fixed phrase, `detail` says more."""

    source: str
    path: str
    line: int
    reason: str
    detail: str
    raw: str


def format_of(path: str) -> str:
    """Return `jsonl`, `text`, `parquet`, `yaml`, or `unknown` by the file's name, compression endings apart."""
    name = path.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return next((kind for ending, kind in FORMATS.items() if name.endswith(ending)), "unknown")


def plan_splits(path: str, template: Split, *, split_bytes: int) -> list[tuple[Split, int]]:
    """Cut every file below `path` into (split, bytes); `template` carries source, encoding and the like.

    Files are read as the template's `format`, or where it has none as their names tell.
    A split's `name`, from which documents without an id take theirs, is the file's path below `path`.
    """
    planned: list[tuple[Split, int]] = []
    root = resolve(path)[1]
    for file, size in list_files(path):
        kind = template.format or format_of(file)
        name = file.partition(root)[2].lstrip("/") or file.rsplit("/", 1)[-1]
        whole = replace(template, path=file, name=name, format=kind)
        if kind == "parquet":
            planned += _parquet_splits(whole, split_bytes)
        elif size <= split_bytes or is_compressed(file) or kind == "unknown" or _is_whole(whole):
            planned.append((whole, size))
        else:
            borders = [*range(0, size, split_bytes), size]
            planned += [
                (replace(whole, start=start, end=end), end - start) for start, end in itertools.pairwise(borders)
            ]
    return planned


def _is_whole(split: Split) -> bool:
    return split.format == "yaml" or (split.format == "text" and split.documents == "file")


def _parquet_splits(split: Split, split_bytes: int) -> list[tuple[Split, int]]:
    system, inner = resolve(split.path)
    try:
        metadata = pq.ParquetFile(inner, filesystem=system).metadata
    except Exception as error:
        raise InputError(f"{split.path}: not a readable Parquet file: {error}") from None
    planned: list[tuple[Split, int]] = []
    first, size = 0, 0
    for group in range(metadata.num_row_groups):
        size += metadata.row_group(group).total_byte_size
        if size >= split_bytes or group == metadata.num_row_groups - 1:
            rows = sum(metadata.row_group(before).num_rows for before in range(first))
            planned.append((replace(split, start=first, end=group + 1, lines_before=rows), size))
            first, size = group + 1, 0
    return planned


def count_lines(split: Split) -> int:
    """Return the number of newlines in the split's bytes (so that later splits know their line numbers)."""
    left = split.end - split.start
    lines = 0
    with open_stream(split.path, split.start) as stream:
        while left > 0 and (block := stream.read(min(left, 1 << 20))):
            lines += block.count(b"\n")
            left -= len(block)
    return lines


def read(split: Split) -> Iterator[Record | Rejected]:
    """Yield every record of the split; what cannot be used comes back as `Rejected`, never as an exception."""
    if split.format == "unknown":
        known = ", ".join(sorted(FORMATS))
        yield Rejected(split.source, split.path, 1, "unknown format", f"known endings: {known}", "")
        return
    if split.format == "jsonl" and _is_array(split):
        if split.start == 0:
            yield Rejected(split.source, split.path, 1, "a JSON array", "write one JSON object a line", "")
        return
    if split.format != "parquet" and not _is_whole(split) and _is_wide(split):
        if split.start == 0:
            detail = "UTF-16 and UTF-32 have no lines of bytes: `iconv -f UTF-16 -t UTF-8 FILE > NEW`"
            yield Rejected(split.source, split.path, 1, "does not decode", detail, "")
        return
    items = _read_parquet(split) if split.format == "parquet" else _read_blocks(split)
    line = split.lines_before
    try:
        for line, value in items:
            try:
                rows = _rows(split, line, value)
            except Unusable as error:
                yield _rejected(split, line, value, error)
                continue
            for at, doc_id, row in rows:
                try:
                    yield _finish(split, doc_id, row)
                except Unusable as error:
                    yield _rejected(split, at, value if len(rows) == 1 else row, error)
    except OSError as error:
        if not _DAMAGED.search(str(error)):
            raise
        yield Rejected(split.source, split.path, line + 1, "damaged file", f"{error}: the rest is not readable", "")


def _is_array(split: Split) -> bool:
    """Return whether a whole file is one JSON array, by its first line: `[`, or a list of objects."""
    try:
        with open_stream(split.path) as stream:
            line = stream.readline(1 << 16).strip()
    except OSError:
        return False
    return line == b"[" or re.match(rb"\[\s*\{", line) is not None


def _is_wide(split: Split) -> bool:
    """Return whether a file is UTF-16 or UTF-32, by the given encoding or its first bytes."""
    if split.encoding != "auto":
        return codecs.lookup(split.encoding).name.startswith(("utf-16", "utf-32"))
    try:
        with open_stream(split.path) as stream:
            return stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    except OSError:
        return False


def _rejected(split: Split, line: int, value: bytes | dict, error: Unusable) -> Rejected:
    reason, detail = error.args
    return Rejected(split.source, split.path, line, reason, _clean(detail), _preview(value))


def _preview(value: bytes | dict) -> str:
    text = value[:400].decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)
    return text[:200]


def _read_parquet(split: Split) -> Iterator[tuple[int, dict]]:
    system, inner = resolve(split.path)
    file = pq.ParquetFile(inner, filesystem=system)
    line = split.lines_before
    used = {*_FIELDS, split.text_field}
    columns = [name for name in file.schema_arrow.names if name in used]
    for batch in file.iter_batches(
        batch_size=256, row_groups=list(range(split.start, split.end)), columns=columns or None
    ):
        for row in batch.to_pylist():
            line += 1
            yield line, row


def _read_blocks(split: Split) -> Iterator[tuple[int, bytes]]:
    with open_stream(split.path, max(0, split.start - 1)) as stream:
        if _is_whole(split):
            yield 1, stream.read()
        elif split.format == "text" and split.documents == "blank-line":
            yield from _blank_line_blocks(split, stream)
        else:
            yield from ((number, line) for number, _, line in _lines(split, stream) if line.strip())


def _lines(split: Split, stream: BinaryIO, *, beyond: bool = False) -> Iterator[tuple[int, int, bytes]]:
    """Yield (line number, byte offset, line) of the lines that begin in the split (or, `beyond`, also after)."""
    offset, number = split.start, split.lines_before
    if split.start > 0:
        skipped = stream.readline()
        offset = split.start - 1 + len(skipped)
        number += len(skipped) > 1
    while (beyond or split.end < 0 or offset < split.end) and (line := stream.readline()):
        number += 1
        yield number, offset, line
        offset += len(line)


def _blank_line_blocks(split: Split, stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the blocks whose preceding blank line lies in the split (the first block belongs to byte 0)."""
    block: list[bytes] = []
    first = 1
    owned = split.start == 0
    for number, offset, line in _lines(split, stream, beyond=True):
        blank = not line.strip()
        if owned and not blank:
            first = first if block else number
            block.append(line)
            continue
        if block:
            yield first, b"".join(block)
            block = []
        if 0 <= split.end <= offset:
            return
        owned = owned or blank
    if block:
        yield first, b"".join(block)


def _rows(split: Split, line: int, value: bytes | dict) -> list[tuple[int, str, dict[str, Any]]]:
    """Return (line, id, row) of what was read at `line`: one row but for YAML files and DuReader's questions."""
    if split.format == "text":
        assert isinstance(value, bytes)
        doc_id = split.name if split.documents == "file" else f"{split.name}#{line}"
        # The field that a text file has, whatever other files call theirs.
        return [(line, doc_id, {split.text_field: _decode(value, split.encoding)})]
    if isinstance(value, dict):
        found = [(line, value)]
    elif split.format == "yaml":
        found = list(formats.yaml_dialogues(_decode(value, split.encoding)))
    elif split.format in ("dialogue-lines", "pairs"):
        parse = formats.dialogue_line if split.format == "dialogue-lines" else formats.pair_line
        found = [(line, parse(_decode(value, split.encoding)))]
    else:
        row = _parse_json(value, split.encoding)
        found = [(line, one) for one in (formats.dureader_rows(row) if split.format == "dureader" else [row])]
    return [(at, _doc_id(split, at, row), row) for at, row in found]


def _doc_id(split: Split, line: int, row: dict[str, Any]) -> str:
    given = row.get("doc_id") if row.get("id") is None else row["id"]
    return str(given) if given is not None else f"{split.name}#{line}"


def _parse_json(line: bytes, encoding: str) -> dict[str, Any]:
    try:
        row = json.loads(_decode(line, encoding))
    except Unusable:
        raise
    except (ValueError, RecursionError) as error:
        raise Unusable("not JSON", str(error)) from None
    if not isinstance(row, dict):
        raise Unusable("not a JSON object", f"found a {type(row).__name__}")
    return row


def _decode(data: bytes, encoding: str) -> str:
    tried = ("utf-8-sig", "gb18030") if encoding == "auto" else (encoding,)
    if encoding == "auto" and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        tried = ("utf-16",)
    for name in tried:
        try:
            return data.decode(name)
        except UnicodeDecodeError as error:
            if encoding == "auto" and _nearly_utf8(data):
                raise Unusable("does not decode", f"UTF-8 but for byte {error.start} and perhaps others") from None
    raise Unusable("does not decode", f"tried {', '.join(tried)}; name the right one with `encoding`")


def _nearly_utf8(data: bytes) -> bool:
    """Return whether damaged UTF-8 is likelier than GB18030 (there, few pairs of bytes happen to be UTF-8)."""
    text = data.decode("utf-8", "replace")
    foreign = len(text) - len(text.encode("ascii", "ignore"))
    return text.count("\ufffd") * 4 < foreign


def _clean(text: str) -> str:
    """Replace lone surrogates, which no file can hold, by U+FFFD."""
    return _SURROGATES.sub("\ufffd", text)


def _finish(split: Split, doc_id: str, row: dict[str, Any]) -> Record:
    is_pair = row.get("turns") is None and row.get(split.text_field) is None and row.get("query") is not None
    if row.get("turns") is not None:
        text, segments = formats.join_turns(row["turns"])
    elif is_pair:
        text, segments = formats.join_pair(row)
    else:
        text, segments = row.get(split.text_field), ()  # type: ignore[assignment]
    if not isinstance(text, str):
        found = "nothing" if text is None else f"a {type(text).__name__}"
        raise Unusable("no text", f"the field `{split.text_field}` holds {found}; fields: {', '.join(map(str, row))}")
    repaired = 0
    try:
        text.encode()
    except UnicodeEncodeError:
        repaired = len(_SURROGATES.findall(text))
        text = _clean(text)
    if not segments:
        # Offsets that came along must stay true: there no character may go.
        text = text.replace("\r\n", " \n" if row.get("entities") else "\n").replace("\r", "\n")
    if not text.strip():
        raise Unusable("empty", "no character but white space")
    label, title = row.get("label"), None if is_pair else row.get("title")
    return Record(
        doc_id=_clean(doc_id),
        source=split.source,
        text=text,
        title=_clean(title) if isinstance(title, str) else None,
        label=None if label is None else _clean(str(label)),
        segments=segments,
        entities=_given_entities(row.get("entities"), text, split.entity_types),
        repaired=repaired,
    )


def _given_entities(entities: Any, text: str, known: tuple[str, ...]) -> tuple[tuple[int, int, str], ...]:
    if entities is None:
        return ()
    try:
        spans = [(int(item["start"]), int(item["end"]), _clean(str(item["type"]))) for item in entities]
    except (TypeError, KeyError, ValueError, OverflowError):
        raise Unusable("bad entities", "each needs start, end (characters) and type") from None
    if any(not 0 <= start < end <= len(text) for start, end, _ in spans):
        raise Unusable("bad entities", f"an offset lies outside the text of {len(text)} characters")
    unknown = next((kind for *_, kind in spans if kind not in known), None)
    if unknown is not None:
        raise Unusable("bad entities", f"unknown type {unknown!r}; `entity_types` knows {', '.join(known)}")
    return tuple(sorted(spans, key=lambda span: (span[0], -span[1], span[2])))
