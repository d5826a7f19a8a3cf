"""The inventory of connectives: a TSV that users edit → `Inventory`, with errors that name file and line.

Three columns: connective, relation, rules. `但是` opens the second argument; `为了…` opens the first one and nothing
marks the second; `如果…就/那么` opens the first one, and one of the words behind … stands in the second. `/` parts
alternatives. The head of the shipped file, `connectives.tsv`, explains the rules.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ernie_pipe.corpus.storage import open_stream
from ernie_pipe.errors import InputError

SHIPPED = Path(__file__).with_name("connectives.tsv")
# The names of the relations in the shipped file, in the order of their classes; docs/relations.md defines them.
RELATIONS = (
    "result", "reason", "contrast", "concession", "condition", "conjunction", "example", "restatement", "temporal",
    "purpose", "alternative",
)  # fmt: skip
GAP, OR = "…", "/"
_PLACES = ("head", "start", "inside", "comma", "last")
_NAME = re.compile(r"[\w.-]+")
_WORD = re.compile(r"[^\W\d_]+")
_NUMBER = "[0-9０-９一二两三四五六七八九十百千万半几数]"


@dataclass(frozen=True, slots=True)
class Entry:
    """One way in which a connective marks a relation.

    `opens`: its clause is the first argument; `seconds`: words of which one must then stand in the second (none: the
    second argument begins after the next comma). `places`: rules among `head`, `start`, `inside`, `comma`, `last`;
    `unless` matches what must not follow.
    """

    relation: str
    opens: bool = False
    seconds: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()
    unless: re.Pattern[str] | None = None


@dataclass(frozen=True)
class Inventory:
    """Connectives with their entries in the order of the file; `relations` in the order of their classes."""

    entries: Mapping[str, tuple[Entry, ...]]
    relations: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", re.compile(any_of(self.entries)))
        # What must not be left in an argument; those that mark something only before a comma (之后) are everyday words.
        told = [word for word, found in self.entries.items() if any("comma" not in entry.places for entry in found)]
        told = [word for word in told if len(word) > 1]
        object.__setattr__(self, "telling", re.compile(any_of(told) if told else "(?!)"))

    pattern: re.Pattern[str] = None  # type: ignore[assignment]
    telling: re.Pattern[str] = None  # type: ignore[assignment]


def any_of(words: Iterable[str]) -> str:
    """Return a regular expression of any of `words`, the longest first; by first characters, which is faster."""
    rests: dict[str, list[str]] = {}
    for word in sorted(words, key=lambda word: (-len(word), word)):
        rests.setdefault(word[0], []).append(re.escape(word[1:]))
    return "|".join(f"{re.escape(first)}(?:{'|'.join(rest)})" for first, rest in sorted(rests.items()))


def read_text(path: str = "") -> str:
    """Return the text of an inventory file (empty: the shipped one); `InputError` when it cannot be read."""
    try:
        with open_stream(path or str(SHIPPED)) as stream:
            data = stream.read()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: --inventory takes a TSV of connectives") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}: save it as UTF-8") from None


@lru_cache(maxsize=4)
def parse(text: str, name: str = "connectives.tsv") -> Inventory:
    """Read the text of an inventory; `InputError` says which line of `name` is wrong, and how."""
    entries: dict[str, list[Entry]] = {}
    seen: dict[tuple[str, Entry], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            for word, entry in _read_line(line):
                if seen.setdefault((word, entry), number) != number:
                    raise ValueError(f"`{word}` stands in line {seen[word, entry]} with the same rules already")
                entries.setdefault(word, []).append(entry)
        except ValueError as error:
            raise InputError(f"{name}, line {number}: {error}") from None
    if not entries:
        raise InputError(f"{name}: holds no connective: one a line, `connective<tab>relation<tab>rules`")
    found = {entry.relation for listed in entries.values() for entry in listed}
    ordered = [*(name for name in RELATIONS if name in found), *sorted(found - set(RELATIONS))]
    return Inventory({word: tuple(listed) for word, listed in entries.items()}, tuple(ordered))


def _read_line(line: str) -> list[tuple[str, Entry]]:
    """Return the entries of one line: as many as its first half has alternatives."""
    columns = [column.strip() for column in line.split("\t")]
    if len(columns) not in (2, 3):
        raise ValueError(
            f"{len(columns)} columns, expected `connective<tab>relation<tab>rules` (rules may be left out)"
        )
    connective, relation, rules = (*columns, "")[:3]
    if not _NAME.fullmatch(relation):
        raise ValueError(f"`{relation}` is no name of a relation: letters, digits, `_`, `-` and `.` only")
    if connective.count(GAP) > 1:
        raise ValueError(f"`{connective}` has more than one {GAP}: a connective has one half or two")
    first, gap, second = connective.partition(GAP)
    firsts, seconds = first.split(OR), frozenset(second.split(OR)) if second else frozenset()
    bad = next((word for word in (*firsts, *seconds) if not _WORD.fullmatch(word)), None)
    if bad is not None:
        raise ValueError(f"`{bad}` in `{connective}` is no word: letters only, {OR} between alternatives")
    places, unless = _read_rules(rules)
    return [(word, Entry(relation, bool(gap), seconds, places, unless)) for word in firsts]


def _read_rules(rules: str) -> tuple[frozenset[str], re.Pattern[str] | None]:
    places, unless = set(), None
    for rule in rules.split():
        name, equals, value = rule.partition("=")
        if name == "not" and value:
            wanted = [_NUMBER if word == "#" else re.escape(word) for word in value.split(OR) if word]
            unless = re.compile("|".join(wanted))
        elif equals or name not in _PLACES:
            raise ValueError(f"unknown rule `{rule}`; known: {', '.join(_PLACES)}, not=A/B")
        else:
            places.add(name)
    if {"head", "inside"} <= places:
        raise ValueError("`head` and `inside` exclude each other: no place is both")
    return frozenset(places), unless
