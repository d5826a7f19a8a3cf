"""Knowledge masking: predict whole words, phrases and entities that are hidden."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from ernie_pipe.config import Settings, nearest
from ernie_pipe.corpus.reader import Eligibility, Passages
from ernie_pipe.errors import InputError
from ernie_pipe.masking import LEVELS, MaskingRule, SimilarWords, geometric, mask_units, similar
from ernie_pipe.tasks.base import Example, PackedBatch, Targets, Task
from ernie_pipe.text.encode import SpecialIds, load_encoder


def check_levels(levels: dict[str, float]) -> dict[str, float]:
    """Return `levels` when they are a mixture over the known levels; `ValueError` says what is wrong."""
    unknown = [name for name in levels if name not in LEVELS]
    if unknown:
        raise ValueError(f"unknown level {', '.join(unknown)}; known: {', '.join(LEVELS)}")
    if any(share < 0 for share in levels.values()) or abs(sum(levels.values()) - 1) > 1e-6:
        raise ValueError(f"the shares of levels must be ≥ 0 and sum to 1, they sum to {sum(levels.values()):g}")
    return levels


class KnowledgeMaskingSettings(Settings):
    """Settings of `knowledge_masking`; docs/masking.md shows them at work."""

    rate: float = Field(0.15, gt=0, lt=1, description="share of tokens that are predicted")
    strategy: Literal["units", "ngram", "span"] = Field(
        "units", description="predict single units of the level, or n-grams or spans of them"
    )
    levels: dict[str, float] = Field(
        default={"basic": 0.2, "phrase": 0.4, "entity": 0.4},
        description="mixture of levels, drawn per sequence; a stage may set its own; words for ngram and span",
    )
    mask: float = Field(0.8, ge=0, le=1, description="share of predicted units that become [MASK] (or similar words)")
    random: float = Field(0.1, ge=0, le=1, description="share that becomes random tokens; the rest stays")
    scope: Literal["per_unit", "per_token"] = Field("per_unit", description="draw mask / random / keep once a …")
    other_tasks: bool = Field(True, description="mask the sequences of other tasks too")
    ngram: list[float] = Field(default=[0.4, 0.3, 0.2, 0.1], description="strategy ngram: shares of n = 1, 2 …")
    span_p: float = Field(0.2, gt=0, lt=1, description="strategy span: p of the geometric distribution of lengths")
    span_longest: int = Field(10, ge=1, le=100, description="strategy span: longest, where the distribution is cut off")
    type_weights: dict[str, float] = Field(
        default={}, description="entity type → weight of its units' chance to be predicted (1 where not named)"
    )
    similar: str | None = Field(None, description="TSV of words and similar ones, which stand in for [MASK]")
    similar_hash: str | None = Field(None, description="hash of that file, recorded when a run begins")

    @model_validator(mode="before")
    @classmethod
    def _words_for_pieces(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("strategy", "units") != "units" and "levels" not in given:
            return {**given, "levels": {"word": 1.0}}
        return given

    @model_validator(mode="after")
    def _check(self) -> KnowledgeMaskingSettings:
        check_levels(self.levels)
        if self.mask + self.random > 1:
            raise ValueError(f"mask + random must not exceed 1, they are {self.mask + self.random:g}")
        if any(not share >= 0 for share in self.ngram) or not abs(sum(self.ngram) - 1) < 1e-6:
            raise ValueError(f"ngram: the shares must be ≥ 0 and sum to 1, they sum to {sum(self.ngram):g}")
        for strategy, keys in (("ngram", ("ngram",)), ("span", ("span_p", "span_longest"))):
            for key in keys:
                if self.strategy != strategy and getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key} is read with strategy: {strategy} alone, it is {self.strategy}")
        wrong = [name for name, weight in self.type_weights.items() if not 0 < weight < math.inf]
        if wrong:
            raise ValueError(f"type_weights: the weight of {wrong[0]} must be a number above 0")
        if self.similar is not None and self.scope == "per_token":
            raise ValueError("similar: similar words stand for whole words: set scope: per_unit")
        return self


def with_table_hash(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings as given, with the whole path and the hash of `similar`, so that a run records them.

    A resumed run is compared with its record key by key: a table that was changed since is refused.
    """
    path = settings.get("similar")
    if not isinstance(path, str) or settings.get("similar_hash"):
        return settings
    path = str(Path(path).resolve())
    return {**settings, "similar": path, "similar_hash": similar.file_hash(path)}


