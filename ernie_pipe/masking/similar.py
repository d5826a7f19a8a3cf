"""A table of similar words → compact arrays, and the lookup of many words at once.

The table is a TSV, UTF-8: word <tab> similar <tab> similar …; empty lines and those that start with `# ` are left out.
Every word is encoded with the run's vocabulary; what can stand for a word must have as many tokens as it. About 60
bytes a word with five similar ones of two tokens each; a million words are read in less than half a minute.
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np

from ernie_pipe import draws
from ernie_pipe.errors import InputError
from ernie_pipe.text.encode import Encoder
from ernie_pipe.text.lexicon_files import numbered_lines
from ernie_pipe.text.spans import Joined

log = logging.getLogger(__name__)
_SIMILAR = 8
_LINES = 1 << 15


@dataclass(frozen=True)
class SimilarWords:
    """Words of a table by the hash of their ids: word w has `counts[w]` similar ones, from `ids[first[w]]` on.

    `hashes` (W, uint64, sorted), `first` (W, int64), `counts` (W, int32), `ids` (int32). Two words have the same 64-bit
    hash once in 10^7 tables of a million words: hashes stand for the words.
    """

    hashes: np.ndarray
    first: np.ndarray
    counts: np.ndarray
    ids: np.ndarray

    def stand_ins(
        self, ids: np.ndarray, first: np.ndarray, sizes: np.ndarray, keys: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids with every word that has similar ones replaced by one of them, and (words, bool) which have.

        The words lie one after another in `ids`: `first` and `sizes` are theirs, `keys` draw among the similar ones.
        """
        wanted = hash_words(ids, first, sizes)
        row = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        found = self.hashes[row] == wanted
        row, size = row[found], sizes[found]
        chosen = self.first[row] + draws.below(self.counts[row], keys[found], _SIMILAR) * size
        inside = _inside(size)
        changed = ids.copy()
        changed[np.repeat(first[found], size) + inside] = self.ids[np.repeat(chosen, size) + inside]
        return changed, found


def hash_words(ids: np.ndarray, first: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return a uint64 a word: a function of its ids (at `first`, `sizes` of them, at least one) and their order."""
    if not len(first):
        return np.zeros(0, np.uint64)
    inside = _inside(sizes)
    tokens = ids[np.repeat(first, sizes) + inside].astype(np.uint64)
    mixed = draws.mix(tokens << np.uint64(32) | inside.astype(np.uint64))
    return draws.mix(np.add.reduceat(mixed, np.cumsum(sizes) - sizes) ^ sizes.astype(np.uint64))


def _inside(sizes: np.ndarray) -> np.ndarray:
    """Return 0, 1 … size − 1 for every size, one after another."""
    return np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)


@lru_cache(maxsize=8)
def _hash(path: str, size: int, changed: int) -> str:
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()


def file_hash(path: str) -> str:
    """Return the hash of a file's bytes; `InputError` when it cannot be read."""
    try:
        stat = Path(path).stat()
        return _hash(path, stat.st_size, stat.st_mtime_ns)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


_loaded: dict[tuple[str, str, str], SimilarWords] = {}


def load(path: str, encoder: Encoder, expected: str | None = None) -> SimilarWords:
    """Read a table; `InputError` names the file and line of what is wrong, or that its hash is not `expected`.

    What is left out is counted and logged. The last table stays in memory: a run asks for it more than once.
    """
    fingerprint = file_hash(path)
    if expected is not None and fingerprint != expected:
        raise InputError(
            f"{path}: is no longer the table that was recorded (hash {fingerprint[:12]}, then {expected[:12]}): "
            "put the old one back, or start a run of its own with the new one"
        )
    key = (path, fingerprint, encoder.fingerprint)
    if key not in _loaded:
        made = _read(path, encoder)
        _loaded.clear()
        _loaded[key] = made
    return _loaded[key]


def _read(path: str, encoder: Encoder) -> SimilarWords:
    lines = _lines(path)
    parts: list[tuple[np.ndarray, ...]] = []
    given = listed = 0
    while chunk := list(islice(lines, _LINES)):
        given, listed = given + len(chunk), listed + sum(map(len, chunk)) - len(chunk)
        parts.append(_encode(chunk, encoder))
    if not given:
        raise InputError(f"{path}: holds no words: it is empty or has only comments")
    hashes, counts, sizes, ids = map(np.concatenate, zip(*parts, strict=True))
    usable = np.flatnonzero(counts)
    if not len(usable):
        raise InputError(f"{path}: no word of it has a similar one of as many tokens in the vocabulary of this run")
    lengths = counts * sizes
    first = np.cumsum(lengths) - lengths
    # A word that is given again: its first line holds.
    order = usable[np.argsort(hashes[usable], kind="stable")]
    again = np.concatenate([[False], hashes[order][1:] == hashes[order][:-1]])
    order = order[~again]
    log.info(
        "%s: %d of %d words have similar ones of as many tokens (%d of %d); %d are given more than once, the first "
        "line holds", path, len(order), given, int(counts[order].sum()), listed, int(again.sum()),
    )  # fmt: skip
    return SimilarWords(hashes[order], first[order], counts[order].astype(np.int32), ids)


def _lines(path: str) -> Iterator[list[str]]:
    for number, line in numbered_lines(path):
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) < 2 or not all(fields):
            raise InputError(
                f"{path}, line {number}: expected a word and its similar words with tabs between, found {line[:60]!r}"
            )
        yield fields


def _encode(chunk: list[list[str]], encoder: Encoder) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return for each word its hash, how many similar words can stand for it, its tokens, and the ids of them all."""
    joined = Joined([field for fields in chunk for field in fields])
    encoding = encoder.encode_joined(joined)
    offsets = joined.offsets(encoding.starts).astype(np.int64)
    first, sizes = offsets[:-1], np.diff(offsets)
    unknown = np.diff(np.concatenate([[0], np.cumsum(encoding.ids == encoder.unk_id)])[offsets]) > 0
    hashes = np.zeros(len(sizes), np.uint64)
    known = np.flatnonzero(sizes)
    hashes[known] = hash_words(encoding.ids, first[known], sizes[known])
    fields = np.array([len(fields) for fields in chunk])
    head = np.cumsum(fields) - fields
    word = np.repeat(np.arange(len(chunk)), fields)
    fits = (sizes == sizes[head][word]) & (sizes > 0) & ~unknown & (hashes != hashes[head][word])
    chosen = np.flatnonzero(fits)
    ids = encoding.ids[np.repeat(first[chosen], sizes[chosen]) + _inside(sizes[chosen])]
    return hashes[head], np.bincount(word[chosen], minlength=len(chunk)), sizes[head], ids
