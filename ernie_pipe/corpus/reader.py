"""Passages, memory-mapped: random access to any row without reading the rest.

What is held in memory is one small number a passage (tokens, sentences, document, source); ids stay on disk.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.errors import InputError


@dataclass(frozen=True)
class Columns:
    """One record batch as flat arrays: row r of a list column is `values[offsets[r]:offsets[r + 1]]`."""

    ids: np.ndarray
    bits: np.ndarray
    types: np.ndarray
    token_offsets: np.ndarray
    sentence_starts: np.ndarray
    sentence_offsets: np.ndarray


class Passages:
    """The rows of one split of a passages folder, numbered from 0 in manifest order.

    `tokens`, `sentences` (uint16), `document` (int32 ordinal, rising) and `source` (int32, index into
    `source_names`) are arrays over all passages.
    """

    def __init__(self, folder: str, split: str = "train") -> None:
        self.folder, self.split = folder, split
        self.manifest = manifests.read(folder, "passages")
        self.batch_rows: int = self.manifest.details["batch_rows"]
        shards = [shard for shard in self.manifest.shards if shard["split"] == split]
        self._readers = [_open(f"{folder}/{shard['name']}", shard) for shard in shards]
        self._first_rows = np.cumsum([0, *(shard["rows"] for shard in shards)])
        self._columns = lru_cache(maxsize=4096)(self._load)
        self.source_names: list[str] = []
        self._scan()

    def _scan(self) -> None:
        tokens, sentences, first, source = [], [], [], []
        for shard, reader in enumerate(self._readers):
            for number in range(reader.num_record_batches):
                columns = self._columns(shard, number)
                tokens.append(np.diff(columns.token_offsets).astype(np.uint16))
                sentences.append(np.diff(columns.sentence_offsets).astype(np.uint16))
                batch = reader.get_batch(number)
                first.append(batch.column("index").to_numpy() == 0)
                source.append(self._source_codes(batch.column("source")))
        self.tokens = np.concatenate([np.zeros(0, np.uint16), *tokens])
        self.sentences = np.concatenate([np.zeros(0, np.uint16), *sentences])
        self.document = np.cumsum(np.concatenate([np.zeros(0, bool), *first]), dtype=np.int32) - 1
        self.source = np.concatenate([np.zeros(0, np.int32), *source])

    def _source_codes(self, column: pa.Array) -> np.ndarray:
        encoded = column.dictionary_encode()
        for name in encoded.dictionary.to_pylist():
            if name not in self.source_names:
                self.source_names.append(name)
        codes = np.array([self.source_names.index(name) for name in encoded.dictionary.to_pylist()], np.int32)
        return codes[encoded.indices.to_numpy()]

    def _load(self, shard: int, number: int) -> Columns:
        batch = self._readers[shard].get_batch(number)
        ids, bits, types = (batch.column(name) for name in ("input_ids", "unit_bits", "entity_types"))
        sentences = batch.column("sentence_starts")
        return Columns(
            ids.values.to_numpy(),
            bits.values.to_numpy(),
            types.values.to_numpy(),
            ids.offsets.to_numpy(),
            sentences.values.to_numpy(),
            sentences.offsets.to_numpy(),
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "split": self.split}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _row(self, passage: int) -> tuple[Columns, int]:
        shard = int(np.searchsorted(self._first_rows, passage, side="right")) - 1
        row = passage - int(self._first_rows[shard])
        return self._columns(shard, row // self.batch_rows), row % self.batch_rows

    def get(self, passage: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return views of (ids, unit bits, entity types), one entry a token."""
        columns, row = self._row(passage)
        start, end = columns.token_offsets[row], columns.token_offsets[row + 1]
        return columns.ids[start:end], columns.bits[start:end], columns.types[start:end]

    def sentence_starts(self, passage: int) -> np.ndarray:
        """Return the token at which each sentence of the passage begins."""
        columns, row = self._row(passage)
        return columns.sentence_starts[columns.sentence_offsets[row] : columns.sentence_offsets[row + 1]]

    def first_passage(self, document: int) -> int:
        """Return the first passage of a document."""
        return int(np.searchsorted(self.document, document))

    @property
    def documents(self) -> int:
        """Number of documents."""
        return int(self.document[-1]) + 1 if len(self.document) else 0


def _open(path: str, shard: dict[str, Any]) -> Any:
    try:
        reader = pa.ipc.open_file(pa.memory_map(path))
    except FileNotFoundError:
        raise InputError(f"{path}: named by the manifest but missing: run `ernie-pipe encode` again") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: damaged ({error}): run `ernie-pipe encode` again with --overwrite") from None
    return reader
