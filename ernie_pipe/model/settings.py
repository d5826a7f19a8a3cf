"""Size and shape of the encoder, as a config file gives them."""

from __future__ import annotations

from pydantic import Field, model_validator

from ernie_pipe.config import Settings


class ModelSettings(Settings):
    """Size and shape of the encoder; the vocabulary comes with the passages."""

    hidden_size: int = Field(768, gt=0, description="hidden size H")
    layers: int = Field(12, gt=0, description="transformer layers")
    heads: int = Field(12, gt=0, description="attention heads; must divide hidden_size")
    intermediate_size: int = Field(3072, gt=0, description="size of the feed-forward layer")
    activation: str = Field("gelu", description="activation (ERNIE 1.0 zh: relu)")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of hidden states")
    attention_dropout: float = Field(0.0, ge=0, lt=1, description="dropout of attention (0 on CUDA)")
    initializer_range: float = Field(0.02, gt=0, description="deviation of fresh weights (small models: larger)")
    max_positions: int = Field(512, ge=8, description="position embeddings")
    segments: int = Field(4, ge=2, description="rows of the segment embedding")
    task_rows: int = Field(16, ge=1, description="rows of the task embedding: room for later tasks")

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelSettings:
        if self.hidden_size % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide hidden_size ({self.hidden_size})")
        return self
