"""Weights in and out: a new model, one from a transformers BERT / ERNIE folder, and the exported folder.

Parameter names are those of transformers' `Ernie*` classes, so conversion is a renaming of prefixes.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForMaskedLM, BertConfig, ErnieConfig

from ernie_pipe.errors import InputError
from ernie_pipe.model.multitask import MASKING, MultiTaskModel
from ernie_pipe.pretrain import checkpoint
from ernie_pipe.pretrain import run as runs
from ernie_pipe.pretrain.batch import SpecialIds
from ernie_pipe.pretrain.settings import PretrainSettings
from ernie_pipe.tasks import Task
from ernie_pipe.text.encode import load_encoder

logger = logging.getLogger(__name__)
TASK_ROWS = "embeddings.task_type_embeddings.weight"
SEGMENT_ROWS = "embeddings.token_type_embeddings.weight"


def ernie_config(settings: PretrainSettings, special: SpecialIds, task_names: list[str]) -> ErnieConfig:
    """Return the encoder's config for `settings`."""
    model = settings.model
    config = ErnieConfig(
        vocab_size=special.size,
        hidden_size=model.hidden_size,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        intermediate_size=model.intermediate_size,
        hidden_act=model.activation,
        hidden_dropout_prob=model.dropout,
        attention_probs_dropout_prob=model.attention_dropout,
        max_position_embeddings=model.max_positions,
        type_vocab_size=model.segments,
        task_type_vocab_size=model.task_rows,
        use_task_id=True,
        pad_token_id=special.pad,
    )
    config.task_names = task_names
    return config


def initial_model(
    settings: PretrainSettings, tasks: Mapping[str, Task], special: SpecialIds, data: str
) -> MultiTaskModel:
    """Build the model of step 0: fresh weights from torch's seed, or those of `init_from`."""
    if settings.init_from is None:
        return MultiTaskModel(ernie_config(settings, special, list(tasks)), tasks)
    return from_transformers(settings, tasks, special, data)


def from_transformers(
    settings: PretrainSettings, tasks: Mapping[str, Task], special: SpecialIds, data: str
) -> MultiTaskModel:
    """Start from a transformers BERT / ERNIE folder: its shape wins over `settings.model`.

    Task rows that the source lacks start at zero and new tasks copy row 0, so step 0 computes what the source
    did. What had to be initialised anew is logged.
    """
    folder = Path(settings.init_from or "")
    source_config = _source_config(folder)
    _check_vocabulary(folder, data)
    source = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32)
    config = _adopt(source_config, settings, list(tasks))
    model = MultiTaskModel(config, tasks)
    state = _from_source(source.state_dict(), source_config.model_type)
    state["encoder." + TASK_ROWS] = _task_rows(state.get("encoder." + TASK_ROWS), config, len(tasks))
    missing, _ = model.load_state_dict(state, strict=False)
    model.tie()
    fresh = sorted({name.split(".")[1] for name in missing if name.startswith(("heads.", "encoder.pooler"))})
    if fresh:
        logger.info("%s: initialised anew: %s", folder, ", ".join(fresh))
    return model


def _source_config(folder: Path) -> Any:
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: no config.json: --init-from wants a transformers BERT or ERNIE folder")
    config = AutoConfig.from_pretrained(folder)
    if config.model_type not in ("bert", "ernie"):
        raise InputError(f"{folder}: is a {config.model_type} model; --init-from takes BERT and ERNIE")
    return config


def _check_vocabulary(folder: Path, data: str) -> None:
    corpus = load_encoder(f"{data}/tokenizer")
    if not (folder / "tokenizer.json").is_file():
        raise InputError(f"{folder}: no tokenizer.json: cannot tell whether its vocabulary fits {data}")
    source = load_encoder(str(folder))
    if source.vocab != corpus.vocab:
        raise InputError(
            f"the vocabulary of {folder} ({len(source.vocab)} tokens) does not fit the encoded corpus {data} "
            f"({len(corpus.vocab)} tokens): run `ernie-pipe encode --tokenizer {folder}` first"
        )


