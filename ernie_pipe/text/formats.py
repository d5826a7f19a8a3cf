"""Raw forms of dialogues and of query–title pairs → rows as in jsonl: `turns`, or `query`, `title` and `label`.

In: the text of a line (or of a whole YAML file). Out: rows, and the text and segments of their turns; `Unusable`
says why there are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

Row = dict[str, Any]
# Passages hold numbers of roles: new ones come at the end.
ROLES = ("text", "query", "response", "title", "arg1", "arg2")
_CHAT_ROLES = {"user": "query", "assistant": "response"}
# What a file of such lines holds is not told by its name: `format` of a source says it.
LINE_FORMATS = ("dialogue-lines", "pairs", "dureader")
_BESIDE_CHINESE = re.compile(r"(?<=[^\x00-\x7f]) +| +(?=[^\x00-\x7f])")
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class Unusable(ValueError):
    """Raised inside one record's parsing; `args` are (reason, detail)."""


def dialogue_line(line: str) -> Row:
    """Read a dialogue on a line: turns between tabs, characters with or without spaces between them."""
    turns = [unspaced(turn.strip()) for turn in line.strip("\r\n").split("\t")]
    turns = [turn for turn in turns if turn]
    if len(turns) < 2:
        raise Unusable("one turn", f"{len(turns)} turns between tabs, a dialogue has two or more")
    return {"turns": turns}


def unspaced(text: str) -> str:
    """Take the spaces out of text whose characters stand apart (为 什 么 → 为什么); between Latin words they stay."""
    pieces = text.split()
    if sum(len(piece) == 1 for piece in pieces) * 2 <= len(pieces):
        return text
    return _BESIDE_CHINESE.sub("", " ".join(pieces))


def pair_line(line: str) -> Row:
    """Read `query<TAB>title` or `query<TAB>title<TAB>label`."""
    columns = [column.strip() for column in line.strip("\r\n").split("\t")]
    if len(columns) not in (2, 3) or not all(columns):
        raise Unusable("no pair", f"{len(columns)} columns between tabs, expected query, title and perhaps a label")
    return dict(zip(("query", "title", "label"), columns, strict=False))


def dureader_rows(row: Row) -> list[Row]:
    """Return a row for every document of a DuReader search question: strong where `is_selected`, else weak.

    All of them were shown for the question; those selected served to answer it.
    """
    documents = row.get("documents")
    if not isinstance(row.get("question"), str) or not isinstance(documents, list):
        raise Unusable("no question", f"needs `question` and `documents`; fields: {', '.join(map(str, row))}")
    found = []
    for number, document in enumerate(documents, start=1):
        if not isinstance(document, dict) or not isinstance(document.get("is_selected"), bool):
            raise Unusable("no selection", f"document {number} needs `title` and `is_selected`")
        label = "strong" if document["is_selected"] else "weak"
        given = row.get("question_id")
        name = {"id": f"{given}.{number}"} if given is not None else {}
        found.append({**name, "query": row["question"], "title": document.get("title"), "label": label})
    return found


def yaml_dialogues(text: str) -> Iterator[tuple[int, Row]]:
    """Yield (line, row) of every list in `conversations` of a YAML file; every value is text."""
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise Unusable("not YAML", f"{where}{getattr(error, 'problem', None) or error}") from None
    for name, node in root.value if isinstance(root, yaml.MappingNode) else ():
        if name.value == "conversations" and isinstance(node, yaml.SequenceNode):
            yield from ((found.start_mark.line + 1, {"turns": _turns(found, text)}) for found in node.value)
            return
    raise Unusable("no conversations", "a YAML file needs `conversations:`, a list of lists of turns")


def _turns(node: yaml.Node, text: str) -> list[str]:
    items = node.value if isinstance(node, yaml.SequenceNode) else []
    # A turn such as 答: 好 reads as a mapping: its own text is what was meant.
    turns = [
        item.value if isinstance(item, yaml.ScalarNode) else text[item.start_mark.index : item.end_mark.index].strip()
        for item in items
    ]
    return [turn for turn in turns if turn.strip()]


def join_turns(turns: Any) -> tuple[str, tuple[tuple[int, str], ...]]:
    """Join dialogue turns by newlines; strings alternate query and response, mappings name their `role`."""
    if not isinstance(turns, list) or not turns:
        raise Unusable("bad turns", "`turns` must be a list of strings or of {role, text}")
    text, segments = "", []
    for number, turn in enumerate(turns):
        role, words = (ROLES[1 + number % 2], turn) if isinstance(turn, str) else _turn(turn, number)
        text += "\n" if text else ""
        segments.append((len(text), role))
        text += " ".join(words.split("\n")).replace("\r", " ")
    return text, tuple(segments)


def _turn(turn: Any, number: int) -> tuple[str, str]:
    role = turn.get("role") if isinstance(turn, dict) else None
    role = _CHAT_ROLES.get(role, role) if isinstance(role, str) else None
    if role not in ROLES or not isinstance(turn.get("text"), str):
        known = ", ".join((*ROLES, *_CHAT_ROLES))
        raise Unusable("bad turns", f"turn {number + 1} needs `text` and a `role` of {known}")
    return role, turn["text"]


def join_pair(row: Row) -> tuple[str, tuple[tuple[int, str], ...]]:
    """Join the `query` and the `title` of a row."""
    for role in ("query", "title"):
        text = row.get(role)
        if not isinstance(text, str) or not text.strip():
            found = "nothing" if text is None else repr(text)
            raise Unusable("no pair", f"needs a query and a title: `{role}` holds {found}")
    return join_turns([{"role": role, "text": row[role]} for role in ("query", "title")])
