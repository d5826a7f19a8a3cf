"""Passages, memory-mapped: random access to any row without reading the rest.

Nothing is held in memory but what was looked at lately: ids lie in the mapped shards, lengths and documents in the
mapped index beside them (`ernie_pipe/corpus/index.py`).
"""

import mmap
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus.index import NO_LABEL, map_file, open_index

__all__ = ["NO_LABEL", "Columns", "Eligibility", "Passages"]

# Mapped pages count as memory of the process until they are given back; a look at a passage touches a few.
_LOOKS = 1000
_SMALL = 256 << 20


@dataclass(frozen=True)
class Columns:
    """One record batch as flat arrays: row r of a list column is `values[offsets[r]:offsets[r + 1]]`."""

    ids: np.ndarray
    bits: np.ndarray
    types: np.ndarray
    token_offsets: np.ndarray
    sentence_starts: np.ndarray
    sentence_offsets: np.ndarray
    segment_starts: np.ndarray
    segment_roles: np.ndarray
    segment_offsets: np.ndarray


@dataclass(frozen=True)
class Eligibility:
    """The passages `start` to `stop` − 1, as tasks see them when they say which can anchor an example.

    `tokens`, `sentences`, `source`, `labels`, `segment_counts`, `roles`: one number a passage, as in `Passages`;
    `documents`: documents of the whole split.
    """

    passages: "Passages"
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def tokens(self) -> np.ndarray:
        """Tokens of each passage (uint16)."""
        return self.passages.tokens[self.start : self.stop]

    @property
    def sentences(self) -> np.ndarray:
        """Sentences of each passage (uint16)."""
        return self.passages.sentences[self.start : self.stop]

    @property
    def source(self) -> np.ndarray:
        """Source of each passage (uint16, index into `source_names`)."""
        return self.passages.source[self.start : self.stop]

    @property
    def marks(self) -> np.ndarray:
        """Unit bits that some token of each passage has (uint8)."""
        return self.passages.marks[self.start : self.stop]

    @property
    def labels(self) -> np.ndarray:
        """Label of each passage (uint16, index into `label_names`; `NO_LABEL`: none)."""
        return self.passages.labels[self.start : self.stop]

    @property
    def segment_counts(self) -> np.ndarray:
        """Segments of each passage (uint16)."""
        return self.passages.segment_counts[self.start : self.stop]

    @property
    def roles(self) -> np.ndarray:
        """Set of the roles of each passage's segments (uint8, bit r for role r of `ROLES`)."""
        return self.passages.roles[self.start : self.stop]

    @property
    def documents(self) -> int:
        """Documents of the whole split."""
        return self.passages.documents

    @cached_property
    def document_sentences(self) -> np.ndarray:
        """Sentences of the whole document that each passage belongs to (int32)."""
        first, last = self.passages.document_of(np.array([self.start, self.stop - 1])).tolist()
        borders = self.passages.first_passages[first : last + 2].astype(np.int64)
        before = np.zeros(borders[-1] - borders[0] + 1, dtype=np.int32)
        np.cumsum(self.passages.sentences[borders[0] : borders[-1]], out=before[1:])
        totals = np.diff(before[borders - borders[0]])
        # Sums of sums: two and a half times as fast as repeating each total.
        result = np.zeros(len(self), dtype=np.int32)
        result[np.maximum(borders[:-1], self.start) - self.start] = np.diff(totals, prepend=0)
        return np.cumsum(result, out=result)


