"""Text → token ids with exact character offsets; units → bits per token; long documents → passages.

Characters that stand alone in the vocabulary (Chinese characters, punctuation) go through a code-point table;
only other runs go through the tokenizer. The result equals the transformers tokenizer of the same vocabulary.
"""

import hashlib
import itertools
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ernie_pipe.errors import InputError
from ernie_pipe.text.units import code_points

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
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_SLOW, _SKIP = -1, -2
# Longer runs hardly ever come again.
LONGEST_CACHED = 64
# Ideographs: BERT's normalizer puts spaces around them, so each stands alone.
_CJK = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B81F),
    (0x2F800, 0x2FA1F),
)


@dataclass
class Encoding:
    """Token ids (int32, N) and the character span of each token in the text (int32, N and N)."""

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


class Encoder:
    """A transformers tokenizer folder (`tokenizer.json`) as a fast encoder.

    A literal `[MASK]` in the text is text, never the special token.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.encode_special_tokens = True
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.vocab: dict[str, int] = tokenizer.get_vocab()
        missing = [token for token in SPECIAL_TOKENS if token not in self.vocab]
        if missing:
            raise InputError(f"the vocabulary lacks {', '.join(missing)}: give a BERT-style vocabulary")
        self.size = max(self.vocab.values()) + 1
        self.unk_id = self.vocab["[UNK]"]
        self.fingerprint = _fingerprint(tokenizer)
        self._table = self._code_points()
        self._cached = lru_cache(maxsize=1 << 16)(self._encode_run)

    def _code_points(self) -> np.ndarray:
        """Map code point → id, `_SKIP` for white space, `_SLOW` for what depends on its neighbours."""
        table = np.full(0x110000, _SLOW, dtype=np.int32)
        if not _is_bert_like(self._tokenizer):
            return table
        for code in _isolated(self._tokenizer):
            encoding = self._tokenizer.encode(chr(code), add_special_tokens=False)
            if encoding.offsets == [(0, 1)]:
                table[code] = encoding.ids[0]
        for code in (0x20, 0x0A, 0x0D, 0x09, 0x3000):
            table[code] = _SKIP
        return table

    def encode(self, text: str) -> Encoding:
        """Encode `text` without special tokens; `text[starts[i]:ends[i]]` is token i's own text."""
        ids = self._table[code_points(text)]
        slow = ids == _SLOW
        if not slow.any():
            starts = np.flatnonzero(ids >= 0).astype(np.int32)
            return Encoding(ids[starts], starts, starts + 1)
        edges = np.flatnonzero(np.diff(slow.astype(np.int8), prepend=0, append=0))
        pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        done = 0
        for start, end in edges.reshape(-1, 2).tolist():
            pieces.append(_fast(ids, done, start))
            encode_run = self._cached if end - start <= LONGEST_CACHED else self._encode_run
            run_ids, run_starts, run_ends = encode_run(text[start:end])
            pieces.append((run_ids, run_starts + start, run_ends + start))
            done = end
        pieces.append(_fast(ids, done, len(ids)))
        return Encoding(*(np.concatenate(parts).astype(np.int32) for parts in zip(*pieces, strict=True)))

    def _encode_run(self, run: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        encoding = self._tokenizer.encode(run, add_special_tokens=False)
        offsets = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
        return np.array(encoding.ids, dtype=np.int32), offsets[:, 0], offsets[:, 1]


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the special tokens of a vocabulary, and its size."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int
    size: int

    @staticmethod
    def of(encoder: Encoder) -> "SpecialIds":
        """Look the special tokens up in a vocabulary."""
        pad, unk, cls, sep, mask = (encoder.vocab[name] for name in SPECIAL_TOKENS)
        return SpecialIds(pad, unk, cls, sep, mask, encoder.size)

    @property
    def all(self) -> list[int]:
        """Every special id."""
        return [self.pad, self.unk, self.cls, self.sep, self.mask]


def _fast(ids: np.ndarray, start: int, end: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found = start + np.flatnonzero(ids[start:end] >= 0)
    return ids[found], found, found + 1


def _is_bert_like(tokenizer: Tokenizer) -> bool:
    parts = (tokenizer.normalizer, tokenizer.pre_tokenizer)
    if [type(part).__name__ for part in parts] != ["BertNormalizer", "BertPreTokenizer"]:
        return False
    # A token that is added and not special is found across the borders of words.
    if any(not token.special for token in tokenizer.get_added_tokens_decoder().values()):
        return False
    return bool(json.loads(tokenizer.to_str())["normalizer"].get("handle_chinese_chars"))


def _isolated(tokenizer: Tokenizer) -> Iterator[int]:
    for first, last in _CJK:
        yield from range(first, last + 1)
    yield from (code for code in range(0x21, 0x7F) if not chr(code).isalnum())
    for code in range(0x80, 0x110000):
        # The tokenizer's Unicode version is older than Python's: its own answer counts.
        if unicodedata.category(chr(code)).startswith("P"):
            pieces = tokenizer.pre_tokenizer.pre_tokenize_str(f"a{chr(code)}a")
            if len(pieces) == 3:
                yield code


def _fingerprint(tokenizer: Tokenizer) -> str:
    content = json.loads(tokenizer.to_str())
    kept = {name: content.get(name) for name in ("normalizer", "pre_tokenizer", "model", "added_tokens")}
    return hashlib.blake2b(json.dumps(kept, sort_keys=True).encode(), digest_size=16).hexdigest()


def load_encoder(folder: str) -> Encoder:
    """Load a tokenizer folder; `InputError` when it holds no usable `tokenizer.json`."""
    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        raise InputError(f"{folder}: no tokenizer.json there; make a tokenizer with `ernie-pipe vocab`")
    return _read_encoder(str(path))


@lru_cache(maxsize=2)
def load_encoder_file(path: str) -> Encoder:
    """Load a `tokenizer.json` that never changes (a worker's copy) once per process."""
    return _read_encoder(path)


def _read_encoder(path: str) -> Encoder:
    try:
        return Encoder(Tokenizer.from_file(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:
        raise InputError(f"{path}: not a tokenizer: {error}") from None


@dataclass
class Tally:
    """What encoding counted: tokens, unknown ones and their text, sentences cut, units per level."""

    tokens: int = 0
    unknown: int = 0
    unknown_texts: Counter[str] = field(default_factory=Counter)
    sentences: int = 0
    split_sentences: int = 0
    sentences_without_token: int = 0
    units_without_token: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)


@dataclass
class Segmented:
    """One document with its units: spans are (start, end) characters, int arrays of shape (n, 2)."""

    doc_id: str
    source: str
    text: str
    sentences: np.ndarray
    words: np.ndarray
    phrases: np.ndarray
    entities: np.ndarray
    entity_types: list[str]
    segments: list[tuple[int, str]]
    label: str | None = None


@dataclass
class Passage:
    """A run of whole sentences of one document; every array is indexed by token, offsets by character."""

    index: int
    input_ids: np.ndarray
    unit_bits: np.ndarray
    entity_types: np.ndarray
    sentence_starts: np.ndarray
    segments: list[tuple[int, str]]
    starts: np.ndarray
    ends: np.ndarray


def encode_document(
    encoder: Encoder, row: Segmented, *, max_tokens: int, type_ids: dict[str, int], tally: Tally
) -> list[Passage]:
    """Turn one segmented document into passages of at most `max_tokens` − 2 ids (room for `[CLS]` and `[SEP]`)."""
    text = row.text
    encoding = encoder.encode(text)
    _count(encoding, text, encoder.unk_id, tally)
    bits, types = unit_bits(encoding, text, row, type_ids, tally)
    sentences = _sentence_starts(encoding, row.sentences[:, 0], tally)
    restart_units(bits, sentences)
    pieces = cut_passages(sentences, len(encoding.ids), bits, max_tokens - 2, tally)
    _mark_elsewhere(encoding.ids, pieces, bits)
    segments = _segment_starts(encoding, row.segments)
    return [
        Passage(
            index,
            encoding.ids[first:last],
            bits[first:last],
            types[first:last],
            np.array(starts, dtype=np.int64) - first,
            _segments_in(segments, first, last),
            encoding.starts[first:last],
            encoding.ends[first:last],
        )
        for index, (first, last, starts) in enumerate(pieces)
    ]


def _count(encoding: Encoding, text: str, unk_id: int, tally: Tally) -> None:
    tally.tokens += len(encoding.ids)
    unknown = np.flatnonzero(encoding.ids == unk_id)
    tally.unknown += len(unknown)
    tally.unknown_texts.update(
        text[start:end]
        for start, end in zip(encoding.starts[unknown].tolist(), encoding.ends[unknown].tolist(), strict=True)
    )


def unit_bits(
    encoding: Encoding, text: str, row: Segmented, type_ids: dict[str, int], tally: Tally
) -> tuple[np.ndarray, np.ndarray]:
    """Return (bits, entity types), uint8 per token, from the character spans in `row`.

    A unit belongs to the tokens that begin inside it; a unit in which none begins is counted, not moved.
    """
    bits = np.zeros(len(encoding.ids), dtype=np.uint8)
    types = np.zeros(len(encoding.ids), dtype=np.uint8)
    for name, bounds, start_bit, in_bit in (
        ("word", row.words, WORD_START, 0),
        ("phrase", row.phrases, WORD_START | PHRASE_START, IN_PHRASE),
        ("entity", row.entities, WORD_START | ENTITY_START, IN_ENTITY),
    ):
        first, last = (
            np.searchsorted(encoding.starts, bounds[:, 0]),
            np.searchsorted(encoding.starts, bounds[:, 1]),
        )
        full = first < last
        tally.units[name] += int(full.sum())
        tally.units_without_token[name] += int((~full).sum())
        bits[first[full]] |= start_bit
        if in_bit:
            bits[_inside(first[full], last[full], len(bits))] |= in_bit
        if name == "entity":
            for start, end, kind in zip(first.tolist(), last.tolist(), row.entity_types, strict=True):
                types[start:end] = type_ids[kind]
    upper = [i for i, start in enumerate(encoding.starts.tolist()) if text[start].isupper()]
    bits[upper] |= CAPITALISED
    return bits, types


def restart_units(bits: np.ndarray, at: np.ndarray) -> None:
    """Let a new word, and a new phrase or entity where one goes on, begin at the tokens `at` (in place).

    There the text may be cut and moved: no unit may reach across.
    """
    bits[at] |= WORD_START
    bits[at] |= np.where(bits[at] & IN_PHRASE, PHRASE_START, 0).astype(np.uint8)
    bits[at] |= np.where(bits[at] & IN_ENTITY, ENTITY_START, 0).astype(np.uint8)


def _inside(first: np.ndarray, last: np.ndarray, size: int) -> np.ndarray:
    depth = np.zeros(size + 1, dtype=np.int32)
    np.add.at(depth, first, 1)
    np.add.at(depth, last, -1)
    return np.cumsum(depth[:-1]) > 0


def _sentence_starts(encoding: Encoding, chars: np.ndarray, tally: Tally) -> np.ndarray:
    tally.sentences += len(chars)
    tokens = np.searchsorted(encoding.starts, chars)
    kept = np.unique(tokens[tokens < len(encoding.ids)])
    tally.sentences_without_token += len(chars) - len(kept)
    if len(encoding.ids) and (not len(kept) or kept[0] != 0):
        kept = np.concatenate([[0], kept])
    return kept


def cut_passages(
    sentences: np.ndarray, size: int, bits: np.ndarray, room: int, tally: Tally
) -> list[tuple[int, int, list[int]]]:
    """Group sentences into (first token, last token, sentence starts) of at most `room` tokens.

    A sentence longer than `room` is cut at word starts where it can be, and counted; in `bits` a word starts at
    the cut.
    """
    borders = [*sentences.tolist(), size]
    passages: list[tuple[int, int, list[int]]] = []
    first = 0
    starts: list[int] = []
    for start, end in itertools.pairwise(borders):
        if starts and end - first > room:
            passages.append((first, start, starts))
            first, starts = start, []
        starts = [*starts, start]
        if end - first > room:
            tally.split_sentences += 1
            while end - first > room:
                cut = _word_border(bits, first, first + room)
                passages.append((first, cut, starts))
                first, starts = cut, [cut]
                restart_units(bits, np.array([cut]))
    if starts:
        passages.append((first, size, starts))
    return passages


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


def _mark_elsewhere(ids: np.ndarray, pieces: list[tuple[int, int, list[int]]], bits: np.ndarray) -> None:
    """Set `ELSEWHERE` on tokens that occur in another passage of the document."""
    if len(pieces) < 2:
        return
    owners = np.repeat(np.arange(len(pieces)), [last - first for first, last, _ in pieces])
    pairs = np.unique(ids.astype(np.int64) * len(pieces) + owners)
    seen, passages = np.unique(pairs // len(pieces), return_counts=True)
    bits[np.isin(ids, seen[passages > 1])] |= ELSEWHERE


def _segment_starts(encoding: Encoding, segments: list[tuple[int, str]]) -> list[tuple[int, str]]:
    starts = np.searchsorted(encoding.starts, [start for start, _ in segments]).tolist()
    return [(start, role) for start, (_, role) in zip(starts, segments, strict=True)]


def _segments_in(segments: list[tuple[int, str]], first: int, last: int) -> list[tuple[int, str]]:
    """Return the segments that reach into tokens `first`..`last`, with starts relative to `first`."""
    inside = [(start - first, role) for start, role in segments if first < start < last]
    before = [role for start, role in segments if start <= first]
    return [(0, before[-1]), *inside] if before else inside
