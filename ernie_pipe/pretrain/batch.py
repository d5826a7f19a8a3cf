"""Slots of the plan → the arrays of a packed micro-batch. A pure function: any batch of the past can be shown.

Shapes: `T` packed tokens, `B` sequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ernie_pipe.corpus.reader import Passages
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

    def step(self, step: int, micro_batches: Sequence[int]) -> list[Built]:
        """Build the given micro-batches of `step`."""
        slots = self.plan.step(step)
        levels = self.plan.stage(step)[1].levels
        return [self.build(slots[number], levels) for number in micro_batches]

    def build(self, slots: Slots, levels: dict[str, float] | None = None) -> Built:
        """Build the examples of `slots`, pack them, then let every task set its targets (those that mask, last)."""
        listed = list(self.tasks.values())
        examples = [
            listed[task].example(self.passages, passage, key)
            for task, passage, key in zip(slots.task.tolist(), slots.passage.tolist(), slots.key, strict=True)
        ]
        packed = pack(examples, slots, self.special)
        ordered = sorted(enumerate(self.tasks.items()), key=lambda item: item[1][1].changes_input)
        targets = {name: task.targets(packed, number, levels) for number, (name, task) in ordered}
        return Built(packed, {name: targets[name] for name in self.tasks})


def pack(examples: Sequence[Example], slots: Slots, special: SpecialIds) -> PackedBatch:
    """Lay out `[CLS] A [SEP] B [SEP]` of every example one after another."""
    cls, sep = np.array([special.cls]), np.array([special.sep])
    none = np.zeros(1, dtype=np.uint8)
    ids: list[np.ndarray] = []
    bits: list[np.ndarray] = []
    types: list[np.ndarray] = []
    lengths: list[int] = []
    for example in examples:
        before = len(ids)
        ids.append(cls)
        bits.append(none)
        for number, (part, part_bits) in enumerate(example.parts):
            ids += [part, sep]
            bits += [part_bits, none]
            types.append(np.full(len(part) + 1 + (number == 0), number))
        lengths.append(sum(map(len, ids[before:])))
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    sequence = np.repeat(np.arange(len(examples)), lengths)
    flat_bits = np.concatenate(bits)
    flat_ids = np.concatenate(ids).astype(np.int64)
    return PackedBatch(
        input_ids=flat_ids,
        unit_bits=flat_bits,
        maskable=_is_text(starts, examples),
        token_types=np.concatenate(types),
        positions=np.arange(len(sequence)) - starts[sequence],
        sequence=sequence,
        starts=starts,
        task=slots.task,
        labels=np.array([example.label for example in examples]),
        keys=slots.key,
    )


def _is_text(starts: np.ndarray, examples: Sequence[Example]) -> np.ndarray:
    """Return (T, bool): false at the special tokens that packing added."""
    text = np.ones(int(starts[-1]), dtype=bool)
    text[starts[:-1]] = False
    for start, example in zip(starts.tolist(), examples, strict=False):
        text[start + np.cumsum([1 + len(part) for part, _ in example.parts])] = False
    return text


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
        "targets": {
            name: (tensor(target.positions.astype(np.int64)), tensor(target.labels.astype(np.int64)))
            for name, target in built.targets.items()
        },
    }
