"""Lexicon files → one table surface → type, with errors that name file and line."""

from collections.abc import Iterable
from pathlib import Path

from ernie_pipe.errors import InputError
from ernie_pipe.text.lexicon import ENTITY_TYPES, PHRASE


def read_tsv(paths: Iterable[str], types: Iterable[str] = ENTITY_TYPES) -> dict[str, str]:
    """Read lexicon files (surface, type, optional weight; tab between) into surface → type.

    A surface with several types keeps the one with the highest weight, the first at a tie. Lines that are
    empty or start with `# ` are comments. `InputError` names file and line of anything else.
    """
    known = {*types, PHRASE}
    found: dict[str, tuple[float, str]] = {}
    for path in paths:
        for number, line in enumerate(_lines(path), start=1):
            if not line.strip() or line.startswith("# "):
                continue
            surface, kind, weight = _parse(line, f"{path}, line {number}", known)
            if surface not in found or weight > found[surface][0]:
                found[surface] = (weight, kind)
    return {surface: kind for surface, (_, kind) in found.items()}


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such lexicon file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}): save the lexicon as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _parse(line: str, where: str, known: set[str]) -> tuple[str, str, float]:
    fields = line.split("\t")
    if len(fields) not in (2, 3) or not fields[0].strip():
        raise InputError(f"{where}: expected `surface<TAB>type` and an optional weight, found {line[:60]!r}")
    surface, kind = fields[0].strip(), fields[1].strip()
    if kind not in known:
        raise InputError(f"{where}: unknown type {kind!r}; known: {', '.join(sorted(known))}")
    try:
        return surface, kind, float(fields[2]) if len(fields) == 3 else 1.0
    except ValueError:
        raise InputError(f"{where}: the weight {fields[2]!r} is no number") from None
