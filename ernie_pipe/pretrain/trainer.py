"""The training loop: Accelerate for processes and precision, the plan for everything that decides the result.

A step is a pure function of (weights, moments, step): the batch comes from the plan, dropout is seeded by seed,
step and micro-batch, the rate is a function of the step. So a resumed run equals an undisturbed one.
"""

import json
import logging
import signal
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from ernie_pipe import draws
from ernie_pipe.errors import InputError
from ernie_pipe.model.multitask import MultiTaskModel, TaskOutput
from ernie_pipe.pretrain import checkpoint, run
from ernie_pipe.pretrain.batch import BatchBuilder, to_tensors
from ernie_pipe.pretrain.evaluate import EvaluationState, HeldOut
from ernie_pipe.pretrain.export import initial_model, saved_model
from ernie_pipe.pretrain.guard import Guard
from ernie_pipe.pretrain.loader import batches_of
from ernie_pipe.pretrain.optimizer import build_optimizer
from ernie_pipe.pretrain.prepare import prepare
from ernie_pipe.pretrain.schedule import learning_rate
from ernie_pipe.pretrain.settings import PretrainSettings
from ernie_pipe.pretrain.tally import TaskMeans
from ernie_pipe.pretrain.world import build_accelerator, check_world, to_device
from ernie_pipe.progress import Progress

logger = logging.getLogger(__name__)
_DROPOUT, _WEIGHTS = 3, 4


class StepBatches(Dataset):
    """Step → this rank's micro-batches of that step: what loader workers build ahead."""

    def __init__(self, builder: BatchBuilder, micro_batches: range) -> None:
        self._builder, self._micro_batches = builder, micro_batches

    def __getitem__(self, step: int) -> list[dict[str, Any]]:
        return [to_tensors(built) for built in self._builder.step(step, self._micro_batches)]


