"""The layers of an encoder: learning rates that fall from the top down, lower layers that stay as they are, dropout.

In: a transformers model with its head, and settings. Depth 0 are the embeddings, 1 to L the layers, L + 1 what stands
on them (pooler and head).
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.settings import FinetuneSettings
from ernie_pipe.finetune.wording import many

_ATTENTION = re.compile(r"attention\.self\.|attention_dropout")
_LAYER = re.compile(r"\.layers?\.(\d+)\.")


def check(config: Any, settings: FinetuneSettings) -> None:
    """Raise `InputError` when the encoder of `config` has not the layers that the settings speak of."""
    layers = getattr(config, "num_hidden_layers", 0)
    if settings.frozen_layers > layers:
        raise InputError(f"frozen_layers {settings.frozen_layers}: the encoder has {many(layers, 'layers')}")
    if config.model_type == "albert" and (settings.frozen_layers or settings.layer_decay < 1):
        raise InputError("frozen_layers, layer_decay: the layers of an ALBERT share their weights: leave both out")


def depth(name: str, model: PreTrainedModel) -> int:
    """Return the depth of the parameter `name` of `model`."""
    prefix = f"{model.base_model_prefix}."
    if not name.startswith(prefix):
        return model.config.num_hidden_layers + 1
    inner = name[len(prefix) :]
    if inner.startswith("embeddings"):
        return 0
    found = _LAYER.search(inner)
    return int(found[1]) + 1 if found else model.config.num_hidden_layers + 1


def parameter_groups(model: PreTrainedModel, groups: list[dict[str, Any]], decay: float) -> list[dict[str, Any]]:
    """Split an optimiser's groups by depth d of L layers: the rate of each is `decay`^(L + 1 - d) of its group's.

    So does ELECTRA (Clark et al. 2020, appendix B); the idea: Howard and Ruder 2018, §3.2.
    """
    depths = {parameter: depth(name, model) for name, parameter in model.named_parameters()}
    top, split = model.config.num_hidden_layers + 1, []
    for group in groups:
        for level in sorted({depths[parameter] for parameter in group["params"]}):
            chosen = [parameter for parameter in group["params"] if depths[parameter] == level]
            split.append({**group, "params": chosen, "lr": group["lr"] * decay ** (top - level)})
    return split


@contextlib.contextmanager
def frozen(model: PreTrainedModel, settings: FinetuneSettings) -> Iterator[None]:
    """Keep the lowest layers and the embeddings, as the settings say, out of training for a while."""
    embeddings = settings.frozen_embeddings or settings.frozen_layers > 0
    chosen: list[nn.Parameter] = [
        parameter
        for name, parameter in model.named_parameters()
        if (embeddings and depth(name, model) == 0) or 0 < depth(name, model) <= settings.frozen_layers
    ]
    for parameter in chosen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in chosen:
            parameter.requires_grad_(True)


@contextlib.contextmanager
def dropout(model: nn.Module, settings: FinetuneSettings) -> Iterator[None]:
    """Give the hidden states the dropout that is set, if one is; what the model came with returns afterwards.

    Encoders that were pretrained without dropout overfit a small set at once. That of attention stays: above 0 it
    costs CPUs half of their speed. `InputError`: R-Drop of two passes that are the same for want of dropout.
    """
    hidden = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Dropout) and not _ATTENTION.search(name)
    ]
    before = [module.p for module in hidden]
    if settings.dropout is not None:
        for module in hidden:
            module.p = settings.dropout
    if settings.r_drop and not any(module.p for module in model.modules() if isinstance(module, nn.Dropout)):
        raise InputError(
            "r_drop: the encoder has no dropout, so that both passes are the same: set dropout, to 0.1 say"
        )
    try:
        yield
    finally:
        for module, rate in zip(hidden, before, strict=True):
            module.p = rate
