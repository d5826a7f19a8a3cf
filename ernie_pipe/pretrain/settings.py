"""All settings of a pretraining run, loaded from YAML; unknown keys are refused with the nearest right name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ernie_pipe.config import Settings, nearest, validate
from ernie_pipe.errors import InputError
from ernie_pipe.model.settings import ModelSettings
from ernie_pipe.pretrain import stages
from ernie_pipe.tasks import Task, find
from ernie_pipe.tasks.knowledge_masking import check_levels, with_table_hash

MASKING = "knowledge_masking"
MASKING_SHARE = 0.5


def check_weights(sources: dict[str, float]) -> dict[str, float]:
    """Return the weights of sources when they are some; `ValueError` says what is wrong."""
    if any(weight < 0 for weight in sources.values()) or (sources and not sum(sources.values())):
        raise ValueError("the weights of sources must be ≥ 0, one of them above 0")
    return sources


class Stage(Settings):
    """One stage of the continual schedule."""

    name: str = Field("", description="name in logs; empty: stage 1, 2, …")
    steps: int = Field(gt=0, description="optimiser steps")
    tasks: dict[str, float] = Field(
        default={MASKING: 1.0}, description="task → share of the examples of every step; sums to 1"
    )
    levels: dict[str, float] | None = Field(None, description="masking levels of this stage, if not the task's")
    data: str | None = Field(None, description="passages of this stage, if not --data: same tokenizer, other lengths")
    learning_rate: float | None = Field(None, gt=0, description="peak of this stage, if not the optimiser's")
    sources: dict[str, float] | None = Field(None, description="weights of sources in this stage, if not the run's")
    restart: bool = Field(False, description="a rate that falls to an end begins anew with this stage, warm-up too")

    @field_validator("tasks")
    @classmethod
    def _shares(cls, tasks: dict[str, float]) -> dict[str, float]:
        if any(share <= 0 for share in tasks.values()) or abs(sum(tasks.values()) - 1) > 1e-6:
            raise ValueError(f"the shares of tasks must be > 0 and sum to 1, they sum to {sum(tasks.values()):g}")
        return tasks

    @field_validator("sources")
    @classmethod
    def _weights(cls, sources: dict[str, float] | None) -> dict[str, float] | None:
        return None if sources is None else check_weights(sources)

    @field_validator("levels")
    @classmethod
    def _levels(cls, levels: dict[str, float] | None) -> dict[str, float] | None:
        return None if levels is None else check_levels(levels)


class AddedTask(Settings):
    """A task that was added to a finished run, and the stage that introduces it."""

    task: str = Field(description="name of the task; its settings stand in `tasks`")
    data: str | None = Field(None, description="passages of that stage, if not --data")


class ScheduleSettings(Settings):
    """A rule that makes the stages: see `ernie_pipe/pretrain/stages.py`."""

    kind: Literal["continual", "multi_task", "sequential", "stages"] = Field(
        "continual", description="how tasks follow one another; stages: as `stages` says"
    )
    task_steps: int | None = Field(None, gt=0, description="T: steps of each task in all stages together")
    tasks: list[str] | None = Field(
        None, description="tasks in the order of their introduction; none: that of `tasks`, without knowledge_masking"
    )
    masking: Literal["every_stage", "staged"] = Field(
        "every_stage", description="knowledge_masking beside the others in every step, or one of the staged tasks"
    )
    masking_share: float | None = Field(
        None, gt=0, lt=1, description="its share of the examples of every step (every_stage; none: 0.5)"
    )
    added: list[AddedTask] = Field([], description="tasks added to the finished run, a stage each (--add-task)")

    @model_validator(mode="after")
    def _kind_has_what_it_needs(self) -> ScheduleSettings:
        plain = ScheduleSettings.model_construct()
        others = self.model_fields_set - {"kind"}
        if self.kind == "stages" and any(getattr(self, name) != getattr(plain, name) for name in others):
            raise ValueError("kind `stages` reads `stages` alone: leave the other keys out")
        if self.kind != "stages" and self.task_steps is None:
            raise ValueError(f"kind `{self.kind}` needs task_steps, the steps of each task in all")
        if self.masking == "staged" and self.masking_share is not None:
            raise ValueError("masking_share belongs to masking: every_stage; a staged task's share follows its steps")
        twice = [name for name in set(self.tasks or ()) if (self.tasks or []).count(name) > 1]
        if twice:
            raise ValueError(f"tasks: `{twice[0]}` is named twice")
        return self

    def order(self, known: Iterable[str]) -> list[str]:
        """Return the staged tasks in order; `known` are those of the run. `ValueError` says what does not fit."""
        late = [one.task for one in self.added]
        known = [name for name in known if name not in late]
        fixed = self.masking == "every_stage"
        if fixed and MASKING not in known:
            raise ValueError(f"masking: every_stage needs {MASKING} in `tasks`; or set schedule.masking: staged")
        chosen = [name for name in known if not fixed or name != MASKING] if self.tasks is None else self.tasks
        for name in chosen:
            if name not in known:
                raise ValueError(f"tasks: `{name}` is not in `tasks`{nearest(name, known)}")
        if fixed and MASKING in chosen:
            raise ValueError(f"tasks: {MASKING} is in every stage already; or set schedule.masking: staged")
        if not chosen:
            raise ValueError(f"needs a task beside {MASKING}")
        return chosen

    def expand(self, known: Iterable[str]) -> list[Stage]:
        """Return the stages; where a task was added to a finished run, the learning rate begins anew."""
        assert self.task_steps is not None
        known = list(known)
        order, beside = self.order(known), self.beside()
        made = [
            Stage(name=one.name, steps=one.steps, tasks=one.tasks)
            for one in stages.expand(self.kind, order, self.task_steps, beside)
        ]
        unit = stages.unit_of(order, self.task_steps)
        for one in self.added:
            if one.task not in known:
                raise ValueError(f"added: `{one.task}` is not in `tasks`{nearest(one.task, known)}")
            new = stages.expand_added(order, unit, one.task, beside)
            made.append(Stage(name=new.name, steps=new.steps, tasks=new.tasks, data=one.data, restart=True))
            order = [*order, one.task]
        return made

    def beside(self) -> dict[str, float]:
        """Return the tasks that have a fixed share of every step."""
        share = MASKING_SHARE if self.masking_share is None else self.masking_share
        return {MASKING: share} if self.masking == "every_stage" else {}


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

    @property
    def falls(self) -> bool:
        """Whether the rate comes to an end, so that a run that goes on after it needs a new curve."""
        return self.schedule in ("linear", "cosine", "warmup_stable_decay")

    @model_validator(mode="after")
    def _schedule_is_whole(self) -> OptimizerSettings:
        if self.schedule == "noam" and not self.warmup_steps:
            raise ValueError("schedule noam needs warmup_steps: its rate falls with √(warmup_steps / step)")
        if (self.schedule == "warmup_stable_decay") != bool(self.decay_steps):
            raise ValueError("schedule warmup_stable_decay and decay_steps > 0 go together")
        if self.min_learning_rate and not self.falls:
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
    facts: str | None = Field(None, description="TSV of facts to ask by cloze (see ernie_pipe/sample/facts.tsv)")
    relations: str | None = Field(None, description="TSV with a template for each relation of `facts`")
    lexicon: str | None = Field(None, description="lexicon whose entities compete with the facts' own answers")

    @model_validator(mode="after")
    def _facts_are_whole(self) -> EvaluateSettings:
        if (self.facts is None) != (self.relations is None) or (self.lexicon and not self.facts):
            raise ValueError("`facts` and `relations` go together, and `lexicon` with them")
        if self.facts and not self.every:
            raise ValueError("`facts` are asked at evaluations: set evaluate.every")
        return self


class PretrainSettings(Settings):
    """A pretraining run."""

    seed: int = Field(1, ge=0, lt=2**63, description="seed of weights, data order, masks and dropout")
    processes: int | None = Field(None, gt=0, description="processes that must take part; none: any number")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on GPUs that have it")
    activation_checkpointing: bool = Field(False, description="compute activations twice to hold fewer in memory")
    compile: bool = Field(False, description="torch.compile of the encoder (for GPUs; a CPU gains nothing)")
    model: ModelSettings = Field(default=ModelSettings(), description="encoder")
    init_from: str | None = Field(None, description="transformers BERT / ERNIE folder to start from")
    tasks: dict[str, dict[str, Any]] = Field(
        default={MASKING: {}}, description="tasks and their settings, in the order of their task ids"
    )
    loss_weights: dict[str, float] = Field(default={}, description="task → weight of its loss (1 where not named)")
    sources: dict[str, float] = Field(
        default={}, description="source → its share of every task's examples; none: every passage alike"
    )
    schedule: ScheduleSettings | None = Field(None, description="a rule that makes the stages, instead of `stages`")
    stages: list[Stage] = Field([], description="stages one by one; with `schedule` they come from its rule")
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

    @field_validator("tasks")
    @classmethod
    def _table_is_recorded(cls, tasks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {name: with_table_hash(value) if name == MASKING else value for name, value in tasks.items()}

    @field_validator("sources")
    @classmethod
    def _weights(cls, sources: dict[str, float]) -> dict[str, float]:
        return check_weights(sources)

    @field_validator("loss_weights")
    @classmethod
    def _not_negative(cls, weights: dict[str, float]) -> dict[str, float]:
        wrong = [name for name, weight in weights.items() if weight < 0]
        if wrong:
            raise ValueError(f"the weight of `{wrong[0]}` must be ≥ 0")
        return weights

    @field_validator("schedule", mode="before")
    @classmethod
    def _kind_alone(cls, schedule: Any) -> Any:
        return {"kind": schedule} if isinstance(schedule, str) else schedule

    @model_validator(mode="after")
    def _schedule_makes_the_stages(self) -> PretrainSettings:
        if self.schedule is None or self.schedule.kind == "stages":
            if not self.stages:
                raise ValueError("nothing to train: give `stages`, or a `schedule` with task_steps")
            return self
        try:
            explicit = self.schedule.expand(self.tasks)
        except ValueError as error:
            raise ValueError(f"schedule: {error}") from None
        # A run keeps both: the rule, and the stages that it gave.
        if self.stages and self.stages != explicit:
            raise ValueError(f"schedule {self.schedule.kind} makes the stages: leave `stages` out, or `schedule`")
        self.__dict__["stages"] = explicit
        return self

    @model_validator(mode="after")
    def _stages_use_known_tasks(self) -> PretrainSettings:
        for number, stage in enumerate(self.stages):
            for name in stage.tasks:
                if name not in self.tasks:
                    raise ValueError(f"stages.{number}.tasks: `{name}` is not in `tasks`{nearest(name, self.tasks)}")
            floor = self.optimizer.min_learning_rate
            if stage.learning_rate is not None and stage.learning_rate < floor:
                raise ValueError(f"stages.{number}.learning_rate is below optimizer.min_learning_rate ({floor:g})")
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

    def curve(self, step: int) -> tuple[int, int]:
        """Return the first step of the learning-rate curve that `step` is on, and its length.

        One curve over the whole run, but for stages that restart it. Noam and constant have no end, and go on.
        """
        first = after = 0
        for stage in self.stages:
            if stage.restart and self.optimizer.falls and after > 0:
                if step < after:
                    break
                first = after
            after += stage.steps
        return first, after - first

    def begun(self, step: int) -> set[str]:
        """Return the tasks of the stages that have begun before `step` steps are done."""
        first, found = 0, set[str]()
        for stage in self.stages:
            found |= set(stage.tasks) if first < step else set()
            first += stage.steps
        return found

    def task_names(self) -> list[str]:
        """Names by task id: knowledge masking is 0 where it is used, the others follow in order."""
        return sorted(self.tasks, key=lambda name: name != MASKING)

    def build_tasks(self) -> dict[str, Task]:
        """Build the tasks by name, in task-id order; `InputError` names a wrong key."""
        built: dict[str, Task] = {}
        for name in self.task_names():
            kind = find(name)
            same = [other for other, task in built.items() if type(task) is kind]
            if same:
                raise InputError(f"tasks: `{same[0]}` and `{name}` are the same task")
            built[name] = kind(validate(kind.Settings, self.tasks[name], where=f"tasks.{name}"))
        return built
