"""Relevance in search: was this title clicked for the query, shown without a click, or is it a random one?"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator

from ernie_pipe import draws
from ernie_pipe.config import Settings
from ernie_pipe.corpus.reader import NO_LABEL, Eligibility, Passages
from ernie_pipe.errors import InputError
from ernie_pipe.tasks.base import Example, Part, Task
from ernie_pipe.tasks.candidates import NEARLY, Kept, nearly_equal, role_bits, shared, spread
from ernie_pipe.text.document import ROLES

logger = logging.getLogger(__name__)
CLASSES = ("strong", "weak", "irrelevant")
STRONG, WEAK, IRRELEVANT = range(3)
ATTEMPTS = 8
# Partners are drawn among so many of like length.
_LIKE, _LIKE_TITLES = 32, 256
_PAIR = role_bits("query", "title")
_QUERY = ROLES.index("query")
# Lengths in keys have 20 bits each.
_LENGTH = (1 << 20) - 1


class IrRelevanceSettings(Settings):
    """Settings of `ir_relevance`."""

    labels: dict[str, Literal["strong", "weak"]] = Field(
        default={"strong": "strong", "weak": "weak"},
        description="label in the data → class; passages with other labels are left out",
    )
    mixture: dict[Literal["strong", "weak", "irrelevant"], float] = Field(
        default={"strong": 1.0, "weak": 1.0, "irrelevant": 1.0},
        description="class → its weight among the examples; 0 or nothing leaves it out",
    )

    @field_validator("mixture")
    @classmethod
    def _weights(cls, mixture: dict[str, float]) -> dict[str, float]:
        if any(weight < 0 for weight in mixture.values()) or sum(weight > 0 for weight in mixture.values()) < 2:
            raise ValueError("weights must be ≥ 0, and two classes or more above 0")
        return mixture


@dataclass(frozen=True)
class Pool:
    """Pairs to draw from. `keys`: rising, of (class, tokens of the query, tokens of the title); `pairs`: theirs.

    `titles`: tokens of titles, rising; `by_title`: the pairs in that order. `chances`: of the three classes.
    `table` (65,536): the class of each label, `IRRELEVANT` of those that are not used.
    """

    keys: np.ndarray
    pairs: np.ndarray
    titles: np.ndarray
    by_title: np.ndarray
    chances: np.ndarray
    table: np.ndarray


class Pair(NamedTuple):
    """Where query and title begin in a passage, and their tokens."""

    passage: int
    query: int
    title: int
    sizes: tuple[int, int]


# A passage, and the tokens of its query and its title.
Partner = tuple[int, tuple[int, int]]


class IrRelevance(Task):
    """Tell how relevant a title is to a query: 0 strong (clicked), 1 weak (shown, not clicked), 2 irrelevant (random).

    Teaches: what a short query means, and which text answers it.
    Input: `[CLS] query [SEP] title [SEP]`, from passages with one query and one title; labels (3 classes).
    Honest labels: the class is drawn first, by `mixture`, whatever the anchor. For every example a pair of the
    other class and a title of another query are drawn beside the anchor, of its lengths where there are such, and
    query and title are cut to the shortest of what was drawn whatever the class is: lengths of the data, which
    differ between clicked and skipped titles, tell nothing. A random title's own query is not nearly the anchor's,
    the title not nearly the anchor's title nor does it hold most of the query (8 draws; if all fail, the anchor
    keeps its own label); so it is no title of the same query under another name.
    Source: Sun et al. 2020 (ERNIE 2.0), section 4.2 (IR relevance task); random titles are those of other queries.
    Neighbours: `dialogue`, `sentence_distance`.
    """

    name: ClassVar[str] = "ir_relevance"
    Settings: ClassVar[type[Settings]] = IrRelevanceSettings
    parts: ClassVar[int] = 2
    needs: ClassVar[str] = "passages with roles query/title and a label"

    def __init__(self, settings: IrRelevanceSettings) -> None:
        super().__init__(settings)
        self._pools = Kept(self._pool)

    @property
    def classes(self) -> int:
        return 3

    def eligible(self, passages: Passages | Eligibility) -> np.ndarray:
        """One query, one title, a label that `labels` knows; `InputError` where a class of the mixture has none."""
        if not _are_pairs(passages).any():
            return np.zeros(len(passages), dtype=bool)
        return _class_of(passages, self._pools.of(passages).table) < IRRELEVANT

    def _pool(self, passages: Passages) -> Pool:
        known = [CLASSES.index(self.settings.labels.get(name, "irrelevant")) for name in passages.label_names]
        table = np.full(NO_LABEL + 1, IRRELEVANT, np.uint8)
        table[: len(known)] = known
        strong = spread(passages, lambda part: _class_of(part, table) == STRONG)
        weak = spread(passages, lambda part: _class_of(part, table) == WEAK)
        weights = np.array([self.settings.mixture.get(name, 0.0) for name in CLASSES])
        weights[:IRRELEVANT] *= self._has(passages, weights, [len(strong), len(weak)])
        pairs = np.concatenate([strong, weak])
        queries, titles = _lengths(passages, pairs)
        keys = _key(np.repeat([STRONG, WEAK], [len(strong), len(weak)]), queries, titles)
        order, by_title = np.argsort(keys, kind="stable"), np.argsort(titles, kind="stable")
        chances = weights / max(weights.sum(), 1e-9)
        return Pool(keys[order], pairs[order], titles[by_title], pairs[by_title], chances, table)

    def _has(self, passages: Passages, weights: np.ndarray, counts: list[int]) -> np.ndarray:
        """Return which of strong and weak there are; `InputError` for one that the mixture wants and nothing has."""
        lacking = [name for name, weight, count in zip(CLASSES, weights, counts, strict=False) if weight and not count]
        if lacking:
            held = ", ".join([*passages.label_names[:5], *("…" for _ in passages.label_names[5:6])]) or "none"
            told = (
                f"ir_relevance: no passage with roles query/title in {passages.folder} ({passages.split}) counts as "
                f"{' or '.join(lacking)}; labels there: {held}; tasks.ir_relevance.labels knows only "
                f"{', '.join(self.settings.labels)}: name the data's own, or leave the class out of mixture"
            )
            if passages.split == "train":
                raise InputError(told)
            logger.warning("%s", told)
        return np.array([count > 0 for count in counts])

    def examples(self, passages: Passages, anchors: np.ndarray, keys: np.ndarray) -> list[Example]:
        """Show each anchor, a pair of the other class, or its query with a random title; all cut alike."""
        pool = self._pools.of(passages)
        owns = pool.table[passages.labels[anchors]].astype(np.int64)
        pairs = [_pair(passages, anchor) for anchor in anchors.tolist()]
        partners = _partners(pool, owns, np.array([pair.sizes for pair in pairs]), keys)
        titles = self._random_titles(passages, pool, pairs, keys)
        labels = np.searchsorted(np.cumsum(pool.chances)[:-1], draws.uniform(keys, 0), side="right")
        rows = zip(pairs, owns.tolist(), partners, titles, labels.tolist(), strict=True)
        return [_example(passages, *row) for row in rows]

    def _random_titles(
        self, passages: Passages, pool: Pool, pairs: list[Pair], keys: np.ndarray
    ) -> list[tuple[Pair, bool]]:
        """Draw pairs with a title of like length; and whether query and title have nothing to do with ours."""
        sizes = np.array([pair.sizes[1] for pair in pairs])
        firsts = np.searchsorted(pool.titles, sizes)
        lasts = np.minimum(firsts + _LIKE_TITLES, len(pool.titles))
        firsts = np.maximum(0, np.minimum(firsts, lasts - _LIKE_TITLES // 8))
        texts = [_texts(passages, pair) for pair in pairs]
        found: list[Any] = [None] * len(pairs)
        left = np.arange(len(pairs))
        for attempt in range(ATTEMPTS):
            drawn = firsts[left] + draws.below((lasts - firsts)[left], draws.key(keys[left], attempt), 1)
            for one, chosen in zip(left.tolist(), pool.by_title[drawn].tolist(), strict=True):
                other = _pair(passages, chosen)
                found[one] = other, _are_strangers(texts[one], _texts(passages, other))
            left = np.array([one for one in left.tolist() if not found[one][1]], np.int64)
            if not len(left):
                break
        return found


def _example(
    passages: Passages, pair: Pair, own: int, partner: Partner | None, other: tuple[Pair, bool], label: int
) -> Example:
    """Build the example of `pair`, whose class is `own`: as it is, or as the label says; cut as all three ask."""
    title, is_random = other
    if label == IRRELEVANT and not is_random:
        label = own
    size = sum(pair.sizes)
    queries, titles = zip(pair.sizes, *([partner[1]] if partner else []), strict=True)
    in_query = min(size - 2, *queries)
    in_title = min(*titles, title.sizes[1], size - 1 - in_query)
    shown = _pair(passages, partner[0]) if partner and label == 1 - own else pair
    from_title = title if label == IRRELEVANT else shown
    return Example(
        [
            _part(passages, shown.passage, shown.query, in_query),
            _part(passages, from_title.passage, from_title.title, in_title),
        ],
        label,
    )


def _are_pairs(passages: Passages | Eligibility) -> np.ndarray:
    return (passages.roles == _PAIR) & (passages.segment_counts == 2) & (passages.tokens >= 3)


def _class_of(passages: Passages | Eligibility, table: np.ndarray) -> np.ndarray:
    """Return the class of each passage, `IRRELEVANT` where it is no pair or its label is not used."""
    return np.where(_are_pairs(passages), table[passages.labels], IRRELEVANT)


def _pair(passages: Passages, passage: int) -> Pair:
    """Return where query and title stand, whichever comes first."""
    starts, roles = passages.segments(passage)
    border, size = int(starts[1]), int(passages.tokens[passage])
    if roles[0] == _QUERY:
        return Pair(passage, 0, border, (border, size - border))
    return Pair(passage, border, 0, (size - border, border))


def _texts(passages: Passages, pair: Pair) -> tuple[list[int], list[int]]:
    """Return the ids of query and title."""
    ids = passages.get(pair.passage)[0].tolist()
    (query, title), (first, second) = (pair.query, pair.title), pair.sizes
    return ids[query : query + first], ids[title : title + second]


def _are_strangers(own: tuple[list[int], list[int]], other: tuple[list[int], list[int]]) -> bool:
    """Return whether the other title has nothing to do with our query, nor its query with ours."""
    (query, title), (other_query, other_title) = own, other
    return not (
        nearly_equal(query, other_query) or nearly_equal(title, other_title) or shared(query, other_title) >= NEARLY
    )


def _part(passages: Passages, passage: int, start: int, size: int) -> Part:
    ids, bits, _ = passages.get(passage)
    return ids[start : start + size], bits[start : start + size]


def _lengths(passages: Passages, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of the query and of the title of each pair."""
    lengths = np.array([_pair(passages, passage).sizes for passage in pairs.tolist()], dtype=np.int64).reshape(-1, 2)
    return lengths[:, 0], lengths[:, 1]


