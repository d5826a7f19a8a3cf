"""Means per task between two lines of the log."""

import torch
from accelerate import Accelerator

from ernie_pipe.model.multitask import TaskOutput


class TaskMeans:
    """Loss, right answers and positions per task since the last log line (on the device, summed over ranks)."""

    def __init__(self, tasks: list[str], device: torch.device) -> None:
        self._sums = torch.zeros(len(tasks), 3, dtype=torch.float64, device=device)
        self._before = self._sums.clone()
        self._tasks = tasks

    def mark(self) -> None:
        """Begin a step."""
        self._before.copy_(self._sums)

    def undo(self) -> None:
        """Forget the step: its update was not made."""
        self._sums.copy_(self._before)

    def add(self, outputs: dict[str, TaskOutput]) -> None:
        """Add one micro-batch."""
        for row, name in enumerate(self._tasks):
            output = outputs[name]
            self._sums[row, 0] += output.loss.detach()
            self._sums[row, 1] += output.correct
            self._sums[row, 2] += output.positions

    def take(self, accelerator: Accelerator) -> dict[str, float]:
        """Return `loss/TASK` and `accuracy/TASK` over all ranks and start again."""
        sums = accelerator.reduce(self._sums, "sum").cpu()
        self._sums.zero_()
        means: dict[str, float] = {}
        for (loss, correct, count), name in zip(sums.tolist(), self._tasks, strict=True):
            if count:
                means |= {f"loss/{name}": loss / count, f"accuracy/{name}": correct / count}
        return means
