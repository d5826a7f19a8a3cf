import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from ernie_pipe.finetune import bootstrap
from ernie_pipe.finetune.metrics import graded, label_sets

LABELS = st.sampled_from("abcd")


@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=30))
def test_scores_of_sums_are_those_of_scikit_learn(pairs):
    gold, predicted = zip(*pairs, strict=True)
    names = sorted({*gold, *predicted})
    right = [sum(g == p == name for g, p in pairs) for name in names]
    sums = [*right, *(predicted.count(name) for name in names), *(gold.count(name) for name in names)]
    scores = bootstrap.class_scores(np.array([sums], dtype=float))
    assert scores["accuracy"][0] == pytest.approx(accuracy_score(gold, predicted))
    assert scores["macro_f1"][0] == pytest.approx(f1_score(gold, predicted, average="macro", zero_division=0))
    if len(names) > 1:
        assert scores["mcc"][0] == pytest.approx(matthews_corrcoef(gold, predicted), abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30), st.randoms())
def test_a_draw_correlates_as_the_examples_drawn(pairs, random):
    x, y = np.array(pairs, dtype=float).T
    counts = np.array([random.randint(0, 3) for _ in pairs])
    counts[0] += 2
    drawn_x, drawn_y = np.repeat(x, counts), np.repeat(y, counts)
    found = bootstrap.correlations(counts[None].astype(float), x, y)
    expected = graded(drawn_x, drawn_y)
    assert found["spearman"][0] == pytest.approx(expected["spearman"], abs=1e-9)
    assert found["pearson"][0] == pytest.approx(expected["pearson"], abs=1e-9)
    shifted = bootstrap.correlations(counts[None].astype(float), x / 7 + 0.1, y / 3 - 20)
    assert shifted["pearson"][0] == pytest.approx(expected["pearson"], abs=1e-6)


def test_the_interval_of_a_share_is_the_binomial_one():
    right = [1.0] * 300 + [0.0] * 100
    low, high = bootstrap.of_means({"accuracy": right})["accuracy"]
    error = (0.75 * 0.25 / 400) ** 0.5
    assert low == pytest.approx(0.75 - 1.96 * error, abs=0.006)
    assert high == pytest.approx(0.75 + 1.96 * error, abs=0.006)


def test_draws_are_seeded_and_intervals_hold_the_score():
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 3, 200)
    predicted = np.where(rng.random(200) < 0.7, gold, rng.integers(0, 3, 200))
    names = [list(map(str, side)) for side in (gold, predicted)]
    found = bootstrap.of_classes(*names)
    assert found == bootstrap.of_classes(*names)
    assert found != bootstrap.of_classes(*names, seed=2)
    low, high = found["mcc"]
    assert low < matthews_corrcoef(gold, predicted) < high
    low, high = bootstrap.of_correlations(gold, predicted)["spearman"]
    assert low < graded(gold, predicted)["spearman"] < high


def test_few_cells_at_a_time_give_the_same(monkeypatch):
    values = {"em": list(np.random.default_rng(0).random(50))}
    whole = bootstrap.of_means(values)
    monkeypatch.setattr(bootstrap, "_CELLS", 120)
    assert bootstrap.of_means(values)["em"] == pytest.approx(whole["em"])


def test_f1_of_counts_and_of_sets_of_labels():
    found = bootstrap.of_f1([1] * 50 + [0] * 50, [1] * 100, [1] * 100)
    assert found["f1"] == found["precision"] == found["recall"]
    assert found["f1"][0] < 0.5 < found["f1"][1]
    gold = np.eye(4, dtype=bool)[np.arange(80) % 4]
    predicted = gold.copy()
    predicted[:20] = False
    scores, bounds = label_sets(gold, predicted), bootstrap.of_label_sets(gold, predicted)
    assert bounds.keys() == scores.keys() - {"examples"}
    assert all(low < scores[name] < high for name, (low, high) in bounds.items())
