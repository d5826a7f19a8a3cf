"""Loading a transformers folder for fine-tuning, checked: config, tokenizer, weights, task row."""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING
from transformers.utils import logging as transformers_logging

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.data import encodable

log = logging.getLogger(__name__)

CHUNK = 8192
"""Texts that are tokenized and computed at a time: a million at once would be gigabytes of tokens and offsets."""
_SHARED: dict[int, int] = {}
"""One object for each token id: features hold each id millions of times."""
T = TypeVar("T")


@dataclass(frozen=True)
class Tokens:
    """A text's tokens without special ones: ids, and `text[start:end]` of each.

    `leading[i]` is false where token i repeats characters of the token before, as when one character
    becomes three letters; such a token says nothing about a character of its own.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]
    leading: list[bool]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' loading notices and bars away: what matters of them is said in our own lines."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def load_config(folder: str | Path) -> PreTrainedConfig:
    """Return the config of a transformers folder; `InputError` when it is none, or of a decoder."""
    if not Path(folder).is_dir():
        what = "a file" if Path(folder).is_file() else "no such folder"
        raise InputError(
            f"{folder}: {what}: give a transformers folder on this machine, for example one written by "
            "`ernie-pipe export`"
        )
    if not (Path(folder) / "config.json").is_file():
        raise InputError(
            f"{folder}: no config.json: give a transformers folder, for example one written by `ernie-pipe export`"
        )
    config = _checked(AutoConfig.from_pretrained, folder)
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
        raise InputError(
            f"{folder}: a {config.model_type} is no encoder: give a folder of BERT's, ERNIE's or RoBERTa's kind"
        )
    return config


def load_tokenizer(folder: str | Path) -> Any:
    """Return the fast tokenizer of a folder, set to read `[MASK]` in a text as text, also once saved."""
    tokenizer = _checked(AutoTokenizer.from_pretrained, folder, split_special_tokens=True)
    if not tokenizer.is_fast or len(tokenizer) <= len(tokenizer.all_special_ids):
        raise InputError(f"{folder}: no usable tokenizer: add its tokenizer.json or vocab.txt")
    rows, ids = getattr(load_config(folder), "vocab_size", None), max(tokenizer.get_vocab().values())
    if rows is not None and ids >= rows:
        raise InputError(
            f"{folder}: the tokenizer has ids to {ids}, the model rows for {rows}: it is another model's, or words "
            "were added to it alone"
        )
    tokenizer.padding_side = "right"
    return tokenizer


def match_segments(tokenizer: Any, config: PreTrainedConfig) -> None:
    """Keep a BERT tokenizer from asking for a second segment where the model, a RoBERTa, has one alone."""
    if getattr(config, "type_vocab_size", 2) < 2:
        names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
        tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names


def _checked(load: Any, folder: str | Path, **kwargs: Any) -> Any:
    try:
        with quiet():
            return load(str(folder), local_files_only=True, trust_remote_code=False, **kwargs)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder}: not loadable: {' '.join(str(error).split())[:300]}") from None


def token_limit(config: PreTrainedConfig, wanted: int) -> int:
    """Return `wanted`, or the number of positions the model has when that is less."""
    positions = getattr(config, "max_position_embeddings", None) or wanted
    if "roberta" in config.model_type:
        # RoBERTa counts positions from the one after the padding id.
        positions -= config.pad_token_id + 1
    if positions < wanted:
        log.info("max_tokens %d → %d: the model has no more positions", wanted, positions)
    return min(wanted, positions)


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield the items in their order, `CHUNK` at a time."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def encode(tokenizer: Any, texts: Sequence[str]) -> list[Tokens]:
    """Tokenize texts whole, without special tokens; positions are characters of the texts as given."""
    if not texts:
        return []
    batch = tokenizer(
        [encodable(text) for text in texts],
        add_special_tokens=False,
        return_offsets_mapping=True,
        split_special_tokens=True,
        verbose=False,
    )
    return [
        Tokens([_SHARED.setdefault(i, i) for i in ids], offsets, _leading(offsets))
        for ids, offsets in zip(batch["input_ids"], batch["offset_mapping"], strict=True)
    ]


def _leading(offsets: Iterable[tuple[int, int]]) -> list[bool]:
    end_before, flags = 0, []
    for start, end in offsets:
        flags.append(end_before <= start < end)
        end_before = max(end, end_before)
    return flags


def special_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the ids that go before and after a single sequence: [CLS] and [SEP]."""
    first, *rest = tokenizer("")["input_ids"]
    return [first], rest


