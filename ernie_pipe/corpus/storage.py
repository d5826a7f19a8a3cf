"""Files by path or URI (`hdfs://`, `s3://`, …) through pyarrow's file systems; local paths need no prefix."""

import hashlib
import io
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from pyarrow import fs

from ernie_pipe.errors import InputError

_SHARD = re.compile(r"part-\d{5,}-[0-9a-f]{8}\.(parquet|arrow|jsonl)")
COMPRESSED = (".gz", ".zst", ".bz2", ".lz4")


def resolve(path: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of `path` and the path inside it; `InputError` for an unknown scheme."""
    if "://" not in path:
        return fs.LocalFileSystem(), os.path.abspath(path)
    try:
        return fs.FileSystem.from_uri(path)
    except Exception as error:
        raise InputError(f"{path}: no file system for this address: {' '.join(str(error).split())}") from None


def list_files(path: str) -> list[tuple[str, int]]:
    """Return (path, bytes) of `path`, or of all files below it, sorted; hidden and `_` names are left out.

    Raises `InputError` when nothing is there.
    """
    system, inner = resolve(path)
    info = system.get_file_info(inner)
    prefix = path[: path.index("://") + 3] if "://" in path else ""
    if info.type == fs.FileType.File:
        return [(prefix + inner, info.size)]
    if info.type != fs.FileType.Directory:
        raise InputError(f"{path}: no such file or folder")
    found = system.get_file_info(fs.FileSelector(inner, recursive=True))
    files = [
        (prefix + item.path, item.size)
        for item in found
        if item.type == fs.FileType.File and not _hidden(item.path[len(inner) :])
    ]
    return sorted(files)


def _hidden(relative: str) -> bool:
    return any(part.startswith((".", "_")) for part in relative.split("/") if part)


def is_compressed(path: str) -> bool:
    """Return whether `path` is a compressed file by its name."""
    return path.lower().endswith(COMPRESSED)


def open_stream(path: str, start: int = 0) -> BinaryIO:
    """Open `path` for reading from byte `start`; compressed files (by name) are read decompressed."""
    system, inner = resolve(path)
    if is_compressed(path):
        ending = path.lower().rsplit(".", 1)[1]
        raw = system.open_input_stream(inner, compression={"gz": "gzip", "zst": "zstd"}.get(ending, ending))
    else:
        raw = system.open_input_file(inner)
        raw.seek(start)
    return io.BufferedReader(raw, buffer_size=1 << 20)


def prepare_folder(path: str) -> None:
    """Create a folder to write to; `InputError` when that, or a file inside, is not possible."""
    system, inner = resolve(path)
    try:
        system.create_dir(inner, recursive=True)
        if isinstance(system, fs.LocalFileSystem):
            tempfile.TemporaryFile(dir=inner).close()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
        raise InputError(f"{path}: cannot be written to: {reason}: choose another place") from None


def write_atomic(path: str, data: bytes) -> None:
    """Write `data` so that a reader sees the old file or the whole new one, also after a crash."""
    system, inner = resolve(path)
    if not isinstance(system, fs.LocalFileSystem):
        with system.open_output_stream(inner) as stream:
            stream.write(data)
        return
    os.makedirs(os.path.dirname(inner), exist_ok=True)
    temporary = f"{inner}.{os.getpid()}.tmp"
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, inner)
    sync_folder(os.path.dirname(inner))


def sync_folder(path: str) -> None:
    """Make renames inside `path` durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(path: str) -> str:
    """Return the BLAKE2 digest (32 hex digits) of a file's bytes as stored."""
    system, inner = resolve(path)
    value = hashlib.blake2b(digest_size=16)
    with system.open_input_file(inner) as file:
        while block := file.read(1 << 20):
            value.update(block)
    return value.hexdigest()


def remove_except(folder: str, keep: Iterable[str]) -> int:
    """Delete shards of `folder` (one level) that are not in `keep`: leftovers of failed attempts.

    A file that no `ShardWriter` named stays: the folder may hold more than our result.
    """
    system, inner = resolve(folder)
    kept = set(keep)
    names = ((path, path.rsplit("/", 1)[-1]) for path in _names(system, inner))
    leftovers = [path for path, name in names if _SHARD.fullmatch(name) and name not in kept]
    for path in leftovers:
        system.delete_file(path)
    return len(leftovers)


def _names(system: fs.FileSystem, inner: str) -> Iterator[str]:
    selector = fs.FileSelector(inner, allow_not_found=True)
    return (item.path for item in system.get_file_info(selector) if item.type == fs.FileType.File)
