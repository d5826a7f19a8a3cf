"""The protocol of pretraining tasks.

Shapes: `T` tokens of a packed batch, `B` its sequences, `M` predicted positions of one task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ernie_pipe.config import Settings
from ernie_pipe.corpus.reader import Eligibility, Passages
from ernie_pipe.text.encode import SpecialIds

if TYPE_CHECKING:
    import torch

Part = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Example:
    """One sequence before packing: `parts` are (ids, unit bits) of segment A, B …; `label` of the sequence.

    Packed as `[CLS] A [SEP] B [SEP] …`, each part with its own token type.
    """

    parts: list[Part]
    label: int = -1


@dataclass
class PackedBatch:
    """Sequences one after another; arrays have shape (T) but for `starts` (B + 1), `task`, `labels`, `keys` (B)."""

    input_ids: np.ndarray
    unit_bits: np.ndarray
    maskable: np.ndarray
    token_types: np.ndarray
    positions: np.ndarray
    sequence: np.ndarray
    starts: np.ndarray
    task: np.ndarray
    labels: np.ndarray
    keys: np.ndarray
    levels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class Targets:
    """Where a task predicts (M, indices into T) and what (M)."""

    positions: np.ndarray
    labels: np.ndarray


class Task(ABC):
    """A pretraining task: what it shows the model, its head, its loss and its metric.

    A sequence-level task defines `classes`, `eligible` and `example`; its head reads the pooled `[CLS]`. A
    token-level task also overrides `targets` and `build_head`.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Settings]] = Settings
    pooled: ClassVar[bool] = True
    parts: ClassVar[int] = 1
    changes_input: ClassVar[bool] = False

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def prepare(self, special: SpecialIds) -> None:  # noqa: B027
        """Learn the special ids and the size of the vocabulary, before the first batch; most tasks need neither."""

    @property
    @abstractmethod
    def classes(self) -> int:
        """Number of classes; 0 stands for the vocabulary."""

    @abstractmethod
    def eligible(self, passages: Passages | Eligibility) -> np.ndarray:
        """Return (passages, bool): which can anchor an example."""

    @abstractmethod
    def example(self, passages: Passages, anchor: int, key: np.ndarray) -> Example:
        """Build the example of passage `anchor` (never longer than it); every draw is a function of `key`."""

    def targets(self, batch: PackedBatch, number: int, levels: dict[str, float] | None = None) -> Targets:
        """Return what task `number` predicts in a batch: by default the label at `[CLS]` of its sequences.

        `levels` are the masking levels of the stage, where it has its own. A task that changes `batch.input_ids`
        says so by `changes_input`: it comes after those that only read.
        """
        mine = np.flatnonzero(batch.task == number)
        return Targets(batch.starts[mine], batch.labels[mine])

    def build_head(self, config: Any) -> torch.nn.Module:
        """Build the head: by default a linear classifier on the pooled `[CLS]` (M × hidden → M × classes)."""
        import torch

        return torch.nn.Sequential(
            torch.nn.Dropout(config.hidden_dropout_prob), torch.nn.Linear(config.hidden_size, self.classes)
        )

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss summed over M."""
        import torch

        return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="sum")

    def correct(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return how many of M are right."""
        return (logits.argmax(-1) == labels).sum()
