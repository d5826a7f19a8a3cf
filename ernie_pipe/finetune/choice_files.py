"""Questions with choices, from C3's and ChID's files, jsonl, lists of dicts or `datasets.Dataset`.

A format is chosen by content and said aloud: C3's JSON (turns, questions, id), ChID's lines with `#idiom…#` in their
`content` (the contest's, CLUE's with its answers in `NAME_answer.json` beside, FewCLUE's), or one question a record
with `context`, `question`, `choices` and `answer`. A passage with several blanks becomes one example a blank.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import data
from ernie_pipe.finetune.data import Source, Tally, told
from ernie_pipe.finetune.files import Record, from_python, parse_json, read_jsonl
from ernie_pipe.finetune.lines import read_lines
from ernie_pipe.finetune.wording import many

log = logging.getLogger(__name__)

BLANK = re.compile(r"#idiom\d*#")
_CHOICES = ("choices", "choice", "options", "candidates")
_ANSWERS = ("answer", "label")
_FORMS = "C3's JSON, ChID's lines, or jsonl with `context`, `question`, `choices` and `answer`"


@dataclass(frozen=True)
class Choice:
    """A question about a context, or a blank in it, `context[blank[0]:blank[1]]`; `answer` is a place in `choices`."""

    id: str
    context: str
    question: str
    choices: tuple[str, ...]
    blank: tuple[int, int] | None
    answer: int | None
    where: str

    @property
    def text(self) -> str:
        """All that is asked, by which the sets are searched for common examples."""
        place = "" if self.blank is None else str(self.blank[0])
        return "\n".join([self.context, place, self.question, *self.choices])


def read_choices(source: Source, name: str = "data") -> list[Choice]:
    """Read questions with their choices and answers; those that ask nothing are skipped and counted.

    `InputError`: none of the known forms, fewer than two choices, no answer or one that is no choice, nothing left.
    """
    name, form, rows = _records(source, name)
    tally, examples = Tally(), []
    for row in rows:
        example = choice_of(row)
        if is_blank(example):
            tally.add("a blank context and question, skipped", row.where)
            continue
        if not example.context:
            tally.add("no `context`: asked by the question alone", row.where)
        answer = _answer(row, example.choices)
        if example.choices.count(example.choices[answer]) > 1:
            tally.add("an answer that is there twice among the choices, the first taken", row.where)
        examples.append(Choice(**{**vars(example), "answer": answer}))
    counts = sorted({len(example.choices) for example in examples})
    return told(name, f"{form}, {' or '.join(map(str, counts))} choices", examples, tally)


def read_choice_inputs(source: Source, name: str = "data") -> list[Choice]:
    """Read questions with their choices, blank ones too; answers are not looked at."""
    name, form, rows = _records(source, name)
    log.info("%s: %s, %s", name, form, many(len(rows), "questions"))
    return [choice_of(row) for row in rows]


def is_blank(example: Choice) -> bool:
    """Tell whether nothing is asked."""
    return data.is_blank(example.context) and data.is_blank(example.question)


def choice_of(row: Record) -> Choice:
    """Return a record without its answer; `InputError` with its place when something is missing."""
    values = row.values
    context = values.get("context", values.get("content", ""))
    if isinstance(context, list) and all(isinstance(turn, str) for turn in context):
        context = "\n".join(context)
    question = values.get("question", "")
    for key, value in (("context", context), ("question", question)):
        if not isinstance(value, str):
            raise InputError(f"{row.where}: `{key}` must be a string, found {value!r}"[:300])
    given = next((values[key] for key in _CHOICES if values.get(key) is not None), None)
    if not isinstance(given, Sequence) or isinstance(given, str) or not all(isinstance(item, str) for item in given):
        raise InputError(f"{row.where}: no list of strings `choices`; give {_FORMS}")
    if len(given) < 2 or not all(item.strip() for item in given):
        raise InputError(f"{row.where}: {len(given)} choices, some blank: give at least two that are not")
    given_id = values.get("id")
    name = row.where if given_id is None else str(given_id)
    return Choice(name, context, question, tuple(given), _blank(row, context), None, row.where)


def _blank(row: Record, context: str) -> tuple[int, int] | None:
    given = row.values.get("blank")
    if given is not None:
        whole = isinstance(given, list | tuple) and [type(place) for place in given] == [int, int]
        if not whole or not 0 <= given[0] < given[1] <= len(context):
            raise InputError(
                f"{row.where}: `blank` must be a start and an end within the context, found {given!r}"[:300]
            )
        return given[0], given[1]
    found = list(BLANK.finditer(context))
    if len(found) > 1:
        raise InputError(f"{row.where}: {len(found)} blanks in one context: give `blank`, the start and end of one")
    return found[0].span() if found else None


def _answer(row: Record, choices: Sequence[str]) -> int:
    """Return the place of the answer among the choices: given as its text, its place, or a letter from A."""
    given = next((row.values[key] for key in _ANSWERS if row.values.get(key) is not None), None)
    if given is None or isinstance(given, bool):
        raise InputError(f"{row.where}: no `answer`: give the right choice, its text or its place from 0")
    if isinstance(given, str) and given in choices:
        return choices.index(given)
    place = given
    if isinstance(given, str):
        text = given.strip()
        single = len(text) == 1 and "A" <= text <= "Z"
        place = ord(text) - ord("A") if single else int(text) if text.isdecimal() and len(text) < 4 else None
    if not isinstance(place, int) or not 0 <= place < len(choices):
        raise InputError(f"{row.where}: answer `{str(given)[:100]}` is none of the {len(choices)} choices")
    return place


def _records(source: Source, name: str) -> tuple[str, str, list[Record]]:
    """Return the source's name, its form in words, and one record a question or blank."""
    if not isinstance(source, str | Path):
        records = from_python(source, name)
        return records.name, records.form, [one for row in records.rows for one in _each_blank(row, {})]
    lines = read_lines(source)
    first = next(line for _, line in lines if line.strip()).strip()
    if first.startswith("{"):
        rows = read_jsonl(lines, source).rows
        # CLUE gives a list of passages a line, and numbers their blanks over the whole file.
        if any(BLANK.search(str(row.values.get("content", ""))) for row in rows[:10]):
            keys = _answer_file(Path(source), rows)
            return str(source), "ChID lines", [one for row in rows for one in _each_blank(row, keys)]
        return str(source), "jsonl", [one for row in rows for one in _each_blank(row, {})]
    try:
        items = parse_json("\n".join(line for _, line in lines))
    except ValueError as error:
        raise InputError(f"{source}:{getattr(error, 'lineno', 1)}: not JSON: {error}; give {_FORMS}") from None
    if not isinstance(items, list) or not items:
        raise InputError(f"{source}: not {_FORMS}")
    if isinstance(items[0], Mapping):
        rows = [Record(f"{source}: [{i}]", item) for i, item in enumerate(items) if isinstance(item, Mapping)]
        if len(rows) < len(items):
            raise InputError(f"{source}: {len(items) - len(rows)} items are no objects; give {_FORMS}")
        return str(source), "JSON list", [one for row in rows for one in _each_blank(row, {})]
    return str(source), "C3 JSON", list(_c3(items, str(source)))


