"""Which passages anchor a task's examples, and how sources are mixed: counts alone are kept, passages found on demand.

A corpus of 100 M passages is 24,000 chunks: a task keeps one count for each (and source, where sources are mixed).
The n-th passage that can serve is found by its chunk, whose passages are then asked again.
"""

from collections.abc import Mapping

import numpy as np

from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError
from ernie_pipe.tasks import Task

CHUNK = 4096
_PAGE = 64 * CHUNK
CYCLE = 10_000


class Anchors:
    """The passages that can anchor a task, in rising order, by group: a group is a source, or all of them.

    `per_source` and `tokens`: how many there are from each source, and their tokens together.
    """

    def __init__(self, task: Task, passages: Passages, *, by_source: bool) -> None:
        self._task, self._passages, self._by_source = task, passages, by_source
        self._rows, sources = len(passages), len(passages.source_names)
        chunks = -(-len(passages) // CHUNK)
        counts = np.zeros((chunks, sources), dtype=np.int32)
        self.tokens = np.zeros(sources)
        for start in range(0, len(passages), _PAGE):
            stop = min(start + _PAGE, len(passages))
            part = passages.part(start, stop)
            eligible, source = task.eligible(part), part.source
            first = np.arange(0, stop - start, CHUNK)
            for number in np.unique(source[:: max(1, len(source) - 1)] if _is_one(source) else source).tolist():
                mine = eligible & (source == number)
                counts[start // CHUNK + np.arange(len(first)), number] = np.add.reduceat(mine, first, dtype=np.int32)
                self.tokens[number] += np.sum(part.tokens * mine, dtype=np.int64)
        self.per_source = counts.sum(axis=0, dtype=np.int64)
        grouped = counts if by_source else counts.sum(axis=1, keepdims=True)
        self._before = np.zeros((chunks + 1, grouped.shape[1]), dtype=np.int64)
        np.cumsum(grouped, axis=0, out=self._before[1:])

    def __len__(self) -> int:
        """Return how many there are."""
        return int(self.per_source.sum())

    def size(self, group: int) -> int:
        """Return how many passages a group has."""
        return int(self._before[-1, group])

    def select(self, group: int, ranks: np.ndarray) -> np.ndarray:
        """Return the passages number `ranks` of a group (0 is its first)."""
        before = self._before[:, group]
        chunks = np.searchsorted(before, ranks, side="right") - 1
        chosen = chunks * CHUNK + ranks - before[chunks]
        # In a chunk where all can serve, that is it; the others are asked again.
        partial = np.flatnonzero(before[chunks + 1] - before[chunks] < np.minimum(CHUNK, self._rows - chunks * CHUNK))
        order = partial[np.argsort(chunks[partial], kind="stable")]
        borders = np.flatnonzero(np.diff(chunks[order], prepend=-1))
        for here in np.split(order, borders)[1:]:
            chunk = int(chunks[here[0]])
            chosen[here] = self._members(chunk, group)[ranks[here] - before[chunk]]
        return chosen

    def _members(self, chunk: int, group: int) -> np.ndarray:
        start = chunk * CHUNK
        part = self._passages.part(start, min(start + CHUNK, len(self._passages)))
        eligible = self._task.eligible(part)
        return start + np.flatnonzero(eligible & (part.source == group) if self._by_source else eligible)


def _is_one(source: np.ndarray) -> bool:
    return bool((source == source[0]).all())


class Mixture:
    """Which source serves a task's n-th example: a cycle in which every source comes as often as its share wants.

    The places of a source are spread evenly, so that any stretch of examples is mixed right to within one or two.
    """

    def __init__(self, shares: np.ndarray) -> None:
        """`shares`: one a source, 0 or more; kept to 1 / `CYCLE` of their sum."""
        exact = shares / shares.sum() * CYCLE
        self.counts = np.floor(exact).astype(np.int64)
        rest = CYCLE - int(self.counts.sum())
        self.counts[np.argsort(self.counts - exact, kind="stable")[:rest]] += 1
        source = np.repeat(np.arange(len(shares)), self.counts)
        number = np.arange(CYCLE) - np.repeat(np.cumsum(self.counts) - self.counts, self.counts)
        order = np.lexsort((source, (number + 0.5) / self.counts[source]))
        self._source, self._number = source[order], number[order]

    def of(self, ordinal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the source of each example, and its number among the examples of that source."""
        cycle, place = np.divmod(ordinal, CYCLE)
        source = self._source[place]
        return source, cycle * self.counts[source] + self._number[place]

    def served(self, count: int) -> np.ndarray:
        """Return how many of the first `count` examples each source serves."""
        cycles, rest = divmod(count, CYCLE)
        return cycles * self.counts + np.bincount(self._source[:rest], minlength=len(self.counts))


def shares_of(weights: Mapping[str, float], anchors: Anchors, passages: Passages) -> np.ndarray:
    """Return the share of each source that can serve a task; `InputError` for one that has no weight."""
    for number, name in enumerate(passages.source_names):
        if name not in weights:
            rows = int(np.count_nonzero(passages.source == number))
            raise InputError(f"sources: `{name}` ({rows} passages) has no weight; 0 leaves it out")
    shares = np.array([weights[name] for name in passages.source_names], dtype=np.float64)
    return np.where(anchors.per_source > 0, shares, 0.0)
