"""The settings that every head shares; a head derives its own class for other defaults and more fields.

`docs/finetune/training.md` says what each does, where it comes from and when to reach for it.
"""

import math
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ernie_pipe.config import Settings


def number_or_auto(value: Any) -> float | str:
    """Read a setting that is a number, or `auto`; `ValueError` for anything else."""
    if value == "auto":
        return "auto"
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found):
        raise ValueError(f"{value!r} is neither a number nor auto")
    return found


class FinetuneSettings(Settings):
    """How a head is trained. The defaults suit encoders of base size."""

    after_training: ClassVar[tuple[str, ...]] = ("batch_size", "max_tokens", "device")
    """The settings that `evaluate` and `predict` may change; the others are what the model was trained with."""

    learning_rate: float = Field(3e-5, gt=0, description="peak learning rate of AdamW")
    epochs: int = Field(4, ge=1, description="passes over the training data, at most")
    max_steps: int = Field(0, ge=0, description="steps at most; 0: as many as the epochs make")
    batch_size: int = Field(32, ge=1, description="sequences in a step")
    accumulate: int = Field(1, ge=1, description="parts in which a step is computed, where memory is short")
    length_window: int = Field(50, ge=0, description="steps within which batches are of like lengths; 0: of any")
    max_tokens: int = Field(256, ge=8, description="tokens in a sequence, with [CLS] and [SEP]")
    weight_decay: float = Field(0.01, ge=0, description="weight decay of AdamW, none on biases and norms")
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the rate rises")
    layer_decay: float = Field(1.0, gt=0, le=1, description="a layer's learning rate, as a share of the one above")
    frozen_layers: int = Field(0, ge=0, description="lowest layers to leave as they are, the embeddings with them")
    frozen_embeddings: bool = Field(False, description="leave the embeddings as they are")
    dropout: float | None = Field(
        None, ge=0, lt=1, description="dropout of hidden states while training; empty: as the encoder was pretrained"
    )
    class_weights: str | dict[str, float] | None = Field(
        None, description="weight of each label in the loss: a mapping, or balanced, by 1 / its frequency"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of a label that is spread over all labels")
    r_drop: float = Field(0.0, ge=0, description="weight of R-Drop's divergence of two passes; 0: one pass")
    fgm: float = Field(0.0, ge=0, description="length of FGM's perturbation of the embeddings; 0: none")
    seed: int = Field(1, ge=0, description="seed of the new weights, the order of the data and the dropout")
    early_stop: int = Field(0, ge=0, description="epochs without a better dev score before a stop; 0: never")
    task_id: int = Field(0, ge=0, description="row of an ERNIE encoder's task embedding to fine-tune with")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to compute: auto, cpu or cuda")
    bf16: bool = Field(False, description="train in bfloat16 mixed precision")

    @model_validator(mode="after")
    def _parts_are_even(self) -> Self:
        if self.batch_size % self.accumulate:
            raise ValueError(f"`accumulate` {self.accumulate} does not divide `batch_size` {self.batch_size}")
        return self

    @model_validator(mode="after")
    def _weights_are_usable(self) -> Self:
        given = self.class_weights
        if isinstance(given, str) and given != "balanced":
            raise ValueError(f"`class_weights` {given}: write balanced, or a weight for each label")
        if isinstance(given, dict) and not all(0 < weight < float("inf") for weight in given.values()):
            raise ValueError("`class_weights` must be numbers above 0")
        return self
