"""Which passages anchor a task's examples, and how sources are mixed: counts alone are kept, passages found on demand.

A corpus of 100 M passages is 24,000 chunks: a task keeps one count for each (and source, where sources are mixed).
The n-th passage that can serve is found by its chunk, whose passages are then asked again.
"""

from collections.abc import Mapping

import numpy as np

from ernie_pipe import draws
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError
from ernie_pipe.tasks import Task

CHUNK = 4096
_PAGE = 64 * CHUNK
# Mapped lengths count as memory until they are given back.
_GIVEN_BACK = 16 * _PAGE
CYCLE = 10_000
ALL = -1
_SAMPLE, _SAMPLED = 512, 0x6C65_6E67


class Anchors:
    """The passages that can anchor a task, in rising order, by group: a source (`by_source` only), or `ALL` of them.

    `per_source` and `tokens`: how many there are from each source, and their tokens together.
    """

    def __init__(
        self, task: Task, passages: Passages, counts: np.ndarray, tokens: np.ndarray, *, by_source: bool
    ) -> None:
        """`counts` (chunks, sources): how many of each chunk can serve; made by `find_anchors`."""
        self._task, self._passages, self._rows = task, passages, len(passages)
        self.tokens, self.per_source = tokens, counts.sum(axis=0, dtype=np.int64)
        total = counts.sum(axis=1, keepdims=True)
        grouped = np.concatenate([counts, total], axis=1) if by_source else total
        self._before = np.zeros((len(counts) + 1, grouped.shape[1]), dtype=np.int64)
        np.cumsum(grouped, axis=0, out=self._before[1:])

    def __len__(self) -> int:
        """Return how many there are."""
        return int(self.per_source.sum())

    @property
    def groups(self) -> int:
        """Number of groups, `ALL` among them: it is the last."""
        return self._before.shape[1]

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
        return start + np.flatnonzero(eligible if group == ALL else eligible & (part.source == group))

    def example_length(self) -> tuple[float, float]:
        """Return the text of an example as a share of its anchor's tokens, and the special tokens of one.

        Measured on `_SAMPLE` examples, the same in every run on these passages: a pair of sentences is shorter than
        the passage that it comes from, and a step is to hold so many tokens of examples.
        """
        keys = draws.key(_SAMPLED, np.arange(_SAMPLE))
        # Tasks draw from these keys: which passage it is must not go with which label.
        chosen = self.select(ALL, draws.below(self.size(ALL), draws.key(keys, _SAMPLED)))
        made = self._task.examples(self._passages, chosen, keys)
        text = sum(len(ids) for example in made for ids, _ in example.parts)
        special = sum(len(example.parts) for example in made)
        anchors = sum(len(self._passages.get(passage)[0]) for passage in chosen.tolist())
        return text / anchors, special / _SAMPLE + 1


def find_anchors(tasks: Mapping[str, Task], passages: Passages, *, by_source: bool) -> dict[str, Anchors]:
    """Return the anchors of each task: one pass over the lengths for all of them."""
    sources, chunks = len(passages.source_names), -(-len(passages) // CHUNK)
    counts = {name: np.zeros((chunks, sources), dtype=np.int32) for name in tasks}
    tokens = {name: np.zeros(sources) for name in tasks}
    for start in range(0, len(passages), _PAGE):
        if start % _GIVEN_BACK == 0:
            passages.release()
        part = passages.part(start, min(start + _PAGE, len(passages)))
        source, lengths = part.source, part.tokens
        present = [int(source[0])] if source.min() == source.max() else np.flatnonzero(np.bincount(source)).tolist()
        first = np.arange(0, len(part), CHUNK)
        rows = start // CHUNK + np.arange(len(first))
        for name, task in tasks.items():
            eligible = task.eligible(part)
            for number in present:
                mine = eligible if len(present) == 1 else eligible & (source == number)
                counts[name][rows, number] = np.add.reduceat(mine, first, dtype=np.int32)
                tokens[name][number] += np.sum(lengths * mine, dtype=np.int64)
    return {
        name: Anchors(task, passages, counts[name], tokens[name], by_source=by_source) for name, task in tasks.items()
    }


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


def shares_of(weights: Mapping[str, float], anchors: Anchors, passages: Passages, where: str = "sources") -> np.ndarray:
    """Return the share of each source that can serve a task; `InputError` (with the key `where`) if one has none."""
    for number, name in enumerate(passages.source_names):
        if name not in weights:
            rows = int(np.count_nonzero(passages.source == number))
            raise InputError(f"{where}: `{name}` ({rows} passages) has no weight; 0 leaves it out")
    shares = np.array([weights[name] for name in passages.source_names], dtype=np.float64)
    return np.where(anchors.per_source > 0, shares, 0.0)
