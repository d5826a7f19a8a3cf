"""Weights in and out: the config of a new model, one from a transformers folder, and the exported folder.

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
from transformers import BertConfig, ErnieConfig
from transformers.activations import ACT2FN

from ernie_pipe.config import nearest
from ernie_pipe.errors import InputError
from ernie_pipe.model.multitask import MASKING, MultiTaskModel
from ernie_pipe.model.settings import ModelSettings
from ernie_pipe.model.source import read_config, read_vocabulary, read_weights
from ernie_pipe.tasks import Task
from ernie_pipe.text.encode import SPECIAL_TOKENS, Encoder, SpecialIds
from ernie_pipe.text.vocabulary_files import UNUSED

logger = logging.getLogger(__name__)
TASK_ROWS = "embeddings.task_type_embeddings.weight"
SEGMENT_ROWS = "embeddings.token_type_embeddings.weight"
POSITION_ROWS = "embeddings.position_embeddings.weight"
# The source's shape against that of the settings: their key → the config's.
_SHAPE = {
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "activation": "hidden_act",
    "max_positions": "max_position_embeddings",
    "segments": "type_vocab_size",
}
# First dimension: the vocabulary.
VOCABULARY_TABLES = (
    "encoder.embeddings.word_embeddings.weight",
    *(f"heads.{MASKING}.{name}" for name in ("decoder.weight", "decoder.bias", "bias")),
)


def new_config(settings: ModelSettings, special: SpecialIds, task_names: list[str]) -> ErnieConfig:
    """Return the config of a fresh encoder; `InputError` for an activation that transformers does not have."""
    if settings.activation not in ACT2FN:
        raise InputError(f"model.activation: unknown `{settings.activation}`{nearest(settings.activation, ACT2FN)}")
    config = ErnieConfig(
        vocab_size=special.size,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=settings.intermediate_size,
        hidden_act=settings.activation,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.attention_dropout,
        initializer_range=settings.initializer_range,
        max_position_embeddings=settings.max_positions,
        type_vocab_size=settings.segments,
        task_type_vocab_size=settings.task_rows,
        use_task_id=True,
        pad_token_id=special.pad,
    )
    config.task_names = task_names
    return config


def adopted_config(folder: str, settings: ModelSettings, task_names: list[str]) -> ErnieConfig:
    """Return the config of a transformers BERT / ERNIE folder with a task embedding: its shape wins.

    Only its positions and segments grow, where the settings say so by a key of their own. A key that says anything
    else is logged: it has no effect.
    """
    source = read_config(Path(folder))
    known = set(BertConfig().to_dict()) - {"model_type", "architectures"}
    values = {name: value for name, value in source.to_dict().items() if name in known}
    rows = max(settings.task_rows, getattr(source, "task_type_vocab_size", 0))
    config = ErnieConfig(**values, use_task_id=True, task_type_vocab_size=rows)
    for key in ("max_positions", "segments"):
        if key in settings.model_fields_set:
            name = _SHAPE[key]
            setattr(config, name, max(getattr(settings, key), getattr(source, name)))
    config.hidden_dropout_prob = settings.dropout
    config.attention_probs_dropout_prob = settings.attention_dropout
    # The vocabulary projection shares the word embeddings (`MultiTaskModel.tie`), whatever the source did.
    config.tie_word_embeddings = True
    config.task_names = task_names
    _say_what_wins(folder, settings, config)
    return config


def _say_what_wins(folder: str, settings: ModelSettings, config: ErnieConfig) -> None:
    """Log the keys that were set, but not to what the model has."""
    given = {key: getattr(settings, key) for key in _SHAPE if key in settings.model_fields_set}
    other = [
        f"{key} {getattr(config, _SHAPE[key])} (not {value})"
        for key, value in given.items()
        if getattr(config, _SHAPE[key]) != value
    ]
    if other:
        logger.info("%s: its own shape is used: %s", folder, ", ".join(other))


def from_transformers(
    folder: str, settings: ModelSettings, tasks: Mapping[str, Task], corpus: Encoder
) -> MultiTaskModel:
    """Start from a transformers BERT / ERNIE folder whose vocabulary is that of the `corpus`, or a part of it.

    Tasks that the source's config names keep their rows, new ones copy row 0, and a source without task rows gets
    zeros, so step 0 computes what the source did. Tokens, positions and segments that the source lacks get rows of
    their own (see `_grow_rows`, `_repeat_rows`). What had to be initialised anew is logged.
    """
    config = adopted_config(folder, settings, list(tasks))
    before = read_vocabulary(folder)
    _check_vocabulary(folder, before, corpus)
    _check_segments(folder, config, tasks)
    config.vocab_size = max(config.vocab_size, corpus.size)
    source = read_config(Path(folder))
    found = read_weights(folder)
    model = MultiTaskModel(config, tasks)
    state = _from_source(found, source.model_type)
    if before.vocab != corpus.vocab:
        _grow_rows(state, before, corpus, config.vocab_size)
    _repeat_rows(state, "encoder." + POSITION_ROWS, config.max_position_embeddings)
    _repeat_rows(state, "encoder." + SEGMENT_ROWS, config.type_vocab_size)
    known = getattr(source, "task_names", None) or []
    state["encoder." + TASK_ROWS] = _task_rows(state.get("encoder." + TASK_ROWS), config, known)
    _say_what_is_tied(folder, state)
    missing, _ = model.load_state_dict(state, strict=False)
    model.tie()
    fresh = sorted({name.split(".")[1] for name in missing if name.startswith(("heads.", "encoder.pooler"))})
    if fresh:
        logger.info("%s: initialised anew: %s", folder, ", ".join(fresh))
    return model


def _check_segments(folder: str, config: ErnieConfig, tasks: Mapping[str, Task]) -> None:
    for name, task in tasks.items():
        if task.parts > config.type_vocab_size:
            raise InputError(
                f"{folder}: has {config.type_vocab_size} segments, {name} needs {task.parts}: "
                f"set model.segments to {task.parts}"
            )


def _repeat_rows(state: dict[str, Tensor], name: str, size: int) -> None:
    """Grow a table of positions or segments by repeating it from its first row on (in place).

    So the new positions keep what the old ones learned of near neighbours (Beltagy et al. 2020, Longformer: The
    Long-Document Transformer, section 5), and sequences within the old length are computed as before.
    """
    before = state[name]
    if size > len(before):
        logger.info("%s grows from %d to %d rows: the old ones again", name.split(".")[-2], len(before), size)
        state[name] = before[torch.arange(size) % len(before)]


def _say_what_is_tied(folder: str, state: Mapping[str, Tensor]) -> None:
    words, projection = (state.get(name) for name in VOCABULARY_TABLES[:2])
    if words is not None and projection is not None and not torch.equal(words, projection):
        logger.warning(
            "%s: its vocabulary projection has weights of its own; here it shares the word embeddings, so that "
            "masked-word prediction starts from those",
            folder,
        )


def _check_vocabulary(folder: str, source: Encoder, corpus: Encoder) -> None:
    """Refuse a corpus in which a token of the source has another id; `[unused…]` rows may have become tokens."""
    moved = [token for token, number in source.vocab.items() if corpus.vocab.get(token) != number]
    if not all(UNUSED.fullmatch(token) for token in moved):
        raise InputError(
            f"the vocabulary of {folder} ({len(source.vocab)} tokens) does not fit the encoded corpus "
            f"({len(corpus.vocab)} tokens): run `ernie-pipe encode --tokenizer {folder}` first, or extend it with "
            f"`ernie-pipe vocab --vocab {folder}`"
        )


def _grow_rows(state: dict[str, Tensor], source: Encoder, corpus: Encoder, size: int) -> None:
    """Give the tokens that only `corpus` has rows of their own, in all tables over the vocabulary (in place).

    A new row (and bias) is the mean of those of the pieces that the source cut the token into, or of all its tokens
    where it did not know one: near what the model computed so far (Gee et al. 2022, Fast Vocabulary Transfer, for
    Language Model Compression; Hewitt 2021, Initializing New Word Embeddings for Pretrained Language Models).
    """
    new = {token: number for token, number in corpus.vocab.items() if source.vocab.get(token) != number}
    known = [number for token, number in source.vocab.items() if token in corpus.vocab and token not in SPECIAL_TOKENS]
    origins = {number: source.encode(token).ids.tolist() for token, number in new.items()}
    for name in VOCABULARY_TABLES:
        if name not in state:
            continue
        before = state[name]
        mean = before[known].mean(dim=0)
        state[name] = torch.cat([before, mean.expand(size - len(before), *mean.shape)])
        for number, pieces in origins.items():
            cut = pieces and source.unk_id not in pieces
            state[name][number] = before[pieces].mean(dim=0) if cut else mean
    logger.info("%d tokens are new to the model: each starts at the mean of its pieces, or of all tokens", len(new))


def _from_source(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state.items():
        if name.startswith(f"{prefix}."):
            renamed["encoder." + name.removeprefix(f"{prefix}.")] = tensor
        elif name.startswith("cls.predictions."):
            renamed[f"heads.{MASKING}." + name.removeprefix("cls.predictions.")] = tensor
    return renamed


def _task_rows(source: Tensor | None, config: ErnieConfig, known: list[str]) -> Tensor:
    """Return the task embedding; `known` names the rows that the source used (none: it does not say)."""
    rows = torch.zeros(config.task_type_vocab_size, config.hidden_size)
    if source is not None:
        rows[: len(source)] = source
        for number, name in enumerate(config.task_names):
            if known:
                rows[number] = source[known.index(name) if name in known else 0]
            elif number >= len(source):
                rows[number] = source[0]
    return rows


def write_folder(model: MultiTaskModel, tokenizer: Path, target: Path, *, format: str, row: int = 0) -> None:
    """Write a transformers folder: weights, config and tokenizer.

    `ernie` keeps the task embedding (`ErnieForMaskedLM`); `bert` folds task row `row` into the segment table, for
    tools that know only BERT: equal to that task's model up to fp32 rounding.
    """
    state = _to_transformers(model.state(), format)
    config: Any = model.config
    if format == "bert":
        state["bert." + SEGMENT_ROWS] += state.pop("bert." + TASK_ROWS)[row]
        config = _as_bert(model.config)
    config.architectures = ["ErnieForMaskedLM" if format == "ernie" else "BertForMaskedLM"]
    shutil.copytree(tokenizer, target, dirs_exist_ok=True)
    config.save_pretrained(target)
    save_file(state, target / "model.safetensors", metadata={"format": "pt"})
    _finish_tokenizer(target / "tokenizer_config.json", config.max_position_embeddings)


def _to_transformers(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state.items():
        if name.startswith("encoder."):
            renamed[f"{prefix}." + name.removeprefix("encoder.")] = tensor
        elif name.startswith(f"heads.{MASKING}."):
            renamed["cls.predictions." + name.removeprefix(f"heads.{MASKING}.")] = tensor
    return {name: tensor.clone() for name, tensor in renamed.items()}


def _as_bert(config: ErnieConfig) -> BertConfig:
    dropped = ("model_type", "use_task_id", "task_type_vocab_size", "task_names", "architectures")
    return BertConfig(**{name: value for name, value in config.to_dict().items() if name not in dropped})


def _finish_tokenizer(path: Path, positions: int) -> None:
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    settings |= {"tokenizer_class": "BertTokenizer", "model_max_length": positions}
    path.write_text(json.dumps(settings, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
