"""Checkpoints: written beside, fsynced, renamed, checksummed; a damaged newest one is named and passed over.

`RUN/checkpoints/step-00000300/` holds `model.safetensors`, `optimizer.pt` (read with `weights_only`) and
`state.json` with the step and the SHA-256 of the other files.
"""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ernie_pipe.corpus.storage import sync_folder
from ernie_pipe.errors import InputError
from ernie_pipe.model.multitask import MultiTaskModel

logger = logging.getLogger(__name__)
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.pt", "state.json"


def folder(run: Path, step: int) -> Path:
    """Return where the checkpoint of `step` lies."""
    return run / "checkpoints" / f"step-{step:08d}"


def save(run: Path, step: int, model: MultiTaskModel, optimizer: torch.optim.Optimizer, *, keep: int) -> Path:
    """Save atomically, then delete all but the newest `keep` checkpoints."""
    target = folder(run, step)
    if target.exists() and _problem(target) is None:
        return target
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(model.state(), partial / MODEL)
    torch.save(optimizer.state_dict(), partial / OPTIMIZER)
    state = {"step": step, "sha256": {name: _sha256(partial / name) for name in (MODEL, OPTIMIZER)}}
    (partial / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
    for path in partial.iterdir():
        _sync_file(path)
    sync_folder(str(partial))
    # What still lies there is damaged: a run that resumed before it has come back to its step.
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    sync_folder(str(target.parent))
    for old in _found(run)[keep:]:
        shutil.rmtree(folder(run, old))
    return target


def _found(run: Path) -> list[int]:
    """Return the steps that have a checkpoint folder, newest first."""
    names = (path.name for path in (run / "checkpoints").glob("step-????????"))
    return sorted((int(name.removeprefix("step-")) for name in names), reverse=True)


def newest(run: Path) -> int | None:
    """Return the newest intact step, or None where there is no checkpoint.

    A damaged one is named in the log; `InputError` when all are damaged, so that no run silently starts anew.
    """
    steps = _found(run)
    for step in steps:
        problem = _problem(folder(run, step))
        if problem is None:
            return step
        logger.warning("checkpoint %s is damaged (%s): using the one before", folder(run, step), problem)
    if steps:
        raise InputError(f"{run}: every checkpoint is damaged; delete {run / 'checkpoints'} to start over")
    return None


def _problem(path: Path) -> str | None:
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        for name, expected in state["sha256"].items():
            if _sha256(path / name) != expected:
                return f"{name} has changed"
    except (OSError, ValueError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def load_model(run: Path, step: int, model: MultiTaskModel) -> None:
    """Load the weights of `step` into `model`."""
    state = load_file(folder(run, step) / MODEL)
    missing, unexpected = model.load_state_dict(state, strict=False)
    aliases = set(model.state_dict()) - set(model.state())
    wrong = sorted({*missing} - aliases) + sorted(unexpected)
    if wrong:
        raise InputError(f"{folder(run, step)}: does not fit the model of this run (first: {wrong[0]})")


def load_optimizer(run: Path, step: int, optimizer: torch.optim.Optimizer) -> None:
    """Load the optimiser's moments of `step`."""
    state: dict[str, Any] = torch.load(folder(run, step) / OPTIMIZER, map_location="cpu", weights_only=True)
    optimizer.load_state_dict(state)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
