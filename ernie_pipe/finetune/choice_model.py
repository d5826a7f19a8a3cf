"""What a multiple-choice model needs where the number of choices differs: padding, and a loss that leaves it out.

Shapes: `B` questions, `C` choices of the question that has the most, `T` tokens.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ernie_pipe.finetune.encoder import quiet

_PADDING = -1e4
"""The score of a choice that is padding: its probability is 0, and differences of such scores stay numbers."""


class ChoiceCollator:
    """Pads features with a list of inputs each to tensors of [B, C, T]; a padded choice attends to one token alone."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return `input_ids`, `attention_mask`, `token_type_ids` where there are some, and `labels` [B]."""
        names = [name for name in ("input_ids", "token_type_ids") if name in features[0]]
        most = max(len(feature["input_ids"]) for feature in features)
        # No attention at all would make numbers of nothing: the first special token stays.
        rows = [
            {name: feature[name][i] if i < len(feature[name]) else feature[name][0][:1] for name in names}
            for feature in features
            for i in range(most)
        ]
        with quiet():
            batch = self.tokenizer.pad(rows, return_tensors="pt")
        inputs = {name: value.view(len(features), most, -1) for name, value in batch.items()}
        return {**inputs, "labels": torch.tensor([feature["labels"] for feature in features])}


def ignore_padding(model: PreTrainedModel) -> PreTrainedModel:
    """Let `model` give padded choices no probability, in its `logits` and in its `loss`; what is saved stays stock."""
    model.register_forward_hook(_without_padding, with_kwargs=True)
    return model


def _without_padding(model: nn.Module, args: Any, inputs: dict[str, Any], output: Any) -> Any:
    padded = inputs["attention_mask"].sum(-1) <= 1
    if padded.any():
        output["logits"] = output["logits"].masked_fill(padded, _PADDING)
        if inputs.get("labels") is not None:
            output["loss"] = nn.functional.cross_entropy(output["logits"].float(), inputs["labels"])
    return output


class OneByOne(nn.Module):
    """A multiple-choice model as a scorer of single inputs, [B, T] to `logits` [B, 1]: nothing is padded but tokens."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.device = model.device
        self.train(model.training)

    def forward(self, **inputs: Tensor) -> Any:
        """Score each input as the only choice of its question."""
        return self.model(**{name: value.unsqueeze(1) for name, value in inputs.items()})
