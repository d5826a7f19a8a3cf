"""The settings that every head shares; a head derives its own class for other defaults and more fields."""

from typing import Literal

from pydantic import Field

from ernie_pipe.config import Settings


class FinetuneSettings(Settings):
    """How a head is trained. The defaults suit encoders of base size."""

    learning_rate: float = Field(3e-5, gt=0, description="peak learning rate of AdamW")
    epochs: int = Field(4, ge=1, description="passes over the training data, at most")
    batch_size: int = Field(32, ge=1, description="sequences in a step")
    max_tokens: int = Field(256, ge=8, description="tokens in a sequence, with [CLS] and [SEP]")
    weight_decay: float = Field(0.01, ge=0, description="weight decay of AdamW, none on biases and norms")
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the rate rises")
    seed: int = Field(1, ge=0, description="seed of the new weights, the order of the data and the dropout")
    early_stop: int = Field(0, ge=0, description="epochs without a better dev score before a stop; 0: never")
    task_id: int = Field(0, ge=0, description="row of an ERNIE encoder's task embedding to fine-tune with")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to compute: auto, cpu or cuda")
    bf16: bool = Field(False, description="train in bfloat16 mixed precision")
