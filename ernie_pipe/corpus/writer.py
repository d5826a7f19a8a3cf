"""Shards written by tasks: an attempt-unique name each, a digest, one summary row. The manifest commits them."""

import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ernie_pipe.corpus import schema
from ernie_pipe.corpus.manifest import REJECTED
from ernie_pipe.corpus.storage import digest, resolve
from ernie_pipe.errors import InputError


class ShardWriter:
    """Writes record batches to `folder/part-TASK-ATTEMPT.ending`: Parquet (`.parquet`) or uncompressed Arrow IPC.

    In Arrow files every batch but the last has exactly `batch_rows` rows, whatever the size of those that come in:
    row i lies in batch i // `batch_rows`. In Parquet each batch becomes a row group.
    """

    def __init__(self, folder: str, task: int, ending: str, columns: pa.Schema, *, batch_rows: int = 1024) -> None:
        self.name = f"part-{task:05d}-{uuid.uuid4().hex[:8]}.{ending}"
        self._folder = folder
        self._schema = columns
        self._batch_rows = batch_rows if ending == "arrow" else 1
        self._pending: list[pa.RecordBatch] = []
        self._waiting = 0
        self._writer: Any = None
        self._sink: Any = None
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch."""
        self.rows += batch.num_rows
        self._waiting += batch.num_rows
        self._pending.append(batch)
        if self._waiting >= self._batch_rows:
            self._flush(self._waiting - self._waiting % self._batch_rows)

    def _flush(self, rows: int) -> None:
        """Write the first `rows` of what waits."""
        if self._writer is None:
            self._open()
        table = pa.Table.from_batches(self._pending, self._schema)
        if self.name.endswith(".parquet"):
            self._writer.write_table(table)
        else:
            for first in range(0, rows, self._batch_rows):
                part = table.slice(first, min(self._batch_rows, rows - first)).combine_chunks()
                self._writer.write_batch(part.to_batches()[0])
        self._pending, self._waiting = table.slice(rows).to_batches(), self._waiting - rows

    def _open(self) -> None:
        system, inner = resolve(f"{self._folder}/{self.name}")
        system.create_dir(resolve(self._folder)[1], recursive=True)
        self._sink = system.open_output_stream(inner)
        if self.name.endswith(".parquet"):
            self._writer = _parquet_writer(self._sink, self._schema)
        else:
            self._writer = pa.ipc.new_file(self._sink, self._schema)

    def close(self) -> list[dict[str, Any]]:
        """Finish the file and return its entry for the manifest: none when no row was added."""
        if self._waiting:
            self._flush(self._waiting)
        if self._writer is None:
            return []
        self._writer.close()
        self._sink.close()
        path = f"{self._folder}/{self.name}"
        system, inner = resolve(path)
        size = system.get_file_info(inner).size
        return [{"name": self.name, "rows": self.rows, "bytes": size, "digest": digest(path)}]


def _parquet_writer(sink: Any, columns: pa.Schema) -> pq.ParquetWriter:
    """Numbers as differences (spans rise), names by dictionary: faster and smaller than the default."""
    leaves = [name for name, _ in _leaves(columns)]
    numbers = [name for name, kind in _leaves(columns) if pa.types.is_integer(kind)]
    return pq.ParquetWriter(
        sink,
        columns,
        compression="zstd",
        use_dictionary=[name for name in leaves if name not in (*numbers, "text", "doc_id")],
        column_encoding=dict.fromkeys(numbers, "DELTA_BINARY_PACKED"),
    )


def _leaves(columns: pa.Schema) -> Iterator[tuple[str, pa.DataType]]:
    """Yield Parquet's name and the type of every column of values."""
    for field in columns:
        if pa.types.is_list(field.type):
            inner, name = field.type.value_type, f"{field.name}.list.element"
            parts = inner if pa.types.is_struct(inner) else []
            yield from [(f"{name}.{part.name}", part.type) for part in parts] or [(name, inner)]
        else:
            yield field.name, field.type


def rejected_writer(folder: str, task: int) -> ShardWriter:
    """A writer for `folder/_rejected`."""
    return ShardWriter(f"{folder}/{REJECTED}", task, "parquet", schema.REJECTED)


def open_shard(path: str) -> pq.ParquetFile:
    """Open a Parquet shard that a manifest names; `InputError` when it is missing or damaged."""
    system, inner = resolve(path)
    try:
        return pq.ParquetFile(inner, filesystem=system)
    except FileNotFoundError:
        raise InputError(f"{path}: named by the manifest but missing: run `ernie-pipe segment` again") from None
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: damaged ({error}): run `ernie-pipe segment` again with --overwrite") from None
