import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.finetune.span_scores import best_spans, log_sum

ROW = st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.booleans(), st.booleans())


@given(st.lists(ROW, max_size=9), st.integers(1, 4), st.integers(1, 5))
def test_best_spans_are_those_of_trying_all(rows, longest, count):
    starts, ends = (np.array([row[k] for row in rows], dtype=np.float32) for k in (0, 1))
    usable = tuple(np.array([row[k] for row in rows], dtype=bool) for k in (2, 3))
    legal = [
        (float(starts[i] + ends[j]), i, j)
        for i in range(len(rows))
        for j in range(i, min(i + longest, len(rows)))
        if usable[0][i] and usable[1][j]
    ]
    spans, total = best_spans(starts, ends, usable, longest, count)
    expected = sorted(legal, key=lambda item: (-item[0], item[1], item[2]))[:count]
    assert [(span.score, span.first, span.last) for span in spans] == expected
    assert total == pytest.approx(np.log(sum(np.exp(score) for score, _, _ in legal)) if legal else -np.inf, rel=1e-6)


def test_the_logarithm_of_a_sum_overflows_nowhere():
    assert log_sum(np.array([1e4, 1e4], dtype=np.float32)) == pytest.approx(1e4 + np.log(2))
    assert log_sum(np.array([])) == -np.inf
