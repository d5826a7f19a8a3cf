"""The protocol of pretraining tasks.

Shapes: `T` tokens of a packed batch, `B` its sequences, `M` predicted positions of one task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
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

    Packed as `[CLS] A [SEP] B [SEP] …`, each part with its own token type, or with that of its role: `roles` has one
    number a part where parts share a type (in a dialogue 0 for the query's turns, 1 for the response's).
    """

    parts: list[Part]
    label: int = -1
    roles: Sequence[int] | None = None


@dataclass
class PackedBatch:
    """Sequences one after another; arrays have shape (T) but for `starts` (B + 1), `task`, `labels`, `keys` (B).

    `entity_types` (T, uint8): where some task has `entity_types`, 1 + the index into them, 0 elsewhere. Masking sets
    `levels` (B), `masked_units` (M, the unit of each predicted token) and `similar_words` (asked for, without one).
    """

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
    entity_types: np.ndarray | None = None
    masked_units: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    similar_words: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Targets:
    """Where a task predicts (M, indices into T) and what (M)."""

    positions: np.ndarray
    labels: np.ndarray


class Task(ABC):
    """A pretraining task: what it shows the model, its head, its loss and its metric.

    A sequence-level task defines `classes`, `eligible` and `example` (or `examples`); its head reads the pooled
    `[CLS]`. A token-level task is not `pooled` and also overrides `targets`. `needs` says what kind of passages can
    anchor its examples: "NAME needs …: 0 of the N passages in PASSAGES can serve it" ends a run before it begins.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Settings]] = Settings
    pooled: ClassVar[bool] = True
    parts: ClassVar[int] = 1
    changes_input: ClassVar[bool] = False
    needs: ClassVar[str] = "documents of several sentences, or longer passages (`ernie-pipe encode --max-tokens`)"

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def prepare(self, special: SpecialIds) -> None:  # noqa: B027
        """Learn the special ids and the vocabulary, before the first batch; most tasks need neither.

        `InputError` where the task makes no sense with this vocabulary.
        """

    @property
    def entity_types(self) -> Sequence[str]:
        """Entity types that the task must know of every token: `PackedBatch.entity_types` has them."""
        return ()

    def open(self, passages: Passages) -> None:  # noqa: B027
        """Learn what the data hold (tokenizer, entity types), before the first batch; most tasks need nothing.

        Called for the data of every stage. `InputError` where they do not fit the settings.
        """

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

    def examples(self, passages: Passages, anchors: np.ndarray, keys: np.ndarray) -> list[Example]:
        """Build the examples of `anchors` (n) with `keys` (n, uint64): each as `example` builds it alone.

        A task defines one of the two. Where numbers are drawn for all examples at once, batches are built several times
        as fast; `example` is then the batch of one.
        """
        return [self.example(passages, anchor, key) for anchor, key in zip(anchors.tolist(), keys, strict=True)]

    def __init_subclass__(cls, **options: Any) -> None:
        """Keep `example` and `examples` one and the same, whichever of them a class defines."""
        super().__init_subclass__(**options)
        if "examples" in vars(cls) and "example" not in vars(cls):
            cls.example = _batch_of_one(cls)  # type: ignore[method-assign, assignment]
        elif "example" in vars(cls) and "examples" not in vars(cls):
            cls.examples = Task.examples  # type: ignore[method-assign]

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


def _batch_of_one(cls: type[Task]) -> Callable[[Task, Passages, int, np.ndarray], Example]:
    """Return `example` by the `examples` of this very class: a subclass may build on it and change `example`."""

    def example(self: Task, passages: Passages, anchor: int, key: np.ndarray) -> Example:
        return cls.examples(self, passages, np.array([anchor]), np.array([key], np.uint64))[0]

    example.__doc__ = Task.example.__doc__
    return example
