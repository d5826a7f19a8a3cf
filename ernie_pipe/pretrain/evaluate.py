"""Evaluation in the loop: the held-out passages, masked the same way every time → loss and accuracy by task.

The batches come from the training's own plan over the split `held_out`, with a seed of their own: every task
that any stage uses in equal shares, every masking level in equal shares. So figures of all steps, of runs with
other seeds and of any number of processes are over the same draws. Nothing here draws from a global state.
With `evaluate.facts` the model is asked for facts as well (`ernie_pipe/pretrain/facts.py`).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from ernie_pipe.config import nearest
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError
from ernie_pipe.masking import LEVELS
from ernie_pipe.model.multitask import MASKING, MultiTaskModel
from ernie_pipe.pretrain.batch import BatchBuilder, to_tensors
from ernie_pipe.pretrain.facts import NAMES, FactCloze
from ernie_pipe.pretrain.plan import Plan
from ernie_pipe.pretrain.settings import PretrainSettings, Stage
from ernie_pipe.pretrain.world import to_device
from ernie_pipe.tasks import Task
from ernie_pipe.text.encode import Encoder, SpecialIds

_SEED = 0x6865_6C64


@dataclass
class EvaluationState:
    """The step of the last evaluation, the best so far with its step, and the evaluations since without a better."""

    step: int = -1
    best_step: int = -1
    best: float | None = None
    worse: int = 0


class HeldOut:
    """The evaluation of a run: `measure` gives the figures, `note` keeps the best of the chosen one."""

    def __init__(self, settings: PretrainSettings, data: str, corpus: Encoder) -> None:
        self.passages = Passages(data, "held_out")
        if not len(self.passages):
            raise InputError(
                f"{data}: has no held-out passages for evaluate.every: encode again with --held-out 0.01, "
                "or set evaluate.every to 0"
            )
        tasks = settings.build_tasks()
        self._levels = _levels(settings, tasks)
        used = [name for name in tasks if any(name in stage.tasks for stage in settings.stages)]
        self.left_out = self._of_other_data(settings, {name: tasks[name] for name in used})
        self._used = [name for name in used if name not in self.left_out]
        wanted = settings.model_copy(update={"seed": _SEED, "stages": [self._stage(settings)]})
        for task in tasks.values():
            task.prepare(SpecialIds.of(corpus))
        plan = Plan(wanted, self.passages, tasks)
        self._builder = BatchBuilder(plan, self.passages, tasks, SpecialIds.of(corpus))
        self.settings = settings.evaluate
        self.facts = self._ask(settings, corpus)
        self.metric = self._metric()
        self.state = EvaluationState()

    def _of_other_data(self, settings: PretrainSettings, tasks: dict[str, Task]) -> list[str]:
        """Return the tasks that are trained on the passages of stages alone, and that none of these can serve."""
        passages = self.passages.part(0, len(self.passages))
        on_data = {name for stage in settings.stages if stage.data is None for name in stage.tasks}
        return [name for name, task in tasks.items() if name not in on_data and not task.eligible(passages).any()]

    def _stage(self, settings: PretrainSettings) -> Stage:
        shares = {name: 1 / len(self._used) for name in self._used}
        levels = {name: 1 / len(self._levels) for name in self._levels} or None
        return Stage(steps=settings.evaluate.batches, tasks=shares, levels=levels)

    @property
    def rows(self) -> list[str]:
        """What is measured: the tasks, and masking by level."""
        return [*self._used, *(f"{MASKING}/{level}" for level in self._levels)]

    def _ask(self, settings: PretrainSettings, corpus: Encoder) -> FactCloze | None:
        if settings.evaluate.facts is None:
            return None
        if MASKING not in self._used:
            raise InputError(f"evaluate.facts: facts are asked by {MASKING}, which no stage uses")
        return FactCloze(settings, corpus)

    def _metric(self) -> str:
        known = [f"{kind}/{row}" for row in self.rows for kind in ("loss", "accuracy")]
        if MASKING in self._used:
            known.append(f"perplexity/{MASKING}")
        known += NAMES if self.facts else ()
        chosen = self.settings.metric or known[0]
        if chosen not in known:
            raise InputError(f"evaluate.metric: unknown `{chosen}`{nearest(chosen, known)}")
        return chosen

    @torch.no_grad()
    def measure(self, model: MultiTaskModel, accelerator: Accelerator, micro_batches: range) -> dict[str, float]:
        """Return `loss/ROW`, `accuracy/ROW` and the perplexity of masking over all ranks.

        `micro_batches` are this rank's part of every batch. The model is left in evaluation mode.
        """
        model.eval()
        sums = torch.zeros(len(self.rows), 3, dtype=torch.float64, device=accelerator.device)
        for batches in self._loader(micro_batches):
            for batch in batches:
                with accelerator.autocast():
                    self._add(sums, model, to_device(batch, accelerator.device))
        values: dict[str, float] = {}
        for row, (loss, correct, count) in zip(self.rows, accelerator.reduce(sums, "sum").tolist(), strict=True):
            if count:
                values |= {f"loss/{row}": loss / count, f"accuracy/{row}": correct / count}
        if MASKING in self._used:
            values[f"perplexity/{MASKING}"] = math.exp(min(values[f"loss/{MASKING}"], 700.0))
        return values | self.facts.measure(model, accelerator) if self.facts else values

    def _add(self, sums: torch.Tensor, model: MultiTaskModel, batch: dict[str, Any]) -> None:
        hidden = model.hidden(batch)
        for name in self._used:
            positions, labels = batch["targets"][name]
            if not len(positions):
                continue
            logits, task = model.logits(name, hidden, positions), model.tasks[name]
            _count(sums[self.rows.index(name)], task, logits, labels)
            for level in self._levels if name == MASKING else ():
                chosen = batch["levels"] == LEVELS.index(level)
                if chosen.any():
                    _count(sums[self.rows.index(f"{MASKING}/{level}")], task, logits[chosen], labels[chosen])

    def _loader(self, micro_batches: range) -> DataLoader:
        return DataLoader(
            _Batches(self._builder, micro_batches),
            batch_size=None,
            sampler=range(self.settings.batches),
            # A loader draws a seed for its workers: not from the state that others use.
            generator=torch.Generator(),
        )

    def due(self, step: int, end: int) -> bool:
        """Return whether an evaluation belongs to `step` and has not been made."""
        return step > 0 and self.state.step != step and (step % self.settings.every == 0 or step == end)

    def note(self, step: int, values: dict[str, float]) -> bool:
        """Remember an evaluation; returns whether it is the best so far."""
        value, state = values.get(self.metric, math.nan), self.state
        sign = -1.0 if self.metric.startswith(("accuracy/", "cloze/")) else 1.0
        better = math.isfinite(value) and (state.best is None or sign * value < sign * state.best)
        state.step, state.worse = step, 0 if better else state.worse + 1
        if better:
            state.best_step, state.best = step, value
        return better

    @property
    def exhausted(self) -> bool:
        """Whether `evaluate.patience` evaluations have passed without a better one."""
        return 0 < self.settings.patience <= self.state.worse


class _Batches(Dataset):
    """Number of the batch → this rank's micro-batches, with the masking level of every predicted position."""

    def __init__(self, builder: BatchBuilder, micro_batches: range) -> None:
        self._builder, self._micro_batches = builder, micro_batches

    def __getitem__(self, number: int) -> list[dict[str, Any]]:
        result = []
        for built in self._builder.step(number, self._micro_batches):
            tensors = to_tensors(built)
            if MASKING in built.targets:
                sequence = built.packed.sequence[built.targets[MASKING].positions]
                tensors["levels"] = torch.from_numpy(built.packed.levels[sequence])
            result.append(tensors)
        return result


def _count(row: torch.Tensor, task: Task, logits: torch.Tensor, labels: torch.Tensor) -> None:
    row[0] += task.loss(logits, labels)
    row[1] += task.correct(logits, labels)
    row[2] += len(labels)


def _levels(settings: PretrainSettings, tasks: dict[str, Task]) -> list[str]:
    """Return the masking levels that any stage uses, in their own order."""
    shares: dict[str, float] = {}
    for stage in settings.stages:
        if MASKING in stage.tasks:
            shares |= {name: share for name, share in (stage.levels or tasks[MASKING].settings.levels).items() if share}
    return [name for name in LEVELS if name in shares]
