"""Processes and devices of a run: Accelerate's object, and whether the launcher started what was asked for.

What the launcher's options bring through the environment (sharding, accumulation, compilation) would reach the run
unseen by its settings: it is refused.
"""

import os
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType, ProjectConfiguration

from ernie_pipe.config import nearest
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain.settings import PretrainSettings

# Environment of `accelerate launch` → what it stands for.
_SHARDED = {
    "ACCELERATE_USE_FSDP": "fully sharded data parallelism (FSDP)",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "tensor, context or other parallelism",
}


def build_accelerator(settings: PretrainSettings, folder: Path) -> Accelerator:
    """Return Accelerate's object for the precision and trackers of the settings; `InputError` names a wrong one."""
    bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    precision = {"auto": "bf16" if bf16 else "no", "fp32": "no", "bf16": "bf16"}[settings.precision]
    check_trackers(settings.trackers)
    check_launcher_options(os.environ)
    return Accelerator(
        mixed_precision=precision,
        log_with=settings.trackers or None,
        project_config=ProjectConfiguration(project_dir=str(folder), logging_dir=str(folder)),
    )


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that Accelerate does not know, or whose package is missing (it would leave them out)."""
    known = [str(tracker) for tracker in LoggerType]
    installed = [str(tracker) for tracker in get_available_trackers()]
    for name in names:
        if name == str(LoggerType.ALL):
            continue
        if name not in known:
            raise InputError(f"trackers: unknown tracker `{name}`{nearest(name, known)}")
        if name not in installed:
            have = ", ".join(installed) or "none"
            raise InputError(f"trackers: the package of `{name}` is not installed (installed: {have}); trackers: []")


def check_launcher_options(environment: Mapping[str, str]) -> None:
    """Refuse what a launcher's options would change behind the settings' back."""
    for name, what in _SHARDED.items():
        if environment.get(name, "").lower() in ("1", "true", "yes"):
            raise InputError(
                f"{what} is not supported: every process holds the whole model; launch with data parallelism alone "
                f"(a default_config.yaml of `accelerate config` may ask for it: give --config_file)"
            )
    accumulation = environment.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    if accumulation != "1":
        raise InputError(
            f"the launcher asks for {accumulation} gradient accumulation steps: leave that at 1 and set "
            "batch.micro_batches"
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
