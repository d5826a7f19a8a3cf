"""Checkpoints: written beside, fsynced, renamed, checksummed; a damaged newest one is named and passed over.

`RUN/checkpoints/step-00000300/` holds `model.safetensors`, `optimizer.pt` (read with `weights_only`), `trainer.json`
(what the loop remembers) and `state.json` with the step and the SHA-256 of the other files. A copy in memory is
written in the background, so that training waits only for the copy: the memory for it is taken once and kept.
"""

import hashlib
import json
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch.serialization import get_crc32_options, set_crc32_options

from ernie_pipe.corpus.storage import sync_folder
from ernie_pipe.errors import InputError, TrainingStopped
from ernie_pipe.model.multitask import MultiTaskModel, head_name

logger = logging.getLogger(__name__)
MODEL, OPTIMIZER, TRAINER, STATE = "model.safetensors", "optimizer.pt", "trainer.json", "state.json"
# The priority of the writing thread below that of training (0; 19 is the lowest).
_NICE = 5


class SaveFailed(TrainingStopped):
    """A checkpoint could not be written (a full disk, mostly); the ones before it are intact."""


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint stores, on the CPU: tensors by name, the optimiser's state, and what the loop remembers."""

    model: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    trainer: dict[str, Any]


class Copier:
    """Copies tensors to CPU memory that training will not touch: the same memory every time.

    Fresh memory would have to be mapped page by page, which takes longer than the copy. Beside a GPU it is pinned,
    so that all copies run at the speed of the bus.
    """

    def __init__(self) -> None:
        self._kept: dict[str, torch.Tensor] = {}

    def snapshot(self, model: MultiTaskModel, optimizer: torch.optim.Optimizer, trainer: dict[str, Any]) -> Snapshot:
        """Copy a run's state; the copy before this one is overwritten."""
        weights = {name: self._copied(tensor, name) for name, tensor in model.state(cpu=False).items()}
        copy = Snapshot(weights, self._copied(optimizer.state_dict(), "optimizer"), trainer)
        if next(model.parameters()).is_cuda:
            torch.cuda.synchronize()
        return copy

    def _copied(self, value: Any, name: str) -> Any:
        if isinstance(value, torch.Tensor):
            kept = self._kept.get(name)
            if kept is None or kept.shape != value.shape or kept.dtype != value.dtype:
                kept = torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)
                self._kept[name] = kept
            return kept.copy_(value.detach(), non_blocking=True)
        if isinstance(value, dict):
            return {key: self._copied(item, f"{name}/{key}") for key, item in value.items()}
        return [self._copied(item, f"{name}/{i}") for i, item in enumerate(value)] if isinstance(value, list) else value


def folder(run: Path, step: int) -> Path:
    """Return where the checkpoint of `step` lies."""
    return run / "checkpoints" / f"step-{step:08d}"


def save(
    run: Path,
    step: int,
    model: MultiTaskModel,
    optimizer: torch.optim.Optimizer,
    *,
    keep: int,
    best: int | None = None,
    trainer: dict[str, Any] | None = None,
) -> Path:
    """Save atomically, then delete all but the newest `keep` checkpoints and that of step `best`."""
    return write(run, step, Snapshot(model.state(), optimizer.state_dict(), trainer or {}), keep=keep, best=best)


def write(run: Path, step: int, content: Snapshot, *, keep: int, best: int | None) -> Path:
    """Write a snapshot as `save` does; `SaveFailed` leaves no part of it behind and the others as they were."""
    target = folder(run, step)
    if not target.exists() or _problem(target) is not None:
        partial = target.with_name(target.name + ".partial")
        try:
            _write_partial(run, partial, step, content)
            # What still lies there is damaged: a run that resumed before it has come back to its step.
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
            sync_folder(str(target.parent))
        except (OSError, RuntimeError, SafetensorError) as error:
            # torch and safetensors tell a full disk by errors of their own.
            shutil.rmtree(partial, ignore_errors=True)
            raise failed(run, target, error) from error
    for old in _found(run)[keep:]:
        if old != best:
            shutil.rmtree(folder(run, old))
    return target


