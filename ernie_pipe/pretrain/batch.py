"""Slots of the plan → the arrays of a packed micro-batch. A pure function: any batch of the past can be shown.

Shapes: `T` packed tokens, `B` sequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ernie_pipe.corpus.reader import Passages
from ernie_pipe.corpus.typed import SHIFT, TypedPassages
from ernie_pipe.pretrain.plan import Plan, Slots
from ernie_pipe.tasks import Example, PackedBatch, Targets, Task
from ernie_pipe.text.encode import SpecialIds


@dataclass(frozen=True)
class Built:
    """A finished micro-batch: the packed arrays after masking, and each task's targets by name."""

    packed: PackedBatch
    targets: dict[str, Targets]


class BatchBuilder:
    """Builds the micro-batches of any step; shared by training, tests and the mask inspector."""

    def __init__(self, plan: Plan, passages: Passages, tasks: dict[str, Task], special: SpecialIds) -> None:
        self.plan, self.passages, self.special = plan, passages, special
        self.tasks = tasks
        for task in tasks.values():
            task.prepare(special)
            for data in plan.data:
                task.open(data)
        self._types = list(dict.fromkeys(name for task in tasks.values() for name in task.entity_types))
        self._typed: dict[tuple[str, str], TypedPassages] = {}

    def step(self, step: int, micro_batches: Sequence[int]) -> list[Built]:
        """Build the given micro-batches of `step`."""
        slots, passages = self.plan.step(step), self.plan.passages_of(step)
        levels = self.plan.stage(step)[1].levels
        return [self.build(slots[number], levels, passages) for number in micro_batches]

    def build(self, slots: Slots, levels: dict[str, float] | None = None, passages: Passages | None = None) -> Built:
        """Build the examples of `slots`, pack them, then let every task set its targets (those that mask, last).

        `passages`: where the anchors of `slots` lie, if not among those of the run.
        """
        packed = pack(self._examples(slots, passages), slots, self.special)
        ordered = sorted(enumerate(self.tasks.items()), key=lambda item: item[1][1].changes_input)
        targets = {name: task.targets(packed, number, levels) for number, (name, task) in ordered}
        return Built(packed, {name: targets[name] for name in self.tasks})

    def _examples(self, slots: Slots, passages: Passages | None) -> list[Example]:
        """Build the examples of `slots` in their order: those of one task together."""
        source = self._with_types(self.passages if passages is None else passages)
        found: list[Any] = [None] * len(slots)
        for number, task in enumerate(self.tasks.values()):
            mine = np.flatnonzero(slots.task == number)
            if len(mine):
                made = task.examples(source, slots.passage[mine], slots.key[mine])
                for place, example in zip(mine.tolist(), made, strict=True):
                    found[place] = example
        return found

    def _with_types(self, passages: Passages) -> Passages:
        """Return `passages`, with the types of entities in their bits where a task needs them."""
        if not self._types:
            return passages
        key = (passages.folder, passages.split)
        if key not in self._typed:
            self._typed[key] = TypedPassages(*key, self._types)
        return self._typed[key]


def pack(examples: Sequence[Example], slots: Slots, special: SpecialIds) -> PackedBatch:
    """Lay out `[CLS] A [SEP] B [SEP]` of every example one after another."""
    parts = [part for example in examples for part in example.parts]
    counts = np.array([len(example.parts) for example in examples])
    first = np.cumsum(counts) - counts
    # A part's place: `[CLS]` where it is the first of its sequence, its tokens, `[SEP]`.
    places = np.array([len(ids) for ids, _ in parts]) + 1
    places[first] += 1
    lengths = np.add.reduceat(places, first)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    text = np.ones(int(starts[-1]), dtype=bool)
    text[np.cumsum(places) - 1] = False
    text[starts[:-1]] = False
    ids = np.full(len(text), special.sep, dtype=np.int64)
    ids[starts[:-1]] = special.cls
    ids[text] = np.concatenate([part for part, _ in parts])
    given_bits = np.concatenate([bits for _, bits in parts])
    bits = np.zeros(len(text), dtype=given_bits.dtype)
    bits[text] = given_bits
    sequence = np.repeat(np.arange(len(examples)), lengths)
    return PackedBatch(
        input_ids=ids,
        unit_bits=bits.astype(np.uint8, copy=False),
        maskable=text,
        token_types=np.repeat(_kinds(examples), places),
        positions=np.arange(len(text)) - np.repeat(starts[:-1], lengths),
        sequence=sequence,
        starts=starts,
        task=slots.task,
        labels=np.array([example.label for example in examples]),
        keys=slots.key,
        entity_types=(bits >> np.uint8(SHIFT)).astype(np.uint8) if bits.dtype == np.uint16 else None,
    )


def _kinds(examples: Sequence[Example]) -> list[int]:
    """Return the token type of every part of all examples."""
    found: list[int] = []
    for example in examples:
        found += range(len(example.parts)) if example.roles is None else example.roles
    return found


def to_tensors(built: Built) -> dict[str, Any]:
    """Return the batch that the model's `forward` takes."""
    import torch

    packed = built.packed
    tensor = torch.from_numpy
    return {
        "input_ids": tensor(packed.input_ids),
        "position_ids": tensor(packed.positions),
        "token_type_ids": tensor(packed.token_types),
        "task_type_ids": tensor(packed.task[packed.sequence].astype(np.int64)),
        "starts": tensor(packed.starts),
        "longest": int(np.diff(packed.starts).max()),
        "similar_words": packed.similar_words,
        "targets": {
            name: (tensor(target.positions.astype(np.int64)), tensor(target.labels.astype(np.int64)))
            for name, target in built.targets.items()
        },
    }
