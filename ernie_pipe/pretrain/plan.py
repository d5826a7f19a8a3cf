"""The plan: which passage serves which task in which micro-batch of step s — a pure function of its arguments.

Nothing is drawn in sequence and nothing is stored: resuming is asking for the next step, and the global batch is
the same whatever the number of processes. `K` examples a step, `G` micro-batches.
"""

import math
from dataclasses import dataclass

import numpy as np

from ernie_pipe import draws
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain.settings import PretrainSettings, Stage
from ernie_pipe.tasks import Task

_ORDER, _EXAMPLE = 1, 2


@dataclass(frozen=True)
class Slots:
    """Examples of a micro-batch (arrays of one length): task id, anchor passage, uint64 key of all its draws."""

    task: np.ndarray
    passage: np.ndarray
    key: np.ndarray

    def __len__(self) -> int:
        return len(self.task)


class Plan:
    """What every step consists of, for a run's settings and passages."""

    def __init__(self, settings: PretrainSettings, passages: Passages, tasks: dict[str, Task]) -> None:
        if not len(passages):
            raise InputError(f"nothing to train on: 0 passages of the split {passages.split!r} in {passages.folder}")
        self.settings = settings
        self._lengths = passages.tokens
        self._names = list(tasks)
        self._anchors = {name: self._eligible(name, task, passages) for name, task in tasks.items()}
        self._begins = np.cumsum([0, *(stage.steps for stage in settings.stages)])
        batch = settings.batch
        mean = float(passages.tokens.mean()) + 2
        wanted = max(1, round(batch.tokens_per_step / mean / batch.micro_batches))
        self.examples = wanted * batch.micro_batches
        for stage in settings.stages:
            self._check_room(stage)

    def _check_room(self, stage: Stage) -> None:
        """Refuse a step in which the roundings of the smaller tasks could want more than its K examples."""
        *smaller, _ = sorted(stage.tasks.values())
        if sum(math.ceil(self.examples * share) for share in smaller) > self.examples:
            raise InputError(
                f"batch.tokens_per_step is too small: a step has {self.examples} examples for {len(stage.tasks)} tasks"
            )

    def _eligible(self, name: str, task: Task, passages: Passages) -> np.ndarray:
        used = any(name in stage.tasks for stage in self.settings.stages)
        found = np.flatnonzero(task.eligible(passages)) if used else np.zeros(0, np.int64)
        if used and not len(found):
            raise InputError(
                f"{name}: 0 of {len(passages)} passages in {passages.folder} can serve it; "
                "it needs documents of several sentences, or longer passages (`ernie-pipe encode --max-tokens`)"
            )
        return found

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return int(self._begins[-1])

    def stage(self, step: int) -> tuple[int, Stage]:
        """Return the number and the settings of the stage that `step` belongs to."""
        number = int(np.searchsorted(self._begins, step, side="right")) - 1
        return number, self.settings.stages[number]

    def quotas(self, step: int) -> dict[str, int]:
        """Return how many of the K examples of `step` each task of its stage gets: what it was
        served after the step, less what before: floor((s + 1)·K·w) − floor(s·K·w).
        """
        before, after = self.served(step), self.served(step + 1)
        return {name: after[name] - before[name] for name in self.stage(step)[1].tasks}

    def served(self, step: int) -> dict[str, int]:
        """Return how many examples each task has had before `step`, over all stages.

        In s steps of a stage a task of share w gets floor(s·K·w); the largest task takes what the roundings leave,
        so that every step has exactly K.
        """
        total = dict.fromkeys(self._names, 0)
        for number, stage in enumerate(self.settings.stages):
            local = min(max(step - int(self._begins[number]), 0), stage.steps)
            most = max(stage.tasks, key=lambda name: stage.tasks[name])
            counts = {n: _until(local, self.examples, w) for n, w in stage.tasks.items() if n != most}
            counts[most] = local * self.examples - sum(counts.values())
            for name, count in counts.items():
                total[name] += count
        return total

    def epochs(self, step: int) -> dict[str, float]:
        """Return how often each task has gone through its passages before `step`."""
        return {name: count / max(1, len(self._anchors[name])) for name, count in self.served(step).items()}

    def step(self, step: int) -> list[Slots]:
        """Return the G micro-batches of `step`, balanced by tokens."""
        served = self.served(step)
        tasks, passages = [], []
        for name, count in self.quotas(step).items():
            number = self._names.index(name)
            tasks.append(np.full(count, number))
            passages.append(self._passages(name, number, served[name] + np.arange(count)))
        task, passage = np.concatenate(tasks), np.concatenate(passages)
        key = draws.key(self.settings.seed, _EXAMPLE, step, task, passage, _repeats(task, passage))
        return [Slots(task[part], passage[part], key[part]) for part in self._deal(passage)]

    def _passages(self, name: str, number: int, ordinal: np.ndarray) -> np.ndarray:
        """Return the anchors of a task's examples number `ordinal`: a new seeded order in every epoch."""
        anchors = self._anchors[name]
        chosen = np.empty(len(ordinal), dtype=np.int64)
        epochs = ordinal // len(anchors)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            seed = draws.key(self.settings.seed, _ORDER, number, int(epoch))
            chosen[here] = anchors[draws.permute(ordinal[here] % len(anchors), len(anchors), seed)]
        return chosen

    def _deal(self, passage: np.ndarray) -> list[np.ndarray]:
        """Deal examples, longest first, to and fro over the micro-batches: equal numbers, near-equal tokens."""
        parts = self.settings.batch.micro_batches
        order = np.argsort(-self._lengths[passage].astype(np.int64), kind="stable")
        rows = [order[start : start + parts] for start in range(0, len(order), parts)]
        dealt = np.stack([row if number % 2 == 0 else row[::-1] for number, row in enumerate(rows)])
        return [np.sort(dealt[:, part]) for part in range(parts)]

    def micro_batches_of(self, rank: int, world: int) -> range:
        """Return which of the G micro-batches rank `rank` of `world` builds."""
        share, rest = divmod(self.settings.batch.micro_batches, world)
        if rest:
            raise InputError(
                f"batch.micro_batches ({self.settings.batch.micro_batches}) must be a multiple of the number of "
                f"processes ({world}): set it to {(share + 1) * world}"
            )
        return range(rank * share, (rank + 1) * share)


def _until(step: int, examples: int, share: float) -> int:
    # Rounded first: 0.3 × 10 must not become 2.999… and lose an example.
    return int(np.floor(round(step * examples * share, 6)))


def _repeats(task: np.ndarray, passage: np.ndarray) -> np.ndarray:
    """Number equal (task, passage) pairs of a step 0, 1, … so that a small corpus repeats no draw."""
    order = np.lexsort((passage, task))
    same = np.concatenate([[False], (np.diff(task[order]) == 0) & (np.diff(passage[order]) == 0)])
    index = np.arange(len(order))
    start = np.maximum.accumulate(np.where(same, 0, index))
    repeats = np.empty(len(order), dtype=np.int64)
    repeats[order] = index - start
    return repeats
