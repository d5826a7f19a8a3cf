"""Discourse relations: which relation holds between two clauses whose connective was taken out?"""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from pydantic import Field, field_validator

from ernie_pipe import draws
from ernie_pipe.config import Settings
from ernie_pipe.corpus.reader import NO_LABEL, Eligibility, Passages
from ernie_pipe.errors import InputError
from ernie_pipe.tasks.base import Example, Part, Task
from ernie_pipe.tasks.candidates import Kept, role_bits, spread
from ernie_pipe.text.connective_inventory import RELATIONS
from ernie_pipe.text.document import ROLES
from ernie_pipe.text.passages import restart_units

logger = logging.getLogger(__name__)
_PAIR = role_bits("arg1", "arg2")
_NONE = 255
# Pairs of each class whose lengths are looked at; a class of fewer than `FEW` has no distribution to speak of.
_MEASURED, FEW = 2048, 32
_BINS = 8
_TIE_1, _TIE_2 = 1, 2


class DiscourseRelationSettings(Settings):
    """Settings of `discourse_relation`."""

    relations: list[str] = Field(
        default=list(RELATIONS),
        min_length=2,
        max_length=_NONE,
        description="labels of the data in the order of their classes; other labels of such pairs are refused",
    )
    equal_lengths: bool = Field(
        True,
        description="cut arguments until their lengths are alike in every class; false: show them whole",
    )
    rare: int = Field(100, ge=0, description="a relation with fewer pairs is named in a warning")

    @field_validator("relations")
    @classmethod
    def _once(cls, relations: list[str]) -> list[str]:
        twice = sorted({name for name in relations if relations.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} given twice: every class needs its own name")
        return relations


@dataclass(frozen=True)
class Lengths:
    """How long arguments are by class, to cut them so that length says nothing.

    `table` (65,536, uint8): the class of each label, `_NONE` of those that are not used. `first[c]`: tokens of arg1 of
    some pairs of class c, rising. After arg1 is cut, `edges` part its lengths into bins: `second[bin][c]` are the
    tokens of arg2, rising.
    """

    table: np.ndarray
    first: list[list[int]]
    edges: list[float]
    second: list[list[list[int]]]


class DiscourseRelation(Task):
    """Name the discourse relation between two clauses; `ernie-pipe relations` mines the pairs.

    Teaches: how clauses hang together: cause, contrast, condition, example …, without the word that would say it.
    Input: `[CLS] arg1 [SEP] arg2 [SEP]`, from passages with one segment of each role and a label; labels: 0 to
    `len(relations)` − 1, in the order of the setting.
    Honest labels: the connective is gone from the text, and what else would tell it (`ernie_pipe.text.connectives`).
    What form could still tell is length: the data's own arguments are longer in some relations than in others. So
    arg1 loses tokens from its beginning and arg2 from its end until their lengths have the same distribution in every
    class: an argument that is longer than a share u of its class's is cut to the shortest length that has this
    rank in any class (arg2: among pairs whose arg1 is of like length), and always by one token or more, so that a
    whole one is not told from a cut one. Relations with fewer than 32 pairs are cut but do not count for the others;
    their lengths may tell. The price is tokens: all relations become as short as the shortest one; with
    `equal_lengths: false` arguments are shown whole. How frequent a relation is remains as the data has it: see
    `--max-ratio` of the miner.
    Source: Sun et al. 2020 (ERNIE 2.0), section 4.2 (discourse relation task); Sileo et al. 2019, arXiv 1903.11850.
    Neighbours: `sentence_distance`, `sentence_reordering`.
    """

    name: ClassVar[str] = "discourse_relation"
    Settings: ClassVar[type[Settings]] = DiscourseRelationSettings
    parts: ClassVar[int] = 2
    needs: ClassVar[str] = "passages with roles arg1/arg2 and a label (`ernie-pipe relations`)"

    def __init__(self, settings: DiscourseRelationSettings) -> None:
        super().__init__(settings)
        self._lengths = Kept(self._measure)

    @property
    def classes(self) -> int:
        return len(self.settings.relations)

    def eligible(self, passages: Passages | Eligibility) -> np.ndarray:
        """One arg1, one arg2, and a label; `InputError` names labels that `relations` lacks."""
        if not _are_pairs(passages).any():
            return np.zeros(len(passages), dtype=bool)
        return _class_of(passages, self._lengths.of(passages).table) != _NONE

    def examples(self, passages: Passages, anchors: np.ndarray, keys: np.ndarray) -> list[Example]:
        """Cut both arguments of each anchor to lengths that do not depend on its class."""
        lengths = self._lengths.of(passages)
        labels = lengths.table[passages.labels[anchors]]
        ties = (draws.uniform(keys, stream) for stream in (_TIE_1, _TIE_2))
        return [
            self._example(passages, lengths, *row)
            for row in zip(anchors.tolist(), labels.tolist(), *(tie.tolist() for tie in ties), strict=True)
        ]

    def _example(
        self, passages: Passages, lengths: Lengths, anchor: int, label: int, tie_1: float, tie_2: float
    ) -> Example:
        first, second = _arguments(passages, anchor)
        if not self.settings.equal_lengths:
            # `[SEP]` between them takes a place that the anchor does not have.
            return Example([_end_of(first, max(1, len(first[0]) - 1)), second], label)
        kept_1 = _level(lengths.first, label, len(first[0]), tie_1)
        kept_2 = _level(lengths.second[bisect_right(lengths.edges, kept_1)], label, len(second[0]), tie_2)
        # The seams are cut where no whole argument ends, so that all end alike.
        kept_1, kept_2 = max(1, kept_1 - 1), max(1, kept_2 - 1)
        return Example([_end_of(first, kept_1), (second[0][:kept_2], second[1][:kept_2])], label)

    def _measure(self, passages: Passages) -> Lengths:
        table = self._table(passages)
        lengths, counts = [], []
        for label in range(self.classes):
            wanted = partial(_is_class, table=table, label=label)
            chosen = spread(passages, wanted, _MEASURED)
            found = [[len(ids) for ids, _ in _arguments(passages, anchor)] for anchor in chosen.tolist()]
            lengths.append(np.array(found, np.int64).reshape(-1, 2))
            counts.append(len(chosen))
        self._tell_rare(passages, counts)
        first = [sorted(of[:, 0].tolist()) for of in lengths]
        ties = [draws.uniform(draws.key(label, np.arange(len(of))), _TIE_1) for label, of in enumerate(lengths)]
        cut = [
            np.array(
                [_level(first, label, size, tie) for size, tie in zip(of[:, 0].tolist(), drawn.tolist(), strict=True)]
            )
            for label, (of, drawn) in enumerate(zip(lengths, ties, strict=True))
        ]
        together = np.concatenate([of for of in cut if len(of) >= FEW] or cut)
        edges = np.unique(np.quantile(together, np.arange(1, _BINS) / _BINS)) if len(together) else np.zeros(0)
        bins = [np.searchsorted(edges, short, side="right") for short in cut]
        second = [
            [sorted(of[mine == number, 1].tolist()) for of, mine in zip(lengths, bins, strict=True)]
            for number in range(len(edges) + 1)
        ]
        return Lengths(table, first, edges.tolist(), second)

    def _table(self, passages: Passages) -> np.ndarray:
        """Return the class of each label; `InputError` when pairs have labels that the setting lacks."""
        names = passages.label_names
        table = np.full(NO_LABEL + 1, _NONE, np.uint8)
        numbers = {name: number for number, name in enumerate(self.settings.relations)}
        table[: len(names)] = [numbers.get(name, _NONE) for name in names]
        strange = spread(passages, partial(_is_strange, table=table), 1024)
        lacking = sorted({names[label] for label in np.unique(passages.labels[strange]).tolist()})
        if lacking:
            raise InputError(
                f"discourse_relation: {passages.folder} ({passages.split}) has pairs labelled {', '.join(lacking)}, "
                f"which tasks.discourse_relation.relations lacks; it has {', '.join(self.settings.relations)}"
            )
        return table

    def _tell_rare(self, passages: Passages, counts: list[int]) -> None:
        """Warn of relations with few pairs, in the training data only: what is held out is small."""
        pairs = zip(self.settings.relations, counts, strict=True)
        rare = [f"{name} {count}" for name, count in pairs if count < min(self.settings.rare, _MEASURED // 2)]
        if rare and sum(counts) and passages.split == "train":
            logger.warning(
                "discourse_relation: %d of %d relations have fewer than %d pairs in %s: %s",
                len(rare), self.classes, self.settings.rare, passages.folder, ", ".join(rare),
            )  # fmt: skip


def _are_pairs(passages: Passages | Eligibility) -> np.ndarray:
    return (passages.roles == _PAIR) & (passages.segment_counts == 2) & (passages.tokens >= 4)


def _class_of(passages: Passages | Eligibility, table: np.ndarray) -> np.ndarray:
    """Return the class of each passage, `_NONE` where it is no pair or has no label."""
    return np.where(_are_pairs(passages), table[passages.labels], _NONE)


def _is_class(passages: Passages | Eligibility, *, table: np.ndarray, label: int) -> np.ndarray:
    return _class_of(passages, table) == label


def _is_strange(passages: Passages | Eligibility, *, table: np.ndarray) -> np.ndarray:
    """Return which pairs have a label without a class."""
    return _are_pairs(passages) & (passages.labels != NO_LABEL) & (table[passages.labels] == _NONE)


def _arguments(passages: Passages, anchor: int) -> tuple[Part, Part]:
    ids, bits, _ = passages.get(anchor)
    starts, roles = passages.segments(anchor)
    border = int(starts[1])
    parts = (ids[:border], bits[:border]), (ids[border:], bits[border:])
    return parts if roles[0] == ROLES.index("arg1") else parts[::-1]


def _end_of(part: Part, size: int) -> Part:
    """Return the last `size` tokens; what was cut begins with a word of its own."""
    ids, bits = part[0][len(part[0]) - size :], part[1][len(part[1]) - size :].copy()
    restart_units(bits, np.array([0]))
    return ids, bits


def _level(samples: list[list[int]], label: int, length: int, tie: float) -> int:
    """Return the shortest of the lengths that have the rank of `length` in the samples of some class (all rising).

    Where several of its class are as long, `tie`, drawn from [0, 1), decides its rank among them.
    """
    mine = samples[label]
    low, high = bisect_left(mine, length), bisect_right(mine, length)
    rank = (low + tie * (high - low)) / max(1, len(mine))
    quantiles = [of[min(len(of) - 1, int(rank * len(of)))] for of in samples if len(of) >= FEW]
    return min([length, *quantiles])