def _c3(items: Sequence[Any], path: str) -> Iterator[Record]:
    for i, item in enumerate(items):
        if not (isinstance(item, list) and len(item) == 3 and all(isinstance(part, list) for part in item[:2])):
            raise InputError(f"{path}: [{i}]: not C3's form, [turns, questions, id]; give {_FORMS}")
        turns, questions, name = item
        for k, question in enumerate(questions):
            where = f"{path}: dialogue {name}, question {k + 1}"
            if not isinstance(question, Mapping):
                raise InputError(f"{where}: expected an object, found {question!r}"[:300])
            yield Record(where, {**question, "context": turns, "id": f"{name}-{k + 1}"})


def _each_blank(row: Record, keys: Mapping[str, Any]) -> Iterator[Record]:
    """Yield a record for each blank of a record's passages, with its own candidates and answer; else the record."""
    content = row.values.get("content", row.values.get("context"))
    passages = content if isinstance(content, list) else [content]
    found = [(text, match) for text in passages if isinstance(text, str) for match in BLANK.finditer(text)]
    if not found or "blank" in row.values:
        yield row
        return
    candidates: Any = next((row.values[key] for key in _CHOICES if row.values.get(key) is not None), None)
    own = isinstance(candidates, list) and bool(candidates) and all(isinstance(item, list) for item in candidates)
    truth = row.values.get("groundTruth")
    for k, (text, match) in enumerate(found):
        if own and len(candidates) != len(found):
            raise InputError(f"{row.where}: {len(candidates)} lists of candidates for {len(found)} blanks")
        answer = row.values.get("answer", keys.get(match[0]))
        if isinstance(truth, list) and k < len(truth):
            answer = truth[k]
        elif isinstance(answer, Mapping):
            answer = answer.get(match[0])
        elif "answer" in row.values and len(found) > 1:
            raise InputError(f"{row.where}: one `answer` for {len(found)} blanks: give `groundTruth`, a list")
        numbered = match[0].strip("#") if keys or match[0] != "#idiom#" else None
        base = row.values.get("id")
        name = numbered or (base if len(found) == 1 or base is None else f"{base}-{k + 1}")
        values = {"context": text, "choices": candidates[k] if own else candidates, "answer": answer, "id": name}
        values |= {"question": row.values.get("question") or "", "blank": match.span()}
        yield Record(f"{row.where}, blank {k + 1}" if len(found) > 1 else row.where, values)


def _answer_file(path: Path, rows: Sequence[Record]) -> dict[str, Any]:
    """Return CLUE's answers by blank from the file beside, empty where the lines have their own or none is there."""
    if any(key in row.values for row in rows[:10] for key in ("groundTruth", *_ANSWERS)):
        return {}
    beside = path.with_name(f"{path.stem}_answer{path.suffix}")
    if not beside.is_file():
        return {}
    try:
        found = parse_json("\n".join(line for _, line in read_lines(beside)))
    except ValueError as error:
        raise InputError(f"{beside}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{beside}: expected one object, `#idiom…#` and its answer")
    log.info("%s: answers to %s", beside, path.name)
    return found
