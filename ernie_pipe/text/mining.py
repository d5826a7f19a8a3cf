"""Words of a text → windows → frequent n-grams with their neighbours → scored phrases: the per-record side of mining.

An n-gram is 2 to `max_words` neighbouring words of Chinese characters, nothing between them: no punctuation, white
space, digit or Latin letter, so none reaches over a sentence's end. A window is what is seen from one word:
the neighbour on its left, the word, and at most `max_words` words after it, with one space between.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from ernie_pipe.text.words import WordEngine, load_engine

# Neighbours that are no Chinese word: an end (of sentence, punctuation, white space), a number, other letters.
BORDER, NUMBER, LETTER = "|", "0", "A"
# Words that no phrase begins or ends with. Two lists: 中 上 里 begin many a phrase and end none; surnames (于) stay out
# of the first.
_EITHER = (
    "的 地 得 了 着 过 们 是 和 与 及 或 而 但 且 也 都 就 还 又 却 则 才 很 太 更 最 再 已 已经 并 并且 因为 所以 所 "
    "如果 但是 我 你 他 她 它 您 我们 你们 他们 她们 它们 自己 这 那 其 之 这个 那个 这些 那些 这种 那种 一个 一些 "
    "一种 个 以 以及 在 被 把 将 给 让 使 由 因 对 从 向 到 有 没有 会 要 能 可 可以 说 时 后 前 当 等 还是 就是 不是"
)
_LAST = "于 为 不 没 上 下 中 里 内 外 间 出 来 去 起 成 一"
NOT_FIRST = frozenset(_EITHER.split())
NOT_LAST = frozenset(f"{_EITHER} {_LAST}".split())
_HAN = "[々〇\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
_RUN = re.compile(rf"(?<!\S){_HAN}(?: {_HAN})*(?!\S)")
_SPACE = re.compile(" ")


class Gram(NamedTuple):
    """A frequent n-gram: its words with a space between, and what stood beside it (entropies in nats).

    `left` and `right` are the most frequent neighbours with their share, for a reviewer.
    """

    gram: str
    words: int
    times: int
    left_entropy: float = 0.0
    right_entropy: float = 0.0
    left: str = ""
    right: str = ""


@dataclass(frozen=True)
class Limits:
    """What a phrase must have to be listed, and how many are: `size` at most."""

    max_words: int
    min_count: int
    min_pmi: float
    min_entropy: float
    function_words: bool
    size: int


@lru_cache(maxsize=2)
def worker_engine(name: str, *, hmm: bool) -> WordEngine:
    """Build an engine once per process."""
    return load_engine(name, hmm=hmm)


def windows(words: Iterable[str], max_words: int, positions: list[int]) -> list[str]:
    """Return one window a word: `left w1 w2 …`, cut off behind the first neighbour that is no Chinese word.

    Adds to `positions[n]` the number of places where an n-gram stands (n from 1 to `max_words`).
    """
    joined = " ".join(words)
    found: list[str] = []
    for match in _RUN.finditer(joined):
        start, end = match.span()
        left, right = _symbol(joined[max(0, start - 2) : max(0, start - 1)]), _symbol(joined[end + 1 : end + 2])
        run = f"{left} {match.group()}" + ("" if right == BORDER else f" {right}")
        starts = [0, *(space.end() for space in _SPACE.finditer(run)), len(run) + 1]
        length = len(starts) - 2 - (right != BORDER)
        last = len(starts) - 1
        found += [run[starts[at] : starts[min(at + max_words + 2, last)] - 1] for at in range(length)]
        for size in range(1, min(length, max_words) + 1):
            positions[size] += length - size + 1
    return found


def _symbol(character: str) -> str:
    """Return what a neighbour counts as, by its character nearest to the run (empty: there is none)."""
    if character.isdigit():
        return NUMBER
    return LETTER if character.isalnum() else BORDER


class _Level:
    """One n-gram while its windows pass by: its count and what stood on either side."""

    __slots__ = ("count", "lefts", "rights")

    def __init__(self) -> None:
        self.count = 0
        self.lefts: dict[str, int] = {}
        self.rights: dict[str, int] = {}


def frequent(rows: Iterable[tuple[str, str, int]], *, max_words: int, min_count: int) -> Iterator[Gram]:
    """Count all n-grams in (window without its left neighbour, left neighbour, count) rows sorted by window.

    Every n-gram is a prefix of the windows that begin with it, which lie together once they are sorted: a stack of
    `max_words` open prefixes counts them all in one pass (SUFFIX-σ: Berberich and Bedathur, EDBT 2013). Memory is
    that of the neighbours of `max_words` n-grams. Single words come whatever their count, without neighbours.
    """
    path: list[str] = []
    levels: list[_Level] = []
    for window, left, count in _merge_rare(rows, min_count):
        tokens = window.split(" ")
        size = min(len(tokens) - (tokens[-1] in (NUMBER, LETTER)), max_words)
        same = 0
        for before, now in zip(path, tokens[:size], strict=False):
            if before != now:
                break
            same += 1
        yield from _close(path, levels, same, min_count)
        path = tokens[:size]
        levels += [_Level() for _ in range(size - same)]
        levels[0].count += count
        tokens.append(BORDER)
        for level, right in zip(levels[1:], tokens[2:], strict=False):
            level.count += count
            level.lefts[left] = level.lefts.get(left, 0) + count
            level.rights[right] = level.rights.get(right, 0) + count
    yield from _close(path, levels, 0, min_count)


def _merge_rare(rows: Iterable[tuple[str, str, int]], min_count: int) -> Iterator[tuple[str, str, int]]:
    """Make one row of its first word of all windows that begin with a pair too rare to matter (most of them)."""
    pair, total = "", 0
    held: list[tuple[str, str, int]] = []
    for row in rows:
        window = row[0]
        end = window.find(" ", window.find(" ") + 1)
        if (window if end < 0 else window[:end]) != pair:
            if held:
                yield pair.partition(" ")[0], BORDER, total
            pair, total, held = window if end < 0 else window[:end], 0, []
        total += row[2]
        if total < min_count:
            held.append(row)
            continue
        yield from held
        held.clear()
        yield row
    if held:
        yield pair.partition(" ")[0], BORDER, total


def _close(path: Sequence[str], levels: list[_Level], keep: int, min_count: int) -> Iterator[Gram]:
    while len(levels) > keep:
        size, level = len(levels), levels.pop()
        if size == 1:
            yield Gram(path[0], 1, level.count)
        elif level.count >= min_count:
            sides = (entropy(level.lefts), entropy(level.rights), _commonest(level.lefts), _commonest(level.rights))
            yield Gram(" ".join(path[:size]), size, level.count, *sides)


def entropy(neighbours: Mapping[str, int]) -> float:
    """Return the branching entropy in nats of counted neighbours.

    Every `BORDER` counts as a neighbour of its own: where a sentence or clause ends there is nothing that the n-gram
    could be a part of. All numbers are one neighbour and so are all other letters, so that pieces of dates and
    measures (年 毕业 于) do not look free. The sum is exact, whatever the order of the neighbours.
    """
    total = sum(neighbours.values())
    return math.log(total) - math.fsum(n * math.log(n) for word, n in neighbours.items() if word != BORDER) / total


def _commonest(neighbours: Mapping[str, int]) -> str:
    word, count = min(neighbours.items(), key=lambda pair: (-pair[1], pair[0]))
    return f"{word} {count / sum(neighbours.values()):.0%}"


def is_framed(gram: str) -> bool:
    """Return whether a function word (的, 了, 是, …) stands first or last: a piece of a sentence, no phrase."""
    words = gram.split(" ")
    return words[0] in NOT_FIRST or words[-1] in NOT_LAST


def inner(word: str) -> list[str]:
    """Return the strings of two characters or more that stand inside `word`, each as often as it does."""
    spans = itertools.combinations(range(len(word) + 1), 2)
    return [word[start:end] for start, end in spans if 1 < end - start < len(word)]


def parts(gram: str) -> list[str]:
    """Return every distinct contiguous run of words of `gram`, itself among them."""
    words = gram.split(" ")
    cuts = itertools.combinations(range(len(words) + 1), 2)
    return sorted({" ".join(words[start:end]) for start, end in cuts})


def pmi(gram: str, counts: Mapping[str, int], positions: Sequence[int]) -> float:
    """Return PMI of an n-gram in nats (PMI-Masking, Levine et al. 2021, arXiv 2010.01825, equation 3).

    min over all segmentations σ of the n-gram into two or more contiguous parts of log p(gram) / Π p(part), with
    p(s) = counts[s] / positions[words of s]: the share of all places for so many words where s stands.
    """
    words = gram.split(" ")
    size = len(words)

    def log_p(start: int, end: int) -> float:
        return math.log(counts[" ".join(words[start:end])] / positions[end - start])

    # best[i]: the most probable segmentation of the words from i on; the whole itself is none.
    best = [0.0] * (size + 1)
    for start in range(size - 1, -1, -1):
        ends = range(start + 1, size + (start > 0))
        best[start] = max(log_p(start, end) + best[end] for end in ends)
    return log_p(0, size) - best[0]


def quotas(size: int, max_words: int) -> dict[int, int]:
    """Return how many n-grams of each length make a list of `size`: half of them pairs, a quarter of three words, …

    The two longest lengths share what is left (with 5 words at most: 50, 25, 12.5 and 12.5 %, as in the lists that
    the authors of PMI-Masking released).
    """
    return {words: size >> min(words - 1, max_words - 2) for words in range(2, max_words + 1)}


def rank_scores(number: int) -> list[float]:
    """Return the scores of a ranking of `number`, best first: evenly spread between 1 and 0, both left out.

    PMI of different lengths does not compare, ranks do: sorted by these scores, any head of the list has the same
    shares of lengths. Below 1, the weight of a lexicon line without one, a mined phrase never beats a typed entity.
    """
    return [round(1 - (rank + 0.5) / number, 6) for rank in range(number)]
