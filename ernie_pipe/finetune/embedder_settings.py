"""The settings of the embedder: what it learns by, and which of the shared ones mean nothing to vectors."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from ernie_pipe.finetune.settings import FinetuneSettings


class EmbedderSettings(FinetuneSettings):
    """The settings of `configs/finetune/embedder.yaml`."""

    learning_rate: float = Field(2e-5, gt=0, description="peak learning rate of AdamW")
    max_tokens: int = Field(128, ge=8, description="tokens in a sentence, with [CLS] and [SEP]")
    objective: Literal["auto", "classification", "cosine", "cosent", "ranking", "triplet"] = Field(
        "auto", description="what is learnt from the pairs; auto: by their labels, and said"
    )
    pooling: Literal["mean", "cls", "max"] = Field("mean", description="how the vectors of tokens become one")
    scale: float = Field(20.0, gt=0, description="ranking and cosent: what cosines are multiplied by")
    margin: float = Field(1.0, gt=0, description="how much nearer a triplet's positive has to be")
    text_column: str = Field("", description="name of the first text's column, given with second_column")
    second_column: str = Field("", description="name of the second text's column")
    label_column: str = Field("", description="name of the label's column; empty: found by name")
    after_training: ClassVar = (*FinetuneSettings.after_training, "text_column", "second_column", "label_column")

    @model_validator(mode="after")
    def _no_classifier(self) -> Self:
        for name in ("r_drop", "label_smoothing", "class_weights"):
            if getattr(self, name):
                raise ValueError(f"`{name}` is for heads that answer with a class, vectors are none: leave it out")
        return self