def _write_partial(run: Path, partial: Path, step: int, content: Snapshot) -> None:
    for left in (run / "checkpoints").glob("*.partial"):
        shutil.rmtree(left)
    partial.mkdir(parents=True)
    save_file(content.model, partial / MODEL)
    _save_optimizer(content.optimizer, partial / OPTIMIZER)
    (partial / TRAINER).write_text(json.dumps(content.trainer, indent=1), encoding="utf-8")
    state = {"step": step, "sha256": {name: _sha256(partial / name) for name in (MODEL, OPTIMIZER, TRAINER)}}
    (partial / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
    for path in partial.iterdir():
        _sync_file(path)
    sync_folder(str(partial))


def _save_optimizer(state: dict[str, Any], path: Path) -> None:
    before = get_crc32_options()
    # The SHA-256 says more than torch's own checksums, which take as long as the writing.
    set_crc32_options(False)
    try:
        torch.save(state, path)
    finally:
        set_crc32_options(before)


def failed(run: Path, target: Path, error: Exception) -> SaveFailed:
    """Return the error that tells why `target` was not written, and where the run can go on."""
    before = _found(run)
    left = f"step {before[0]} is intact, the same command goes on from it" if before else "no step was saved before"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
    return SaveFailed(f"{target}: not saved ({reason}); {left}; first make room on the disk")


class Writer:
    """Writes snapshots one after another in a thread of its own; what fails there is told by `failure`."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint", initializer=_step_back)
        self._copier = Copier()
        self._pending: Future[Path] | None = None
        self.failure: SaveFailed | None = None
        self.waited = 0.0

    def save(
        self,
        run: Path,
        step: int,
        model: MultiTaskModel,
        optimizer: torch.optim.Optimizer,
        *,
        keep: int,
        best: int | None,
        trainer: dict[str, Any],
        wait: bool = False,
    ) -> None:
        """Copy now and write in the background, after the save before this one has ended.

        With `wait` it is written here and now: at the priority of training, and without a copy.
        """
        self.wait()
        began = time.monotonic()
        if wait:
            try:
                save(run, step, model, optimizer, keep=keep, best=best, trainer=trainer)
            except SaveFailed as error:
                self.failure = error
        else:
            content = self._copier.snapshot(model, optimizer, trainer)
            self._pending = self._pool.submit(write, run, step, content, keep=keep, best=best)
        self.waited += time.monotonic() - began

    def wait(self) -> None:
        """Wait until nothing is being written; `waited` sums the seconds that training lost."""
        began = time.monotonic()
        self._collect(None)
        self.waited += time.monotonic() - began

    @property
    def busy(self) -> bool:
        """Whether something is being written."""
        return self._pending is not None and not self._pending.done()

    def look(self) -> SaveFailed | None:
        """Return what has failed so far, without waiting."""
        if not self.busy:
            self._collect(0)
        return self.failure

    def _collect(self, timeout: float | None) -> None:
        if self._pending is None:
            return
        try:
            self._pending.result(timeout)
        except SaveFailed as error:
            self.failure = error
        self._pending = None


def _step_back() -> None:
    """Let training have the cores first: only Linux knows a priority of a single thread."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


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


def trainer_state(run: Path, step: int) -> dict[str, Any]:
    """Return what the loop remembered at `step`; nothing where the checkpoint is older than that file."""
    path = folder(run, step) / TRAINER
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def best(run: Path, newest: int) -> int:
    """Return the step that evaluation had found best by step `newest`; `InputError` where there is none, or damaged."""
    step = trainer_state(run, newest).get("evaluation", {}).get("best_step", -1)
    if step < 0:
        raise InputError(f"{run}: has no best checkpoint: train with evaluate.every, or take the newest")
    problem = _problem(folder(run, step))
    if problem is not None:
        raise InputError(f"{folder(run, step)}: the best checkpoint is damaged ({problem}); take the newest")
    return step


def load_model(run: Path, step: int, model: MultiTaskModel, begun: Collection[str] | None = None) -> None:
    """Load the weights of `step` into `model`.

    `begun`: the tasks of stages that had begun by then (None: all). Others may be missing, as one that was added to
    a finished run is: its head keeps its fresh weights, its row of the task embedding becomes a copy of row 0.
    """
    state = load_file(folder(run, step) / MODEL)
    missing, unexpected = model.load_state_dict(state, strict=False)
    aliases = set(model.state_dict()) - set(model.state())
    late = [name for name in model.tasks if begun is not None and name not in begun]
    fresh = tuple(f"heads.{head_name(name)}." for name in late)
    if not any(task.pooled for name, task in model.tasks.items() if name not in late):
        fresh = (*fresh, "encoder.pooler.")
    wrong = sorted(name for name in {*missing} - aliases if not name.startswith(fresh)) + sorted(unexpected)
    if wrong:
        raise InputError(f"{folder(run, step)}: does not fit the model of this run (first: {wrong[0]})")
    rows = model.encoder.embeddings.task_type_embeddings.weight.data
    for number, name in enumerate(model.tasks):
        if name in late and any(key.startswith(f"heads.{head_name(name)}.") for key in missing):
            rows[number] = rows[0]


def load_optimizer(run: Path, step: int, optimizer: torch.optim.Optimizer, model: MultiTaskModel) -> None:
    """Load the optimiser's moments of `step`; parameters that its weights do not have begin without."""
    state: dict[str, Any] = torch.load(folder(run, step) / OPTIMIZER, map_location="cpu", weights_only=True)
    with safe_open(folder(run, step) / MODEL, "pt") as weights:
        known = set(weights.keys())
    had = {id(parameter) for name, parameter in model.named_parameters() if name in known}
    optimizer.load_state_dict(_renumbered(state, optimizer, had))


def _renumbered(state: dict[str, Any], optimizer: torch.optim.Optimizer, had: Collection[int]) -> dict[str, Any]:
    """Return an optimiser's state with the numbers that the parameters `had` (by id) have now.

    Numbers go through the groups in order, so those that are new shift the ones behind them.
    """
    number, moments, groups = count(), {}, []
    old = count()
    for group, before in zip(optimizer.param_groups, state["param_groups"], strict=True):
        numbers = []
        for parameter in group["params"]:
            numbers.append(next(number))
            if id(parameter) in had:
                moments[numbers[-1]] = state["state"][next(old)]
        groups.append({**before, "params": numbers})
    return {"state": moments, "param_groups": groups}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
