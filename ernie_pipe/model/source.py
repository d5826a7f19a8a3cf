"""A transformers BERT / ERNIE folder as it lies there → its config, vocabulary and the weights that it really has.

Weights are safetensors (one file or shards) or `pytorch_model.bin`, which torch reads with `weights_only`: nothing in
a folder is executed. Whatever could not be taken over as it is is refused with the reason.
"""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForPreTraining

from ernie_pipe.errors import InputError
from ernie_pipe.text.encode import Encoder, load_encoder
from ernie_pipe.text.vocabulary import backend
from ernie_pipe.text.vocabulary_files import read_vocab

# Beside the encoder, what a folder may lack: it is initialised anew, and said.
_HEADS = ("cls.", "pooler.")


def read_config(folder: Path) -> Any:
    """Return the source's config; `InputError` for what is no BERT or ERNIE encoder with absolute positions."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: no config.json: --init-from wants a transformers BERT or ERNIE folder")
    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}/config.json: {_one_line(error)}") from None
    if config.model_type not in ("bert", "ernie"):
        raise InputError(f"{folder}: is a {config.model_type} model; --init-from takes BERT and ERNIE")
    kind = getattr(config, "position_embedding_type", "absolute")
    if kind != "absolute" or config.is_decoder:
        what = "a decoder" if config.is_decoder else f"a model with {kind} positions"
        raise InputError(f"{folder}: is {what}; --init-from takes encoders with absolute positions")
    return config


def read_weights(folder: str) -> dict[str, Tensor]:
    """Return the weights by their names in `BertForPreTraining` / `ErnieForPreTraining`, in fp32.

    transformers makes up what a folder lacks: that is left out here. `InputError` when it is a part of the encoder,
    or when the folder has more layers than its config says.
    """
    try:
        # The class with both the pooler and the masked-language-model head.
        source, report = AutoModelForPreTraining.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    except UnpicklingError:
        raise InputError(
            f"{folder}: its pytorch_model.bin is damaged, or holds more than tensors: give the weights as safetensors"
        ) from None
    except (OSError, SafetensorError, RuntimeError) as error:
        hint = "; they do not have the shapes of config.json" * isinstance(error, RuntimeError)
        raise InputError(f"{folder}: its weights cannot be read{hint or f': {_one_line(error)}'}") from None
    prefix = f"{source.config.model_type}."
    lost = sorted(
        name for name in report["missing_keys"] if not name.removeprefix(prefix).startswith(_HEADS)
    )  # fmt: skip
    if lost:
        raise InputError(
            f"{folder}: lacks {len(lost)} weights of the encoder that config.json describes ({lost[0]}, …)"
        )
    more = sorted(name for name in report["unexpected_keys"] if "encoder.layer." in name)
    if more:
        raise InputError(f"{folder}: has weights that config.json does not describe ({more[0]}, …)")
    return {name: tensor for name, tensor in source.state_dict().items() if name not in report["missing_keys"]}


def read_vocabulary(folder: str) -> Encoder:
    """Return the source's tokenizer: its `tokenizer.json`, or its `vocab.txt` (BERT's or ERNIE's form)."""
    if not (Path(folder) / "tokenizer.json").is_file() and (Path(folder) / "vocab.txt").is_file():
        tokens = read_vocab(f"{folder}/vocab.txt")
        return Encoder(backend({token: number for number, token in enumerate(tokens)}, lowercase=True))
    return load_encoder(folder)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
