"""The training loop: Accelerate for processes and precision, the plan for everything that decides the result.

A step is a pure function of (weights, moments, step): the batch comes from the plan, dropout is seeded by seed,
step and micro-batch, the rate is a function of the step. So a resumed run equals an undisturbed one.
"""

import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import LoggerType, ProjectConfiguration
from torch.utils.data import DataLoader, Dataset

from ernie_pipe import draws
from ernie_pipe.config import nearest
from ernie_pipe.errors import InputError
from ernie_pipe.model.multitask import MultiTaskModel, TaskOutput
from ernie_pipe.pretrain import checkpoint, run
from ernie_pipe.pretrain.batch import BatchBuilder, to_tensors
from ernie_pipe.pretrain.export import initial_model
from ernie_pipe.pretrain.prepare import prepare
from ernie_pipe.pretrain.settings import OptimizerSettings, PretrainSettings
from ernie_pipe.progress import Progress

logger = logging.getLogger(__name__)
_DROPOUT, _WEIGHTS = 3, 4


class NonFiniteGradient(RuntimeError):
    """The gradient of a step is not finite: training stops before it touches the weights."""


class StepBatches(Dataset):
    """Step → this rank's micro-batches of that step: what loader workers build ahead."""

    def __init__(self, builder: BatchBuilder, micro_batches: range) -> None:
        self._builder, self._micro_batches = builder, micro_batches

    def __getitem__(self, step: int) -> list[dict[str, Any]]:
        return [to_tensors(built) for built in self._builder.step(step, self._micro_batches)]


class TaskMeans:
    """Loss, right answers and positions per task since the last log line (on the device, summed over ranks)."""

    def __init__(self, tasks: list[str], device: torch.device) -> None:
        self._sums = torch.zeros(len(tasks), 3, dtype=torch.float64, device=device)
        self._tasks = tasks
        self.tokens = 0

    def add(self, outputs: dict[str, TaskOutput]) -> None:
        """Add one micro-batch."""
        for row, name in enumerate(self._tasks):
            output = outputs[name]
            self._sums[row, 0] += output.loss.detach()
            self._sums[row, 1] += output.correct
            self._sums[row, 2] += output.positions

    def take(self, accelerator: Accelerator) -> dict[str, float]:
        """Return `loss/TASK` and `accuracy/TASK` over all ranks and start again."""
        sums = accelerator.reduce(self._sums, "sum").cpu()
        self._sums.zero_()
        means: dict[str, float] = {}
        for (loss, correct, count), name in zip(sums.tolist(), self._tasks, strict=True):
            if count:
                means |= {f"loss/{name}": loss / count, f"accuracy/{name}": correct / count}
        return means


def learning_rate(step: int, total: int, settings: OptimizerSettings) -> float:
    """Return the rate of `step`: linear warm-up, then linear decay to zero at `total`, or constant."""
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    if settings.schedule == "constant" or step < settings.warmup_steps:
        return settings.learning_rate * warm
    left = (total - step) / max(1, total - settings.warmup_steps)
    return settings.learning_rate * max(0.0, left)


def build_optimizer(model: torch.nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW without decay on biases and norms (every parameter of one dimension)."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=True,
    )


