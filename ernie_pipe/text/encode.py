"""Text → token ids with exact character offsets.

Characters that stand alone in the vocabulary (Chinese characters, punctuation) go through a code-point table;
only other runs go through the tokenizer. The result equals the transformers tokenizer of the same vocabulary.
"""

import hashlib
import json
import unicodedata
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ernie_pipe.errors import InputError
from ernie_pipe.text.spans import Joined, code_points

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_SLOW, _SKIP = -1, -2
# Tokens of known runs; more are forgotten when the next text comes.
MOST_KEPT = 1 << 18
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
        self._by_table = _is_bert_like(tokenizer)
        self._table = self._code_points()
        self._runs = _Runs(tokenizer)

    def _code_points(self) -> np.ndarray:
        """Map code point → id, `_SKIP` for white space, `_SLOW` for what depends on its neighbours."""
        table = np.full(0x110000, _SLOW, dtype=np.int32)
        if not self._by_table:
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
        return self._encode(text, code_points(text))

    def encode_joined(self, joined: Joined) -> Encoding:
        """Encode many documents at once, each as it is encoded alone; spans are of the joined text."""
        if self._by_table:
            return self._encode(joined.text, joined.codes)
        found = [self.encode(joined.text[start:end]) for start, end in zip(joined.starts, joined.ends, strict=True)]
        return Encoding(
            np.concatenate([part.ids for part in found]),
            np.concatenate([part.starts + shift for part, shift in zip(found, joined.starts, strict=True)]),
            np.concatenate([part.ends + shift for part, shift in zip(found, joined.starts, strict=True)]),
        )

    def _encode(self, text: str, codes: np.ndarray) -> Encoding:
        ids = self._table[codes]
        fast = np.flatnonzero(ids >= 0).astype(np.int32)
        edges = np.flatnonzero(np.diff(ids == _SLOW, prepend=False, append=False))
        if not len(edges):
            return Encoding(ids[fast], fast, fast + 1)
        runs = [text[start:end] for start, end in edges.reshape(-1, 2).tolist()]
        slow_ids, slow_starts, slow_ends, counts = self._runs.look_up(runs)
        shift = np.repeat(edges[::2].astype(np.int32), counts)
        starts = np.concatenate([fast, slow_starts + shift])
        # Two sorted runs: a stable sort merges them in one pass.
        order = np.argsort(starts, kind="stable")
        ends = np.concatenate([fast + 1, slow_ends + shift])
        return Encoding(np.concatenate([ids[fast], slow_ids])[order], starts[order], ends[order])


class _Runs:
    """What the tokenizer made of runs of characters, kept for when they come again.

    The tokens of all known runs lie in flat arrays, so that those of many runs are gathered at once.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._forget()

    def _forget(self) -> None:
        self._number: dict[str, int] = {}
        self._ids, self._starts, self._ends = array("i"), array("i"), array("i")
        self._first = array("i", [0])

    def look_up(self, runs: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return ids, starts, ends of the tokens of `runs`, one after another, and how many each run has."""
        if len(self._ids) > MOST_KEPT:
            self._forget()
        number = self._number
        numbers = np.array([number[run] if run in number else self._add(run) for run in runs])
        first = np.array(self._first)
        counts = first[numbers + 1] - first[numbers]
        before = np.cumsum(counts) - counts
        chosen = np.repeat(first[numbers] - before, counts) + np.arange(int(counts.sum()))
        ids, starts, ends = (np.array(kept, dtype=np.int32)[chosen] for kept in (self._ids, self._starts, self._ends))
        return ids, starts, ends, counts

    def _add(self, run: str) -> int:
        encoding = self._tokenizer.encode(run, add_special_tokens=False)
        starts, ends = zip(*encoding.offsets, strict=True) if encoding.offsets else ((), ())
        self._ids.extend(encoding.ids)
        self._starts.extend(starts)
        self._ends.extend(ends)
        self._first.append(len(self._ids))
        self._number[run] = len(self._first) - 2
        return self._number[run]


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the special tokens of a vocabulary, its size, its tokens, and whether it tells A from a."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int
    size: int
    vocab: dict[str, int] = field(default_factory=dict, repr=False, compare=False)
    cased: bool = False

    @staticmethod
    def of(encoder: Encoder) -> "SpecialIds":
        """Look the special tokens up in a vocabulary."""
        pad, unk, cls, sep, mask = (encoder.vocab[name] for name in SPECIAL_TOKENS)
        cased = not np.array_equal(encoder.encode("A").ids, encoder.encode("a").ids)
        return SpecialIds(pad, unk, cls, sep, mask, encoder.size, encoder.vocab, cased)

    @property
    def all(self) -> list[int]:
        """Every special id."""
        return [self.pad, self.unk, self.cls, self.sep, self.mask]


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
