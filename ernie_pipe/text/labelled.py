"""Two-column labelled text (BIO, BIOES, BMES) → the named entities in it, counted.

One token and its label a line, a space or tab between; a blank line ends a sentence. Of more columns the first and
the last are read.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from ernie_pipe.errors import InputError
from ernie_pipe.text.tags import split_tag, to_spans

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
    tags: list[str] = []
    types: dict[str, str] = {}
    for number, line in itertools.chain(lines, [(0, "")]):
        columns = line.split()
        if not columns:
            yield from ((tokens[start:end], types[name]) for start, end, name in to_spans(tags)[0])
            tokens, tags = [], []
            continue
        try:
            _, name = split_tag(columns[-1])
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
        if name and name not in types:
            types[name] = _type_of(name, f"{path}, line {number}", mapping)
        tokens.append(columns[0] if len(columns) > 1 else " ")
        tags.append(columns[-1])


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
    for previous, token in itertools.pairwise(tokens):
        latin = previous[-1:].isascii() and token[:1].isascii() and previous[-1:].isalnum() and token[:1].isalnum()
        text += f" {token}" if latin and len(previous) + len(token) > 2 else token
    return text
