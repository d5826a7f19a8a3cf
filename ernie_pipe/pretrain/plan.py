"""The plan: which passage serves which task in which micro-batch of step s — a pure function of its arguments.

Nothing is drawn in sequence and nothing is stored but counts: resuming is asking for the next step, and the global
batch is the same whatever the number of processes. `K` examples a step, `G` micro-batches.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ernie_pipe import draws
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain.anchors import ALL, Anchors, Mixture, find_anchors, shares_of
from ernie_pipe.pretrain.dealing import deal, micro_batches, repeats
from ernie_pipe.pretrain.settings import PretrainSettings, Stage
from ernie_pipe.tasks import Task

_ORDER, _EXAMPLE = 1, 2
# Steps that share their examples out by length: see `_block`.
SPAN = 16


@dataclass(frozen=True)
class Slots:
    """Examples of a micro-batch (arrays of one length): task id, anchor passage, uint64 key of all its draws."""

    task: np.ndarray
    passage: np.ndarray
    key: np.ndarray

    def __len__(self) -> int:
        return len(self.task)


class Plan:
    """What every step consists of, for a run's settings and passages.

    `data`: the passages of the run, then those of stages that have their own, as `others` gives them by
    `stages[i].data`; passages are numbered in the data of their stage. `examples`: K of each stage.
    `tasks` are prepared: some examples of each are built, to see how long they are.
    """

    def __init__(
        self,
        settings: PretrainSettings,
        passages: Passages,
        tasks: dict[str, Task],
        others: Mapping[str, Passages] | None = None,
    ) -> None:
        self.settings, self.passages = settings, passages
        self._names = list(tasks)
        chosen = [passages if stage.data is None else (others or {})[stage.data] for stage in settings.stages]
        self.data = [passages, *(one for one in dict.fromkeys(chosen) if one is not passages)]
        self.data_of = [self.data.index(one) for one in chosen]
        self.anchors_of = [self._find(number, tasks) for number in range(len(self.data))]
        self.mixtures = [self._mix(number) for number in range(len(settings.stages))]
        self._lengths = [{name: one.example_length() for name, one in found.items()} for found in self.anchors_of]
        self.examples = self._counts()
        self._begins = np.cumsum([0, *(stage.steps for stage in settings.stages)])
        self._starts = self._starts_of_stages()
        self._kept: tuple[int, int, list[tuple[np.ndarray, ...]]] | None = None
        for one in self.data:
            one.release()

    @property
    def anchors(self) -> dict[str, Anchors]:
        """The anchors of each task among the passages of the run."""
        return self.anchors_of[0]

    def _stages_on(self, data: int) -> list[int]:
        return [number for number, of in enumerate(self.data_of) if of == data]

    def _weights(self, number: int) -> dict[str, float]:
        stage = self.settings.stages[number]
        return self.settings.sources if stage.sources is None else stage.sources

    def _find(self, data: int, tasks: dict[str, Task]) -> dict[str, Anchors]:
        """Find the anchors of the tasks of all stages on some data."""
        stages, passages = self._stages_on(data), self.data[data]
        used = {name: tasks[name] for name in tasks if any(name in self.settings.stages[n].tasks for n in stages)}
        if used and not len(passages):
            raise InputError(f"nothing to train on: 0 passages of the split {passages.split!r} in {passages.folder}")
        found = find_anchors(used, passages, by_source=any(self._weights(number) for number in stages))
        for name, anchors in found.items():
            if not len(anchors):
                raise InputError(
                    f"{name} needs {tasks[name].needs}: 0 of the {len(passages)} passages in {passages.folder} "
                    "can serve it"
                )
        return found

    def _mix(self, number: int) -> dict[str, Mixture]:
        """Return how sources are mixed in a stage, task by task; nothing where every passage counts alike."""
        stage, weights, data = self.settings.stages[number], self._weights(number), self.data_of[number]
        where = "sources" if stage.sources is None else f"stages.{number}.sources"
        mixtures = {}
        for name in stage.tasks if weights else ():
            shares = shares_of(weights, self.anchors_of[data][name], self.data[data], where)
            if not shares.any():
                raise InputError(f"{name}: no passage of a source with a weight above 0 in `{where}` can serve it")
            mixtures[name] = Mixture(shares)
        return mixtures

    def _counts(self) -> list[int]:
        """Return K of each stage: the examples that fill a step, by the mean length of those of its tasks.

        Refuses a step in which the roundings of the smaller tasks could want more than its K examples.
        """
        batch, counts = self.settings.batch, []
        for number, stage in enumerate(self.settings.stages):
            mean = 0.0
            for name, share in stage.tasks.items():
                text, special = self._lengths[self.data_of[number]][name]
                mean += share * (self._mean_tokens(number, name) * text + special)
            examples = max(1, round(batch.tokens_per_step / mean / batch.micro_batches)) * batch.micro_batches
            *smaller, _ = sorted(stage.tasks.values())
            if sum(math.ceil(examples * share) for share in smaller) > examples:
                raise InputError(
                    f"batch.tokens_per_step is too small: a step has {examples} examples for {len(stage.tasks)} tasks"
                )
            counts.append(examples)
        return counts

    def _mean_tokens(self, number: int, name: str) -> float:
        """Return the mean length of a task's anchors in a stage, sources mixed as they are there."""
        anchors, mixture = self.anchors_of[self.data_of[number]][name], self.mixtures[number].get(name)
        rows = anchors.per_source if mixture is None else mixture.counts
        means = anchors.tokens / np.maximum(1, anchors.per_source)
        return float((rows * means).sum() / rows.sum())

    def _starts_of_stages(self) -> list[dict[str, np.ndarray]]:
        """Return how many examples of each group of anchors every task had before each stage, on the stage's data."""
        starts = []
        had = [{name: np.zeros(one.groups, np.int64) for name, one in found.items()} for found in self.anchors_of]
        for number, stage in enumerate(self.settings.stages):
            mine = had[self.data_of[number]]
            starts.append({name: mine[name].copy() for name in stage.tasks})
            for name, count in self._served_in(number, stage.steps).items():
                mine[name] += self._by_group(number, name, count)
        return starts

    def _by_group(self, number: int, name: str, count: int) -> np.ndarray:
        """Return how many of a task's first `count` examples in a stage come from each group of anchors."""
        result = np.zeros(self.anchors_of[self.data_of[number]][name].groups, np.int64)
        if name in self.mixtures[number]:
            result[:ALL] = self.mixtures[number][name].served(count)
        else:
            result[ALL] = count
        return result

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return int(self._begins[-1])

    def stage(self, step: int) -> tuple[int, Stage]:
        """Return the number and the settings of the stage that `step` belongs to."""
        number = int(np.searchsorted(self._begins, step, side="right")) - 1
        return number, self.settings.stages[number]

    def passages_of(self, step: int) -> Passages:
        """Return the passages that `step` takes its anchors from."""
        return self.data[self.data_of[self.stage(step)[0]]]

    def quotas(self, step: int) -> dict[str, int]:
        """Return how many of the K examples of `step` each task of its stage gets: what it was
        served after the step, less what before: floor((s + 1)·K·w) − floor(s·K·w).
        """
        number, _ = self.stage(step)
        return self._quotas(number, step - int(self._begins[number]))

    def _quotas(self, number: int, local: int) -> dict[str, int]:
        before, after = self._served_in(number, local), self._served_in(number, local + 1)
        return {name: after[name] - before[name] for name in after}

    def served(self, step: int) -> dict[str, int]:
        """Return how many examples each task has had before `step`, over all stages."""
        total = dict.fromkeys(self._names, 0)
        for number, local in self._locals(step):
            for name, count in self._served_in(number, local).items():
                total[name] += count
        return total

    def _locals(self, step: int) -> list[tuple[int, int]]:
        """Return how many of the steps before `step` belong to each stage."""
        return [
            (number, min(max(step - int(self._begins[number]), 0), stage.steps))
            for number, stage in enumerate(self.settings.stages)
        ]

    def _served_in(self, number: int, local: int) -> dict[str, int]:
        """Return how many examples each task gets in the first `local` steps of a stage.

        In s steps a task of share w gets floor(s·K·w); the largest takes what the roundings leave, so that every
        step has exactly K.
        """
        tasks, examples = self.settings.stages[number].tasks, self.examples[number]
        most = max(tasks, key=lambda name: tasks[name])
        counts = {name: _until(local, examples, share) for name, share in tasks.items()}
        counts[most] = local * examples - sum(count for name, count in counts.items() if name != most)
        return counts

    def epochs(self, step: int, data: int = 0) -> dict[str, float]:
        """Return how often each task has gone through its passages of some data before `step`."""
        found = {}
        for name, served in self.served_by_source(step, data).items():
            able = (self.anchors_of[data][name].per_source * (served > 0)).sum() if served.any() else 1
            found[name] = float(served.sum() / able)
        return found

    def served_by_source(self, step: int, data: int = 0) -> dict[str, np.ndarray]:
        """Return how many examples each task has had before `step` from each source of some data.

        Exact where sources are mixed by weight; else a task takes the passages of all sources alike.
        """
        found = {name: np.zeros(len(one.per_source)) for name, one in self.anchors_of[data].items()}
        for number, local in self._locals(step):
            for name, count in self._served_in(number, local).items() if self.data_of[number] == data else ():
                groups, anchors = self._by_group(number, name, count), self.anchors_of[data][name]
                found[name] += groups[:ALL] if name in self.mixtures[number] else 0
                found[name] += groups[ALL] * anchors.per_source / len(anchors)
        return found

    def step(self, step: int) -> list[Slots]:
        """Return the G micro-batches of `step`, balanced by tokens."""
        number, _ = self.stage(step)
        block, place = divmod(step - int(self._begins[number]), SPAN)
        if self._kept is None or self._kept[:2] != (number, block):
            self._kept = (number, block, self._block(number, block))
        task, passage, length = self._kept[2][place]
        key = draws.key(self.settings.seed, _EXAMPLE, step, task, passage, repeats(task, passage))
        parts = micro_batches(task, length, self.settings.batch.micro_batches)
        return [Slots(task[part], passage[part], key[part]) for part in parts]

    def _block(self, number: int, block: int) -> list[tuple[np.ndarray, ...]]:
        """Return (task, passage, expected tokens) of the examples of each of `SPAN` steps of a stage.

        The steps of a block take theirs together, and share them out by length, source by source: so their tokens
        differ as little as those of micro-batches do, where steps drawn one by one would differ by chance.
        """
        first = block * SPAN
        steps = range(first, min(first + SPAN, self.settings.stages[number].steps))
        quotas = [self._quotas(number, step) for step in steps]
        data, sums = self.data_of[number], np.zeros(len(steps))
        columns = []
        for name, begin in self._served_in(number, first).items():
            wanted = np.array([quota[name] for quota in quotas])
            passage, group = self._passages(number, name, begin + np.arange(wanted.sum()))
            text, special = self._lengths[data][name]
            length = self.data[data].tokens[passage] * text + special
            order = np.lexsort((-length, group))
            taker = deal(length[order], wanted, sums)
            columns.append((taker, np.full(len(order), self._names.index(name)), passage[order], length[order]))
        taker, *rest = (np.concatenate(column) for column in zip(*columns, strict=True))
        return [tuple(column[taker == place] for column in rest) for place in range(len(steps))]

    def _passages(self, number: int, name: str, ordinal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the anchors of a task's examples `ordinal` of a stage, and the group that each comes from."""
        start = self._starts[number][name]
        if name not in self.mixtures[number]:
            return self._in_order(number, name, ALL, start[ALL] + ordinal), np.full(len(ordinal), ALL)
        chosen = np.empty(len(ordinal), dtype=np.int64)
        source, inner = self.mixtures[number][name].of(ordinal)
        for group in np.unique(source).tolist():
            here = source == group
            chosen[here] = self._in_order(number, name, group, start[group] + inner[here])
        return chosen, source

    def _in_order(self, number: int, name: str, group: int, ordinal: np.ndarray) -> np.ndarray:
        """Return the passages number `ordinal` of a group of anchors: a new seeded order in every epoch."""
        data, task = self.data_of[number], self._names.index(name)
        anchors = self.anchors_of[data][name]
        size = anchors.size(group)
        ranks = np.empty(len(ordinal), dtype=np.int64)
        epochs = ordinal // size
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            seed = draws.key(self.settings.seed, _ORDER, data, task, group, epoch)
            ranks[here] = draws.permute(ordinal[here] % size, size, seed)
        return anchors.select(group, ranks)

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