class Trainer:
    """One process of a training run in `folder` on the passages `data`."""

    def __init__(self, settings: PretrainSettings, data: str, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        prepared = prepare(settings, data)
        self.passages, self.plan, self.builder = prepared.passages, prepared.plan, prepared.builder
        self.accelerator = _accelerator(settings, folder)
        check_world(settings.processes, self.accelerator.num_processes)
        self._check_dropout()
        self.micro_batches = self.plan.micro_batches_of(self.accelerator.process_index, self.accelerator.num_processes)
        torch.manual_seed(int(draws.key(settings.seed, _WEIGHTS)) % 2**63)
        model = initial_model(settings, self.builder.tasks, prepared.corpus)
        self._check_lengths(model)
        # The folder is written last: a mistake until here leaves no run behind that would refuse the right settings.
        if self.accelerator.is_main_process:
            run.create(folder, settings, data, self.passages.manifest)
            model.config.save_pretrained(folder)
        self.accelerator.wait_for_everyone()
        self.step = self._resume(model)
        optimizer = build_optimizer(model, settings.optimizer)
        if self.step:
            checkpoint.load_optimizer(folder, self.step, optimizer)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self._stop_asked = False

    def _check_dropout(self) -> None:
        half = self.accelerator.mixed_precision != "no" and self.accelerator.device.type == "cuda"
        if half and self.settings.model.attention_dropout > 0:
            raise InputError(
                "model.attention_dropout must be 0 on CUDA: variable-length attention has no dropout "
                "(or train with precision: fp32)"
            )

    def _check_lengths(self, model: MultiTaskModel) -> None:
        """Refuse passages that are longer than the positions of `init_from`, whose shape wins over the settings."""
        longest, room = int(self.passages.tokens.max()) + 2, model.config.max_position_embeddings
        if longest > room:
            raise InputError(
                f"passages have up to {longest} tokens, {self.settings.init_from} has {room} positions: "
                f"encode with --max-tokens {room}"
            )

    def _resume(self, model: MultiTaskModel) -> int:
        step = checkpoint.newest(self.folder)
        if step is None:
            return 0
        checkpoint.load_model(self.folder, step, model)
        return step

    def train(self, max_steps: int | None = None) -> dict[str, float]:
        """Train up to the end of the schedule (or to `max_steps`), save, and return the last means per task."""
        with run.lock(self.folder) if self.accelerator.is_main_process else nullcontext():
            return self._train(min(self.plan.steps, max_steps if max_steps is not None else self.plan.steps))

    def _train(self, end: int) -> dict[str, float]:
        if self.step >= end:
            return self._already()
        if self.accelerator.is_main_process:
            run.cut_metrics(self.folder, self.step)
            if self.step:
                logger.info("%s: going on from step %d", self.folder, self.step)
        self._listen()
        self.accelerator.init_trackers("tensorboard")
        main = self.accelerator.is_main_process
        progress = Progress("pretrain", end, initial=self.step) if main else None
        tally = TaskMeans(list(self.builder.tasks), self.accelerator.device)
        means: dict[str, float] = {}
        began, tokens = time.monotonic(), 0
        self.model.train()
        for batches in self._batches(end):
            stop = self._one_step(batches, tally)
            self.step += 1
            tokens += sum(len(batch["input_ids"]) for batch in batches) * self.accelerator.num_processes
            if self.step % self.settings.log_every == 0 or self.step == end or stop:
                means = self._log(tally, tokens / (time.monotonic() - began)) or means
            if progress is not None:
                progress.advance(self.step, _note(means))
            if self.step % self.settings.checkpoint.every == 0 or self.step == end or stop:
                self._save()
            if stop:
                break
        if progress is not None:
            progress.close()
        # No rank takes the group down while another still speaks.
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        return means

    def _already(self) -> dict[str, float]:
        """Return the last logged means of a run that has come this far before."""
        if self.accelerator.is_main_process:
            logger.info("%s: already at step %d", self.folder, self.step)
        return run.last_metrics(self.folder)

    def _batches(self, end: int) -> Iterator[list[dict[str, Any]]]:
        loader = DataLoader(
            StepBatches(self.builder, self.micro_batches),
            batch_size=None,
            sampler=range(self.step, end),
            num_workers=self.settings.batch.loader_workers,
        )
        device = self.accelerator.device
        for batches in loader:
            yield [_to_device(batch, device) for batch in batches]

    def _one_step(self, batches: list[dict[str, Any]], tally: TaskMeans) -> bool:
        """Run forward, backward and the update; return whether some rank was asked to stop."""
        counts = self._global_counts(batches)
        rate = learning_rate(self.step, self.plan.steps, self.settings.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            torch.manual_seed(self._dropout_seed(self.micro_batches[number]))
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                outputs = self.model(batch)
                self.accelerator.backward(self._loss(outputs, counts))
            tally.add(outputs)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.optimizer.clip_norm)
        if norm is not None and not torch.isfinite(norm):
            raise NonFiniteGradient(f"step {self.step}: the gradient is not finite; lower optimizer.learning_rate")
        self.optimizer.step()
        self.optimizer.zero_grad()
        return bool(counts["stop"])

    def _global_counts(self, batches: list[dict[str, Any]]) -> dict[str, float]:
        """Return the positions per task of the whole step (all ranks, all micro-batches), and stop requests."""
        names = list(self.builder.tasks)
        local = [sum(len(batch["targets"][name][0]) for batch in batches) for name in names]
        sums = torch.tensor([*local, int(self._stop_asked)], dtype=torch.float64, device=self.accelerator.device)
        totals = self.accelerator.reduce(sums, "sum").tolist()
        return dict(zip([*names, "stop"], totals, strict=True))

    def _loss(self, outputs: dict[str, TaskOutput], counts: dict[str, float]) -> torch.Tensor:
        """Return the loss to differentiate: sums over global counts, times ranks because DDP takes the mean."""
        weights = self.settings.loss_weights
        terms = [output.loss * (weights.get(name, 1.0) / max(1.0, counts[name])) for name, output in outputs.items()]
        return torch.stack(terms).sum() * self.accelerator.num_processes

    def _dropout_seed(self, micro_batch: int) -> int:
        return int(draws.key(self.settings.seed, _DROPOUT, self.step, micro_batch)) % 2**63

    def _log(self, tally: TaskMeans, rate: float) -> dict[str, float]:
        means = tally.take(self.accelerator)
        values = {**means, "tokens_per_s": rate, "learning_rate": self.optimizer.param_groups[0]["lr"]}
        self.accelerator.log(values, step=self.step)
        if self.accelerator.is_main_process:
            with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": self.step, **values}) + "\n")
        return {**means, "tokens_per_s": rate}

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            model = self.accelerator.unwrap_model(self.model)
            checkpoint.save(self.folder, self.step, model, self.optimizer.optimizer, keep=self.settings.checkpoint.keep)
        self.accelerator.wait_for_everyone()

    def _listen(self) -> None:
        """Let SIGTERM and SIGINT end the run after the current step, with a checkpoint."""

        def ask(_: int, __: object) -> None:
            self._stop_asked = True

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, ask)


def _accelerator(settings: PretrainSettings, folder: Path) -> Accelerator:
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


def _to_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {name: _to_device(item, device) for name, item in value.items()}
    return tuple(_to_device(item, device) for item in value) if isinstance(value, tuple) else value


def _note(means: dict[str, float]) -> str:
    losses = [f"{name.removeprefix('loss/')} {value:.3f}" for name, value in means.items() if name.startswith("loss/")]
    if "tokens_per_s" in means:
        losses.append(f"{means['tokens_per_s']:,.0f} tokens/s")
    return "  ".join(losses)
