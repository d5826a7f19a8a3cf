"""N-grams counted in one pass are those that a plain count finds; scores are what the papers define."""

import itertools
import math
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.text import mining
from ernie_pipe.text.mining import BORDER, LETTER, NUMBER, Gram

WORDS = ["中", "中国", "国", "人民", "𠮷", "〇", "，", "。", "\n", " ", "\u3000", "12", "３", "GDP", "T恤", "é", "あ"]
# Few words, so that n-grams come again; some stand for an end, a number, other letters.
TEXTS = st.lists(st.lists(st.sampled_from(WORDS[:5] * 4 + WORDS), max_size=25), max_size=8)


def is_chinese(word):
    return word in WORDS[:6]


def symbol(words, at):
    """What the word at `at` counts as for its neighbours."""
    if not 0 <= at < len(words):
        return BORDER
    word = words[at]
    if is_chinese(word):
        return word
    return {"12": NUMBER, "３": NUMBER, "GDP": LETTER, "T恤": LETTER, "é": LETTER, "あ": LETTER}.get(word, BORDER)


def plain_count(texts, max_words):
    """n-gram (tuple of words) → its left and its right neighbours."""
    found = defaultdict(lambda: (Counter(), Counter()))
    for words in texts:
        for start, size in itertools.product(range(len(words)), range(1, max_words + 1)):
            gram = tuple(words[start : start + size])
            if len(gram) == size and all(map(is_chinese, gram)):
                found[gram][0][symbol(words, start - 1)] += 1
                found[gram][1][symbol(words, start + size)] += 1
    return found


def count(texts, *, max_words, min_count):
    positions = [0] * (max_words + 1)
    windows = Counter()
    for words in texts:
        windows.update(mining.windows(words, max_words, positions))
    rows = [(*window.split(" ", 1)[::-1], number) for window, number in windows.items()]
    return list(mining.frequent(sorted(rows), max_words=max_words, min_count=min_count)), positions


@given(TEXTS, st.integers(2, 5), st.integers(1, 4))
def test_one_pass_counts_what_a_plain_count_finds(texts, max_words, min_count):
    grams, positions = count(texts, max_words=max_words, min_count=min_count)
    expected = plain_count(texts, max_words)
    singles, longer = Counter(), {}
    for gram in grams:
        if gram.words == 1:
            singles[gram.gram] += gram.times
        else:
            longer[tuple(gram.gram.split(" "))] = (gram.times, gram.left_entropy, gram.right_entropy)
    assert singles == {gram[0]: left.total() for gram, (left, _) in expected.items() if len(gram) == 1}
    assert longer == {
        gram: (left.total(), mining.entropy(left), mining.entropy(right))
        for gram, (left, right) in expected.items()
        if len(gram) > 1 and left.total() >= min_count
    }
    for size in range(1, max_words + 1):
        assert positions[size] == sum(left.total() for gram, (left, _) in expected.items() if len(gram) == size)


def test_a_window_is_what_is_seen_from_a_word():
    positions = [0] * 3
    seen = mining.windows(["2008", "年", "北京", "奥运会", "，", "中国", "T恤", "多"], 2, positions)
    assert seen == ["0 年 北京 奥运会", "年 北京 奥运会", "北京 奥运会", "| 中国 A", "A 多"]
    assert positions == [0, 5, 2]


def test_the_commonest_neighbours_are_told():
    words = [word for verb in ("去", "去", "看") for word in (verb, "哈尔滨", "冰雪", "。")]
    grams, _ = count([words], max_words=2, min_count=3)
    sides = (mining.entropy({"去": 2, "看": 1}), math.log(3), "去 67%", "| 100%")
    assert [gram for gram in grams if gram.words > 1] == [Gram("哈尔滨 冰雪", 2, 3, *sides)]


def test_entropy_of_neighbours():
    assert mining.entropy({"甲": 5}) == 0
    assert mining.entropy({"甲": 2, "乙": 2}) == pytest.approx(math.log(2))
    assert mining.entropy({BORDER: 8}) == pytest.approx(math.log(8))
    assert mining.entropy({NUMBER: 8}) == 0
    assert mining.entropy({BORDER: 1, "甲": 1}) == pytest.approx(math.log(2))


def all_segmentations(words):
    """Every way to cut the words into two or more contiguous parts."""
    for cuts in itertools.product([False, True], repeat=len(words) - 1):
        borders = [0, *(at for at, cut in enumerate(cuts, start=1) if cut), len(words)]
        if any(cuts):
            yield [" ".join(words[start:end]) for start, end in itertools.pairwise(borders)]


@given(st.lists(st.sampled_from("甲乙丙"), min_size=2, max_size=5), st.data())
def test_pmi_is_the_least_over_all_segmentations(words, data):
    gram = " ".join(words)
    counts = {part: data.draw(st.integers(1, 1000)) for part in mining.parts(gram)}
    positions = [0, 9000, 7000, 5000, 4000, 3000]

    def p(part):
        return counts[part] / positions[len(part.split(" "))]

    expected = min(math.log(p(gram) / math.prod(map(p, parts))) for parts in all_segmentations(words))
    assert mining.pmi(gram, counts, positions) == pytest.approx(expected)


def test_a_weak_part_makes_a_weak_whole():
    counts = {"哈": 10, "尔滨": 10, "的": 500, "哈 尔滨": 10, "尔滨 的": 5, "哈 尔滨 的": 5}
    positions = [0, 1000, 1000, 1000]
    assert mining.pmi("哈 尔滨", counts, positions) == pytest.approx(math.log(100))
    assert mining.pmi("哈 尔滨 的", counts, positions) == pytest.approx(0)


def test_function_words_frame_no_phrase():
    assert not mining.is_framed("天籁 之 音")
    assert not mining.is_framed("中 超")
    assert all(map(mining.is_framed, ["的 历史", "系列 中", "更名 为"]))


@pytest.mark.parametrize(("most", "expected"), [
    (2, {2: 800}), (3, {2: 400, 3: 400}), (5, {2: 400, 3: 200, 4: 100, 5: 100}),
])  # fmt: skip
def test_shares_of_lengths(most, expected):
    assert mining.quotas(800, most) == expected


def test_rank_scores_lie_evenly_below_the_weight_of_an_entity():
    assert mining.rank_scores(4) == [0.875, 0.625, 0.375, 0.125]
    assert mining.rank_scores(0) == []
    assert max(mining.rank_scores(400_000)) < 1
