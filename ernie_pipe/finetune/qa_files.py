"""Questions over contexts, from SQuAD-like JSON, jsonl, lists of dicts or `datasets.Dataset`.

A format is chosen by content and said aloud: SQuAD's nested JSON (of which CMRC2018 and DRCD are kinds), CMRC2018's
first form (`context_text`, `query_text`, answers without offsets), or one question a record. Answers are put where
they stand: one that is not at its offset moves to the nearest place in its context, one that is nowhere keeps no
place; both are counted, the latter listed.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.data import Source, Tally, is_blank, told
from ernie_pipe.finetune.files import Record, from_python, parse_json, read_jsonl
from ernie_pipe.finetune.lines import read_lines
from ernie_pipe.finetune.wording import many

log = logging.getLogger(__name__)

_LISTED = 20
_FORMS = "SQuAD, CMRC2018 or DRCD JSON, or jsonl with `question` and `context`"


class Answer(NamedTuple):
    """A right answer; `context[start:start + len(text)] == text`, or `start` is None: it is not in the context."""

    text: str
    start: int | None


@dataclass(frozen=True)
class Question:
    """A question over a context. No answer at all means that the context does not answer it."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...]
    where: str

    @property
    def text(self) -> str:
        """Context and question."""
        return f"{self.context}\n{self.question}"


def read_questions(source: Source, name: str = "data", *, strict: bool = False) -> list[Question]:
    """Read questions with their answers; those with a blank question or context are skipped and counted.

    `InputError`: none of the known forms, a question without `answers`, nothing left; with `strict` also an answer
    that is not in its context.
    """
    name, form, rows = _records(source, name)
    tally, questions, nowhere = Tally(), [], []
    for row in rows:
        item = inputs_of(row)
        if is_blank(item["question"]) or is_blank(item["context"]):
            tally.add("a blank question or context, skipped", row.where)
            continue
        answers = tuple(_placed(text, start, item["context"], tally, row.where) for text, start in _answers(row))
        nowhere += [f"{row.where}: `{answer.text}`" for answer in answers if answer.start is None]
        questions.append(Question(**item, answers=answers, where=row.where))
    if nowhere and strict:
        raise InputError(
            f"{nowhere[0]} is not in its context ({len(nowhere)} such answers): correct it or leave it out"
        )
    told(name, form, questions, tally)
    _list(nowhere, name)
    return questions


def read_question_inputs(source: Source, name: str = "data") -> list[dict[str, str]]:
    """Read `{"id", "question", "context"}` of each question, blank ones too; answers are not looked at."""
    name, form, rows = _records(source, name)
    log.info("%s: %s, %s", name, form, many(len(rows), "questions"))
    return [inputs_of(row) for row in rows]


def inputs_of(row: Record) -> dict[str, str]:
    """Return id, question and context of a record; `InputError` with its place when one is missing."""
    values: dict[str, Any] = {key: row.values.get(key) for key in ("question", "context")}
    for key, value in values.items():
        if value is None:
            raise InputError(f"{row.where}: no `{key}`; give {_FORMS}")
        if not isinstance(value, str):
            raise InputError(f"{row.where}: `{key}` must be a string, found {value!r}"[:300])
    given = row.values.get("id")
    return {"id": row.where if given is None else str(given), **values}


def _list(nowhere: Sequence[str], name: str) -> None:
    if not nowhere:
        return
    log.warning("%s: answers not in their contexts: %d, scored by their text, not learnt from", name, len(nowhere))
    for line in nowhere[:_LISTED]:
        log.warning("  %s", line)
    if len(nowhere) > _LISTED:
        log.warning("  … and %d more", len(nowhere) - _LISTED)


def _placed(text: str, start: int | None, context: str, tally: Tally, where: str) -> Answer:
    """Return the answer at its offset, else at the nearest place where it stands, else without a place."""
    if start is not None and start >= 0 and context.startswith(text, start):
        return Answer(text, start)
    bare = text if text in context else text.strip()
    found = list(_places(bare, context))
    if not found:
        return Answer(text, None)
    if start is None:
        tally.add("an answer without an offset, taken at its first place", where)
    else:
        tally.add("an answer that is not at its offset, moved to where it stands", where)
    return Answer(bare, min(found, key=lambda place: (abs(place - (start or 0)), place)))


def _places(text: str, context: str) -> Iterator[int]:
    place = context.find(text)
    while place >= 0:
        yield place
        place = context.find(text, place + 1)


