"""Sentences and spans of other documents, for tasks that pair texts: passages and a key go in, parts come out.

A negative must be one: what repeats the anchor's document (a copy, an edited copy, a stock sentence) is drawn again.
And only its text may tell it: of a talk, negatives come from talks, else from text; pairs with a label of their own
(query and title, two arguments) are neither.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ernie_pipe import draws
from ernie_pipe.corpus.reader import Eligibility, Passages
from ernie_pipe.tasks.base import Part
from ernie_pipe.tasks.candidates import role_bits

ATTEMPTS = 16
# Runs of four tokens; a text that shares this much of its runs with a document repeats it.
RUN, REPEATED = 4, 0.3
# Cells that runs fall into; passages of a long document that are compared to either side of a place.
_CELLS, _NEAR = 1 << 18, 2
_ODD = np.uint64(0x9E3779B97F4A7C15)
_PLACE, _SENTENCE, _KIND = 0x706C, 0x736E, 0x6B6E
# Passages drawn at once where the first one is of another kind.
_MORE = 32
_RELEVANCE, _DISCOURSE, _SPEAKERS = (
    role_bits("query", "title"),
    role_bits("arg1", "arg2"),
    role_bits("query", "response"),
)


def is_running(passages: Passages | Eligibility) -> np.ndarray:
    """Return (passages, bool): which are text or talk, not a labelled pair: there no sentence follows another one."""
    return _are_running(passages.roles)


def _are_running(roles: np.ndarray) -> np.ndarray:
    return (roles != _RELEVANCE) & (roles != _DISCOURSE)


def documents_of(passages: Passages, anchors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first passage of each anchor's document, and the first one after it (int64)."""
    document = passages.document_of(anchors)
    borders = passages.first_passages
    return borders[document].astype(np.int64), borders[document + 1].astype(np.int64)


def borders_of(passages: Passages, passage: int) -> list[int]:
    """Return the token at which each sentence of a passage begins, then the number of its tokens."""
    return [*passages.sentence_starts(passage).tolist(), int(passages.tokens[passage])]


def bounds(passages: Passages, passage: int, number: int) -> tuple[int, int]:
    """Return the tokens at which sentence `number` of a passage begins and ends."""
    start, stop = borders_of(passages, passage)[number : number + 2]
    return start, stop


def sentence(passages: Passages, passage: int, number: int) -> Part:
    """Return sentence `number` of a passage."""
    ids, bits, _ = passages.get(passage)
    start, stop = bounds(passages, passage, number)
    return ids[start:stop], bits[start:stop]


def from_sentence(passages: Passages, passage: int, number: int, length: int, end: int) -> Part:
    """Return up to `length` tokens from sentence `number` of a passage on, into the next ones up to `end` − 1."""
    start = int(passages.sentence_starts(passage)[number])
    ids, bits, _ = passages.get(passage)
    found: list[Part] = [(ids[start : start + length], bits[start : start + length])]
    length -= len(found[0][0])
    while length > 0 and passage + 1 < end:
        passage += 1
        ids, bits, _ = passages.get(passage)
        found.append((ids[:length], bits[:length]))
        length -= len(found[-1][0])
    if len(found) == 1:
        return found[0]
    return np.concatenate([ids for ids, _ in found]), np.concatenate([bits for _, bits in found])


