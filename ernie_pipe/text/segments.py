"""Segments of documents (dialogue turns, a query and its title) as tokens: their places, and labelled pairs that fit.

In: where segments begin, in characters. Out: where they begin in tokens, by document and by passage.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ernie_pipe.text.encode import Encoding
from ernie_pipe.text.spans import Joined

# More segments than ERNIE 2.0's A, B, C are a conversation: it becomes several passages, and is not cut to fit.
MOST_IN_A_PAIR = 3


class Counts(Protocol):
    """What is counted here."""

    segments: int
    segments_without_token: int
    trimmed_documents: int
    trimmed_tokens: int
    labelled_in_parts: int


class Segments:
    """The segments of a batch of documents: (character, role) each, and the documents' labels."""

    def __init__(self, given: Sequence[list[tuple[int, str]]], labels: Sequence[str | None], joined: Joined) -> None:
        self._roles = {number: [role for _, role in found] for number, found in enumerate(given) if found}
        self._characters = {
            number: np.array([start for start, _ in given[number]] + [joined.ends[number] - joined.starts[number]])
            + joined.starts[number]
            for number in self._roles
        }
        self._labels = labels
        self._places: dict[int, np.ndarray] = {}

    def fit(
        self, encoding: Encoding, tokens_before: np.ndarray, max_tokens: int, counts: Counts
    ) -> tuple[Encoding, np.ndarray]:
        """Leave out what keeps a labelled pair from being one passage; return the tokens, and those before characters.

        A label is about the whole: a labelled document of two or three segments is never cut into passages. The
        ends of its segments go, the longer ones' first, until `[CLS] A [SEP] B [SEP]` has `max_tokens`.
        """
        kept = np.ones(0, dtype=bool)
        for number, characters in self._characters.items():
            sizes = np.diff(tokens_before[characters])
            room = max_tokens - 1 - len(sizes)
            if self._labels[number] is None or not 2 <= len(sizes) <= MOST_IN_A_PAIR or sizes.sum() <= room:
                continue
            kept = kept if len(kept) else np.ones(len(encoding.ids), dtype=bool)
            fair = fair_sizes(sizes, room)
            for place, size, left in zip(tokens_before[characters], sizes, fair, strict=False):
                kept[place + left : place + size] = False
            counts.trimmed_documents += 1
        if not len(kept):
            return encoding, tokens_before
        counts.trimmed_tokens += int(np.count_nonzero(~kept))
        before = np.append(0, np.cumsum(kept, dtype=np.int32)).astype(np.int32)
        return Encoding(encoding.ids[kept], encoding.starts[kept], encoding.ends[kept]), before[tokens_before]

    def place(self, tokens_before: np.ndarray, counts: Counts) -> list[int]:
        """Find the first token of every segment; those without a token are counted and left out.

        Returns the first tokens, rising.
        """
        for number, characters in self._characters.items():
            places = tokens_before[characters]
            full = np.diff(places) > 0
            counts.segments += len(full)
            counts.segments_without_token += int(np.count_nonzero(~full))
            self._places[number] = places[:-1][full]
            self._roles[number] = [role for role, one in zip(self._roles[number], full, strict=True) if one]
        return [place for places in self._places.values() for place in places.tolist()]

    def of_passages(self, borders: np.ndarray, owners: np.ndarray, counts: Counts) -> list[list[tuple[int, str]]]:
        """Return the segments that reach into each passage, with starts from its first token."""
        found: list[list[tuple[int, str]]] = [[] for _ in owners]
        for document, places in self._places.items():
            roles = self._roles[document]
            passages = np.arange(*np.searchsorted(owners, [document, document + 1]))
            counts.labelled_in_parts += len(passages) > 1 and self._labels[document] is not None
            # Those up to the first token end at `begun`, those before the last at `reached`.
            begun = np.searchsorted(places, borders[passages], side="right").tolist()
            reached = np.searchsorted(places, borders[passages + 1]).tolist()
            for passage, after, end in zip(passages.tolist(), begun, reached, strict=True):
                first = [(0, roles[after - 1])] if after else []
                rest = (places[after:end] - borders[passage]).tolist()
                found[passage] = [*first, *zip(rest, roles[after:end], strict=True)]
        return found


def fair_sizes(sizes: np.ndarray, room: int) -> np.ndarray:
    """Return `sizes` cut to sum to at most `room`: the longest are cut to one length, the first ones to one more."""
    ordered = np.sort(sizes)
    # What each may have, were it and all longer ones cut alike.
    shares = (room - np.append(0, np.cumsum(ordered)[:-1])) // np.arange(len(sizes), 0, -1)
    if not (shares < ordered).any():
        return sizes
    most = int(shares[shares < ordered][0])
    fair = np.minimum(sizes, most)
    fair[np.flatnonzero(sizes > most)[: room - int(fair.sum())]] += 1
    return fair