class KnowledgeMasking(Task):
    """Predict hidden units of a passage: tokens, words, phrases, entities, or n-grams and spans of them.

    Teaches: lexical and factual knowledge; whoever has to restore all of 哈尔滨 cannot lean on its characters.
    Input: a passage, `[CLS] A [SEP]`; labels (M): the ids of the hidden tokens.
    Strategies: `units` predicts single units of the level drawn for the sequence (ERNIE; words alone: BERT-wwm);
    `ngram` pieces of 1 to 4 consecutive words, 40/30/20/10 % (MacBERT); `span` pieces whose length in words is
    geometric, cut off at 10 and made to sum to 1 (SpanBERT). One draw decides what a whole unit or piece becomes, or
    one a token (`scope`). With `similar`, words of the table stand in for `[MASK]`, each word of a piece by its own; a
    word that has none of as many tokens becomes random tokens (MacBERT), and `similar_fallback` in the log says how
    often. With `type_weights` the chance of a unit is in proportion to the weight of its type: c · weight, 1 at most,
    with c such that each segment keeps its `rate`; the weight of what is partly an entity is the mean over its tokens.
    Honest labels: a unit's chance does not depend on its length (`ernie_pipe/masking/choose.py`), so length does not
    decide what is hidden; random replacements are never special tokens.
    Source: Sun et al. 2019 (ERNIE), section 3.2; Devlin et al. 2018, section 3.1 (80/10/10); Cui et al. 2020
    (MacBERT), section 3.2; Joshi et al. 2020 (SpanBERT), section 3.1.
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
        self._similar: SimilarWords | None = None
        weights = settings.type_weights
        self._weights = np.array([1.0, *weights.values()]) if weights else None
        self._lengths = {
            "units": None,
            "ngram": tuple(settings.ngram),
            "span": geometric(settings.span_p, settings.span_longest),
        }[settings.strategy]

    def prepare(self, special: SpecialIds) -> None:
        """Take the id of `[MASK]`, and the ids that may stand in for a token: all that are not special."""
        self.mask_id = special.mask
        self.replacements = np.setdiff1d(np.arange(special.size), special.all)

    @property
    def entity_types(self) -> Sequence[str]:
        return list(self.settings.type_weights)

    def open(self, passages: Passages) -> None:
        """Read the table of similar words with the tokenizer of the passages; check the types that are weighted."""
        known = passages.manifest.details.get("entity_types", {})
        for name in self.entity_types:
            if name not in known:
                where = f"{self.name}.type_weights: {passages.folder} knows no entity type `{name}`"
                raise InputError(where + nearest(name, known) if known else f"{where}, nor any other")
        if self.settings.similar is not None and self._similar is None:
            encoder = load_encoder(f"{passages.folder}/tokenizer")
            self._similar = similar.load(self.settings.similar, encoder, self.settings.similar_hash)

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
        return MaskingRule(
            levels or settings.levels,
            settings.rate,
            settings.mask,
            settings.random,
            settings.scope,
            self._lengths,
            self._weights,
            self._similar,
        )

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
            types=batch.entity_types,
        )
        batch.input_ids, batch.levels, batch.masked_units = masked.input_ids, masked.levels, masked.units
        batch.similar_words = (masked.words, masked.fallbacks)
        return Targets(masked.positions, masked.labels)

    def build_head(self, config: Any) -> Any:
        """Build transformers' own ERNIE prediction head, so that export is a renaming."""
        from transformers.models.ernie.modeling_ernie import ErnieLMPredictionHead

        return ErnieLMPredictionHead(config)
