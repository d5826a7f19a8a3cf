"""Lexicon files → one table of typed entities and phrases, with errors that name file and line.

What `--lexicon` takes, and what is read (all of it UTF-8, line by line):

    FILE                    surface <tab> type [<tab> weight]; the type may be PHRASE
    TYPE=FILE               one surface a line, optionally with a count after a tab (THUOCL's form)
    conll=FILE              two-column labelled text: its spans, by the table `labelled.LABELS`
    conll:A:TYPE,B:O=FILE   the same with labels of one's own; O leaves a label out
"""

import difflib
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ernie_pipe.errors import InputError
from ernie_pipe.text.labelled import LABELS, LEAVE_OUT, count_entities
from ernie_pipe.text.lexicon import ENTITY_TYPES, PHRASE

log = logging.getLogger(__name__)
CONLL = "conll"
# A surface, its type and weight.
Entry = tuple[str, str, float]
Lines = Iterator[tuple[int, str]]


@dataclass
class LexiconTable:
    """What lexicon files hold: `entities` (surface → type) and `phrases`; a surface may be both.

    `counts`, for the record: `files` (the entries of each), and `entries` = `entities` + `phrases` +
    `one_character` (left out: they match everywhere) + `duplicates` (given before as the same) + `retyped` (an
    entity that had another type before). `surfaces_of_two_types` tells how many surfaces those are,
    `unread_weights` how many entries of lists had a count that is no number (taken as 1).
    """

    entities: dict[str, str] = field(default_factory=dict)
    phrases: set[str] = field(default_factory=set)
    counts: dict[str, Any] = field(default_factory=dict)


def read_lexicons(arguments: Iterable[str], types: Iterable[str] = ENTITY_TYPES) -> LexiconTable:
    """Read the files of `--lexicon` into one table; the module's head lists the forms.

    An entity given with several types keeps the one of the highest weight (the count of a list, the number of
    occurrences in labelled text, else 1), the first at a tie. Empty lines and those that start with `# ` are
    comments. `InputError` names file and line of anything else.
    """
    known = {kind: kind for kind in (*types, PHRASE)}
    table = LexiconTable()
    counts = Counter(dict.fromkeys(("entries", "one_character", "duplicates", "retyped", "unread_weights"), 0))
    weights: dict[str, float] = {}
    of_two_types: set[str] = set()
    files: Counter[str] = Counter()
    for argument in arguments:
        before = counts["entries"]
        form, path = _form_and_path(argument, known)
        _add(_entries(form, path, known, counts), table, weights, counts, of_two_types)
        if counts["entries"] == before:
            raise InputError(f"{path}: holds no entries: it is empty or has only comments")
        files[argument] += counts["entries"] - before
    table.counts = {"files": dict(files), **counts, "surfaces_of_two_types": len(of_two_types)}
    table.counts |= {"entities": len(table.entities), "phrases": len(table.phrases)}
    told = "; ".join(_told(table.counts))
    if told:
        log.info("lexicon: %s", told)
    return table


def _told(counts: Mapping[str, Any]) -> list[str]:
    """Say what was left out or settled."""
    words = {
        "one_character": "of one character left out, for they match everywhere",
        "duplicates": "given more than once",
        "surfaces_of_two_types": "given with two types: the heavier one holds",
        "unread_weights": "with a count that is no number, taken as 1",
    }
    of = f"of {counts['entries']:,} entries "
    return [
        f"{of if not at else ''}{counts[name]:,} {words[name]}" for at, name in enumerate(filter(counts.get, words))
    ]


def _add(
    entries: Iterable[Entry],
    table: LexiconTable,
    weights: dict[str, float],
    counts: Counter[str],
    of_two_types: set[str],
) -> None:
    """Put entries into the table. `weights` holds those of its entities that are not 1: most files have none."""
    entities, phrases = table.entities, table.phrases
    number = 0
    for number, (surface, kind, weight) in enumerate(entries, start=1):  # noqa: B007
        if len(surface) < 2:
            counts["one_character"] += 1
        elif kind == PHRASE:
            if surface in phrases:
                counts["duplicates"] += 1
            phrases.add(surface)
        elif surface not in entities:
            entities[surface] = kind
            if weight != 1.0:
                weights[surface] = weight
        else:
            if kind == entities[surface]:
                counts["duplicates"] += 1
            else:
                counts["retyped"] += 1
                of_two_types.add(surface)
            if weight > weights.get(surface, 1.0):
                entities[surface], weights[surface] = kind, weight
    counts["entries"] += number


