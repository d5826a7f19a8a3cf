"""Shards written by tasks: an attempt-unique name each, a digest, one summary row. The manifest commits them."""

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ernie_pipe.corpus import schema
from ernie_pipe.corpus.manifest import REJECTED
from ernie_pipe.corpus.storage import digest, resolve
from ernie_pipe.errors import InputError

BATCH_CHARACTERS = 1 << 24


class ShardWriter:
    """Collects rows and writes them in batches to `folder/part-TASK-ATTEMPT.ending`.

    Parquet (`.parquet`) or uncompressed Arrow IPC (`.arrow`); in Arrow files every batch but the last has
    exactly `batch_rows` rows, so that row i lies in batch i // `batch_rows`. Rows appended with their size (in
    characters) make a batch earlier when they come to `BATCH_CHARACTERS`: whole books must fit in memory.
    """

    def __init__(
        self,
        folder: str,
        task: int,
        ending: str,
        columns: pa.Schema,
        to_batch: Callable[[Sequence[Any]], pa.RecordBatch],
        *,
        batch_rows: int,
    ) -> None:
        self.name = f"part-{task:05d}-{uuid.uuid4().hex[:8]}.{ending}"
        self._folder = folder
        self._schema = columns
        self._to_batch = to_batch
        self._batch_rows = batch_rows
        self._pending: list[Any] = []
        self._characters = 0
        self._writer: Any = None
        self._sink: Any = None
        self.rows = 0

    def append(self, row: Any, *, characters: int = 0) -> None:
        """Add one row."""
        self._pending.append(row)
        self.rows += 1
        self._characters += characters
        if len(self._pending) == self._batch_rows or self._characters >= BATCH_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            self._open()
        self._writer.write_batch(self._to_batch(self._pending))
        self._pending, self._characters = [], 0

    def _open(self) -> None:
        system, inner = resolve(f"{self._folder}/{self.name}")
        system.create_dir(resolve(self._folder)[1], recursive=True)
        self._sink = system.open_output_stream(inner)
        if self.name.endswith(".parquet"):
            self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        else:
            self._writer = pa.ipc.new_file(self._sink, self._schema)

    def close(self) -> list[dict[str, Any]]:
        """Finish the file and return its entry for the manifest: none when no row was added."""
        if self._pending:
            self._flush()
        if self._writer is None:
            return []
        self._writer.close()
        self._sink.close()
        path = f"{self._folder}/{self.name}"
        system, inner = resolve(path)
        size = system.get_file_info(inner).size
        return [{"name": self.name, "rows": self.rows, "bytes": size, "digest": digest(path)}]


def rejected_writer(folder: str, task: int) -> ShardWriter:
    """A writer for `folder/_rejected`."""
    return ShardWriter(f"{folder}/{REJECTED}", task, "parquet", schema.REJECTED, schema.rejected_batch, batch_rows=1024)


def open_shard(path: str) -> pq.ParquetFile:
    """Open a Parquet shard that a manifest names; `InputError` when it is missing or damaged."""
    system, inner = resolve(path)
    try:
        return pq.ParquetFile(inner, filesystem=system)
    except FileNotFoundError:
        raise InputError(f"{path}: named by the manifest but missing: run `ernie-pipe segment` again") from None
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: damaged ({error}): run `ernie-pipe segment` again with --overwrite") from None