def single_inputs(tokenizer: Any, texts: Sequence[str], limit: int) -> tuple[list[dict], int]:
    """Return `input_ids` of each text, cut at its end to `limit` tokens in all, and how many texts were cut."""
    before, after = special_ids(tokenizer)
    capacity = limit - len(before) - len(after)
    found, longer = [], 0
    for some in chunks(texts):
        tokens = encode(tokenizer, some)
        longer += sum(len(item.ids) > capacity for item in tokens)
        found += [{"input_ids": [*before, *item.ids[:capacity], *after]} for item in tokens]
    return found, longer


def device(choice: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`; `InputError` when there is no CUDA device to use."""
    cuda = torch.cuda.is_available()
    if choice == "cuda" and not cuda:
        raise InputError("device cuda: PyTorch sees no CUDA device: use device auto or cpu")
    return torch.device("cuda" if cuda and choice != "cpu" else "cpu")


def load_trained(folder: str | Path, auto_class: str) -> PreTrainedModel:
    """Return a fine-tuned model with its head; `InputError` when weights are missing."""
    model, info = _checked(
        getattr(transformers, auto_class).from_pretrained,
        folder,
        dtype=torch.float32,
        output_loading_info=True,
    )
    _refuse_missing(folder, [*info["missing_keys"], *info["mismatched_keys"]])
    return model


def new_model(folder: str | Path, auto_class: str, labels: Sequence[str], task_id: int) -> PreTrainedModel:
    """Return the encoder of `folder` under a new head for `labels`, on its task embedding's row `task_id`."""
    encoder, missing = _load_encoder(folder, task_id)
    config = encoder.config
    # A folder of another task says what its own head solved.
    config.problem_type = None
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    model = getattr(transformers, auto_class).from_config(config, dtype=torch.float32)
    loaded = model.base_model.load_state_dict(encoder.state_dict(), strict=False)
    assert not loaded.missing_keys, loaded.missing_keys
    _tell_new(model, missing)
    return model


def load_encoder(folder: str | Path, task_id: int) -> PreTrainedModel:
    """Return the encoder of `folder` alone, on its task embedding's row `task_id`."""
    return _load_encoder(folder, task_id)[0]


def _load_encoder(folder: str | Path, task_id: int) -> tuple[PreTrainedModel, set[str]]:
    encoder, info = _checked(AutoModel.from_pretrained, folder, dtype=torch.float32, output_loading_info=True)
    missing = {str(key) for key in (*info["missing_keys"], *info["mismatched_keys"])}
    _refuse_missing(folder, (key for key in missing if "pooler." not in key))
    fold_task(encoder, task_id, folder)
    return encoder, missing


def _refuse_missing(folder: str | Path, keys: Iterable[Any]) -> None:
    keys = sorted(map(str, keys))
    if keys:
        raise InputError(f"{folder}: weights are missing or misshapen: {len(keys)}, {keys[0]} first: export it again")


def _tell_new(model: PreTrainedModel, missing: Iterable[str]) -> None:
    prefix = f"{model.base_model_prefix}."
    own = {name.split(".")[0] for name, _ in model.named_parameters() if not name.startswith(prefix)}
    pooler = any(".pooler." in name for name, _ in model.named_parameters()) and any(missing)
    names = sorted(own) + ["pooler"] * pooler
    log.info("new weights, to be learnt: %s", ", ".join(names))


def fold_task(model: PreTrainedModel, task_id: int, folder: str | Path) -> None:
    """Make row `task_id` of the task embedding the one the model uses by itself: it changes place with row 0.

    So training, prediction and a stock `pipeline`, which never passes task ids, compute the same. The row is
    kept in the config as `finetune_task_id`; a folder where it stands is folded already.
    """
    config = model.config
    done = getattr(config, "finetune_task_id", 0)
    if task_id in (0, done):
        return
    if done:
        raise InputError(f"{folder}: fine-tuned with task_id {done} before: start from the pretrained folder")
    table = getattr(getattr(model.base_model, "embeddings", None), "task_type_embeddings", None)
    if table is None:
        raise InputError(f"{folder}: the model has no task embedding: leave task_id at 0")
    if task_id >= table.num_embeddings:
        raise InputError(f"{folder}: task_id {task_id}: the task embedding has rows 0 to {table.num_embeddings - 1}")
    with torch.no_grad():
        table.weight[[0, task_id]] = table.weight[[task_id, 0]]
    config.finetune_task_id = task_id
    names = getattr(config, "task_names", None)
    if isinstance(names, list) and task_id < len(names):
        names = list(names)
        names[0], names[task_id] = names[task_id], names[0]
        config.task_names = names
