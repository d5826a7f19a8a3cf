import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_pipe.finetune.decoding import legal_path
from ernie_pipe.text.tags import to_spans

LABELS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


@settings(max_examples=30)
@given(st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_the_path_is_the_best_of_all_legal_ones(length, seed):
    shares = np.random.default_rng(seed).dirichlet(np.ones(len(LABELS)), size=length)
    legal = [
        path
        for path in itertools.product(range(len(LABELS)), repeat=length)
        if to_spans([LABELS[i] for i in path])[1] == 0
    ]
    best = max(legal, key=lambda path: sum(np.log(shares[i, label]) for i, label in enumerate(path)))
    assert legal_path(shares, LABELS) == list(best)


@pytest.mark.parametrize("labels", [["O", "B-X", "M-X", "E-X", "S-X"], ["O", "B-X", "I-X", "E-X", "S-X"]])
def test_labels_of_other_schemes_are_understood(labels):
    # E and M alone are no start, so the runner-up B begins the span.
    shares = np.array([[0.0, 0.3, 0.6, 0.05, 0.05], [0.0, 0.05, 0.05, 0.9, 0.0], [0.1, 0.0, 0.5, 0.4, 0.0]])
    assert [labels[i][0] for i in legal_path(shares, labels)][:2] == ["B", "E"]
    assert legal_path(shares, labels)[2] == 0


def test_certain_scores_stay_finite():
    shares = np.array([[0.0, 0.0, 1.0, 0.0, 0.0]])
    assert len(legal_path(shares, LABELS)) == 1
