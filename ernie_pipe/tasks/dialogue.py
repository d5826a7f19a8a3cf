"""Dialogue: are these turns one conversation, or is one from elsewhere? (ERNIE 1.0's dialogue language model)"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from pydantic import Field

from ernie_pipe import draws
from ernie_pipe.config import Settings
from ernie_pipe.corpus.reader import Eligibility, Passages
from ernie_pipe.tasks.base import Example, Task
from ernie_pipe.tasks.candidates import Kept, around, nearly_equal, role_bits, spread

REAL, FAKE = range(2)
ATTEMPTS = 8
_POOL_PASSAGES, _POOL_TURNS, _LIKE = 8192, 1 << 16, 256
_SPEAKERS = role_bits("query", "response")
# Where the turns of a passage begin and the last one ends, and who speaks; passage, first token and end of a turn.
Turns = tuple[list[int], list[int]]
Place = tuple[int, int, int]


class DialogueSettings(Settings):
    """Settings of `dialogue`."""

    turns: int = Field(3, ge=2, le=4, description="turns of a window; the paper has 3, 2 serves single replies")
    fake: float = Field(0.5, gt=0, lt=1, description="share of windows in which a turn is replaced")


@dataclass(frozen=True)
class Pool:
    """Turns to draw from: `keys` (rising) of (role, tokens); `passages` and `numbers`: where they stand."""

    keys: np.ndarray
    passages: np.ndarray
    numbers: np.ndarray


class Dialogue(Task):
    """Tell a real window of turns (0) from a fake (1), in which the query or the response is a random sentence.

    Teaches: what follows from what in a conversation. With `knowledge_masking.other_tasks` (its default) words are
    hidden in the same windows, as in the paper: both losses are of one sequence.
    Input: three consecutive turns of both speakers, `[CLS] Q [SEP] R [SEP] Q [SEP]`, QRR or QQR; token types by
    role (ERNIE 1.0's dialogue embedding): 0 for whoever speaks first in the window, 1 for the other one; labels (2).
    A window may begin with any turn, so strictly alternating speakers give QRQ alone, twice a turn: as query,
    response, query and as response, query, response; QRR and QQR need data in which someone speaks twice.
    Honest labels: whatever the label, a speaker, one of that one's turns and a turn to replace it are drawn, the
    replacement of the same role from another dialogue and of the same length where there is one; where lengths
    differ, the turn that is shown is cut to one token less than the shorter of both, real or fake. A replacement
    that stands in this dialogue (a copy, a stock phrase) or is nearly the turn itself is drawn again (8 times; if
    all fail the window stays real).
    Source: Sun et al. 2019 (ERNIE), section 3.2.2 of the arXiv version (dialogue language model). How often a window
    is fake is not published: `fake` is 0.5 here; never in the released code.
    Neighbours: `ir_relevance`, `sentence_distance`.
    """

    name: ClassVar[str] = "dialogue"
    Settings: ClassVar[type[Settings]] = DialogueSettings
    needs: ClassVar[str] = "passages with turns of both roles query/response, as many as tasks.dialogue.turns"

    def __init__(self, settings: DialogueSettings) -> None:
        super().__init__(settings)
        self.parts = settings.turns  # type: ignore[misc]
        self._pools = Kept(self._pool)

    @property
    def classes(self) -> int:
        return 2

    def eligible(self, passages: Passages | Eligibility) -> np.ndarray:
        """Both speakers and turns enough: then some window has both, for somewhere the speaker changes."""
        if passages.documents < 2:
            return np.zeros(len(passages), dtype=bool)
        turns = self.settings.turns
        return (passages.roles == _SPEAKERS) & (passages.segment_counts >= turns) & (passages.tokens >= 2 * turns - 1)

    def _pool(self, passages: Passages) -> Pool:
        found = []
        for passage in spread(passages, self.eligible, _POOL_PASSAGES).tolist():
            starts, roles = passages.segments(passage)
            sizes = np.diff(np.append(starts, passages.tokens[passage]).astype(np.int64))
            number = np.arange(len(roles))
            found.append(np.stack([_key(roles, sizes), np.full(len(roles), passage), number]))
        turns = np.concatenate(found, axis=1)
        turns = turns[:, :: -(-turns.shape[1] // _POOL_TURNS)]
        keys, where, numbers = turns[:, np.argsort(turns[0], kind="stable")]
        return Pool(keys, where, numbers)

    def examples(self, passages: Passages, anchors: np.ndarray, keys: np.ndarray) -> list[Example]:
        """Draw windows, a turn of each and a replacement, then whether the window is real."""
        spoken = [_turns(passages, anchor) for anchor in anchors.tolist()]
        streams = [draws.uniform(keys, stream).tolist() for stream in range(3)]
        windows = [_window(of[1], self.settings.turns, *drawn) for of, *drawn in zip(spoken, *streams, strict=True)]
        replaced = self._replacements(passages, anchors, spoken, [first + place for first, place in windows], keys)
        fakes = draws.uniform(keys, 3) < self.settings.fake
        rows = zip(anchors.tolist(), spoken, windows, replaced, fakes.tolist(), strict=True)
        return [self._example(passages, *row) for row in rows]

    def _example(
        self, passages: Passages, anchor: int, spoken: Turns, window: tuple[int, int], other: Place | None, fake: bool
    ) -> Example:
        """Build the example of a window (its first turn, and which one of it is drawn), real or fake."""
        (borders, roles), (first, place) = spoken, window
        turns = self.settings.turns
        sizes = [borders[first + number + 1] - borders[first + number] for number in range(turns)]
        if other is not None and other[2] - other[1] != sizes[place]:
            sizes[place] = max(1, min(other[2] - other[1], sizes[place]) - 1)
        room = borders[-1] - turns + 1
        for _ in range(sum(sizes) - room):
            sizes[sizes.index(max(sizes))] -= 1
        ids, bits, _ = passages.get(anchor)
        shown = [
            (ids[start : start + size], bits[start : start + size])
            for start, size in zip(borders[first:], sizes, strict=False)
        ]
        is_fake = fake and other is not None
        if is_fake:
            passage, start, _ = other  # type: ignore[misc]
            ids, bits, _ = passages.get(passage)
            shown[place] = (ids[start : start + sizes[place]], bits[start : start + sizes[place]])
        speakers = [int(role != roles[first]) for role in roles[first : first + turns]]
        return Example(shown, FAKE if is_fake else REAL, speakers)

    def _replacements(
        self, passages: Passages, anchors: np.ndarray, spoken: list[Turns], turns: list[int], keys: np.ndarray
    ) -> list[Place | None]:
        """Draw for each turn one of its role and about its length from another dialogue; None where there is none."""
        pool = self._pools.of(passages)
        sizes = [borders[turn + 1] - borders[turn] for (borders, _), turn in zip(spoken, turns, strict=True)]
        wanted = np.array([roles[turn] for (_, roles), turn in zip(spoken, turns, strict=True)])
        lows, highs = _alike(pool.keys, wanted, np.array(sizes))
        documents = passages.document_of(anchors)
        found: list[Place | None] = [None] * len(anchors)
        left = np.arange(len(anchors))
        for attempt in range(ATTEMPTS):
            drawn = lows[left] + draws.below((highs - lows)[left], draws.key(keys[left], attempt), 4)
            elsewhere = passages.document_of(pool.passages[drawn]) != documents[left]
            again = []
            for one, chosen, other in zip(left.tolist(), drawn.tolist(), elsewhere.tolist(), strict=True):
                if other:
                    found[one] = _stranger(passages, int(anchors[one]), spoken[one], turns[one], pool, chosen)
                if found[one] is None:
                    again.append(one)
            left = np.array(again, np.int64)
            if not again:
                break
        return found


def _stranger(passages: Passages, anchor: int, spoken: Turns, turn: int, pool: Pool, chosen: int) -> Place | None:
    """Return where turn `chosen` of the pool stands, None if the dialogue has it, or nearly the turn to be replaced."""
    passage, number = int(pool.passages[chosen]), int(pool.numbers[chosen])
    start, end = _turns(passages, passage)[0][number : number + 2]
    other = passages.get(passage)[0][start:end]
    for near in around(passages, anchor):
        borders = spoken[0] if near == anchor else _turns(passages, near)[0]
        alike = [begin for begin, stop in pairwise(borders) if stop - begin == end - start]
        if alike:
            ids = passages.get(near)[0]
            if any(ids[begin : begin + end - start].tobytes() == other.tobytes() for begin in alike):
                return None
    begin, stop = spoken[0][turn : turn + 2]
    return None if nearly_equal(passages.get(anchor)[0][begin:stop].tolist(), other.tolist()) else (passage, start, end)


def _alike(keys: np.ndarray, roles: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which turns to draw among: all of that role and length, with so many of the next lengths as it takes."""
    borders = np.stack([_key(roles, 0), _key(roles, sizes), _key(roles, sizes + 1), _key(roles + 1, 0)])
    first, low, high, last = np.searchsorted(keys, borders)
    lacking = np.maximum(0, _LIKE // 16 - (high - low))
    return np.maximum(first, low - lacking), np.minimum(last, high + lacking)


def _key(role: np.ndarray | int, size: np.ndarray | int) -> np.ndarray:
    return (np.asarray(role, dtype=np.int64) << 32) + size


def _turns(passages: Passages, passage: int) -> Turns:
    """Return the token at which each turn of a passage begins, then the number of its tokens; and the turns' roles."""
    starts, roles = passages.segments(passage)
    return [*starts.tolist(), int(passages.tokens[passage])], roles.tolist()


def _window(roles: list[int], size: int, where: float, who: float, which: float) -> tuple[int, int]:
    """Draw a window in which both speak, a speaker and one of that one's turns; returns first turn and place in it."""
    both = [first for first in range(len(roles) - size + 1) if len(set(roles[first : first + size])) > 1]
    first = both[int(where * len(both))]
    wanted = int(who * 2)
    mine = [place for place in range(size) if (roles[first + place] != roles[first]) == wanted]
    return first, mine[int(which * len(mine))]
