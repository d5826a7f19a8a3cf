import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe import draws
from ernie_pipe.masking.pieces import Units, _times_made, geometric, walk

NGRAM = (0.4, 0.3, 0.2, 0.1)


def words(runs: list[list[int]], seed: int = 0) -> Units:
    """Words of these sizes in tokens, a special token before each run; every run is a sequence."""
    firsts, at = [], 0
    for run in runs:
        at += 1
        firsts += (at + np.cumsum([0, *run[:-1]])).tolist()
        at += sum(run)
    sizes = np.array([size for run in runs for size in run])
    owner = np.repeat(np.arange(len(runs)), [len(run) for run in runs])
    return Units(np.array(firsts), sizes, owner, draws.key(seed, np.arange(len(sizes))))


def test_the_published_spans_are_cut_off_and_not_clipped():
    chances = geometric(0.2, 10)
    assert sum(chances) == pytest.approx(1)
    assert chances[1] / chances[0] == pytest.approx(0.8)
    assert np.arange(1, 11) @ chances == pytest.approx(3.797, abs=0.0005)


def test_runs_end_where_something_is_not_maskable_and_where_a_sequence_ends():
    assert words([[1, 2], [3], [1, 1]]).runs().tolist() == [0, 0, 1, 2, 2]
    units = Units(np.array([0, 2, 3]), np.array([2, 1, 1]), np.array([0, 0, 1]), draws.key(np.arange(3)))
    assert units.runs().tolist() == [0, 0, 1]


@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=30), min_size=1, max_size=6), st.integers(0, 999))
def test_pieces_are_whole_words_in_order_without_overlap_and_inside_one_run(runs, seed):
    units = words(runs, seed)
    run = units.runs()
    pieces, of, weights = walk(units, run, NGRAM, 0.15)
    ends, word_ends = pieces.first + pieces.sizes, units.first + units.sizes
    assert set(pieces.first) <= set(units.first)
    assert set(ends) <= set(word_ends)
    assert (pieces.first[1:] >= ends[:-1]).all()
    last = np.searchsorted(units.first, ends - 1, side="right") - 1
    begin = np.searchsorted(units.first, pieces.first)
    assert np.array_equal(run[last], of)
    assert np.array_equal(run[begin], of)
    assert set(of) == set(run), "every run has a piece"
    assert (last - begin < 4).all()
    assert (weights > 0).all()
    # What is left out of a run is less than the longest piece.
    left = np.bincount(run, minlength=len(runs)) - np.bincount(of, last - begin + 1, minlength=len(runs))
    assert (left >= 0).all()
    assert (left < 4).all()


def test_the_weight_is_the_inverse_of_how_often_a_length_is_made():
    runs = 40_000
    units = words([[1] * 12] * runs)
    pieces, _, weights = walk(units, units.runs(), NGRAM, 0.15)
    made = np.bincount(pieces.sizes, weights, minlength=5)[1:] / runs
    assert made == pytest.approx(NGRAM, abs=0.01)
    assert np.bincount(pieces.sizes, minlength=5)[4] / len(pieces.sizes) < 0.097, "unweighted, the long ones lack"


def test_borders_are_counted_beyond_the_table():
    assert _times_made((0.5, 0.5), np.array([0, 1])).tolist() == [1, 1.5]
    near, far = _times_made(NGRAM, np.array([1000, 5000]))
    assert far - near == pytest.approx(4000 / 2)