def _form_and_path(argument: str, known: Mapping[str, str]) -> tuple[str, str]:
    """Return what stands before the `=` (empty for a plain file, even if its name has a `=`) and the file."""
    form, _, path = argument.partition("=")
    if path and (form in known or form.partition(":")[0] == CONLL):
        return form, path
    if path and re.fullmatch("[A-Z][A-Z0-9_]*", form) and not Path(argument).exists():
        raise InputError(f"--lexicon {argument}: unknown type {form!r}{_nearest(form, known)}")
    return "", argument


def _entries(form: str, path: str, known: Mapping[str, str], counts: Counter[str]) -> Iterator[Entry]:
    if form.partition(":")[0] == CONLL:
        found = count_entities(numbered_lines(path, comments=False), path, _label_mapping(form, known))
        return ((surface, kind, float(number)) for (surface, kind), number in found.items())
    return _list(path, known[form], known, counts) if form else _tsv(path, known)


def _tsv(path: str, known: Mapping[str, str]) -> Iterator[Entry]:
    for number, line in numbered_lines(path):
        fields = line.split("\t")
        surface = fields[0].strip()
        if len(fields) not in (2, 3) or not surface:
            raise InputError(
                f"{path}, line {number}: expected `surface<TAB>type` and an optional weight, found {line[:60]!r} "
                "(a plain list of surfaces is given as `TYPE=FILE`)"
            )
        kind = known.get(fields[1].strip())
        if kind is None:
            raise InputError(
                f"{path}, line {number}: unknown type {fields[1].strip()!r}{_nearest(fields[1].strip(), known)} "
                "(a list of surfaces with counts is given as `TYPE=FILE`)"
            )
        weight = 1.0 if len(fields) == 2 else _number(fields[2])
        if weight is None:
            raise InputError(f"{path}, line {number}: the weight {fields[2]!r} is no number")
        yield surface, kind, weight


def _list(path: str, kind: str, known: Mapping[str, str], counts: Counter[str]) -> Iterator[Entry]:
    for number, line in numbered_lines(path):
        fields = line.split("\t")
        surface = fields[0].strip()
        if len(fields) > 2 or not surface or (len(fields) == 2 and fields[1].strip() in known):
            raise InputError(
                f"{path}, line {number}: expected a surface and an optional count after a tab, found {line[:60]!r} "
                f"(a TSV with types is given without `{kind}=`)"
            )
        weight = 1.0 if len(fields) == 1 else _number(fields[1])
        counts["unread_weights"] += weight is None
        yield surface, kind, 1.0 if weight is None else weight


def _number(field: str) -> float | None:
    try:
        number = float(field)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _label_mapping(form: str, known: Mapping[str, str]) -> dict[str, str]:
    """Return label in capitals → type, for `conll` or `conll:LABEL:TYPE,LABEL:TYPE`."""
    mapping = {label: kind for label, kind in LABELS.items() if kind in known}
    mapping |= {kind.upper(): kind for kind in known}
    for pair in filter(None, form.partition(":")[2].split(",")):
        label, _, kind = pair.rpartition(":")
        if not label or (kind not in known and kind != LEAVE_OUT):
            raise InputError(
                f"--lexicon {form}=…: expected `{CONLL}:LABEL:TYPE,LABEL:TYPE=FILE`, found {pair!r}; "
                f"the types are {', '.join(known)}, and {LEAVE_OUT} to leave a label out"
            )
        mapping[label.upper()] = kind
    return mapping


def numbered_lines(path: str, *, comments: bool = True) -> Lines:
    """Yield (number, line); with `comments`, without those and without empty lines."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if "\0" in line:
                    raise InputError(f"{path}, line {number}: a NUL character: this is no UTF-8 text file")
                if not comments or (line.strip() and not line.startswith("# ")):
                    yield number, line.rstrip("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise InputError(_encoding_error(path)) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _encoding_error(path: str) -> str:
    """Say where a file is not UTF-8 and how to convert it."""
    data = Path(path).read_bytes()
    at = _first_wrong_byte(data, "utf-8-sig")
    line = len(data[:at].splitlines()) + (data[:at].endswith((b"\n", b"\r")) or not at)
    if data.startswith(b"\x1f\x8b"):
        return f"{path}: is compressed: unpack it with `gunzip`"
    like = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "GB18030"
    if b"\0" in data and like == "GB18030":
        like = "UTF-16LE" if data[1::2].count(0) > data[::2].count(0) else "UTF-16BE"
    known = _first_wrong_byte(data, like) is None
    how = f"; it looks like {like}: `iconv -f {like} -t UTF-8 {path} > NEW`" if known else ": save it as UTF-8"
    return f"{path}, line {line}: not UTF-8 (byte {at}){how}"


def _first_wrong_byte(data: bytes, encoding: str) -> int | None:
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        return error.start
    return None


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.52)
    return f"; did you mean `{close[0]}`?" if close else f"; known: {', '.join(known)}"
