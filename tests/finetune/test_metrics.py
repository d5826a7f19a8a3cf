import numpy as np
import pytest

from ernie_pipe.finetune.metrics import (
    classification,
    graded,
    label_sets,
    mean_and_deviation,
    per_label,
    spans,
    table,
)
from ernie_pipe.text.tags import Span


def test_macro_f1_is_the_mean_over_classes():
    scores = classification(["a", "a", "a", "b"], ["a", "a", "a", "a"])
    assert scores == {"accuracy": 0.75, "macro_f1": pytest.approx(6 / 7 / 2), "mcc": 0.0, "examples": 4}


def test_mcc_is_that_of_the_four_counts(recwarn):
    # 3 true and 2 false positives, 4 true and 1 false negatives: (3·4 - 2·1) / √(5·4·6·5).
    gold = ["1"] * 4 + ["0"] * 6
    predicted = ["1"] * 3 + ["0"] + ["1"] * 2 + ["0"] * 4
    assert classification(gold, predicted)["mcc"] == pytest.approx(10 / 600**0.5)
    assert classification(["1"], ["1"])["mcc"] == 0.0
    assert not recwarn


def test_sets_of_labels():
    gold = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0]], dtype=bool)
    predicted = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0]], dtype=bool)
    scores = label_sets(gold, predicted)
    assert scores["micro_f1"] == pytest.approx(2 * 2 / (3 + 3))
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert scores["exact"] == pytest.approx(1 / 3)
    assert per_label(gold, predicted, ["a", "b", "c"])["b"] == {
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "examples": 2,
    }


def test_correlations_and_the_error_of_grades(recwarn):
    scores = graded(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 4.0, 9.0, 16.0]))
    assert scores["spearman"] == pytest.approx(1.0)
    assert 0.98 < scores["pearson"] < 0.99
    assert scores["mean_error"] == pytest.approx((0 + 2 + 6 + 12) / 4)
    assert graded(np.array([1.0, 2.0]), np.array([3.0, 3.0]))["spearman"] == 0.0
    assert not recwarn


def test_spans_count_only_when_borders_and_type_agree():
    gold = [[Span(0, 2, "LOC"), Span(2, 4, "LOC")], [Span(0, 1, "PER")]]
    predicted = [[Span(0, 2, "LOC"), Span(2, 3, "LOC")], [Span(0, 1, "ORG")]]
    scores = spans([4, 1], gold, predicted)
    assert (scores["precision"], scores["recall"], scores["f1"]) == pytest.approx((1 / 3,) * 3)
    assert scores["entities"] == 3
    assert scores["per_type"]["LOC"]["f1"] == 0.5
    assert scores["per_type"]["PER"]["recall"] == scores["per_type"]["ORG"]["precision"] == 0.0


@pytest.mark.parametrize(("gold", "predicted"), [([], []), ([Span(0, 1, "LOC")], []), ([], [Span(0, 1, "LOC")])])
def test_an_empty_side_scores_zero_without_noise(gold, predicted, recwarn):
    scores = spans([2], [gold], [predicted])
    assert scores["f1"] == 0.0
    assert scores["entities"] == len(gold)
    assert not recwarn


def test_spread_is_the_sample_deviation():
    assert mean_and_deviation([{"f1": 0.5, "n": 3}, {"f1": 0.7, "n": 3}]) == {
        "f1": {"mean": pytest.approx(0.6), "std": pytest.approx(0.1 * 2**0.5)}
    }


def test_the_table_is_aligned():
    rows = {"dev": {"f1": 0.5, "examples": 12, "per_type": {}}, "2 seeds": {"f1": {"mean": 0.5, "std": 0.1}}}
    assert table(rows).splitlines() == [
        "                      f1  examples",
        "dev               0.5000        12",
        "2 seeds  0.5000 ± 0.1000",
    ]


def test_chinese_in_a_table_takes_two_columns_a_character():
    assert table({"体育": {"体育": 3, "经济新闻": 12}, "经济新闻": {"体育": 1, "经济新闻": 4}}).splitlines() == [
        "          体育  经济新闻",
        "体育         3        12",
        "经济新闻     1         4",
    ]


def test_the_score_that_chooses_is_the_first_column():
    rows = {"dev": {"accuracy": 0.5, "macro_f1": 0.4, "examples": 2}}
    assert table(rows, first="macro_f1").splitlines()[0].split() == ["macro_f1", "accuracy", "examples"]
    assert table(rows, first="f1") == table(rows)
