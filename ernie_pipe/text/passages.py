"""Segmented documents → passages: token ids, unit bits per token, cut on the borders of sentences.

Works on a batch of documents at once: their tokens lie one after another in one array, and passages, which
follow each other without a gap, are ranges of it.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ernie_pipe.text.encode import Encoder, Encoding
from ernie_pipe.text.segments import Segments
from ernie_pipe.text.spans import Joined, Places, Spans, histogram

WORD_START, PHRASE_START, ENTITY_START = 1, 2, 4
IN_PHRASE, IN_ENTITY, CAPITALISED, ELSEWHERE = 8, 16, 32, 64
UNIT_BITS = {
    "word_start": WORD_START,
    "phrase_start": PHRASE_START,
    "entity_start": ENTITY_START,
    "in_phrase": IN_PHRASE,
    "in_entity": IN_ENTITY,
    "capitalised": CAPITALISED,
    "elsewhere": ELSEWHERE,
}
LEVEL_BITS = {"word": 0, "phrase": IN_PHRASE, "entity": IN_ENTITY}
START_BITS = {"word": WORD_START, "phrase": WORD_START | PHRASE_START, "entity": WORD_START | ENTITY_START}
_IS_UPPER = np.zeros(0x110000, dtype=bool)
_IS_UPPER[[code for code in range(0x1F190) if chr(code).isupper()]] = True
# Cells of the table that finds what a document says twice: token ids times documents.
_CELLS = 1 << 20


@dataclass
class Documents:
    """A batch of D segmented documents; `entity_types` (uint8) are ids from 1, one an entity.

    `words` are where each word begins; `segments` are (character, role) where a dialogue turn, query or title begins.
    """

    ids: list[str]
    sources: list[str]
    labels: list[str | None]
    texts: list[str]
    sentences: Spans
    words: Places
    phrases: Spans
    entities: Spans
    entity_types: np.ndarray
    segments: list[list[tuple[int, str]]]


@dataclass
class PassageBatch:
    """P passages of a batch of documents, in order; passage p has the tokens `offsets[p]` to `offsets[p + 1]`.

    `document` and `index` (P): which document, and its how manieth passage. `ids` (int32), `bits`, `types`
    (uint8), `starts` and `ends` (characters of the document's text): one a token. `sentence_starts` (tokens from the
    passage's first) of passage p lie at `sentence_offsets[p]` to `sentence_offsets[p + 1]`. `segments`: (token, role).
    """

    document: np.ndarray
    index: np.ndarray
    offsets: np.ndarray
    ids: np.ndarray
    bits: np.ndarray
    types: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    sentence_starts: np.ndarray
    sentence_offsets: np.ndarray
    segments: list[list[tuple[int, str]]]

    def __len__(self) -> int:
        return len(self.index)


@dataclass
class Tally:
    """What encoding counted: tokens, unknown ones and their text, sentences cut, units per level and their lengths.

    `trimmed_documents` are labelled pairs that were cut to one passage, by `trimmed_tokens`; of labelled documents
    with more segments `labelled_in_parts` became several passages with the same label.
    """

    tokens: int = 0
    unknown: int = 0
    unknown_texts: Counter[str] = field(default_factory=Counter)
    sentences: int = 0
    split_sentences: int = 0
    sentences_without_token: int = 0
    segments: int = 0
    segments_without_token: int = 0
    trimmed_documents: int = 0
    trimmed_tokens: int = 0
    labelled_in_parts: int = 0
    units_without_token: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)
    lengths: dict[str, Counter[str]] = field(default_factory=lambda: {level: Counter() for level in LEVEL_BITS})


def encode_documents(encoder: Encoder, documents: Documents, *, max_tokens: int, tally: Tally) -> PassageBatch:
    """Turn segmented documents into passages of at most `max_tokens` − 2 ids (room for `[CLS]` and `[SEP]`)."""
    joined = Joined(documents.texts)
    encoding = encoder.encode_joined(joined)
    tokens_before = _tokens_before(encoding.starts, len(joined.codes))
    given = Segments(documents.segments, documents.labels, joined)
    encoding, tokens_before = given.fit(encoding, tokens_before, max_tokens, tally)
    firsts, lasts = tokens_before[joined.starts], tokens_before[joined.ends]
    _count_unknown(encoding, joined, encoder.unk_id, tally)
    words = joined.shifted_places(documents.words)
    spans = {
        "word": (words, np.append(words[1:], len(joined.codes))),
        "phrase": joined.shifted(documents.phrases),
        "entity": joined.shifted(documents.entities),
    }
    bits, types = unit_bits(encoding, tokens_before, spans, documents.entity_types, tally)
    bits |= _IS_UPPER[joined.codes[encoding.starts]] * np.uint8(CAPITALISED)
    sentences = _sentence_starts(tokens_before, joined, documents.sentences, firsts, lasts, tally)
    restart_units(bits, sentences)
    turns = given.place(tokens_before, tally)
    borders, owners, cuts = cut_passages(sentences, firsts, lasts, bits, max_tokens - 2, tally, turns=turns)
    sentences = np.unique(np.concatenate([sentences, cuts]))
    mark_elsewhere(encoding.ids, borders, owners, bits, encoder.size)
    shift = np.repeat(joined.starts, lasts - firsts).astype(np.int32)
    first_passage = np.searchsorted(owners, owners)
    passage_of = np.searchsorted(borders, sentences, side="right") - 1
    return PassageBatch(
        document=owners,
        index=(np.arange(len(owners)) - first_passage).astype(np.int32),
        offsets=borders,
        ids=encoding.ids,
        bits=bits,
        types=types,
        starts=encoding.starts - shift,
        ends=encoding.ends - shift,
        sentence_starts=sentences - borders[passage_of],
        sentence_offsets=np.searchsorted(sentences, borders),
        segments=given.of_passages(borders, owners, tally),
    )


def _tokens_before(starts: np.ndarray, size: int) -> np.ndarray:
    """Return (size + 1) how many tokens begin before each character."""
    before = np.zeros(size + 1, dtype=np.int32)
    np.cumsum(np.bincount(starts, minlength=size), out=before[1:])
    return before


def _count_unknown(encoding: Encoding, joined: Joined, unk_id: int, tally: Tally) -> None:
    tally.tokens += len(encoding.ids)
    unknown = np.flatnonzero(encoding.ids == unk_id)
    tally.unknown += len(unknown)
    starts, ends = encoding.starts[unknown], encoding.ends[unknown]
    single = ends - starts == 1
    codes, counts = np.unique(joined.codes[starts[single]], return_counts=True)
    tally.unknown_texts.update(dict(zip(map(chr, codes.tolist()), counts.tolist(), strict=True)))
    tally.unknown_texts.update(
        joined.text[start:end] for start, end in zip(starts[~single].tolist(), ends[~single].tolist(), strict=True)
    )


def unit_bits(
    encoding: Encoding,
    tokens_before: np.ndarray,
    spans: dict[str, tuple[np.ndarray, np.ndarray]],
    entity_types: np.ndarray,
    tally: Tally,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (bits, entity types), uint8 per token, from starts and ends in characters of each level.

    A unit belongs to the tokens that begin inside it; a unit in which none begins is counted, not moved. Phrases
    are disjoint, and so are entities.
    """
    bits = np.zeros(len(encoding.ids), dtype=np.uint8)
    types = np.zeros(len(encoding.ids), dtype=np.uint8)
    for level, (starts, ends) in spans.items():
        first, last = tokens_before[starts], tokens_before[ends]
        full = first < last
        lost = len(full) - int(np.count_nonzero(full))
        if lost:
            first, last = first[full], last[full]
        tally.units[level] += len(first)
        tally.units_without_token[level] += lost
        tally.lengths[level].update(histogram(last - first))
        bits[first] |= START_BITS[level]
        if LEVEL_BITS[level]:
            bits |= (_filled(first, last, 1, len(bits)) > 0) * np.uint8(LEVEL_BITS[level])
        if level == "entity":
            types = _filled(first, last, entity_types[full].astype(np.int16), len(bits)).astype(np.uint8)
    return bits, types


def _filled(first: np.ndarray, last: np.ndarray, values: np.ndarray | int, size: int) -> np.ndarray:
    """Return an array of `size` with `values` in the disjoint ranges `first` to `last`, else 0."""
    step = np.zeros(size + 1, dtype=np.int16)
    step[first] += values
    step[last] -= values
    return np.cumsum(step[:-1], dtype=np.int16)


def restart_units(bits: np.ndarray, at: np.ndarray) -> None:
    """Let a new word, and a new phrase or entity where one goes on, begin at the tokens `at` (in place).

    There the text may be cut and moved: no unit may reach across.
    """
    bits[at] |= WORD_START
    bits[at] |= np.where(bits[at] & IN_PHRASE, PHRASE_START, 0).astype(np.uint8)
    bits[at] |= np.where(bits[at] & IN_ENTITY, ENTITY_START, 0).astype(np.uint8)


def _sentence_starts(
    tokens_before: np.ndarray, joined: Joined, spans: Spans, firsts: np.ndarray, lasts: np.ndarray, tally: Tally
) -> np.ndarray:
    """Return the tokens at which sentences begin; every document's first token is one."""
    characters, _ = joined.shifted(spans)
    tokens = tokens_before[characters]
    tokens = tokens[tokens < np.repeat(lasts, np.diff(spans.offsets))]
    kept = tokens[np.append(True, tokens[1:] != tokens[:-1])] if len(tokens) else tokens
    tally.sentences += len(characters)
    tally.sentences_without_token += len(characters) - len(kept)
    return np.union1d(kept, firsts[firsts < lasts]).astype(np.int64)


def cut_passages(
    sentences: np.ndarray,
    firsts: np.ndarray,
    lasts: np.ndarray,
    bits: np.ndarray,
    room: int,
    tally: Tally,
    *,
    turns: Sequence[int] = (),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group sentences into passages of at most `room` tokens, document by document.

    Where one of `turns` (rising: the tokens at which segments begin) would fit, no sentence behind it is taken.
    Returns (P + 1) borders of the passages, (P) their documents, and the tokens at which a sentence longer than
    `room` was cut: at a unit's or a word's start where it can be; in `bits` a word starts at the cut.
    """
    starts = sentences.tolist()
    borders, owners, cuts = [0], [], []
    for document, (first, end) in enumerate(zip(firsts.tolist(), lasts.tolist(), strict=True)):
        at = bisect_right(starts, first)
        counted = -1
        while end - first > room:
            at = bisect_right(starts, first + room, at - 1)
            turn = bisect_right(turns, first + room)
            border = turns[turn - 1] if turn and turns[turn - 1] > first else starts[at - 1]
            if border <= first:
                tally.split_sentences += counted != at
                counted = at
                border = _word_border(bits, first, first + room)
                cuts.append(border)
                restart_units(bits, np.array([border]))
            borders.append(border)
            owners.append(document)
            first = border
        if first < end:
            borders.append(end)
            owners.append(document)
    return np.array(borders), np.array(owners, dtype=np.int64), np.array(cuts, dtype=np.int64)


def _word_border(bits: np.ndarray, first: int, limit: int) -> int:
    """Return the last border before `limit` that cuts no unit, else no word, else `limit` itself."""
    window = bits[first + 1 : limit + 1]
    whole = np.flatnonzero(
        ((window & WORD_START) > 0)
        & (((window & IN_PHRASE) == 0) | ((window & PHRASE_START) > 0))
        & (((window & IN_ENTITY) == 0) | ((window & ENTITY_START) > 0))
    )
    words = np.flatnonzero(window & WORD_START)
    found = next((kind for kind in (whole, words) if len(kind)), None)
    return limit if found is None else int(found[-1]) + first + 1


def mark_elsewhere(ids: np.ndarray, borders: np.ndarray, owners: np.ndarray, bits: np.ndarray, vocab: int) -> None:
    """Set `ELSEWHERE` on tokens that occur in another passage of their document."""
    several = np.flatnonzero(np.bincount(owners, minlength=1) > 1)
    room = max(1, _CELLS // vocab)
    for group in (several[first : first + room] for first in range(0, len(several), room)):
        rows = np.flatnonzero(np.isin(owners, group))
        sizes = borders[rows + 1] - borders[rows]
        at = np.repeat(borders[rows] - np.cumsum(sizes) + sizes, sizes) + np.arange(int(sizes.sum()))
        passage = np.repeat(rows.astype(np.int32), sizes)
        cell = ids[at] + np.repeat((np.searchsorted(group, owners[rows]) * vocab).astype(np.int32), sizes)
        # One of the passages that hold the token, whichever: another one differs from it.
        one = np.empty(len(group) * vocab, dtype=np.int32)
        one[cell] = passage
        twice = np.zeros(len(group) * vocab, dtype=bool)
        twice[cell[one[cell] != passage]] = True
        bits[at[twice[cell]]] |= ELSEWHERE
