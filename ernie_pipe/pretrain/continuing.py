"""A task added to a finished run as its next stage: `ernie-pipe pretrain --continue RUN --add-task NAME`.

The stages so far stay as they were, and with them every batch, every task id and all logs; the new one follows them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ernie_pipe.config import apply_overrides, validate
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain import checkpoint, stages
from ernie_pipe.pretrain import run as runs
from ernie_pipe.pretrain.prepare import prepare
from ernie_pipe.pretrain.settings import MASKING, PretrainSettings


def with_task(
    known: PretrainSettings, name: str, *, unit: int | None = None, data: str | None = None, where: str = "--add-task"
) -> PretrainSettings:
    """Return the settings of a run of N tasks with task `name` and its stage added; the same, where it was added last.

    The new task gets (N + 2)·u steps, each older one u (Sun et al. 2020, ERNIE 2.0, section 3.2): u is that of the
    run's schedule, or `unit` where its stages were written one by one. `data`: passages of the new stage.
    `InputError` for a task that the run has, or where u is missing.
    """
    content = known.model_dump()
    if _is_last(known, name):
        return known
    if name in known.tasks:
        raise InputError(f"{where}: the run has a task `{name}` already")
    if name == MASKING:
        raise InputError(f"{where}: {MASKING} is task 0 of every run that has it: it cannot come later")
    content["tasks"][name] = {}
    by_rule = known.schedule is not None and known.schedule.kind != "stages"
    if by_rule:
        if unit is not None:
            raise InputError("--unit: u follows from the schedule of the run; leave it out")
        content["schedule"]["added"].append({"task": name, "data": data})
        content["stages"] = []
    else:
        if unit is None:
            count = len(_older(known))
            raise InputError(
                f"{where}: the stages of this run were written one by one: say with --unit U how many steps each of "
                f"its {count} tasks beside masking gets; `{name}` gets {count + 2} times as many"
            )
        content["stages"].append(_stage(known, name, unit, data))
    return validate(PretrainSettings, content, where=where)


def _is_last(known: PretrainSettings, name: str) -> bool:
    """Return whether the last stage is the one that adding `name` has made."""
    last = known.stages[-1]
    return last.restart and last.name == f"+ {name}"


def _older(known: PretrainSettings) -> list[str]:
    """Return the tasks that share a new stage by steps: masking, where the run has it, has a share of its own."""
    return [name for name in known.tasks if name != MASKING]


def _stage(known: PretrainSettings, name: str, unit: int, data: str | None) -> dict[str, Any]:
    """Return the next stage of a run without a rule; masking keeps the share that it had in the last one."""
    last = known.stages[-1].tasks
    share = min(last.get(MASKING, 0.0), 0.5)
    made = stages.expand_added(_older(known), unit, name, {MASKING: share} if share else {})
    return {
        "name": made.name,
        "steps": made.steps,
        "tasks": made.tasks,
        "data": data,
        "restart": True,
    }


def add_task(
    run: Path, name: str, *, unit: int | None = None, data: str | None = None, changes: Sequence[str] = ()
) -> None:
    """Write the settings of a finished run with one task more; `InputError` says why that cannot be, before anything.

    `changes` are those of `--set`. Doing it again changes nothing.
    """
    found = runs.read(run)
    wanted = with_task(found.settings, name, unit=unit, data=data and str(Path(data).resolve()))
    if wanted == found.settings:
        return
    step = checkpoint.newest(run)
    if step != found.settings.steps:
        at = "has no checkpoint yet" if step is None else f"is at step {step} of {found.settings.steps}"
        raise InputError(f"{run}: {at}: a task can be added when all its steps are done")
    wanted = changed(wanted, changes)
    prepared = prepare(wanted, found.data)
    with runs.lock(run):
        runs.extend(run, wanted, prepared.passages.manifest, prepared.manifests)


def changed(settings: PretrainSettings, changes: Sequence[str]) -> PretrainSettings:
    """Return settings with `--set` applied."""
    return validate(PretrainSettings, apply_overrides(settings.model_dump(), changes), where="--set")