def _key(kind: np.ndarray | int, query: np.ndarray | int, title: np.ndarray | int) -> np.ndarray:
    return (np.asarray(kind, dtype=np.int64) << 40) + (np.asarray(query) << 20) + title


def _partners(pool: Pool, owns: np.ndarray, sizes: np.ndarray, keys: np.ndarray) -> list[Partner | None]:
    """Draw for each pair one of the other class, with a query of that length and a title of that length or longer.

    Where there is none, the nearest in length. `sizes` (n, 2): tokens of query and title. None where the other class
    is not asked for.
    """
    kind, (query, title) = 1 - owns, sizes.T
    borders = [_key(kind, 0, 0), _key(kind, query, 0), _key(kind, query, title), _key(kind, query + 1, 0)]
    first, like, at, end, last = np.searchsorted(pool.keys, np.stack([*borders, _key(kind + 1, 0, 0)]))
    # Some with that query: titles from that length on, else the longest. None: the next in order.
    near = np.maximum(first, np.minimum(at, last - 1))
    low = np.where(like < end, np.where(at < end, at, np.maximum(like, end - _LIKE // 4)), near)
    high = np.where(
        like < end, np.where(at < end, np.minimum(at + _LIKE, end), end), np.minimum(near + _LIKE // 4, last)
    )
    asked = pool.chances[kind] > 0
    chosen = np.where(asked, low + draws.below(np.maximum(1, high - low), keys, 2), 0)
    found = pool.keys[chosen]
    lengths = zip(((found >> 20) & _LENGTH).tolist(), (found & _LENGTH).tolist(), strict=True)
    rows = zip(pool.pairs[chosen].tolist(), lengths, asked.tolist(), strict=True)
    return [(pair, of) if wanted else None for pair, of, wanted in rows]
