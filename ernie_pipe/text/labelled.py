"""Two-column labelled text (BIO, BIOES, BMES) → the named entities in it, counted.

One token and its label a line, a space or tab between; a blank line ends a sentence. Of more columns the first and
the last are read.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from ernie_pipe.errors import InputError

# Labels of the usual Chinese sets (MSRA, OntoNotes, Resume, CLUENER, Weibo, People's Daily) in our types.
LABELS = {
    "PER": "PER", "PERSON": "PER", "NAME": "PER", "NR": "PER", "PER.NAM": "PER",
    "LOC": "LOC", "LOCATION": "LOC", "GPE": "LOC", "NS": "LOC", "FAC": "LOC", "ADDRESS": "LOC", "SCENE": "LOC",
    "LOC.NAM": "LOC", "GPE.NAM": "LOC",
    "ORG": "ORG", "ORGANIZATION": "ORG", "NT": "ORG", "COMPANY": "ORG", "GOVERNMENT": "ORG", "ORGANISATION": "ORG",
    "ORG.NAM": "ORG",
    "WORK": "WORK", "WORK_OF_ART": "WORK", "BOOK": "WORK", "MOVIE": "WORK", "GAME": "WORK",
    "TIME": "TIME", "DATE": "TIME", "T": "TIME", "TERM": "TERM", "MISC": "MISC", "NZ": "MISC",
}  # fmt: skip
LEAVE_OUT = "O"


def count_entities(lines: Iterable[tuple[int, str]], path: str, mapping: Mapping[str, str]) -> Counter[tuple[str, str]]:
    """Count the (surface, type) of the labelled spans of numbered lines.

    `mapping` gives the type of a label in capitals, `LEAVE_OUT` for one that is not wanted. An inner label that
    continues nothing begins a new span. `InputError` names file, line and label of anything that cannot be read.
    """
    return Counter((_joined(tokens), kind) for tokens, kind in _spans(lines, path, mapping) if kind != LEAVE_OUT)


def _spans(lines: Iterable[tuple[int, str]], path: str, mapping: Mapping[str, str]) -> Iterator[tuple[list[str], str]]:
    tokens: list[str] = []
    open_label = ""
    types: dict[str, str] = {}
    for number, line in lines:
        columns = line.split()
        label = columns[-1] if columns else "O"
        position, dash, name = label.partition("-")
        if label != "O":
            if not dash or position not in ("B", "I", "M", "E", "S") or not name:
                raise InputError(
                    f"{path}, line {number}: {label!r} is no label: expected O, B-TYPE, I-TYPE, M-, E- or S-"
                )
            if name not in types:
                types[name] = _type_of(name, f"{path}, line {number}", mapping)
        if tokens and (position in ("O", "B", "S") or name != open_label):
            yield tokens, types[open_label]
            tokens = []
        if label != "O":
            tokens.append(columns[0] if len(columns) > 1 else " ")
            open_label = name
        if tokens and position in ("E", "S"):
            yield tokens, types[open_label]
            tokens = []
    if tokens:
        yield tokens, types[open_label]


def _type_of(label: str, where: str, mapping: Mapping[str, str]) -> str:
    kind = mapping.get(label.upper())
    if kind is None:
        raise InputError(
            f"{where}: no type is known for the label {label!r}: say `conll:{label}:TYPE=FILE` "
            f"(`conll:{label}:{LEAVE_OUT}=FILE` leaves it out; more than one: `conll:A:TYPE,B:TYPE=FILE`)"
        )
    return kind


def _joined(tokens: list[str]) -> str:
    """Write tokens as running text: a space between two Latin words, none between characters."""
    text = tokens[0]
    for previous, token in pairwise(tokens):
        latin = previous[-1:].isascii() and token[:1].isascii() and previous[-1:].isalnum() and token[:1].isalnum()
        text += f" {token}" if latin and len(previous) + len(token) > 2 else token
    return text
