import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.finetune.thresholds import best_cut, of_empty_answers, of_labels

SHARE = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.99, 1.0])
MARGIN = st.tuples(st.integers(-4, 4), st.sampled_from([0, 0.5, 1]), st.sampled_from([0, 1]))


def micro_f1(shares, gold, threshold):
    given_ = shares >= threshold
    return 2 * (given_ & gold).sum() / max(1, given_.sum() + gold.sum())


@given(st.integers(1, 3).flatmap(lambda n: st.lists(st.lists(st.tuples(SHARE, st.booleans()), min_size=n, max_size=n))))
def test_no_threshold_gives_labels_better(rows):
    shares = np.array([[share for share, _ in row] for row in rows], dtype=np.float32)
    gold = np.array([[right for _, right in row] for row in rows], dtype=bool)
    found = of_labels(shares, gold)
    if not gold.any():
        assert found is None
        return
    assert micro_f1(shares, gold, found) == max(micro_f1(shares, gold, threshold) for threshold in set(shares.flat))


@given(st.lists(MARGIN, min_size=1))
def test_no_threshold_answers_better(rows):
    margins, spans, empty = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = of_empty_answers(margins, spans, empty)

    def total(threshold):
        return np.where(margins > threshold, empty, spans).sum()

    if found is None:
        assert (spans <= empty).all() or (spans >= empty).all()
    else:
        assert total(found) == pytest.approx(max(total(threshold) for threshold in np.arange(-5, 5, 0.5)))


def test_a_cut_lies_between_values_and_the_nearest_of_equals_is_taken():
    values, scores = np.array([1.0, 2.0, 2.0, 5.0]), np.array([0, 3, 9, 3, 0])
    assert best_cut(values, scores, near=0.0) == 1.5
    assert best_cut(values, scores, near=4.0) == 3.5
    assert best_cut(values[:1], np.array([0, 1]), near=0.0) == pytest.approx(1.0, abs=1e-5)
    assert best_cut(values[:1], np.array([0, 1]), near=0.0) > 1


def test_a_cut_outside_of_all_values_is_the_usual_one_where_that_is_as_good():
    values = np.array([-5.0, -3.0])
    assert best_cut(values, np.array([0, 0, 1]), near=0.0) == 0.0
    assert best_cut(-values[::-1], np.array([1, 0, 0]), near=0.0) == 0.0