class Passages:
    """The rows of one split of a passages folder, numbered from 0 in manifest order.

    Mapped arrays over all N passages: `tokens`, `sentences` (uint16), `source` (uint16, index into `source_names`),
    `marks` (uint8: unit bits that some token has), `labels` (uint16, index into `label_names`, which come in the order
    of their first passages; `NO_LABEL`: none), `segment_counts` (uint16) and `roles` (uint8: bit r where a segment has
    role r of `ROLES`); over all D documents: `first_passages` (D + 1, uint32: of each, then N). `total_tokens` and
    `longest` are of the text, without special tokens.
    """

    def __init__(self, folder: str, split: str = "train") -> None:
        self.folder, self.split = folder, split
        self.manifest = manifests.read(folder, "passages")
        self.batch_rows: int = self.manifest.details["batch_rows"]
        self._shards = [shard for shard in self.manifest.shards if shard["split"] == split and shard["rows"]]
        index = open_index(folder, split, self._shards)
        self.tokens, self.sentences, self.source = index.tokens, index.sentences, index.source
        self.marks = index.marks
        self.labels, self.segment_counts, self.roles = index.labels, index.segment_counts, index.roles
        self.first_passages, self.source_names = index.documents, index.source_names
        self.label_names = index.label_names
        self.total_tokens, self.longest = index.total_tokens, index.longest
        self._index = index
        rows = np.array([shard["rows"] for shard in self._shards], np.int64)
        self._first_rows = [0, *np.cumsum(rows).tolist()]
        self._first_batches = [0, *np.cumsum(-(-rows // self.batch_rows)).tolist()]
        self._files: dict[int, mmap.mmap] = {}
        self._touched: set[int] = set()
        self._touched_before: set[int] = set()
        self._columns = lru_cache(maxsize=4096)(self._load)
        self._looks = 0
        self._is_small = sum(shard["bytes"] for shard in self._shards) <= _SMALL

    def _load(self, shard: int, number: int) -> Columns:
        file = self._files.get(shard)
        if file is None:
            file = self._files[shard] = map_file(f"{self.folder}/{self._shards[shard]['name']}")
        at = self._index.batches[self._first_batches[shard] + number].tolist()
        rows = min(self.batch_rows, self._shards[shard]["rows"] - number * self.batch_rows)
        token_offsets = np.frombuffer(file, np.int32, rows + 1, at[3])
        sentence_offsets = np.frombuffer(file, np.int32, rows + 1, at[5])
        segment_offsets = np.frombuffer(file, np.int32, rows + 1, at[8])
        tokens, sentences, segments = (int(last[-1]) for last in (token_offsets, sentence_offsets, segment_offsets))
        return Columns(
            np.frombuffer(file, self._index.id_type, tokens, at[0]),
            np.frombuffer(file, np.uint8, tokens, at[1]),
            np.frombuffer(file, np.uint8, tokens, at[2]),
            token_offsets,
            np.frombuffer(file, np.uint16, sentences, at[4]),
            sentence_offsets,
            np.frombuffer(file, np.uint16, segments, at[6]),
            np.frombuffer(file, np.uint8, segments, at[7]),
            segment_offsets,
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "split": self.split}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _row(self, passage: int) -> tuple[Columns, int]:
        self._looks += 1
        if self._looks >= _LOOKS:
            self._looks = 0
            if not self._is_small:
                self.release()
        shard = bisect_right(self._first_rows, passage) - 1
        self._touched.add(shard)
        number, row = divmod(passage - self._first_rows[shard], self.batch_rows)
        return self._columns(shard, number), row

    def get(self, passage: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return views of (ids, unit bits, entity types), one entry a token."""
        columns, row = self._row(passage)
        start, end = columns.token_offsets[row : row + 2].tolist()
        return columns.ids[start:end], columns.bits[start:end], columns.types[start:end]

    def sentence_starts(self, passage: int) -> np.ndarray:
        """Return the token at which each sentence of the passage begins."""
        columns, row = self._row(passage)
        start, end = columns.sentence_offsets[row : row + 2].tolist()
        return columns.sentence_starts[start:end]

    def segments(self, passage: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (starts, roles) of the passage's segments: first tokens, and indices into `document.ROLES`.

        A segment (a dialogue turn, a query, a title) ends where the next one begins, the last with the passage.
        """
        columns, row = self._row(passage)
        start, end = columns.segment_offsets[row : row + 2].tolist()
        return columns.segment_starts[start:end], columns.segment_roles[start:end]

    def first_passage(self, document: int) -> int:
        """Return the first passage of a document; that of document D is N."""
        return int(self.first_passages[document])

    def document_of(self, passages: np.ndarray) -> np.ndarray:
        """Return the document that each of `passages` belongs to."""
        return np.searchsorted(self.first_passages, passages.astype(np.uint32), side="right") - 1

    @property
    def document(self) -> np.ndarray:
        """The document of every passage (N, rising), made anew: for small corpora."""
        return np.repeat(np.arange(self.documents, dtype=np.int32), np.diff(self.first_passages))

    @property
    def document_sentences(self) -> np.ndarray:
        """Sentences of the whole document of every passage (N), made anew: for small corpora."""
        return self.part(0, len(self)).document_sentences

    @property
    def documents(self) -> int:
        """Number of documents."""
        return max(0, len(self.first_passages) - 1)

    def part(self, start: int, stop: int) -> Eligibility:
        """Return the passages `start` to `stop` − 1."""
        return Eligibility(self, start, stop)

    def release(self) -> None:
        """Give the mapped pages back: what is looked at again is mapped again, from the system's cache."""
        if hasattr(mmap, "MADV_DONTNEED"):
            # What a look gave is read after it: those of the last time may have come back since.
            for mapped in (*self._index.maps, *(self._files[n] for n in self._touched | self._touched_before)):
                mapped.madvise(mmap.MADV_DONTNEED)
        self._touched, self._touched_before = set(), self._touched

    def readers(self) -> Iterator[pa.RecordBatchFileReader]:
        """Yield an Arrow reader for each shard: for the columns that training does not need."""
        for shard in self._shards:
            yield pa.ipc.open_file(pa.memory_map(f"{self.folder}/{shard['name']}"))
