"""Lines of a click log → what was shown for a query, at which rank, and whether it was clicked.

In: a line of columns between tabs (numbered from 1) or a JSON object (fields by name). Out: `Shown`; `Unusable` says
why a line is none.
"""

import json
import re
from dataclasses import dataclass

from ernie_pipe.text.formats import Unusable

# A layout's `clicked` where every line is a click.
ALL = "all"
_YES, _NO = {"1", "true", "yes", "y"}, {"0", "", "false", "no", "n", "none", "null"}
_BRACKETS = re.compile(r"^\[(.*)\]$")


@dataclass(frozen=True)
class Layout:
    """Where a line has what: numbers of columns from 1, or names of JSON fields; "" where there is none."""

    query: str
    title: str
    rank: str = ""
    clicked: str = ALL
    session: str = ""

    @property
    def is_columns(self) -> bool:
        """Whether lines are columns between tabs: every place is a number."""
        return all(place.isdigit() for place in self._places())

    def _places(self) -> list[str]:
        named = (self.query, self.title, self.rank, self.session)
        return [place for place in (*named, "" if self.clicked == ALL else self.clicked) if place]

    def wrong(self) -> str:
        """Return what is wrong with the layout, or nothing."""
        numbers = [place for place in self._places() if place.isdigit()]
        if numbers and not self.is_columns:
            return "columns are all numbers (tabs) or all names (JSON lines), not both"
        return "columns are counted from 1" if "0" in numbers else ""


@dataclass(frozen=True)
class Shown:
    """A title (or address) that was shown for a query; `rank` from the top, 0 where the log has none."""

    session: str
    query: str
    title: str
    rank: int
    clicked: bool


def parse(line: str, layout: Layout) -> Shown:
    """Read a line of a log."""
    fields = _columns(line) if layout.is_columns else _fields(line)
    query = _BRACKETS.sub(r"\1", _get(fields, layout.query)).strip()
    title = _get(fields, layout.title)
    if not query or not title:
        raise Unusable("no pair", f"needs a query and a title: {query!r} and {title!r}")
    return Shown(
        session=_get(fields, layout.session) if layout.session else "",
        query=query,
        title=title,
        rank=_rank(_get(fields, layout.rank)) if layout.rank else 0,
        clicked=layout.clicked == ALL or _is_yes(_get(fields, layout.clicked)),
    )


def _columns(line: str) -> dict[str, str]:
    return {str(number): column for number, column in enumerate(line.split("\t"), start=1)}


def _fields(line: str) -> dict[str, str]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Unusable("not JSON", str(error)) from None
    if not isinstance(row, dict):
        raise Unusable("not a JSON object", f"found a {type(row).__name__}")
    return {name: "" if value is None else str(value) for name, value in row.items()}


def _get(fields: dict[str, str], place: str) -> str:
    if place not in fields:
        raise Unusable("no such column", f"{place}; there are {', '.join(fields)}")
    return " ".join(fields[place].split())


def _rank(value: str) -> int:
    if not value.isdecimal():
        raise Unusable("no rank", f"{value!r} is no whole number")
    return int(value)


def _is_yes(value: str) -> bool:
    lowered = value.lower()
    if lowered not in _YES | _NO:
        raise Unusable("clicked or not", f"{value!r}, expected 1 or 0, true or false")
    return lowered in _YES
