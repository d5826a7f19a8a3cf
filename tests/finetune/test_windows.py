import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.finetune.windows import consecutive, overlapping, stitch


@given(st.integers(0, 60), st.integers(2, 20), st.data())
def test_windows_cover_the_text_and_share_the_overlap(length, capacity, data):
    overlap = data.draw(st.integers(0, capacity // 2))
    windows = overlapping(length, capacity, overlap)
    assert sorted({i for start, end in windows for i in range(start, end)}) == list(range(length))
    assert all(end - start == min(capacity, length) for start, end in windows)
    assert all(a[1] - b[0] >= overlap for a, b in itertools.pairwise(windows))


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 20))
def test_consecutive_windows_partition_the_text(joined, capacity):
    windows = consecutive(joined, capacity)
    assert [i for start, end in windows for i in range(start, end)] == list(range(len(joined)))
    assert all(0 < end - start <= capacity for start, end in windows)


def test_no_cut_falls_inside_an_entity_that_fits():
    assert consecutive([False, False, False, True, True, False], 4) == [(0, 2), (2, 6)]
    assert consecutive([False, True, True, True, True], 3) == [(0, 3), (3, 5)]


def test_a_token_is_answered_by_the_window_where_its_context_is_wider():
    windows = overlapping(8, 6, 4)
    assert windows == [(0, 6), (2, 8)]
    scores = [np.full((6, 1), 1.0), np.full((6, 1), 2.0)]
    # Token 3 is 1 from the left border of the second window and 2 from the right one of the first.
    assert stitch(8, windows, scores)[:, 0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]


def test_the_ends_of_the_text_are_no_borders():
    windows = overlapping(7, 6, 4)
    rows = stitch(7, windows, [np.full((6, 1), float(w)) for w in range(len(windows))])
    assert rows[0, 0] == 0
    assert rows[-1, 0] == len(windows) - 1
    assert stitch(0, [], []).shape == (0, 0)
