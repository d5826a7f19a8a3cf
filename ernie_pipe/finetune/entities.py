"""Texts with entities: read from CoNLL (BIO, BIOES, BMES), jsonl, lists of dicts or `datasets.Dataset`.

Whatever comes in, a sentence goes out as running text and spans of characters.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.data import Source, Tally, column_of, text_of, told
from ernie_pipe.finetune.files import (
    TEXT_COLUMNS,
    Line,
    Record,
    Records,
    from_python,
    read_jsonl,
    read_lines,
    table_form,
)
from ernie_pipe.text.tags import Span, marks_ends, split_tag, to_spans, without_overlaps

_LINE = re.compile(r"(?:(.*)[ \t])?([^ \t]*)", re.DOTALL)
TAG_COLUMNS = ("tags", "ner_tags")


@dataclass(frozen=True)
class TaggedText:
    """A text and its entities, in characters; `places[i]` is the file and line of entity i."""

    text: str
    entities: tuple[Span, ...]
    where: str
    places: tuple[str, ...]


class _Sentence(NamedTuple):
    where: str
    tokens: list[str]
    tags: list[str]
    places: list[str]


def read_tagging(source: Source, name: str = "data") -> list[TaggedText]:
    """Read texts with entities: CoNLL of two columns, jsonl, or dicts with `entities` or `tokens` and `tags`.

    Illegal tag sequences are repaired, overlapping entities thinned out to the longest and empty texts
    skipped, all counted. `InputError`: a line that is no `character tag`, an entity outside its text.
    """
    tally = Tally()
    if isinstance(source, str | Path):
        name = str(source)
        found, form = _from_file(name, tally)
    else:
        found, form = _from_records(from_python(source, name), tally), "Python"
    examples = []
    for example in found:
        if example.text.strip():
            examples.append(example)
        else:
            tally.add("an empty text, skipped", example.where)
    return told(name, form, examples, tally)


def _from_file(path: str, tally: Tally) -> tuple[list[TaggedText], str]:
    lines = read_lines(path)
    if table_form(lines) == "jsonl":
        return _from_records(read_jsonl(lines, path), tally), "jsonl"
    return _from_tags(list(_sentences(lines, path)), tally), "CoNLL, two columns"


def _sentences(lines: Sequence[Line], path: str) -> Iterator[_Sentence]:
    """Group CoNLL lines into sentences; a blank line ends one."""
    sentence = _Sentence("", [], [], [])
    for number, line in [*lines, (0, "")]:
        if line.strip(" \t"):
            token, tag = _token_and_tag(line, f"{path}:{number}")
            sentence.tokens.append(token)
            sentence.tags.append(tag)
            sentence.places.append(f"{path}:{number}")
        elif sentence.tokens:
            yield sentence._replace(where=sentence.places[0])
            sentence = _Sentence("", [], [], [])


def _token_and_tag(line: str, where: str) -> tuple[str, str]:
    # What stands before the last separator is the character, which may be a space or a tab itself.
    token, tag = _LINE.fullmatch(line.rstrip(" \t")).groups()  # type: ignore[union-attr]
    columns = re.split("[ \t]+", (token or "").strip(" \t"))
    if token is None or len(columns) > 1:
        count = 1 if token is None else len(columns) + 1
        raise InputError(f"{where}: {count} columns: write a character, a space or a tab, and its tag")
    _checked(tag, where)
    return columns[0] or " ", tag


def _checked(tag: str, where: str) -> None:
    try:
        split_tag(tag)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None


def _from_tags(sentences: Sequence[_Sentence], tally: Tally) -> list[TaggedText]:
    ends = marks_ends(tag for sentence in sentences for tag in sentence.tags)
    examples = []
    for where, tokens, tags, places in sentences:
        text, starts = join_tokens(tokens)
        spans, repairs = to_spans(tags, ends=ends)
        tally.add("an illegal tag sequence, repaired", where, repairs)
        entities = tuple(Span(starts[a], starts[b - 1] + len(tokens[b - 1]), kind) for a, b, kind in spans)
        examples.append(TaggedText(text, entities, where, tuple(places[span.start] for span in spans)))
    return examples


def join_tokens(tokens: Sequence[str]) -> tuple[str, list[int]]:
    """Write tokens as running text; return it and where each token starts.

    Characters stand side by side as Chinese does; a space parts two Latin words or numbers of more than
    one character, which would else become one word.
    """
    text, starts, previous = "", [], ""
    for token in tokens:
        if max(len(previous), len(token)) > 1 and _is_latin(previous[-1:]) and _is_latin(token[:1]):
            text += " "
        starts.append(len(text))
        text += token
        previous = token
    return text, starts


def _is_latin(character: str) -> bool:
    return character.isalnum() and character < "\u2e80"


def _from_records(records: Records, tally: Tally) -> list[TaggedText]:
    if "entities" in records.columns:
        text = column_of(records, TEXT_COLUMNS, "text")
        return [_from_entities(row, text, tally) for row in records.rows]
    tags = next((name for name in TAG_COLUMNS if name in records.columns), None)
    if tags is None or "tokens" not in records.columns:
        raise InputError(
            f"{records.name}: neither `text` with `entities` nor `tokens` with `tags` among "
            f"{', '.join(records.columns)}"
        )
    return _from_tags([_sentence_of(row, tags) for row in records.rows], tally)


def _sentence_of(row: Record, tag_column: str) -> _Sentence:
    tokens, tags = row.values.get("tokens") or [], row.values.get(tag_column) or []
    if len(tokens) != len(tags):
        raise InputError(f"{row.where}: {len(tokens)} tokens and {len(tags)} tags: give one tag a token")
    for tag in tags:
        _checked(str(tag), row.where)
    return _Sentence(row.where, list(map(str, tokens)), list(map(str, tags)), [row.where] * len(tags))


def _from_entities(row: Record, column: str, tally: Tally) -> TaggedText:
    text = text_of(row, column)
    items = row.values.get("entities")
    if not isinstance(items, list):
        raise InputError(f"{row.where}: `entities` must be a list of {{start, end, type}}, found {items!r}")
    entities, dropped = without_overlaps({_entity(item, text, row.where) for item in items})
    tally.add("an entity that overlaps a longer one, left out", row.where, dropped)
    return TaggedText(text, tuple(entities), row.where, (row.where,) * len(entities))


def _entity(item: Any, text: str, where: str) -> Span:
    try:
        span = Span(item["start"], item["end"], item["type"])
    except (KeyError, TypeError):
        raise InputError(f"{where}: an entity needs start, end and type, found {item!r}") from None
    if [type(value) for value in span] != [int, int, str] or not span.type:
        raise InputError(f"{where}: an entity needs whole numbers and a type, found {item!r}")
    if not 0 <= span.start < span.end <= len(text):
        raise InputError(f"{where}: entity {item!r} lies outside its text of {len(text)} characters")
    if item.get("text", text[span.start : span.end]) != text[span.start : span.end]:
        raise InputError(
            f"{where}: entity {item!r} is {text[span.start : span.end]!r} in its text: "
            "`end` is the position after the last character"
        )
    return span
