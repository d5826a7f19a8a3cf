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
VERSION = 3
# One row a record batch: where in its file these buffers begin.
BUFFERS = (
    "ids", "bits", "types", "token_offsets", "sentence_starts", "sentence_offsets",
    "segment_starts", "segment_roles", "segment_offsets",
)  # fmt: skip
# The label of a passage that has none.
NO_LABEL = 65_535
_FILES: dict[str, np.dtype[Any]] = {
    "tokens": np.dtype(np.uint16),
    "sentences": np.dtype(np.uint16),
    "source": np.dtype(np.uint16),
    "marks": np.dtype(np.uint8),
    "labels": np.dtype(np.uint16),
    "segment_counts": np.dtype(np.uint16),
    "roles": np.dtype(np.uint8),
    "documents": np.dtype(np.uint32),
    "batches": np.dtype(np.int64),
}


@dataclass(frozen=True)
class Index:
    """`tokens`, `sentences`, `source`, `marks`, `labels`, `segment_counts`, `roles` (N passages): as in `Passages`.

    `documents` (D + 1): the first passage of each, then N. `batches` (record batches of all shards, 9): byte
    offsets as in `BUFFERS`. `id_type`: dtype of the ids.
    """

    tokens: np.ndarray
    sentences: np.ndarray
    source: np.ndarray
    marks: np.ndarray
    labels: np.ndarray
    segment_counts: np.ndarray
    roles: np.ndarray
    documents: np.ndarray
    batches: np.ndarray
    source_names: list[str]
    label_names: list[str]
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
    return Index(**none, source_names=[], label_names=[], id_type="uint16", total_tokens=0, longest=0, maps=[])


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
    names: dict[str, int] = {}
    labels: dict[str, int] = {}
    rows = total = longest = 0
    id_type = ""
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(place / name, "wb")) for name in _FILES}
        for shard in shards:
            path = f"{folder}/{shard['name']}"
            for batch, addresses in _batches(path):
                id_type = str(batch.column("input_ids").type.value_type)
                lists = ("input_ids", "sentence_starts", "segments")
                tokens, sentences, segments = (_lengths(batch.column(name)) for name in lists)
                first = np.flatnonzero(batch.column("index").to_numpy() == 0) + rows
                source, marks = _codes(batch.column("source"), names), _marks(batch.column("unit_bits"))
                labelled = (_codes(batch.column("label"), labels), segments, _roles(batch, segments))
                columns = (tokens, sentences, source, marks, *labelled, first, addresses)
                for (name, kind), values in zip(_FILES.items(), columns, strict=True):
                    files[name].write(np.ascontiguousarray(values, dtype=kind).data)
                rows, total = rows + len(tokens), total + int(tokens.sum())
                longest = max(longest, int(tokens.max()))
        files["documents"].write(np.array([rows], _FILES["documents"]).data)
        details = {
            "source_names": list(names),
            "label_names": list(labels)[:NO_LABEL],
            "id_type": id_type,
            "total_tokens": total,
            "longest": longest,
        }
        if len(labels) > NO_LABEL:
            logger.warning("%s: %d different labels: all but the first %d count as none", folder, len(labels), NO_LABEL)
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
                segments = batch.column("segments")
                parts = [segments.values.field(name).buffers()[1] for name in ("start", "role")]
                found = [*values[:3], offsets[0], values[3], offsets[1], *parts, segments.buffers()[1]]
                # What is empty lies nowhere.
                yield batch, [buffer.address - base if buffer is not None and buffer.size else 0 for buffer in found]
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: damaged ({error}): run `ernie-pipe encode` again with --overwrite") from None


def _lengths(column: pa.ListArray) -> np.ndarray:
    return np.diff(column.offsets.to_numpy())


def _marks(column: pa.ListArray) -> np.ndarray:
    """Return for each row the unit bits that any of its tokens has."""
    offsets, bits = column.offsets.to_numpy(), np.append(column.values.to_numpy(), np.uint8(0))
    return np.where(np.diff(offsets) > 0, np.bitwise_or.reduceat(bits, offsets[:-1]), np.uint8(0))


def _codes(column: pa.Array, names: dict[str, int]) -> np.ndarray:
    """Return the number of each row's name, adding new ones to `names`; none, or one too many, is `NO_LABEL`."""
    encoded = column.dictionary_encode()
    found = [min(names.setdefault(name, len(names)), NO_LABEL) for name in encoded.dictionary.to_pylist()]
    return np.array([*found, NO_LABEL], np.uint16)[encoded.indices.fill_null(len(found)).to_numpy()]


def _roles(batch: pa.RecordBatch, counts: np.ndarray) -> np.ndarray:
    """Return the set of each row's roles: bit r for role r."""
    roles = batch.column("segments").values.field("role").to_numpy()
    rows = np.repeat(np.arange(len(counts)), counts)
    found = np.zeros(len(counts), np.uint8)
    for role in np.unique(roles).tolist():
        found[rows[roles == role]] |= np.uint8(1 << role)
    return found


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