def _adopt(source: Any, settings: PretrainSettings, task_names: list[str]) -> ErnieConfig:
    known = set(BertConfig().to_dict()) - {"model_type", "architectures"}
    values = {name: value for name, value in source.to_dict().items() if name in known}
    rows = max(settings.model.task_rows, getattr(source, "task_type_vocab_size", 0))
    config = ErnieConfig(**values, use_task_id=True, task_type_vocab_size=rows)
    config.architectures = None
    config.hidden_dropout_prob = settings.model.dropout
    config.attention_probs_dropout_prob = settings.model.attention_dropout
    config.task_names = task_names
    return config


def _from_source(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state.items():
        if name.startswith(f"{prefix}."):
            renamed["encoder." + name.removeprefix(f"{prefix}.")] = tensor
        elif name.startswith("cls.predictions."):
            renamed[f"heads.{MASKING}." + name.removeprefix("cls.predictions.")] = tensor
    return renamed


def _task_rows(source: Tensor | None, config: ErnieConfig, tasks: int) -> Tensor:
    rows = torch.zeros(config.task_type_vocab_size, config.hidden_size)
    if source is not None:
        rows[: len(source)] = source
        rows[len(source) : tasks] = source[0]
    return rows


def load_run(folder: str) -> tuple[MultiTaskModel, runs.Run, int]:
    """Build the model of a run with the weights of its newest intact checkpoint; returns (model, run, step)."""
    path = Path(folder)
    found = runs.read(path)
    step = checkpoint.newest(path)
    if step is None:
        raise InputError(f"{folder}: no checkpoint yet: run `ernie-pipe pretrain` first")
    encoder = load_encoder(str(path / "tokenizer"))
    special = SpecialIds.of(encoder)
    settings, tasks = found.settings, found.settings.build_tasks()
    if settings.init_from is None:
        config = ernie_config(settings, special, list(tasks))
    else:
        config = _adopt(_source_config(Path(settings.init_from)), settings, list(tasks))
    model = MultiTaskModel(config, tasks)
    checkpoint.load_model(path, step, model)
    return model.eval(), found, step


def export(run: str, output: str, *, format: str = "ernie", task: str | None = None) -> int:
    """Write the newest checkpoint as a transformers folder and return its step.

    `ernie` keeps the task embedding (`ErnieForMaskedLM`); `bert` folds the row of `task` (default: the first)
    into the segment table, for tools that know only BERT: equal to that task's model up to fp32 rounding.
    """
    model, found, step = load_run(run)
    if MASKING not in model.heads:
        raise InputError(f"{run}: was trained without {MASKING}: there is no masked-language-model head to export")
    if task is not None and task not in found.task_names:
        raise InputError(f"unknown task `{task}`; this run has {', '.join(found.task_names)}")
    state = _to_transformers(checkpoint.without_aliases(model), format)
    config: Any = model.config
    if format == "bert":
        row = found.task_names.index(task) if task else 0
        state["bert." + SEGMENT_ROWS] = state["bert." + SEGMENT_ROWS] + state.pop("bert." + TASK_ROWS)[row]
        config = _as_bert(config)
    config.architectures = ["ErnieForMaskedLM" if format == "ernie" else "BertForMaskedLM"]
    target = Path(output)
    target.mkdir(parents=True, exist_ok=True)
    shutil.copytree(Path(run) / "tokenizer", target, dirs_exist_ok=True)
    config.save_pretrained(target)
    save_file(state, target / "model.safetensors", metadata={"format": "pt"})
    _finish_tokenizer(target, config.max_position_embeddings)
    (target / "README.md").write_text(_card(run, found, step, format), encoding="utf-8")
    return step


def _to_transformers(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state.items():
        if name.startswith("encoder."):
            renamed[f"{prefix}." + name.removeprefix("encoder.")] = tensor
        elif name.startswith(f"heads.{MASKING}."):
            renamed["cls.predictions." + name.removeprefix(f"heads.{MASKING}.")] = tensor
    return {name: tensor.clone() for name, tensor in renamed.items()}


def _as_bert(config: ErnieConfig) -> BertConfig:
    values = config.to_dict()
    dropped = ("model_type", "use_task_id", "task_type_vocab_size", "task_names", "architectures")
    return BertConfig(**{name: value for name, value in values.items() if name not in dropped})


def _finish_tokenizer(target: Path, positions: int) -> None:
    path = target / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    settings |= {"tokenizer_class": "BertTokenizer", "model_max_length": positions}
    path.write_text(json.dumps(settings, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


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
