"""Running a model over features: no gradients, results in the order of the input.

A batch holds features of like length, padded to its longest alone, and about the same number of tokens: a base-size
model over texts of mixed lengths computes little padding, and long texts take no more memory than short ones.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from ernie_pipe.finetune.encoder import quiet

ROW_TOKENS = 128
"""Tokens of a sequence by which a batch is measured: it holds `batch_size` times as many, padding counted."""
INPUTS = ("input_ids", "token_type_ids")
"""What a feature may hold for the model, a list by token each; the rest of it, labels among it, is left aside."""


def logits(model: PreTrainedModel, tokenizer: Any, features: Sequence[dict], batch_size: int) -> list[np.ndarray]:
    """Return the logits of each feature (see `INPUTS`): [labels], or [its tokens, labels].

    The model is left in the mode, training or not, that it was in.
    """
    rows = (found["logits"] for found in outputs(model, tokenizer, features, batch_size, names=("logits",)))
    widths = (len(item["input_ids"]) for item in features)
    return [row[:width] if row.ndim == 2 else row for row, width in zip(rows, widths, strict=True)]


def outputs(
    model: PreTrainedModel,
    tokenizer: Any,
    features: Sequence[dict],
    batch_size: int,
    *,
    names: Sequence[str],
) -> list[dict[str, np.ndarray]]:
    """Return what the model answers under `names` for each feature, as wide as the batch that it stood in."""
    training = model.training
    model.eval()
    results: list[Any] = [None] * len(features)
    try:
        for chosen in batches([len(item["input_ids"]) for item in features], batch_size * ROW_TOKENS):
            answers = _forward(model, tokenizer, [features[i] for i in chosen], names)
            for row, i in enumerate(chosen):
                results[i] = {name: answer[row] for name, answer in answers.items()}
    finally:
        model.train(training)
    return results


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Yield the indices of batches, longest first, each of `tokens` tokens at most with its padding, or of one row."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        rows = max(1, tokens // max(1, lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


@torch.inference_mode()
def _forward(
    model: PreTrainedModel, tokenizer: Any, features: list[dict], names: Sequence[str]
) -> dict[str, np.ndarray]:
    inputs = {name: [item[name] for item in features] for name in INPUTS if name in features[0]}
    with quiet():
        batch = tokenizer.pad(inputs, return_tensors="pt")
    answer = model(**batch.to(model.device))
    return {name: answer[name].float().cpu().numpy() for name in names}


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Return the softmax over the last axis."""
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
