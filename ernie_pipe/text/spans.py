"""Spans over a batch of texts: many documents as one array of code points, so that work is done once for all."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# No sentence, word, phrase or entity reaches over it, and every engine and pattern knows it.
SEPARATOR = "\n"
# Units longer than this share one place in a histogram of lengths.
LONGEST_COUNTED = 32


def code_points(text: str) -> np.ndarray:
    """Return the code points of `text` (uint32, one a character)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def table_of(codes: Sequence[int]) -> np.ndarray:
    """Return a bool a code point: whether it is among `codes`."""
    table = np.zeros(0x110000, dtype=bool)
    table[list(codes)] = True
    return table


IS_SPACE = table_of([code for code in range(0x3001) if chr(code).isspace()])


@dataclass(frozen=True)
class Spans:
    """Spans of D documents: those of document d are `bounds[offsets[d]:offsets[d + 1]]`.

    `bounds` (int32, n × 2) are (start, end) in characters of the document's own text, sorted by start.
    """

    bounds: np.ndarray
    offsets: np.ndarray

    def of(self, document: int) -> np.ndarray:
        """Return the (start, end) of one document."""
        return self.bounds[self.offsets[document] : self.offsets[document + 1]]

    def lengths(self) -> np.ndarray:
        """Return the length of every span in characters."""
        return self.bounds[:, 1] - self.bounds[:, 0]


@dataclass(frozen=True)
class Places:
    """Single characters of D documents: those of document d are `at[offsets[d]:offsets[d + 1]]` (int32, sorted)."""

    at: np.ndarray
    offsets: np.ndarray

    def of(self, document: int) -> np.ndarray:
        """Return those of one document."""
        return self.at[self.offsets[document] : self.offsets[document + 1]]


class Joined:
    """Texts joined by `SEPARATOR`: `text`, its `codes`, and (D) `starts` and `ends` of the documents in it."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.text = SEPARATOR.join(texts)
        self.codes = code_points(self.text)
        sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        self.ends = np.cumsum(sizes) + np.arange(len(texts))
        self.starts = self.ends - sizes

    def offsets(self, starts: np.ndarray) -> np.ndarray:
        """Return (int32, D + 1) how many of the sorted `starts` lie before each document, and in all."""
        before = np.searchsorted(starts, self.starts)
        return np.append(before, len(starts)).astype(np.int32)

    def spans(self, starts: np.ndarray, ends: np.ndarray) -> Spans:
        """Return spans of the joined text, sorted by start, as spans of the documents."""
        offsets = self.offsets(starts)
        shift = np.repeat(self.starts, np.diff(offsets))
        bounds = np.empty((len(starts), 2), dtype=np.int32)
        bounds[:, 0], bounds[:, 1] = starts - shift, ends - shift
        return Spans(bounds, offsets)

    def shifted(self, spans: Spans) -> tuple[np.ndarray, np.ndarray]:
        """Return the starts and ends, in the joined text, of spans of the documents."""
        shift = np.repeat(self.starts, np.diff(spans.offsets))
        return spans.bounds[:, 0] + shift, spans.bounds[:, 1] + shift

    def shifted_places(self, places: Places) -> np.ndarray:
        """Return where, in the joined text, places of the documents are."""
        return places.at + np.repeat(self.starts, np.diff(places.offsets))


def histogram(lengths: np.ndarray) -> Counter[str]:
    """Return how many units have each length; those over `LONGEST_COUNTED` together."""
    found = np.bincount(np.minimum(lengths, LONGEST_COUNTED + 1))
    names = (f">{LONGEST_COUNTED}" if length > LONGEST_COUNTED else str(length) for length in range(len(found)))
    return Counter({name: count for name, count in zip(names, found.tolist(), strict=True) if count})
