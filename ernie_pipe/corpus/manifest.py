"""Manifests: the commit of every preparation stage. What a manifest names exists; all else is a leftover."""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ernie_pipe.corpus.storage import open_stream, remove_except, resolve, write_atomic
from ernie_pipe.errors import InputError

SCHEMA_VERSION = 1
NAME = "manifest.json"
REJECTED = "_rejected"
_MADE_BY = {
    "segmented": "ernie-pipe segment",
    "passages": "ernie-pipe encode",
    "tokenizer": "ernie-pipe vocab",
    "relations": "ernie-pipe relations",
    "clicks": "ernie-pipe clicks",
}


@dataclass(frozen=True)
class Manifest:
    """One stage's result.

    `shards` are mappings with `name`, `rows`, `bytes`, `digest` and what the stage adds; `counts` add up as
    in = kept + rejected + duplicate; `config` is everything that determines the result, `config_hash` its hash.
    """

    kind: str
    config: dict[str, Any]
    counts: dict[str, Any]
    shards: list[dict[str, Any]] = field(default_factory=list)
    rejected_shards: list[dict[str, Any]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    config_hash: str = ""
    created: str = ""

    @property
    def data_fingerprint(self) -> str:
        """Hash of the content of all shards in order, whatever their names."""
        return content_hash([shard["digest"] for shard in self.shards])


def content_hash(value: Any) -> str:
    """Return a hash (16 hex digits) of anything that JSON can hold."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def read(folder: str, kind: str) -> Manifest:
    """Read the manifest of `folder`; `InputError` says which command makes such a folder."""
    manifest = find(folder)
    if manifest is None:
        raise InputError(f"{folder}: no {NAME} there: it is not a finished result of `{_MADE_BY[kind]}`")
    if manifest.kind != kind:
        raise InputError(f"{folder}: holds {manifest.kind}, expected {kind} (made by `{_MADE_BY[kind]}`)")
    return manifest


def read_whole(folder: str, kind: str) -> Manifest:
    """Read the manifest as `read` does; `InputError` names the first shard that is missing or has another size."""
    manifest = read(folder, kind)
    check_whole(folder, manifest)
    return manifest


def check_whole(folder: str, manifest: Manifest) -> None:
    """Raise `InputError` when a shard is missing or has another size than the manifest says."""
    for shard in manifest.shards:
        path = f"{folder}/{shard['name']}"
        size = _size(path)
        if size != shard["bytes"]:
            found = "missing" if size is None else f"damaged ({size} bytes, expected {shard['bytes']})"
            raise InputError(f"{path}: named by the manifest but {found}: run `{_MADE_BY[manifest.kind]}` again")


def find(folder: str) -> Manifest | None:
    """Return the manifest of `folder`, or None where there is none."""
    system, inner = resolve(f"{folder}/{NAME}")
    if system.get_file_info(inner).type.name != "File":
        return None
    try:
        with open_stream(f"{folder}/{NAME}") as stream:
            manifest = Manifest(**json.load(stream))
        if any("/" in shard["name"] for shard in [*manifest.shards, *manifest.rejected_shards]):
            raise ValueError("a shard outside the folder")
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{folder}/{NAME}: damaged ({error}): make the folder again") from None
    if manifest.schema_version != SCHEMA_VERSION:
        raise InputError(
            f"{folder}: schema version {manifest.schema_version}, this version reads {SCHEMA_VERSION}: "
            "make the folder again"
        )
    return manifest


def is_done(folder: str, kind: str, config: Mapping[str, Any], *, overwrite: bool = False) -> bool:
    """Return whether `folder` already holds the result of `config`.

    Another finished result there is an `InputError` that names what differs, unless `overwrite`; that of another
    stage (perhaps this one's input) always is.
    """
    found = find(folder)
    if found is not None and found.kind != kind:
        raise InputError(f"{folder}: holds {found.kind} already; choose another --output for {kind}")
    if found is None or overwrite:
        return False
    if found.config_hash == content_hash(config) and not _is_whole(folder, found):
        return False
    if found.config_hash == content_hash(config):
        return True
    keys = sorted(key for key in {*config, *found.config} if _json(config.get(key)) != _json(found.config.get(key)))
    raise InputError(
        f"{folder}: holds a finished result of another configuration (differs: {', '.join(keys) or 'kind'}); "
        "choose another --output or add --overwrite"
    )


def _is_whole(folder: str, manifest: Manifest) -> bool:
    """Return whether every shard lies there with its size; a result that lost one is made again."""
    places = [(f"{folder}/{shard['name']}", shard["bytes"]) for shard in manifest.shards]
    places += [(f"{folder}/{REJECTED}/{shard['name']}", shard["bytes"]) for shard in manifest.rejected_shards]
    return all(_size(path) == size for path, size in places)


def _size(path: str) -> int | None:
    """Return the bytes of a file, None where there is none."""
    system, inner = resolve(path)
    return system.get_file_info(inner).size


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def commit(folder: str, manifest: Manifest) -> Manifest:
    """Write the manifest (the result exists from here on), then delete the leftovers of failed attempts."""
    stamped = Manifest(
        **{
            **asdict(manifest),
            "config_hash": content_hash(manifest.config),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
    )
    data = json.dumps(asdict(stamped), ensure_ascii=False, indent=1).encode()
    write_atomic(f"{folder}/{NAME}", data)
    if stamped.shards:
        remove_except(folder, [NAME, *(shard["name"] for shard in stamped.shards)])
        remove_except(f"{folder}/{REJECTED}", [shard["name"] for shard in stamped.rejected_shards])
    return stamped


def add_up(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum mappings of numbers, key by key, mappings inside them likewise."""
    total: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            if isinstance(value, Mapping):
                total[key] = add_up([total.get(key, {}), value])
            else:
                total[key] = total.get(key, 0) + value
    return total
