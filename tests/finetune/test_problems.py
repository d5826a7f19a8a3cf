import numpy as np
import pytest
import torch
from transformers import BertConfig

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.problems import Judged, answer, choose, losses, of_config, target


@pytest.mark.parametrize(
    ("labels", "graded", "problem"),
    [
        (["好", "坏"], False, "single"),
        (["0", "1", "10"], True, "single"),
        (["0", "1", "2", "3", "4"], False, "single"),
        (["5", "1", "2", "3", "4"], True, "regression"),
        (["0", "1", "2", "3"], True, "single"),
        (["100", "101", "102", "103", "105"], True, "single"),
        (["1", "2.5"], False, "regression"),
        (["1", "2.5", "好"], False, "single"),
        (["-1", "1e-3"], False, "regression"),
        (["nan", "1.0"], False, "single"),
        ([("好",), "坏"], False, "multi"),
        (["体育|财经", "财经", "体育"], False, "multi"),
        (["体育|财经", "财经|健康", "健康|体育"], False, "multi"),
        (["新闻|体育", "新闻|财经", "新闻"], False, "single"),
        (["体育|财经", "体育|财经"], False, "single"),
        (["a | b", "b|", "a"], False, "multi"),
    ],
)
def test_labels_tell_the_problem(labels, graded, problem):
    assert choose(labels, graded_integers=graded)[0] == problem


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"num_labels": 1}, "regression"),
        ({"num_labels": 3}, "single"),
        ({"num_labels": 3, "problem_type": "multi_label_classification"}, "multi"),
    ],
)
def test_a_config_tells_the_problem(config, problem):
    assert of_config(BertConfig(**config)) == problem


def test_labels_are_taken_as_the_problem_wants_them():
    assert target("a | b||a", "multi", "|", "x:1") == ("a", "b")
    assert target("1.5", "regression", "|", "x:1") == 1.5
    with pytest.raises(InputError, match="x:1: label `高` is no number"):
        target("高", "regression", "|", "x:1")
    with pytest.raises(InputError, match=r"x:1: several labels \['a', 'b'\] for a model that gives one"):
        target(("a", "b"), "single", "|", "x:1")


def test_answers_of_logits():
    row, names = np.array([2.0, -1.0, 0.0]), ["a", "b", "c"]
    assert answer(row, "single", names, 0.5)["label"] == "a"
    several = answer(row, "multi", names, 0.5)
    assert several["labels"] == ["a", "c"]
    assert several["scores"]["b"] == pytest.approx(1 / (1 + np.e))
    assert answer(row, "multi", names, 0.9)["labels"] == []
    assert answer(row[:1], "regression", ["score"], 0.5) == {"label": "score", "score": 2.0}


def test_losses_are_those_of_torch():
    rows = torch.tensor([[100.0, -100.0, 3.0], [0.5, 0.2, -0.1]])
    several = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    functional = torch.nn.functional
    expected = {
        "single": (torch.tensor([1, 0]), functional.cross_entropy(rows, torch.tensor([1, 0]), reduction="none")),
        "multi": (several, functional.binary_cross_entropy_with_logits(rows, several, reduction="none").sum(1)),
        "regression": (torch.tensor([1.0, 1.0]), torch.tensor([99.0**2, 0.25])),
    }
    for problem, (targets, values) in expected.items():
        found = losses(rows.numpy(), targets.numpy(), problem)
        np.testing.assert_allclose(found, values.numpy(), rtol=1e-5, atol=1e-5)


def test_sets_of_labels_are_judged_with_the_threshold():
    rows = np.array([[2.0, 1.0], [-1.0, -2.0]])
    judged = Judged("multi", ["a", "b"], [("a",), ()], rows, 0.8)
    assert judged.gold == judged.predicted == [["a"], []]
    assert judged.metrics["exact"] == 1.0
    assert Judged("multi", ["a", "b"], [("a",), ()], rows, 0.5).predicted[0] == ["a", "b"]
    assert judged.details()["per_label"]["b"]["examples"] == 0
