"""The plan: which passage serves which task in which micro-batch of step s — a pure function of its arguments.

Nothing is drawn in sequence and nothing is stored but counts: resuming is asking for the next step, and the global
batch is the same whatever the number of processes. `K` examples a step, `G` micro-batches.
"""

import math
from dataclasses import dataclass

import numpy as np

from ernie_pipe import draws
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain.anchors import Anchors, Mixture, shares_of
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
        self.passages = passages
        self._names = list(tasks)
        used = [name for name in tasks if any(name in stage.tasks for stage in settings.stages)]
        self.anchors = {name: self._find(name, tasks[name], passages) for name in used}
        self.mixtures = {name: self._mix(name) for name in used if settings.sources}
        passages.release()
        self._begins = np.cumsum([0, *(stage.steps for stage in settings.stages)])
        self.examples = [self._count(stage) for stage in settings.stages]

    def _count(self, stage: Stage) -> int:
        """Return K of a stage: the passages that fill a step, by the mean length of those that serve its tasks.

        Refuses a step in which the roundings of the smaller tasks could want more than its K examples.
        """
        batch = self.settings.batch
        mean = sum(share * (self._mean_tokens(name) + 2) for name, share in stage.tasks.items())
        examples = max(1, round(batch.tokens_per_step / mean / batch.micro_batches)) * batch.micro_batches
        *smaller, _ = sorted(stage.tasks.values())
        if sum(math.ceil(examples * share) for share in smaller) > examples:
            raise InputError(
                f"batch.tokens_per_step is too small: a step has {examples} examples for {len(stage.tasks)} tasks"
            )
        return examples

    def _mean_tokens(self, name: str) -> float:
        """Return the mean length of a task's anchors, sources mixed as they are."""
        anchors = self.anchors[name]
        rows = self.mixtures[name].counts if name in self.mixtures else anchors.per_source
        means = anchors.tokens / np.maximum(1, anchors.per_source)
        return float((rows * means).sum() / rows.sum())

    def _find(self, name: str, task: Task, passages: Passages) -> Anchors:
        found = Anchors(task, passages, by_source=bool(self.settings.sources))
        if not len(found):
            raise InputError(
                f"{name}: 0 of {len(passages)} passages in {passages.folder} can serve it; "
                "it needs documents of several sentences, or longer passages (`ernie-pipe encode --max-tokens`)"
            )
        return found

    def _mix(self, name: str) -> Mixture:
        shares = shares_of(self.settings.sources, self.anchors[name], self.passages)
        if not shares.any():
            raise InputError(f"{name}: no passage of a source with a weight above 0 in `sources` can serve it")
        return Mixture(shares)

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
            examples = self.examples[number]
            counts = {n: _until(local, examples, w) for n, w in stage.tasks.items() if n != most}
            counts[most] = local * examples - sum(counts.values())
            for name, count in counts.items():
                total[name] += count
        return total

    def epochs(self, step: int) -> dict[str, float]:
        """Return how often each task has gone through its passages before `step`."""
        return {
            name: float(served.sum() / (self.anchors[name].per_source * (served > 0)).sum()) if served.any() else 0.0
            for name, served in self.served_by_source(step).items()
        }

    def served_by_source(self, step: int) -> dict[str, np.ndarray]:
        """Return how many examples each task has had before `step` from each source (exact where sources are mixed).

        Without `sources` in the settings, a task takes the passages of all sources alike.
        """
        found = {}
        for name, count in self.served(step).items():
            if name not in self.anchors:
                found[name] = np.zeros(len(self.passages.source_names))
            elif name in self.mixtures:
                found[name] = self.mixtures[name].served(count).astype(np.float64)
            else:
                found[name] = count * self.anchors[name].per_source / len(self.anchors[name])
        return found

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
        return [Slots(task[part], passage[part], key[part]) for part in self._deal(task, passage)]

    def _passages(self, name: str, number: int, ordinal: np.ndarray) -> np.ndarray:
        """Return the anchors of a task's examples number `ordinal`."""
        if name not in self.mixtures:
            return self._in_order(name, ordinal, 0, number)
        chosen = np.empty(len(ordinal), dtype=np.int64)
        source, inner = self.mixtures[name].of(ordinal)
        for group in np.unique(source).tolist():
            here = source == group
            chosen[here] = self._in_order(name, inner[here], group, number, group)
        return chosen

    def _in_order(self, name: str, ordinal: np.ndarray, group: int, *parts: int) -> np.ndarray:
        """Return the passages number `ordinal` of a group of anchors: a new seeded order in every epoch."""
        anchors = self.anchors[name]
        size = anchors.size(group)
        ranks = np.empty(len(ordinal), dtype=np.int64)
        epochs = ordinal // size
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            seed = draws.key(self.settings.seed, _ORDER, parts[0], epoch, *parts[1:])
            ranks[here] = draws.permute(ordinal[here] % size, size, seed)
        return anchors.select(group, ranks)

    def _deal(self, task: np.ndarray, passage: np.ndarray) -> list[np.ndarray]:
        """Deal examples, task by task and longest first, to and fro over the micro-batches.

        Equal numbers and near-equal tokens, also where a task's examples are shorter than their anchors.
        """
        parts = self.settings.batch.micro_batches
        order = np.lexsort((-self.passages.tokens[passage].astype(np.int64), task))
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
