"""Running a model over features: sorted by length, no gradients, results in the order of the input."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from ernie_pipe.finetune.encoder import quiet


def logits(model: PreTrainedModel, tokenizer: Any, features: Sequence[dict], batch_size: int) -> list[np.ndarray]:
    """Return the logits of each feature (`input_ids` alone): [labels], or [its tokens, labels].

    The model is left in the mode, training or not, that it was in.
    """
    training = model.training
    model.eval()
    results: list[Any] = [None] * len(features)
    order = sorted(range(len(features)), key=lambda i: -len(features[i]["input_ids"]))
    try:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            for i, row in zip(chosen, _forward(model, tokenizer, [features[i] for i in chosen]), strict=True):
                results[i] = row[: len(features[i]["input_ids"])] if row.ndim == 2 else row
    finally:
        model.train(training)
    return results


@torch.inference_mode()
def _forward(model: PreTrainedModel, tokenizer: Any, features: list[dict]) -> np.ndarray:
    with quiet():
        batch = tokenizer.pad({"input_ids": [item["input_ids"] for item in features]}, return_tensors="pt")
    return model(**batch.to(model.device)).logits.float().cpu().numpy()


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Return the softmax over the last axis."""
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