def other_sentences(
    passages: Passages, anchors: np.ndarray, keys: np.ndarray, *, inner: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Draw for each anchor a sentence of another document, and of none that repeats the anchor's.

    Returns (passages, numbers of the sentences in them), each (n, int64); −1 where every attempt met a repetition.
    Every passage of the anchor's kind (text or talk) outside the document is equally likely. A draw is repeated, up to
    `ATTEMPTS` times, when the passage drawn, or the sentence, shares 30 % of its runs of four tokens or more with the
    anchor's document. Of a long document the five passages around the anchor are compared, around the passage of the
    same number, and around that at the same share of its length: there a copy has what was drawn.

    `inner`: no passage's first sentence, as the second of two neighbours never is; of passages of two or more.
    """
    firsts, ends = documents_of(passages, anchors)
    others, kinds = len(passages) - (ends - firsts), passages.roles[anchors] & _SPEAKERS > 0
    found, numbers = np.full(len(anchors), -1), np.zeros(len(anchors), np.int64)
    left = np.flatnonzero(others)
    for attempt in range(ATTEMPTS if len(left) else 0):
        again = draws.key(keys[left], attempt)
        drawn, is_alike = _places(passages, firsts[left], ends[left], kinds[left], again)
        counts = passages.sentences[drawn].astype(np.int64)
        number = int(inner) + draws.below(np.maximum(1, counts - inner), again, _SENTENCE)
        able = np.flatnonzero(is_alike & (counts > inner))
        here = left[able]
        owns = _owns(passages, anchors[here], firsts[here], ends[here], drawn[able])
        fresh = able[~_repeated(passages, owns, drawn[able], number[able])]
        found[left[fresh]], numbers[left[fresh]] = drawn[fresh], number[fresh]
        left = np.delete(left, fresh)
        if not len(left):
            break
    return found, numbers


def _places(
    passages: Passages, firsts: np.ndarray, ends: np.ndarray, kinds: np.ndarray, keys: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw passages outside of the documents; returns them, and whether each is talk (or text) as its anchor is.

    Where the first one is not, the first of `_MORE` that is.
    """

    def draw(rows: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, size = firsts[rows], (ends - firsts)[rows]
        drawn = draws.below(len(passages) - size, keys, _PLACE)
        drawn += np.where(drawn >= first, size, 0)
        roles = passages.roles[drawn]
        return drawn, _are_running(roles) & ((roles & _SPEAKERS > 0) == kinds[rows])

    drawn, is_alike = draw(np.arange(len(keys)), keys)
    lacking = np.flatnonzero(~is_alike)
    if len(lacking):
        again = draws.extend(draws.extend(keys[lacking], _KIND)[:, None], np.arange(_MORE))
        more, are_alike = draw(lacking[:, None], again)
        best = np.arange(len(lacking)), are_alike.argmax(axis=1)
        drawn[lacking], is_alike[lacking] = more[best], are_alike[best]
    return drawn, is_alike


def _owns(
    passages: Passages, anchors: np.ndarray, firsts: np.ndarray, ends: np.ndarray, drawn: np.ndarray
) -> list[Sequence[int]]:
    """Return the passages of each anchor's document that would have what `drawn` has if one copied the other."""
    found: list[Sequence[int]] = []
    for anchor, first, end, passage in zip(
        anchors.tolist(), firsts.tolist(), ends.tolist(), drawn.tolist(), strict=True
    ):
        size = end - first
        if size <= 6 * _NEAR:
            found.append(range(first, end))
            continue
        (start,), (stop,) = (border.tolist() for border in documents_of(passages, np.array([passage])))
        places = {anchor - first, passage - start, (passage - start) * size // (stop - start)}
        near = {place + step for place in places for step in range(-_NEAR, _NEAR + 1)}
        found.append([first + place for place in sorted(near) if 0 <= place < size])
    return found


def _repeated(passages: Passages, owns: Sequence[Sequence[int]], drawn: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return whether each passage `drawn`, or its sentence of that number, repeats the text of the passages `owns`."""
    texts: list[np.ndarray] = []
    borders = [0]
    for own, passage in zip(owns, drawn.tolist(), strict=True):
        mine = [passages.get(number)[0] for number in own]
        ids = passages.get(passage)[0]
        texts += [*mine, ids]
        borders.append(borders[-1] + sum(map(len, mine)))
        borders.append(borders[-1] + len(ids))
    if not texts:
        return np.zeros(0, dtype=bool)
    # The runs of all texts at once; those that go over a border are not looked at.
    together = np.concatenate(texts)
    cells, table = _runs(together, RUN), np.zeros(_CELLS, dtype=bool)
    found = []
    for place, (passage, number) in enumerate(zip(drawn.tolist(), numbers.tolist(), strict=True)):
        begin, middle, end = borders[2 * place : 2 * place + 3]
        start, stop = bounds(passages, passage, number)
        if min(middle - begin, stop - start) < RUN:
            text, ids = together[begin:middle], together[middle:end]
            found.append(repeats(text, ids) or repeats(text, ids[start:stop]))
            continue
        known = cells[begin : middle - RUN + 1]
        table[known] = True
        shared = table[cells[middle : end - RUN + 1]]
        table[known] = False
        found.append(_many(shared) or _many(shared[start : stop - RUN + 1]))
    return np.array(found)


def _many(shared: np.ndarray) -> bool:
    """Return whether so many of the runs are shared that the text is repeated."""
    return int(np.count_nonzero(shared)) / len(shared) >= REPEATED


def repeats(own: np.ndarray, ids: np.ndarray) -> bool:
    """Return whether 30 % of the runs of `ids` or more stand in the text `own`; of fewer than four tokens, all."""
    size = min(RUN, len(ids))
    if not size or len(own) < size:
        return False
    return _many(np.isin(_runs(ids, size), _runs(own, size)))


def _runs(ids: np.ndarray, size: int) -> np.ndarray:
    """Return the cell of every run of `size` tokens."""
    wide = ids.astype(np.uint64)
    count = len(ids) - size + 1
    total = np.zeros(count, np.uint64)
    for place in range(size):
        total = (total + wide[place : place + count]) * _ODD
    return (((total ^ (total >> np.uint64(29))) * _ODD) >> np.uint64(46)).astype(np.int64)


def cut_somewhere(length: int, drawn: float) -> int:
    """Return a length of less than `length`, by a number drawn from [0, 1): up to a quarter and at most 16 tokens less.

    Two candidates that are cut alike end differently: the shorter one just before its end. That must not be seen, so
    one token less at least.
    """
    if length < 2:
        return length
    return length - 1 - int(drawn * max(1, min(15, length // 4)))
