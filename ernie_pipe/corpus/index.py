"""The index of a split: what the plan needs of every passage, in flat files that are mapped, not read.

`PASSAGES/_index/SPLIT-HASH/`, made by whoever opens the passages first (one pass over the shards), found again by
the hash of the shards' digests. In a folder that cannot be written it is made anew in a temporary one.
Memory is what is touched, whatever the size of the corpus.
"""

import json
import logging
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ernie_pipe.corpus.manifest import content_hash
from ernie_pipe.corpus.storage import resolve, sync_folder
from ernie_pipe.errors import InputError

logger = logging.getLogger(__name__)
FOLDER = "_index"
VERSION = 1
# One row a record batch: where in its file these buffers begin.
BUFFERS = ("ids", "bits", "types", "token_offsets", "sentence_starts", "sentence_offsets")
_FILES: dict[str, np.dtype[Any]] = {
    "tokens": np.dtype(np.uint16),
    "sentences": np.dtype(np.uint16),
    "source": np.dtype(np.uint16),
    "documents": np.dtype(np.uint32),
    "batches": np.dtype(np.int64),
}


@dataclass(frozen=True)
class Index:
    """`tokens`, `sentences`, `source` (N passages); `documents` (D + 1): the first passage of each, then N.

    `batches` (record batches of all shards, 6): byte offsets as in `BUFFERS`. `id_type`: dtype of the ids.
    """

    tokens: np.ndarray
    sentences: np.ndarray
    source: np.ndarray
    documents: np.ndarray
    batches: np.ndarray
    source_names: list[str]
    id_type: str
    total_tokens: int
    longest: int
    maps: list[mmap.mmap]


def open_index(folder: str, split: str, shards: Sequence[dict[str, Any]]) -> Index:
    """Return the index of the shards of a split, made now where there is none; `InputError` names a bad shard."""
    _check_files(folder, shards)
    if not any(shard["rows"] for shard in shards):
        return _empty()
    name = f"{split}-{content_hash([VERSION, [[shard['name'], shard['digest']] for shard in shards]])}"
    place = Path(resolve(f"{folder}/{FOLDER}/{name}")[1])
    found = _load(place)
    if found is not None:
        return found
    try:
        return _make(folder, shards, place)
    except PermissionError:
        logger.warning("%s: cannot be written: the index is made again by every process that opens it", place.parent)
    except OSError as error:
        raise InputError(f"{place}: the index of the passages cannot be written: {error.strerror}") from None
    with tempfile.TemporaryDirectory(prefix="ernie_pipe_index_") as temporary:
        # Mapped files live on after they are deleted.
        return _make(folder, shards, Path(temporary) / name)


def _check_files(folder: str, shards: Sequence[dict[str, Any]]) -> None:
    for shard in shards:
        path = f"{folder}/{shard['name']}"
        try:
            size = os.stat(path).st_size
        except FileNotFoundError:
            raise InputError(f"{path}: named by the manifest but missing: run `ernie-pipe encode` again") from None
        if size != shard["bytes"]:
            found = f"{size} bytes, the manifest says {shard['bytes']}"
            raise InputError(f"{path}: damaged ({found}): run `ernie-pipe encode` again with --overwrite")


def _empty() -> Index:
    none: dict[str, Any] = {name: np.zeros(0, kind) for name, kind in _FILES.items()}
    return Index(**none, source_names=[], id_type="uint16", total_tokens=0, longest=0, maps=[])


def _make(folder: str, shards: Sequence[dict[str, Any]], place: Path) -> Index:
    """Write the index beside `place`, rename it, and load it."""
    place.parent.mkdir(exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=place.parent))
    try:
        _write(folder, shards, made)
        made.chmod(0o755)
        try:
            made.rename(place)
            sync_folder(str(place.parent))
        except OSError:
            # Another process was first, or a damaged one stands there.
            if _load(place) is None:
                shutil.rmtree(place)
                made.rename(place)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    split = place.name.rpartition("-")[0]
    for old in place.parent.glob(f"{split}-{'[0-9a-f]' * 16}"):
        if old != place:
            shutil.rmtree(old, ignore_errors=True)
    found = _load(place)
    assert found is not None
    return found


def _write(folder: str, shards: Sequence[dict[str, Any]], place: Path) -> None:
    names: list[str] = []
    rows = total = longest = 0
    id_type = ""
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(place / name, "wb")) for name in _FILES}
        for shard in shards:
            path = f"{folder}/{shard['name']}"
            for batch, addresses in _batches(path):
                id_type = str(batch.column("input_ids").type.value_type)
                tokens, sentences = (_lengths(batch.column(name)) for name in ("input_ids", "sentence_starts"))
                first = np.flatnonzero(batch.column("index").to_numpy() == 0) + rows
                columns = (tokens, sentences, _codes(batch.column("source"), names), first, addresses)
                for (name, kind), values in zip(_FILES.items(), columns, strict=True):
                    files[name].write(np.ascontiguousarray(values, dtype=kind).data)
                rows, total = rows + len(tokens), total + int(tokens.sum())
                longest = max(longest, int(tokens.max()))
        files["documents"].write(np.array([rows], _FILES["documents"]).data)
        details = {"source_names": names, "id_type": id_type, "total_tokens": total, "longest": longest}
        sizes = {name: file.tell() for name, file in files.items()}
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    (place / "index.json").write_text(json.dumps({**details, "sizes": sizes}, ensure_ascii=False), encoding="utf-8")


def _batches(path: str) -> Iterator[tuple[pa.RecordBatch, list[int]]]:
    """Yield the record batches of a shard, and where their buffers begin in the file."""
    try:
        with pa.memory_map(path) as file:
            base = file.read_buffer(file.size()).address
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                lists = [batch.column(name) for name in ("input_ids", "unit_bits", "entity_types", "sentence_starts")]
                values = [column.values.buffers()[1] for column in lists]
                offsets = [lists[0].buffers()[1], lists[3].buffers()[1]]
                found = [*values[:3], offsets[0], values[3], offsets[1]]
                yield batch, [buffer.address - base if buffer is not None else 0 for buffer in found]
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: damaged ({error}): run `ernie-pipe encode` again with --overwrite") from None


def _lengths(column: pa.ListArray) -> np.ndarray:
    return np.diff(column.offsets.to_numpy())


def _codes(column: pa.Array, names: list[str]) -> np.ndarray:
    """Return the number of each row's source, adding new ones to `names`."""
    encoded = column.dictionary_encode()
    found = encoded.dictionary.to_pylist()
    names += [name for name in found if name not in names]
    return np.array([names.index(name) for name in found], np.uint16)[encoded.indices.to_numpy()]


def _load(place: Path) -> Index | None:
    """Map the index in `place`, or return None where there is no whole one."""
    try:
        details = json.loads((place / "index.json").read_text(encoding="utf-8"))
        sizes = details.pop("sizes")
        if any(os.stat(place / name).st_size != sizes[name] for name in _FILES):
            return None
        maps = [map_file(place / name) for name in _FILES]
    except (OSError, ValueError, KeyError):
        return None
    arrays: dict[str, Any] = {
        name: np.frombuffer(mapped, kind) for mapped, (name, kind) in zip(maps, _FILES.items(), strict=True)
    }
    arrays["batches"] = arrays["batches"].reshape(-1, len(BUFFERS))
    return Index(**arrays, **details, maps=maps)


def map_file(path: str | Path) -> mmap.mmap:
    """Map a file for reading."""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
