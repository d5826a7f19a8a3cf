"""All settings of a pretraining run, loaded from YAML; unknown keys are refused with the nearest right name."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ernie_pipe.config import Settings, nearest, validate
from ernie_pipe.model.settings import ModelSettings
from ernie_pipe.tasks import Task, find
from ernie_pipe.tasks.knowledge_masking import check_levels

MASKING = "knowledge_masking"


class Stage(Settings):
    """One stage of the continual schedule."""

    name: str = Field("", description="name in logs; empty: stage 1, 2, …")
    steps: int = Field(gt=0, description="optimiser steps")
    tasks: dict[str, float] = Field(
        default={MASKING: 1.0}, description="task → share of the examples of every step; sums to 1"
    )
    levels: dict[str, float] | None = Field(None, description="masking levels of this stage, if not the task's")

    @field_validator("tasks")
    @classmethod
    def _shares(cls, tasks: dict[str, float]) -> dict[str, float]:
        if any(share <= 0 for share in tasks.values()) or abs(sum(tasks.values()) - 1) > 1e-6:
            raise ValueError(f"the shares of tasks must be > 0 and sum to 1, they sum to {sum(tasks.values()):g}")
        return tasks

    @field_validator("levels")
    @classmethod
    def _levels(cls, levels: dict[str, float] | None) -> dict[str, float] | None:
        return None if levels is None else check_levels(levels)


class BatchSettings(Settings):
    """How a step is filled: the global batch is the same on 1, 2 or 8 processes."""

    tokens_per_step: int = Field(8192, gt=0, description="tokens of a step, all processes together (near-constant)")
    micro_batches: int = Field(1, gt=0, description="parts of a step, all processes together (accumulation)")
    loader_workers: int = Field(0, ge=0, description="processes that build batches ahead; 0: none")


class OptimizerSettings(Settings):
    """AdamW and its schedule."""

    learning_rate: float = Field(1e-4, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.01, ge=0, description="weight decay; none on biases and norms")
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's first beta")
    beta2: float = Field(0.98, ge=0, lt=1, description="Adam's second beta")
    epsilon: float = Field(1e-8, gt=0, description="Adam's epsilon")
    warmup_steps: int = Field(0, ge=0, description="steps of linear warm-up")
    schedule: Literal["linear", "cosine", "noam", "warmup_stable_decay", "constant"] = Field(
        "linear", description="what follows the warm-up"
    )
    min_learning_rate: float = Field(0.0, ge=0, description="rate at the end (linear, cosine, warmup_stable_decay)")
    decay_steps: int = Field(0, ge=0, description="steps of the final decay (warmup_stable_decay)")
    clip_norm: float = Field(1.0, gt=0, description="gradient norm at most")

    @model_validator(mode="after")
    def _schedule_is_whole(self) -> OptimizerSettings:
        falls = self.schedule in ("linear", "cosine", "warmup_stable_decay")
        if self.schedule == "noam" and not self.warmup_steps:
            raise ValueError("schedule noam needs warmup_steps: its rate falls with √(warmup_steps / step)")
        if (self.schedule == "warmup_stable_decay") != bool(self.decay_steps):
            raise ValueError("schedule warmup_stable_decay and decay_steps > 0 go together")
        if self.min_learning_rate and not falls:
            raise ValueError(f"schedule {self.schedule} has no end to fall to: leave min_learning_rate out")
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(f"min_learning_rate is above learning_rate ({self.learning_rate:g})")
        return self


class CheckpointSettings(Settings):
    """When to save."""

    every: int = Field(1000, gt=0, description="steps between checkpoints (the last step always saves)")
    keep: int = Field(3, gt=0, description="newest checkpoints kept; the best by `evaluate.metric` stays beside them")
    background: bool = Field(True, description="write while training goes on (the last one is always waited for)")


class EvaluateSettings(Settings):
    """Evaluation in the loop, on the split that `ernie-pipe encode --held-out` keeps aside."""

    every: int = Field(0, ge=0, description="steps between evaluations (the last step has one too); 0: none")
    batches: int = Field(8, gt=0, description="batches of batch.tokens_per_step tokens, the same in every evaluation")
    metric: str = Field("", description="what chooses the best checkpoint, as loss/TASK; empty: the first task's loss")
    patience: int = Field(0, ge=0, description="evaluations without a better one that end the run; 0: none do")


class PretrainSettings(Settings):
    """A pretraining run."""

    seed: int = Field(1, ge=0, description="seed of weights, data order, masks and dropout")
    processes: int | None = Field(None, gt=0, description="processes that must take part; none: any number")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on GPUs that have it")
    activation_checkpointing: bool = Field(False, description="compute activations twice to hold fewer in memory")
    model: ModelSettings = Field(default=ModelSettings(), description="encoder")
    init_from: str | None = Field(None, description="transformers BERT / ERNIE folder to start from")
    tasks: dict[str, dict[str, Any]] = Field(
        default={MASKING: {}}, description="tasks and their settings, in the order of their task ids"
    )
    loss_weights: dict[str, float] = Field(default={}, description="task → weight of its loss (1 where not named)")
    sources: dict[str, float] = Field(
        default={}, description="source → its share of every task's examples; none: every passage alike"
    )
    stages: list[Stage] = Field(description="continual schedule", min_length=1)
    batch: BatchSettings = Field(default=BatchSettings(), description="filling of steps")
    optimizer: OptimizerSettings = Field(default=OptimizerSettings(), description="optimiser")
    checkpoint: CheckpointSettings = Field(default=CheckpointSettings(), description="checkpoints")
    evaluate: EvaluateSettings = Field(default=EvaluateSettings(), description="evaluation in the loop")
    on_non_finite: Literal["stop", "skip"] = Field("stop", description="when loss or gradient is not finite")
    on_spike: Literal["ignore", "stop", "skip"] = Field("ignore", description="when the loss leaps")
    spike_factor: float = Field(2.0, gt=1, description="a leap: the loss is so many times its running mean")
    log_every: int = Field(10, gt=0, description="steps between lines in the log")
    trackers: list[str] = Field(default=["tensorboard"], description="Accelerate's trackers by name")

    @field_validator("tasks", mode="before")
    @classmethod
    def _empty_is_default(cls, tasks: Any) -> Any:
        return {name: value or {} for name, value in tasks.items()} if isinstance(tasks, dict) else tasks

    @field_validator("sources")
    @classmethod
    def _weights(cls, sources: dict[str, float]) -> dict[str, float]:
        if any(weight < 0 for weight in sources.values()) or (sources and not sum(sources.values())):
            raise ValueError("the weights of sources must be ≥ 0, one of them above 0")
        return sources

    @model_validator(mode="after")
    def _stages_use_known_tasks(self) -> PretrainSettings:
        for number, stage in enumerate(self.stages):
            for name in stage.tasks:
                if name not in self.tasks:
                    raise ValueError(f"stages.{number}.tasks: `{name}` is not in `tasks`{nearest(name, self.tasks)}")
        for name in self.loss_weights:
            if name not in self.tasks:
                raise ValueError(f"loss_weights: `{name}` is not in `tasks`{nearest(name, self.tasks)}")
        if self.optimizer.warmup_steps + self.optimizer.decay_steps > self.steps and self.optimizer.decay_steps:
            raise ValueError(
                f"optimizer: warmup_steps + decay_steps are more than the {self.steps} steps of all stages"
            )
        if len(self.tasks) > self.model.task_rows:
            raise ValueError(f"{len(self.tasks)} tasks need model.task_rows ≥ {len(self.tasks)}")
        return self

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def task_names(self) -> list[str]:
        """Names by task id: knowledge masking is 0 where it is used, the others follow in order."""
        return sorted(self.tasks, key=lambda name: name != MASKING)

    def build_tasks(self) -> dict[str, Task]:
        """Build the tasks by name, in task-id order; `InputError` names a wrong key."""
        built = {}
        for name in self.task_names():
            kind = find(name)
            built[name] = kind(validate(kind.Settings, self.tasks[name], where=f"tasks.{name}"))
        return built
