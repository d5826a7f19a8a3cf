"""Processes and devices of a run: Accelerate's object, and whether the launcher started what was asked for."""

import os
import resource
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import LoggerType, ProjectConfiguration

from ernie_pipe.config import nearest
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain.settings import PretrainSettings


def build_accelerator(settings: PretrainSettings, folder: Path) -> Accelerator:
    """Return Accelerate's object for the precision and trackers of the settings; `InputError` names a wrong one."""
    bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    precision = {"auto": "bf16" if bf16 else "no", "fp32": "no", "bf16": "bf16"}[settings.precision]
    known = [str(tracker) for tracker in LoggerType]
    for name in settings.trackers:
        if name not in known:
            raise InputError(f"trackers: unknown tracker `{name}`{nearest(name, known)}")
    return Accelerator(
        mixed_precision=precision,
        log_with=settings.trackers or None,
        project_config=ProjectConfiguration(project_dir=str(folder), logging_dir=str(folder)),
    )


def check_world(wanted: int | None, found: int) -> None:
    """Refuse to train when the launcher did not start what was asked for (two runs that overwrite each other)."""
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if wanted is not None and wanted != found:
        raise InputError(
            f"{wanted} processes were asked for, this run has {found}; start it with `ernie-pipe pretrain "
            f"--num-processes {wanted}`, which passes what `accelerate launch` needs"
        )
    if started != found:
        raise InputError(
            f"the launcher started {started} processes, but they form groups of {found}: on CPU set "
            "ACCELERATE_USE_CPU=true, or start with `ernie-pipe pretrain --num-processes`"
        )


def peak_memory(device: torch.device) -> int:
    """Return the MiB that this process has held at most: of its GPU, or of main memory where it has none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10)


def to_device(value: Any, device: torch.device) -> Any:
    """Return `value` with the tensors in its dicts and tuples on `device`."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {name: to_device(item, device) for name, item in value.items()}
    return tuple(to_device(item, device) for item in value) if isinstance(value, tuple) else value
