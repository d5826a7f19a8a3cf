"""Passages with segments and labels, one document each, without a folder."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ernie_pipe import draws, resources
from ernie_pipe.corpus.reader import NO_LABEL
from ernie_pipe.text.document import ROLES, Record, Split, plan_splits, read
from ernie_pipe.text.encode import SpecialIds

Segment = tuple[str, Sequence[int]]


class Spoken:
    """Stands in for `Passages`, and for a part of them: documents of (role, ids) with a label or None."""

    folder, split = "toy", "train"

    def __init__(self, documents: list[tuple[list[Segment], str | None]]) -> None:
        self.label_names = sorted({label for _, label in documents if label is not None})
        self._segments = [segments for segments, _ in documents]
        self.tokens = np.array([sum(len(ids) for _, ids in segments) for segments in self._segments], np.uint16)
        self.labels = np.array(
            [NO_LABEL if label is None else self.label_names.index(label) for _, label in documents], np.uint16
        )
        self.segment_counts = np.array([len(segments) for segments in self._segments], np.uint16)
        self.roles = np.array(
            [sum(1 << ROLES.index(role) for role in {role for role, _ in found}) for found in self._segments], np.uint8
        )
        self.documents = len(documents)

    def __len__(self) -> int:
        return len(self.tokens)

    def part(self, start: int, stop: int) -> "Spoken":
        assert (start, stop) == (0, len(self))
        return self

    def get(self, passage: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ids = np.concatenate([np.asarray(ids, np.uint16) for _, ids in self._segments[passage]])
        return ids, np.zeros(len(ids), np.uint8), np.zeros(len(ids), np.uint8)

    def segments(self, passage: int) -> tuple[np.ndarray, np.ndarray]:
        sizes = [len(ids) for _, ids in self._segments[passage]]
        roles = [ROLES.index(role) for role, _ in self._segments[passage]]
        return np.cumsum([0, *sizes[:-1]]).astype(np.uint16), np.array(roles, np.uint8)

    def document_of(self, passages: np.ndarray) -> np.ndarray:
        return passages

    def first_passage(self, document: int) -> int:
        return document


def examples(task, passages, repeats):
    """Every anchor's examples: (anchor, example)."""
    anchors = np.flatnonzero(task.eligible(passages))
    keys = draws.key(5, np.arange(len(anchors) * repeats))
    chosen = np.resize(anchors, len(keys))
    return list(zip(chosen.tolist(), task.examples(passages, chosen, keys), strict=True))


def sample(name: str) -> tuple[Spoken, SpecialIds]:
    """The sample's dialogues or pairs, a token a character."""
    planned = plan_splits(str(resources.sample() / name), Split("", "sample", ""), split_bytes=1 << 20)
    records = [item for split, _ in planned for item in read(split) if isinstance(item, Record)]
    codes = sorted({character for record in records for character in record.text})
    ids = {character: number for number, character in enumerate(codes, start=5)}
    documents = []
    for record in records:
        borders = [*(start for start, _ in record.segments), len(record.text) + 1]
        parts = [record.text[start : end - 1] for start, end in pairwise(borders)]
        spoken = [(role, [ids[one] for one in part]) for (_, role), part in zip(record.segments, parts, strict=True)]
        documents.append((spoken, record.label))
    return Spoken(documents), SpecialIds(0, 1, 2, 3, 4, 5 + len(ids))
