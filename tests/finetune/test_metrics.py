import pytest

from ernie_pipe.finetune.metrics import classification, mean_and_deviation, spans, table
from ernie_pipe.text.tags import Span


def test_macro_f1_is_the_mean_over_classes():
    scores = classification(["a", "a", "a", "b"], ["a", "a", "a", "a"])
    assert scores == {"accuracy": 0.75, "macro_f1": pytest.approx(6 / 7 / 2), "examples": 4}


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
