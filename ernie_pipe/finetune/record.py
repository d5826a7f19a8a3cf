"""`ernie_pipe.json`: what a fine-tuned folder says about itself beside the stock transformers files."""

import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ernie_pipe
from ernie_pipe.errors import InputError
from ernie_pipe.finetune.data import Source

FILE = "ernie_pipe.json"
SCHEMA = 1
_PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "tokenizers",
    "seqeval",
    "scikit-learn",
    "optuna",
    "sentence-transformers",
)


def read(folder: str | Path) -> dict[str, Any]:
    """Return the record of a folder, empty when it has none; `InputError` when it is damaged."""
    path = Path(folder) / FILE
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise InputError(f"{path}: not a fine-tuning record of schema {SCHEMA}: fine-tune again")
    return data


def chain(folder: str | Path, known: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the fine-tunings that `folder` with the record `known` has been through, the oldest first."""
    names = ("task", "model", "task_id", "data", "metrics")
    last = {"folder": str(folder), **{name: known.get(name) for name in names}}
    return [*known.get("chain", []), last] if known else []


def fingerprint(source: Source, examples: list) -> dict[str, Any]:
    """Return path, sha256 and number of examples; the hash is of the file, or of the examples in memory."""
    if isinstance(source, str | Path):
        with open(source, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"path": str(source), "sha256": digest, "examples": len(examples)}
    digest = hashlib.sha256(repr(examples).encode("utf-8", "backslashreplace")).hexdigest()
    return {"path": None, "sha256": digest, "examples": len(examples)}


def versions() -> dict[str, str]:
    """Return the versions of what decides the result."""
    found = {"ernie_pipe": ernie_pipe.__version__}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def check_output(folder: str | Path, *, model: str | Path) -> None:
    """Refuse to write over anything but an earlier result, or where nothing can be; called before hours of training."""
    path = Path(folder)
    if path.resolve() == Path(model).resolve():
        raise InputError(f"{folder}: is the model to start from: give another folder for the result")
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / FILE).is_file()):
        raise InputError(f"{folder}: exists and is no earlier fine-tuning result: give a new or empty folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent).cleanup()
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}: give another folder") from None


def write_folder(folder: str | Path, fill: Callable[[Path], None], data: dict[str, Any]) -> None:
    """Let `fill` write a model beside `folder`, add the record and move both into place in one step.

    An earlier result goes away only when the new one is complete.
    """
    path = Path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        fill(draft)
        text = json.dumps({"schema": SCHEMA, **data}, ensure_ascii=False, indent=2)
        (draft / FILE).write_text(text + "\n", encoding="utf-8")
        draft.chmod(0o777 & ~_umask())
        if path.exists():
            shutil.rmtree(path)
        os.replace(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
