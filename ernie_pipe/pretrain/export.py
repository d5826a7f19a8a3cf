"""A run's newest intact checkpoint as a model, and as a transformers folder with a model card."""

from pathlib import Path

from transformers import ErnieConfig

from ernie_pipe.errors import InputError
from ernie_pipe.model.convert import from_transformers, new_config, write_folder
from ernie_pipe.model.multitask import MASKING, MultiTaskModel
from ernie_pipe.pretrain import checkpoint
from ernie_pipe.pretrain import run as runs
from ernie_pipe.pretrain.settings import PretrainSettings
from ernie_pipe.tasks import Task
from ernie_pipe.text.encode import Encoder, SpecialIds


def initial_model(settings: PretrainSettings, tasks: dict[str, Task], corpus: Encoder) -> MultiTaskModel:
    """Build the model of step 0: fresh weights from torch's seed, or those of `init_from`."""
    if settings.init_from is not None:
        return from_transformers(settings.init_from, settings.model, tasks, corpus)
    return MultiTaskModel(new_config(settings.model, SpecialIds.of(corpus), list(tasks)), tasks)


def saved_model(run: Path, tasks: dict[str, Task]) -> MultiTaskModel:
    """Build the model that a run's folder describes, without its weights: what `init_from` named may be gone."""
    config = ErnieConfig.from_pretrained(run)
    config.task_names = list(tasks)
    return MultiTaskModel(config, tasks)


def load_run(folder: str, *, best: bool = False) -> tuple[MultiTaskModel, runs.Run, int]:
    """Build the model of a run with the weights of its newest intact checkpoint; returns (model, run, step).

    `best` takes the one that evaluation in the loop found best instead.
    """
    path = Path(folder)
    found = runs.read(path)
    step = checkpoint.newest(path)
    if step is None:
        raise InputError(f"{folder}: no checkpoint yet: run `ernie-pipe pretrain` first")
    if best:
        step = checkpoint.best(path, step)
    model = saved_model(path, found.settings.build_tasks())
    checkpoint.load_model(path, step, model, found.settings.begun(step))
    return model.eval(), found, step


def export(run: str, output: str, *, format: str = "ernie", task: str | None = None, best: bool = False) -> int:
    """Write the newest checkpoint (or the `best`) as a transformers folder and return its step.

    `format` is `ernie` or `bert`; `task` names the row of the task embedding that `bert` folds in.
    """
    model, found, step = load_run(run, best=best)
    if MASKING not in model.heads:
        raise InputError(f"{run}: was trained without {MASKING}: there is no masked-language-model head to export")
    if task is not None and task not in found.task_names:
        raise InputError(f"unknown task `{task}`; this run has {', '.join(found.task_names)}")
    target = Path(output)
    if (target / "run.json").exists():
        raise InputError(f"{output}: is the folder of a run; choose another --output for the transformers model")
    target.mkdir(parents=True, exist_ok=True)
    row = found.task_names.index(task) if task else 0
    write_folder(model, Path(run) / "tokenizer", target, format=format, row=row)
    (target / "README.md").write_text(_card(run, found, step, format), encoding="utf-8")
    return step


def _card(run: str, found: runs.Run, step: int, format: str) -> str:
    stages = "\n".join(
        f"- {stage.name or f'stage {number}'}: {stage.steps} steps, "
        + ", ".join(f"{name} {share:.0%}" for name, share in stage.tasks.items())
        for number, stage in enumerate(found.settings.stages, start=1)
    )
    names = ", ".join(f"{number} {name}" for number, name in enumerate(found.task_names))
    return f"""---
language: zh
library_name: transformers
pipeline_tag: fill-mask
---
# {Path(run).name}

A Chinese encoder pretrained with ernie_pipe, {format.upper()} format, step {step} of {found.settings.steps}.

Task ids: {names}. Fine-tuning may use any of them; 0 is the default.

Stages:
{stages}

Data fingerprint `{found.data_fingerprint}`, tokenizer `{found.tokenizer_fingerprint}`, seed {found.settings.seed}.
"""
