"""Knowledge masking: predict whole words, phrases and entities that are hidden."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from ernie_pipe.config import Settings
from ernie_pipe.corpus.reader import Eligibility, Passages
from ernie_pipe.masking import LEVELS, MaskingRule, mask_units
from ernie_pipe.tasks.base import Example, PackedBatch, Targets, Task
from ernie_pipe.text.encode import SpecialIds


def check_levels(levels: dict[str, float]) -> dict[str, float]:
    """Return `levels` when they are a mixture over the known levels; `ValueError` says what is wrong."""
    unknown = [name for name in levels if name not in LEVELS]
    if unknown:
        raise ValueError(f"unknown level {', '.join(unknown)}; known: {', '.join(LEVELS)}")
    if any(share < 0 for share in levels.values()) or abs(sum(levels.values()) - 1) > 1e-6:
        raise ValueError(f"the shares of levels must be ≥ 0 and sum to 1, they sum to {sum(levels.values()):g}")
    return levels


class KnowledgeMaskingSettings(Settings):
    """Settings of `knowledge_masking`."""

    rate: float = Field(0.15, gt=0, lt=1, description="share of tokens that are predicted")
    levels: dict[str, float] = Field(
        default={"basic": 0.2, "phrase": 0.4, "entity": 0.4},
        description="mixture of levels, drawn per sequence; a stage may set its own",
    )
    mask: float = Field(0.8, ge=0, le=1, description="share of predicted units that become [MASK]")
    random: float = Field(0.1, ge=0, le=1, description="share that becomes random tokens; the rest stays")
    scope: Literal["per_unit", "per_token"] = Field("per_unit", description="draw mask / random / keep once a …")
    other_tasks: bool = Field(True, description="mask the sequences of other tasks too")

    @model_validator(mode="after")
    def _check(self) -> KnowledgeMaskingSettings:
        check_levels(self.levels)
        if self.mask + self.random > 1:
            raise ValueError(f"mask + random must not exceed 1, they are {self.mask + self.random:g}")
        return self


class KnowledgeMasking(Task):
    """Predict hidden units of a passage at the levels basic, word, phrase and entity.

    Teaches: lexical and factual knowledge; whoever has to restore all of 哈尔滨 cannot lean on its characters.
    Input: a passage, `[CLS] A [SEP]`; labels (M): the ids of the hidden tokens.
    Honest labels: units are drawn in random order by token budget, so length does not decide what is hidden;
    random replacements are never special tokens.
    Source: Sun et al. 2019 (ERNIE), section 3.2; Devlin et al. 2018, section 3.1 (80/10/10).
    Neighbours: every other task; with `other_tasks` their sequences are masked as well.
    """

    name: ClassVar[str] = "knowledge_masking"
    Settings: ClassVar[type[Settings]] = KnowledgeMaskingSettings
    pooled: ClassVar[bool] = False
    changes_input: ClassVar[bool] = True

    def __init__(self, settings: KnowledgeMaskingSettings) -> None:
        super().__init__(settings)
        self.mask_id = -1
        self.replacements = np.zeros(0, np.int64)

    def prepare(self, special: SpecialIds) -> None:
        """Take the id of `[MASK]`, and the ids that may stand in for a token: all that are not special."""
        self.mask_id = special.mask
        self.replacements = np.setdiff1d(np.arange(special.size), special.all)

    @property
    def classes(self) -> int:
        return 0

    def eligible(self, passages: Passages | Eligibility) -> np.ndarray:
        return passages.tokens > 0

    def example(self, passages: Passages, anchor: int, key: np.ndarray) -> Example:
        ids, bits, _ = passages.get(anchor)
        return Example([(ids, bits)])

    def rule(self, levels: dict[str, float] | None = None) -> MaskingRule:
        """Return the masking rule, with the levels of a stage in place of the task's own."""
        settings = self.settings
        return MaskingRule(levels or settings.levels, settings.rate, settings.mask, settings.random, settings.scope)

    def targets(self, batch: PackedBatch, number: int, levels: dict[str, float] | None = None) -> Targets:
        """Mask `batch.input_ids` in place and return what was hidden."""
        maskable = batch.maskable
        if not self.settings.other_tasks:
            maskable = maskable & (batch.task == number)[batch.sequence]
        masked = mask_units(
            batch.input_ids,
            batch.unit_bits,
            maskable,
            batch.sequence,
            batch.keys,
            rule=self.rule(levels),
            mask_id=self.mask_id,
            replacements=self.replacements,
        )
        batch.input_ids, batch.levels = masked.input_ids, masked.levels
        return Targets(masked.positions, masked.labels)

    def build_head(self, config: Any) -> Any:
        """Build transformers' own ERNIE prediction head, so that export is a renaming."""
        from transformers.models.ernie.modeling_ernie import ErnieLMPredictionHead

        return ErnieLMPredictionHead(config)
