"""Labelled text in lines: a token and its tag a line (CoNLL), or text cut into words, with or without their POS.

In: numbered lines. Out: sentences of tokens with BIO, BIOES or BMES tags, and the name of the form they were found in.
Which form it is, the lines themselves tell, and it is said aloud.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.files import Line
from ernie_pipe.finetune.wording import many
from ernie_pipe.text.tags import split_tag

WORD, SPAN = "WORD", "SPAN"
"""The types of what bare letters mark: words where they cover the text, spans where an O stands between."""
_FORMS = (
    "give a token, a space or a tab, and its tag a line; or words set apart by spaces; or words as `word/POS`; "
    "or JSON with `text` and `entities`"
)
_COLUMNS = re.compile(r"(?:(.*)[ \t])?([^ \t]*)", re.DOTALL)
_BARE_TAG = re.compile(r"[A-Za-z][A-Za-z0-9_$.:*+-]*", re.ASCII)
# As the People's Daily has it: a compound's brackets stand around its words, `[中央/n 电台/n]nt`.
_WITH_POS = re.compile(r"\[?(.+)/([A-Za-z]+[0-9]*)(?:\][A-Za-z]*)?", re.ASCII)
_SAMPLE = 200
_LONGEST_MEAN = 4.0
"""Characters in a word, on average: Chinese words have 1.6; a text that is not cut into words has far more a piece."""
_LONGEST_TOKENS = 8.0
"""Characters in a token beside its class, on average: English words have 5, titles and sentences more."""


class Sentence(NamedTuple):
    """Tokens with their tags; `places[i]` is the file and line of token i."""

    where: str
    tokens: list[str]
    tags: list[str]
    places: list[str]


def read_sentences(lines: Sequence[Line], path: str) -> tuple[list[Sentence], str]:
    """Return the sentences of a file and the name of its form; `InputError` names a line that does not fit it."""
    full = [line for _, line in lines if line.strip(" \t")][:_SAMPLE]
    if _is_conll(full):
        found, scheme = whole_tags(list(_conll(lines, path)))
        return found, f"CoNLL, two columns{scheme}"
    pieces = [line.split() for line in full]
    if not any("\t" in line for line in full) and max(map(len, pieces)) > 1:
        if all(_WITH_POS.fullmatch(piece) for line in pieces for piece in line):
            return list(_words(lines, path, pos=True)), "words with their POS after a slash"
        if sum(map(len, (piece for line in pieces for piece in line))) <= _LONGEST_MEAN * sum(map(len, pieces)):
            return list(_words(lines, path, pos=False)), f"words set apart by spaces, their type {WORD}"
    number, line = next((number, line) for number, line in lines if line.strip(" \t"))
    raise InputError(f"{path}:{number}: no tag in {many(len(line.split()), 'columns')}: {_FORMS}")


def _is_conll(lines: Sequence[str]) -> bool:
    """Tell whether lines end with a tag: one of a known scheme in half of them, or some tag in all, of two columns.

    Some tag beside what is far longer than words is the class of a text, in a table.
    """
    # A line may be a wide space alone, which is no line end here, yet no column either.
    columns = [line.split() or [line] for line in lines]
    tagged = sum(_is_legal(row[-1]) for row in columns)
    words = sum(len(row[0]) for row in columns) <= _LONGEST_TOKENS * len(columns)
    return 2 * tagged >= len(lines) or (words and all(len(row) == 2 and _BARE_TAG.fullmatch(row[1]) for row in columns))


def _is_legal(tag: str) -> bool:
    try:
        split_tag(tag)
    except ValueError:
        return False
    return True


def blocks(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Group lines into sentences; a blank line ends one."""
    block: list[Line] = []
    for number, line in [*lines, (0, "")]:
        if line.strip(" \t"):
            block.append((number, line))
        elif block:
            yield block
            block = []


def _conll(lines: Sequence[Line], path: str) -> Iterator[Sentence]:
    for block in blocks(lines):
        places = [f"{path}:{number}" for number, _ in block]
        pairs = [_token_and_tag(line, place) for (_, line), place in zip(block, places, strict=True)]
        yield Sentence(places[0], [token for token, _ in pairs], [tag for _, tag in pairs], places)


def _token_and_tag(line: str, where: str) -> tuple[str, str]:
    # What stands before the last separator is the character, which may be a space or a tab itself.
    token, tag = _COLUMNS.fullmatch(line.rstrip(" \t")).groups()  # type: ignore[union-attr]
    columns = re.split("[ \t]+", (token or "").strip(" \t"))
    if token is None or len(columns) > 1:
        count = 1 if token is None else len(columns) + 1
        raise InputError(f"{where}: {many(count, 'columns')}: write a character, a space or a tab, and its tag")
    return columns[0] or " ", tag


def whole_tags(sentences: Sequence[Sentence]) -> tuple[list[Sentence], str]:
    """Return sentences whose tags all have a type, and a remark where they had none.

    Bare B, M, E, S (or B, I) mark words; with O among them, spans. Tags that are no positions at all, and no O among
    them, are a class each token has, as parts of speech are. `InputError` with its place: a tag that is neither.
    """
    kinds = {tag for sentence in sentences for tag in sentence.tags}
    if kinds <= set("BIMESO") and kinds & set("BIMES"):
        kind = SPAN if "O" in kinds else WORD
        return [_with(s, [tag if tag == "O" else f"{tag}-{kind}" for tag in s.tags]) for s in sentences], (
            f", bare tags, their type {kind}"
        )
    if kinds and not any(map(_is_legal, kinds)) and all(map(_BARE_TAG.fullmatch, kinds)):
        return [_with(s, [f"S-{tag}" for tag in s.tags]) for s in sentences], ", a class for each token"
    for sentence in sentences:
        for tag, where in zip(sentence.tags, sentence.places, strict=True):
            try:
                split_tag(tag)
            except ValueError as error:
                raise InputError(f"{where}: {error}") from None
    return list(sentences), ""


def _with(sentence: Sentence, tags: list[str]) -> Sentence:
    return sentence._replace(tags=tags)


def _words(lines: Sequence[Line], path: str, *, pos: bool) -> Iterator[Sentence]:
    for number, line in lines:
        pieces, where = line.split(), f"{path}:{number}"
        tokens, tags = pieces, [f"S-{WORD}"] * len(pieces)
        if pos:
            found = [_WITH_POS.fullmatch(piece) for piece in pieces]
            for piece, match in zip(pieces, found, strict=True):
                if match is None:
                    raise InputError(f"{where}: `{piece}` is not word/POS, as the words before are")
            tokens = [match[1] for match in found if match]
            tags = [f"S-{match[2]}" for match in found if match]
        if tokens:
            yield Sentence(where, tokens, tags, [where] * len(tokens))


def read_unlabelled(lines: Sequence[Line], path: str | Path) -> list[list[str]] | None:
    """Return the sentences of a file with a token a line, tags or none beside them; None where it is none.

    A column of single characters is one where blank lines end its sentences; else each line is a text of its own.
    """
    full = [line for _, line in lines if line.strip(" \t")]
    if not full:
        return None
    if _is_conll(full[:_SAMPLE]):
        return [[_token_and_tag(line, f"{path}:{number}")[0] for number, line in block] for block in blocks(lines)]
    found = list(blocks(lines))
    if all(len(line.strip(" \t")) == 1 for line in full) and 1 < len(found) < len(full):
        return [[line.strip(" \t") for _, line in block] for block in found]
    return None


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
