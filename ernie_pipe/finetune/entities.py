"""Texts with entities, words or parts of speech: from lines (`tag_lines`), JSON, lists of dicts or `datasets.Dataset`.

JSON holds spans, as `entities` with start, end and type, as doccano's `label`, or as CLUENER's types and surfaces; or
`tokens` with their `tags`. Whatever comes in, a sentence goes out as running text and spans of characters.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.data import Source, Tally, column_of, read_texts, text_of, told
from ernie_pipe.finetune.files import (
    TEXT_COLUMNS,
    Record,
    Records,
    from_python,
    read_jsonl,
    read_lines,
    table_form,
)
from ernie_pipe.finetune.tag_lines import Sentence, join_tokens, read_sentences, read_unlabelled, whole_tags
from ernie_pipe.finetune.wording import many
from ernie_pipe.text.tags import Span, marks_ends, to_spans, without_overlaps

log = logging.getLogger(__name__)

TAG_COLUMNS = ("tags", "ner_tags", "pos_tags")
SPAN_COLUMNS = ("entities", "spans", "label", "labels")
_STARTS, _ENDS, _TYPES = ("start", "start_offset"), ("end", "end_offset"), ("type", "label")


@dataclass(frozen=True)
class TaggedText:
    """A text and its entities, in characters; `places[i]` is the file and line of entity i."""

    text: str
    entities: tuple[Span, ...]
    where: str
    places: tuple[str, ...]


def read_tagging(source: Source, name: str = "data") -> list[TaggedText]:
    """Read texts with their spans, in any of the forms of this module and of `tag_lines`.

    Illegal tag sequences are repaired, overlapping entities thinned out to the longest and empty texts
    skipped, all counted. `InputError`: none of the forms, a line that does not fit, an entity outside its text.
    """
    tally = Tally()
    if isinstance(source, str | Path):
        name = str(source)
        found, form = _from_file(name, tally)
    else:
        found, form = _from_records(from_python(source, name), tally)
    examples = []
    for example in found:
        if example.text.strip():
            examples.append(example)
        else:
            tally.add("an empty text, skipped", example.where)
    return told(name, form, examples, tally)


def read_tagging_inputs(path: str | Path) -> list[str]:
    """Read the texts to tag, empty ones too: those of labelled files, a token a line, or as `data.read_texts` does."""
    lines = read_lines(path)
    if table_form(lines) == "jsonl":
        records = read_jsonl(lines, path)
        if "tokens" in records.columns and not set(TEXT_COLUMNS) & set(records.columns):
            log.info("%s: %s, %s of `tokens`", path, records.form, many(len(records.rows), "texts"))
            return [join_tokens(_tokens(row))[0] for row in records.rows]
        return read_texts(path)
    found = read_unlabelled(lines, path)
    if found is None:
        return read_texts(path)
    log.info("%s: a token a line, %s", path, many(len(found), "texts"))
    return [join_tokens(tokens)[0] for tokens in found]


def _from_file(path: str, tally: Tally) -> tuple[list[TaggedText], str]:
    lines = read_lines(path)
    if table_form(lines) == "jsonl":
        return _from_records(read_jsonl(lines, path), tally)
    sentences, form = read_sentences(lines, path)
    return _from_tags(sentences, tally), form


def _from_tags(sentences: Sequence[Sentence], tally: Tally) -> list[TaggedText]:
    ends = marks_ends(tag for sentence in sentences for tag in sentence.tags)
    examples = []
    for where, tokens, tags, places in sentences:
        text, starts = join_tokens(tokens)
        spans, repairs = to_spans(tags, ends=ends)
        tally.add("an illegal tag sequence, repaired", where, repairs)
        entities = tuple(Span(starts[a], starts[b - 1] + len(tokens[b - 1]), kind) for a, b, kind in spans)
        examples.append(TaggedText(text, entities, where, tuple(places[span.start] for span in spans)))
    return examples


def _from_records(records: Records, tally: Tally) -> tuple[list[TaggedText], str]:
    spans = _span_column(records)
    if spans is not None:
        text = column_of(records, TEXT_COLUMNS, "text")
        return [_from_spans(row, text, spans, tally) for row in records.rows], f"{records.form}, spans in `{spans}`"
    tags = next((name for name in TAG_COLUMNS if name in records.columns), None)
    if tags is None or "tokens" not in records.columns:
        raise InputError(
            f"{records.name}: neither `text` with `entities` nor `tokens` with `tags` among "
            f"{', '.join(records.columns)}"
        )
    sentences, remark = whole_tags([_sentence_of(row, tags) for row in records.rows])
    return _from_tags(sentences, tally), f"{records.form}, `{tags}` of `tokens`{remark}"


def _span_column(records: Records) -> str | None:
    """Return the column that holds spans: one so called, or a label that is no plain one."""
    for name in SPAN_COLUMNS:
        values = [row.values.get(name) for row in records.rows if row.values.get(name) is not None]
        if name in records.columns and (name in SPAN_COLUMNS[:2] or any(map(_is_spans, values))):
            return name
    return None


def _is_spans(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and bool(value) and isinstance(value[0], list | dict))


def _sentence_of(row: Record, tag_column: str) -> Sentence:
    tokens, tags = _tokens(row), row.values.get(tag_column) or []
    if len(tokens) != len(tags):
        counts = f"{many(len(tokens), 'tokens')} and {many(len(tags), 'tags')}"
        raise InputError(f"{row.where}: {counts}: give one tag a token")
    return Sentence(row.where, tokens, list(map(str, tags)), [row.where] * len(tags))


def _tokens(row: Record) -> list[str]:
    return list(map(str, row.values.get("tokens") or []))


def _from_spans(row: Record, column: str, spans: str, tally: Tally) -> TaggedText:
    text = text_of(row, column)
    items = row.values.get(spans)
    if isinstance(items, Mapping):
        items = list(_by_type(items, row.where))
    if not isinstance(items, list):
        raise InputError(f"{row.where}: `{spans}` must be a list of {{start, end, type}}, found {items!r}")
    entities, dropped = without_overlaps({_entity(item, text, row.where) for item in items})
    tally.add("an entity that overlaps a longer one, left out", row.where, dropped)
    return TaggedText(text, tuple(entities), row.where, (row.where,) * len(entities))


def _by_type(items: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """Yield the entities of CLUENER's form, {type: {surface: [[first, last], …]}}; `last` is the last character."""
    for kind, surfaces in items.items():
        try:
            for surface, places in surfaces.items():
                for first, last in places:
                    yield {"start": first, "end": last + 1, "type": kind, "text": surface}
        except (AttributeError, TypeError, ValueError):
            raise InputError(
                f"{where}: `{kind}` must hold {{surface: [[first, last], …]}}, found {surfaces!r}"[:300]
            ) from None


def _entity(item: Any, text: str, where: str) -> Span:
    values = dict(zip(("start", "end", "type"), item, strict=False)) if isinstance(item, list) else item
    try:
        span = Span(*(values[names[0] if names[0] in values else names[1]] for names in (_STARTS, _ENDS, _TYPES)))
    except (KeyError, TypeError):
        raise InputError(f"{where}: an entity needs start, end and type, found {item!r}") from None
    if [type(value) for value in span] != [int, int, str] or not span.type:
        raise InputError(f"{where}: an entity needs whole numbers and a type, found {item!r}")
    if not 0 <= span.start < span.end <= len(text):
        raise InputError(f"{where}: entity {item!r} lies outside its text of {len(text)} characters")
    if values.get("text", text[span.start : span.end]) != text[span.start : span.end]:
        raise InputError(
            f"{where}: entity {item!r} is {text[span.start : span.end]!r} in its text: "
            "`end` is the position after the last character"
        )
    return span
