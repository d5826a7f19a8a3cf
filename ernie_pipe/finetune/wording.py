"""Numbers and tables as people read them: one or several things, columns of a terminal."""

import unicodedata


def many(count: int, things: str, one: str = "") -> str:
    """Return a count with its noun, `2 texts` or `1 text`; `one` is a singular that is not `things` without its s."""
    return f"{count} {(one or things.removesuffix('s')) if count == 1 else things}"


def width(text: str) -> int:
    """Return the terminal columns that a text takes: Chinese has two a character, accents and joiners none."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def left(text: str, columns: int) -> str:
    """Return `text` filled up with spaces on its right to so many terminal columns."""
    return text + " " * (columns - width(text))


def right(text: str, columns: int) -> str:
    """Return `text` filled up with spaces on its left to so many terminal columns."""
    return " " * (columns - width(text)) + text
