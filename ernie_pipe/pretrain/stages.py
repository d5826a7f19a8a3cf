"""Schedules → explicit stages: pure functions of the ordered list of tasks and a budget of steps a task.

In: names of tasks in the order of their introduction, T (`task_steps`). Out: for every stage the steps of each task,
and the shares of examples that give them. A step mixes tasks (every head learns in every step), so "a task has n
steps in a stage" means: the stage is as long as all its tasks' steps together, and each task serves that part of its
examples. Knowledge masking, where it stays in every stage, is not counted: it has a fixed share of every step beside
them, so the numbers of steps are the same with and without it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

StageSteps = dict[str, int]


@dataclass(frozen=True)
class Expanded:
    """A stage that a schedule gives: optimiser steps, and each task's share of the examples of every step."""

    name: str
    steps: int
    tasks: dict[str, float]


def continual(tasks: Sequence[str], task_steps: int) -> list[StageSteps]:
    """Return the steps of each task in each stage of continual multi-task learning (N tasks, N stages).

    With u = ⌊T / (N + 1)⌋: stage i introduces task i for (i + 1)·u steps, every older one gets u more. Each has T in
    all: what T leaves when divided by N + 1 goes to the stage that introduces the task. N = 4 and T = 50,000 give
    20k | 10k 30k | 10k 10k 40k | 10k 10k 10k 50k. `ValueError` where u would be 0.
    Source: Sun et al. 2020 (ERNIE 2.0), section 3.2 and its table of steps.
    """
    unit, rest = divmod(task_steps, len(tasks) + 1)
    if not unit:
        raise ValueError(
            f"task_steps ({task_steps}) must be at least {len(tasks) + 1}, one more than the {len(tasks)} tasks: "
            "older tasks would get no steps"
        )
    return [
        dict.fromkeys(tasks[:number], unit) | {name: (number + 2) * unit + rest} for number, name in enumerate(tasks)
    ]


def multi_task(tasks: Sequence[str], task_steps: int) -> list[StageSteps]:
    """Return one stage of all tasks, T steps each: nothing comes first, nothing is forgotten."""
    return [dict.fromkeys(tasks, task_steps)]


def sequential(tasks: Sequence[str], task_steps: int) -> list[StageSteps]:
    """Return a stage of T steps for each task, one after the other: no rehearsal of older ones."""
    return [{name: task_steps} for name in tasks]


KINDS: dict[str, Callable[[Sequence[str], int], list[StageSteps]]] = {
    "continual": continual,
    "multi_task": multi_task,
    "sequential": sequential,
}


def unit_of(tasks: Sequence[str], task_steps: int) -> int:
    """Return u of a continual schedule: the steps that an older task gets in every later stage."""
    return task_steps // (len(tasks) + 1)


def added(tasks: Sequence[str], unit: int, name: str) -> StageSteps:
    """Return the stage that adds a task to a finished run of N tasks: (N + 2)·u steps for it, u for each older one.

    It is the stage that the rule of `continual` gives to task N + 1 with the same u. Source: as there.
    `ValueError` for a task that the run has already.
    """
    if name in tasks:
        raise ValueError(f"`{name}` is a task of the run already")
    return dict.fromkeys(tasks, unit) | {name: (len(tasks) + 2) * unit}


def shares(steps: Mapping[str, int], beside: Mapping[str, float]) -> dict[str, float]:
    """Return each task's share of examples: those of `beside` are fixed, the rest is divided by steps; sums to 1."""
    left, total = 1.0 - sum(beside.values()), sum(steps.values())
    return {**beside, **{name: left * count / total for name, count in steps.items()}}


def expand(kind: str, tasks: Sequence[str], task_steps: int, beside: Mapping[str, float]) -> list[Expanded]:
    """Return the stages of a schedule; `beside` are the tasks with a fixed share of every step."""
    table = KINDS[kind](tasks, task_steps)
    return [Expanded(_name(kind, steps), sum(steps.values()), shares(steps, beside)) for steps in table]


def expand_added(tasks: Sequence[str], unit: int, name: str, beside: Mapping[str, float]) -> Expanded:
    """Return the stage that adds a task to a run of `tasks` with unit u; `beside` as in `expand`."""
    steps = added(tasks, unit, name)
    return Expanded(f"+ {name}", sum(steps.values()), shares(steps, beside))


def _name(kind: str, steps: StageSteps) -> str:
    """Name a stage by the task that it introduces."""
    *older, newest = steps
    return "all tasks" if kind == "multi_task" and older else f"+ {newest}" if older else newest
