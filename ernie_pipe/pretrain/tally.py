"""Means per task between two lines of the log."""

from collections.abc import Mapping

import torch
from accelerate import Accelerator

from ernie_pipe.model.multitask import TaskOutput

Targets = Mapping[str, tuple[torch.Tensor, torch.Tensor]]


class TaskMeans:
    """Loss, right answers, positions and labels per task since the last log line (on the device, summed over ranks)."""

    def __init__(self, classes: Mapping[str, int], device: torch.device) -> None:
        """`classes`: of each task, 0 where its labels are not counted (a vocabulary)."""
        # The last row: words that a similar one was to stand for, and those that had none.
        self._sums = torch.zeros(len(classes) + 1, 3, dtype=torch.float64, device=device)
        self._before = self._sums.clone()
        self._tasks, self._classes = list(classes), list(classes.values())
        # The counts of all tasks' labels, one task after another.
        self._labels = torch.zeros(sum(self._classes), dtype=torch.float64, device=device)
        self._labels_before = self._labels.clone()
        self._steps = 0

    def mark(self) -> None:
        """Begin a step."""
        self._before.copy_(self._sums)
        self._labels_before.copy_(self._labels)
        self._steps += 1

    def undo(self) -> None:
        """Forget the step: its update was not made."""
        self._sums.copy_(self._before)
        self._labels.copy_(self._labels_before)
        self._steps -= 1

    def add(
        self, outputs: dict[str, TaskOutput], targets: Targets | None = None, similar_words: tuple[int, int] = (0, 0)
    ) -> None:
        """Add one micro-batch: what the model gave, and the batch's `targets` (task → positions, labels)."""
        for column, count in enumerate(similar_words):
            if count:
                self._sums[-1, column] += count
        for row, name in enumerate(self._tasks):
            output = outputs[name]
            self._sums[row, 0] += output.loss.detach()
            self._sums[row, 1] += output.correct
            self._sums[row, 2] += output.positions
        first = 0
        for name, classes in zip(self._tasks, self._classes, strict=True):
            if classes and targets is not None:
                # No bincount: it would wait for the device.
                labels = targets[name][1] + first
                self._labels.index_add_(0, labels, torch.ones_like(labels, dtype=torch.float64))
            first += classes

    def take(self, accelerator: Accelerator) -> dict[str, float]:
        """Return `loss/TASK`, `accuracy/TASK`, `positions/TASK` (mean of a step) over all ranks and start again.

        `majority/TASK`, where labels are counted, is the share of the commonest one: an accuracy that needs no model.
        Where similar words stand in for others, `similar_fallback` is the share that had none.
        """
        sums = accelerator.reduce(self._sums, "sum").cpu()
        labels = accelerator.reduce(self._labels, "sum").cpu().split(self._classes) if len(self._labels) else []
        steps, self._steps = max(1, self._steps), 0
        self._sums.zero_()
        self._labels.zero_()
        means: dict[str, float] = {}
        *tasks, (words, fallbacks, _) = sums.tolist()
        for (loss, correct, count), name in zip(tasks, self._tasks, strict=True):
            if count:
                means |= {f"loss/{name}": loss / count, f"accuracy/{name}": correct / count}
                means[f"positions/{name}"] = count / steps
        for counts, name in zip(labels, self._tasks, strict=False):
            if counts.any():
                means[f"majority/{name}"] = (counts.max() / counts.sum()).item()
        if words:
            means["similar_fallback"] = fallbacks / words
        return means