def _answers(row: Record) -> list[tuple[str, int | None]]:
    """Return (text, offset) of the different answers of a record, in their order; none where there is no answer."""
    given = row.values.get("answers", row.values.get("answer"))
    if row.values.get("is_impossible"):
        return []
    if given is None:
        raise InputError(f"{row.where}: no `answers`: give the texts and offsets of the answers, or an empty list")
    if isinstance(given, str):
        given = [{"text": given, "answer_start": row.values.get("answer_start")}]
    if isinstance(given, Mapping):
        texts = given.get("text")
        starts = given.get("answer_start")
        if isinstance(texts, list) and not starts:
            starts = [None] * len(texts)
        if not (isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts)):
            raise InputError(f"{row.where}: `answers` needs two lists of one length, `text` and `answer_start`")
        given = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if not isinstance(given, Sequence):
        raise InputError(f"{row.where}: `answers` must be a list, found {given!r}"[:300])
    found = [_answer(item, row.where) for item in given]
    return list(dict.fromkeys(pair for pair in found if pair[0].strip()))


def _answer(item: Any, where: str) -> tuple[str, int | None]:
    values = item if isinstance(item, Mapping) else {"text": item}
    text, start = values.get("text"), values.get("answer_start")
    if not isinstance(text, str) or not (start is None or type(start) is int):
        raise InputError(f"{where}: an answer is a `text` and a whole number `answer_start`, found {item!r}"[:300])
    return text, start


def _records(source: Source, name: str) -> tuple[str, str, list[Record]]:
    """Return the source's name, its form in words, and one record a question."""
    if not isinstance(source, str | Path):
        records = from_python(source, name)
        return records.name, records.form, records.rows
    lines = read_lines(source)
    text = "\n".join(line for _, line in lines)
    first = next(line for _, line in lines if line.strip())
    try:
        data = parse_json(text)
    except ValueError as error:
        if first.lstrip().startswith("{") and _complete(first):
            return str(source), "jsonl", read_jsonl(lines, source).rows
        raise InputError(f"{source}:{getattr(error, 'lineno', 1)}: not JSON: {error}; give {_FORMS}") from None
    form, rows = _unnested(data, str(source))
    if not rows:
        raise InputError(f"{source}: no questions in it; give {_FORMS}")
    return str(source), form, rows


def _complete(line: str) -> bool:
    try:
        parse_json(line)
    except ValueError:
        return False
    return True


def _unnested(data: Any, path: str) -> tuple[str, list[Record]]:
    if isinstance(data, Mapping) and "data" not in data:
        return "jsonl", [Record(f"{path}:1", data)]
    items = data["data"] if isinstance(data, Mapping) else data
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise InputError(f"{path}: not {_FORMS}")
    if items and "context_text" in items[0]:
        return "CMRC2018's first form, without offsets", list(_first_form(items, path))
    if items and "paragraphs" in items[0]:
        rows = list(_squad(items, path))
        return _kind(rows), rows
    return "JSON list", [Record(_place(path, f"[{i}]", item), item) for i, item in enumerate(items)]


def _kind(rows: Sequence[Record]) -> str:
    """Name the kind of SQuAD's form by what only that kind has."""
    first = rows[0].values if rows else {}
    answers = first.get("answers")
    if any("is_impossible" in row.values for row in rows[:100]):
        return "SQuAD 2.0 JSON"
    if "QUERY" in str(first.get("id")):
        return "CMRC2018 JSON"
    numbered = isinstance(answers, list) and any("id" in answer for answer in answers if isinstance(answer, Mapping))
    return "DRCD JSON" if numbered else "SQuAD JSON"


def _squad(articles: Sequence[Any], path: str) -> Iterator[Record]:
    for i, article in enumerate(articles):
        for j, paragraph in enumerate(_inner(article, "paragraphs", f"{path}: data[{i}]")):
            place = f"data[{i}].paragraphs[{j}]"
            for k, question in enumerate(_inner(paragraph, "qas", f"{path}: {place}")):
                where = _place(path, f"{place}.qas[{k}]", question)
                if not isinstance(question, Mapping):
                    raise InputError(f"{where}: expected an object, found {question!r}"[:300])
                yield Record(where, {**question, "context": paragraph.get("context")})


def _first_form(items: Sequence[Any], path: str) -> Iterator[Record]:
    for i, item in enumerate(items):
        for k, question in enumerate(_inner(item, "qas", f"{path}: [{i}]")):
            values = dict(question) if isinstance(question, Mapping) else {}
            values = {"id": values.get("query_id"), "question": values.get("query_text"), **values}
            yield Record(_place(path, f"[{i}].qas[{k}]", values), {**values, "context": item.get("context_text")})


def _inner(item: Any, key: str, where: str) -> list[Any]:
    values = item.get(key) if isinstance(item, Mapping) else None
    if not isinstance(values, list):
        raise InputError(f"{where}: no list `{key}`; give {_FORMS}")
    return values


def _place(path: str, place: str, item: Any) -> str:
    given = item.get("id") if isinstance(item, Mapping) else None
    return f"{path}: {place}" if given is None else f"{path}: question {given}"