class Trainer:
    """One process of a training run in `folder` on the passages `data`."""

    def __init__(self, settings: PretrainSettings, data: str, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        prepared = prepare(settings, data)
        self.passages, self.plan, self.builder = prepared.passages, prepared.plan, prepared.builder
        self.held_out = HeldOut(settings, data, prepared.corpus) if settings.evaluate.every else None
        self.accelerator = build_accelerator(settings, folder)
        check_world(settings.processes, self.accelerator.num_processes)
        self._check_dropout()
        self.micro_batches = self.plan.micro_batches_of(self.accelerator.process_index, self.accelerator.num_processes)
        torch.manual_seed(int(draws.key(settings.seed, _WEIGHTS)) % 2**63)
        tasks, self.step = self.builder.tasks, checkpoint.newest(folder) or 0
        model = saved_model(folder, tasks) if self.step else initial_model(settings, tasks, prepared.corpus)
        self._check_lengths(model)
        if settings.activation_checkpointing:
            # transformers has renamed it: the old name goes in 6, the new one is not in every 5.
            encoder = model.encoder
            enable = getattr(encoder, "activation_checkpointing_enable", None) or encoder.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        # The folder is written last: a mistake until here leaves no run behind that would refuse the right settings.
        if self.accelerator.is_main_process:
            run.create(folder, settings, data, self.passages.manifest, prepared.manifests)
            model.config.save_pretrained(folder)
        self.accelerator.wait_for_everyone()
        self._guard = Guard(settings.on_non_finite, settings.on_spike, settings.spike_factor)
        if self.step:
            self._resume(model)
        if settings.compile:
            # In place: names of parameters, and with them checkpoints, stay as they are.
            model.encoder.compile(dynamic=True)
        optimizer = build_optimizer(model, settings.optimizer)
        if self.step:
            checkpoint.load_optimizer(folder, self.step, optimizer, model)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self._stop_asked = False
        self.writer = checkpoint.Writer()
        # Of training, and of it those that went by until a batch was there.
        self.seconds = self.data_seconds = 0.0

    def _check_dropout(self) -> None:
        half = self.accelerator.mixed_precision != "no" and self.accelerator.device.type == "cuda"
        if half and self.settings.model.attention_dropout > 0:
            raise InputError(
                "model.attention_dropout must be 0 on CUDA: variable-length attention has no dropout "
                "(or train with precision: fp32)"
            )

    def _check_lengths(self, model: MultiTaskModel) -> None:
        """Refuse passages that are longer than the positions of `init_from`, whose shape wins over the settings."""
        splits = [*self.plan.data, self.held_out.passages] if self.held_out else self.plan.data
        longest = max(split.longest for split in splits) + 2
        room = model.config.max_position_embeddings
        if longest > room:
            raise InputError(
                f"passages have up to {longest} tokens, {self.settings.init_from or 'the model'} has {room} positions: "
                f"set model.max_positions to {longest}, or encode with --max-tokens {room}"
            )
        facts = self.held_out.facts if self.held_out else None
        if facts is not None and facts.longest > room:
            raise InputError(
                f"evaluate.facts: a question has {facts.longest} tokens, {self.settings.init_from or 'the model'} has "
                f"{room} positions"
            )

    def _resume(self, model: MultiTaskModel) -> None:
        checkpoint.load_model(self.folder, self.step, model, self.settings.begun(self.step))
        remembered = checkpoint.trainer_state(self.folder, self.step)
        self._guard.restore(remembered.get("guard", {}))
        if self.held_out is not None and "evaluation" in remembered:
            before, now = remembered.get("measured", {}), self._measured()
            changed = [name for name in before if before[name] != now.get(name)]
            if changed and self.accelerator.is_main_process:
                logger.info("%s has changed: the best so far is forgotten", ", ".join(changed))
            state = EvaluationState(**remembered["evaluation"])
            self.held_out.state = EvaluationState(step=state.step) if changed else state

    def _measured(self) -> dict[str, Any]:
        """Return, by name, what makes one evaluation comparable with another."""
        tasks = [] if self.held_out is None else self.held_out.rows
        given = self.settings.evaluate.model_dump(exclude={"every", "patience"})
        return {f"evaluate.{key}": value for key, value in given.items()} | {"what is evaluated": tasks}

    def train(self, max_steps: int | None = None) -> dict[str, float]:
        """Train up to the end of the schedule (or to `max_steps`), save, and return the last means per task.

        SIGTERM, SIGINT and `evaluate.patience` end it earlier, also with a checkpoint.
        """
        with run.lock(self.folder) if self.accelerator.is_main_process else nullcontext():
            end = min(self.plan.steps, max_steps if max_steps is not None else self.plan.steps)
            if self.step >= end or self.stopped_early:
                return self._already()
            try:
                return self._train(end)
            finally:
                # Whatever happened: a checkpoint on its way to the disk arrives.
                self.writer.wait()

    @property
    def stopped_early(self) -> bool:
        """Whether evaluations without a better one have ended the run."""
        return self.held_out is not None and self.held_out.exhausted

    def _train(self, end: int) -> dict[str, float]:
        if self.accelerator.is_main_process:
            run.cut_logs(self.folder, self.step)
            if self.step:
                logger.info("%s: going on from step %d", self.folder, self.step)
            for name in self.held_out.left_out if self.held_out is not None else ():
                logger.info("%s: is not evaluated: no held-out passage of --data can serve it", name)
            if self.held_out is not None and self.held_out.facts is not None and self.held_out.facts.skipped:
                given = self.settings.evaluate.facts
                logger.info("%s: %d facts are not asked: [UNK] in their answers", given, self.held_out.facts.skipped)
        self._listen()
        self.accelerator.init_trackers("tensorboard")
        main = self.accelerator.is_main_process
        progress = Progress("pretrain", end, initial=self.step) if main else None
        classes = {name: task.classes for name, task in self.builder.tasks.items()}
        tally = TaskMeans(classes, self.accelerator.device)
        means: dict[str, float] = {}
        began, tokens, self.data_seconds = time.monotonic(), 0, 0.0
        # A run that was stopped at a step of evaluation makes up for it.
        self._evaluate()
        self.model.train()
        for batches in self._batches(end):
            stop = self._one_step(batches, tally)
            self.step += 1
            tokens += sum(len(batch["input_ids"]) for batch in batches) * self.accelerator.num_processes
            if self.step % self.settings.log_every == 0 or self.step == end or stop:
                means = self._log(tally, tokens / (time.monotonic() - began)) or means
            if progress is not None:
                progress.advance(self.step, _note(means))
            better = not stop and self._evaluate()
            last = stop or self.step == end or self.stopped_early
            if last or better or self.step % self.settings.checkpoint.every == 0:
                self._save(wait=last or not self.settings.checkpoint.background)
            if last:
                break
        if progress is not None:
            progress.close()
        self.seconds = time.monotonic() - began
        # No rank takes the group down while another still speaks.
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        return means

    def _already(self) -> dict[str, float]:
        """Return the last logged means of a run that has come this far before."""
        if self.accelerator.is_main_process:
            why = f": stopped early, evaluate.patience is {self.settings.evaluate.patience}" * self.stopped_early
            logger.info("%s: already at step %d%s", self.folder, self.step, why)
        return run.last_metrics(self.folder)

    def _batches(self, end: int) -> Iterator[list[dict[str, Any]]]:
        loader = DataLoader(
            StepBatches(self.builder, self.micro_batches),
            batch_size=None,
            sampler=range(self.step, end),
            num_workers=self.settings.batch.loader_workers,
        )
        device, ready = self.accelerator.device, batches_of(loader)
        while True:
            began = time.monotonic()
            batches = [to_device(batch, device) for batch in next(ready, [])]
            self.data_seconds += time.monotonic() - began
            if not batches:
                return
            yield batches

    def _one_step(self, batches: list[dict[str, Any]], tally: TaskMeans) -> bool:
        """Run forward, backward and the update; return whether some rank was asked to stop."""
        counts = self._global_counts(batches)
        if counts["failed"]:
            raise self.writer.failure or checkpoint.SaveFailed("the main process could not save")
        _, stage = self.plan.stage(self.step)
        first, length = self.settings.curve(self.step)
        rate = learning_rate(self.step - first, length, self.settings.optimizer, stage.learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        tally.mark()
        total = torch.zeros((), device=self.accelerator.device)
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            torch.manual_seed(self._dropout_seed(self.micro_batches[number]))
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                outputs = self.model(batch)
                loss = self._loss(outputs, counts)
                self.accelerator.backward(loss)
            total += loss.detach()
            tally.add(outputs, batch["targets"], batch["similar_words"])
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.optimizer.clip_norm)
        if self._counts(total, norm):
            self.optimizer.step()
        else:
            tally.undo()
        self.optimizer.zero_grad()
        return bool(counts["stop"])

    def _counts(self, loss: torch.Tensor, norm: torch.Tensor | None) -> bool:
        """Ask the guard whether this step's update is to be made, by figures that all ranks share."""
        shared = self.accelerator.reduce(loss, "mean")
        norm = torch.zeros_like(shared) if norm is None else norm
        loss_value, norm_value = torch.stack((shared, norm.to(shared))).tolist()
        return self._guard.counts(self.step, self.plan.stage(self.step)[0], loss_value, norm_value)

    def _global_counts(self, batches: list[dict[str, Any]]) -> dict[str, float]:
        """Return the positions per task of the whole step (all ranks, all micro-batches), stops and failures."""
        names = list(self.builder.tasks)
        local = [sum(len(batch["targets"][name][0]) for batch in batches) for name in names]
        signs = [int(self._stop_asked), int(self.writer.look() is not None)]
        sums = torch.tensor([*local, *signs], dtype=torch.float64, device=self.accelerator.device)
        totals = self.accelerator.reduce(sums, "sum").tolist()
        return dict(zip([*names, "stop", "failed"], totals, strict=True))

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
        self._write("metrics.jsonl", values)
        self.accelerator.log(values, step=self.step)
        return {**means, "tokens_per_s": rate}

    def _write(self, name: str, values: dict[str, Any]) -> None:
        if not self.accelerator.is_main_process:
            return
        try:
            with open(self.folder / name, "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": self.step, **values}) + "\n")
        except OSError as error:
            # Told with the next step, when all ranks listen.
            self.writer.failure = checkpoint.failed(self.folder, self.folder / name, error)

    def _evaluate(self) -> bool:
        """Evaluate where it is due; returns whether it is the best so far."""
        if self.held_out is None or not self.held_out.due(self.step, self.plan.steps):
            return False
        model = self.accelerator.unwrap_model(self.model)
        values = self.held_out.measure(model, self.accelerator, self.micro_batches)
        self.model.train()
        better = self.held_out.note(self.step, values)
        self._write("evaluations.jsonl", values)
        self.accelerator.log({f"held_out/{name}": value for name, value in values.items()}, step=self.step)
        if self.accelerator.is_main_process:
            state, metric = self.held_out.state, self.held_out.metric
            best = "the best so far" if better else f"best {state.best} at step {state.best_step}"
            logger.info("step %d: held-out %s %.4f, %s", self.step, metric, values.get(metric, float("nan")), best)
        return better

    def _save(self, *, wait: bool) -> None:
        """Save in the background; `wait` until it lies on the disk, where all ranks learn of a failure."""
        if self.accelerator.is_main_process:
            evaluation = self.held_out and self.held_out.state
            remembered: dict[str, Any] = {"guard": self._guard.to_state()}
            if evaluation:
                remembered |= {"evaluation": asdict(evaluation), "measured": self._measured()}
            self.writer.save(
                self.folder,
                self.step,
                self.accelerator.unwrap_model(self.model),
                self.optimizer.optimizer,
                keep=self.settings.checkpoint.keep,
                best=evaluation.best_step if evaluation else None,
                trainer=remembered,
                wait=wait,
            )
        if wait:
            failed = torch.tensor(int(self.writer.failure is not None), device=self.accelerator.device)
            if self.accelerator.reduce(failed, "sum").item():
                raise self.writer.failure or checkpoint.SaveFailed("the main process could not save")

    def _listen(self) -> None:
        """Let SIGTERM and SIGINT end the run after the current step, with a checkpoint."""

        def ask(_: int, __: object) -> None:
            self._stop_asked = True

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, ask)


def _note(means: dict[str, float]) -> str:
    losses = [f"{name.removeprefix('loss/')} {value:.3f}" for name, value in means.items() if name.startswith("loss/")]
    # First what a narrow terminal must not cut off.
    speed = [f"{means['tokens_per_s']:,.0f} tokens/s"] if "tokens_per_s" in means else []
    return "  ".join(speed + losses)
