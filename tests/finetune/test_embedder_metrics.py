import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.embedder_data import Sentences
from ernie_pipe.finetune.embedder_metrics import best_threshold, cosines_of, judge


def at(*degrees):
    """Vectors [N, 2] of length 1 at these angles."""
    angles = np.radians(np.array(degrees, dtype=np.float64))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def pairs(*labels):
    return [Sentences((f"甲{i}", f"乙{i}"), str(label), f"data[{i}]") for i, label in enumerate(labels)]


def test_grades_are_compared_by_rank():
    found = judge([at(0, 0, 0), at(10, 40, 90)], pairs(5, 4, 0))
    assert found.metrics["spearman"] == pytest.approx(1)
    assert judge([at(0, 0, 0), at(90, 40, 10)], pairs(5, 4, 0)).metrics["spearman"] == pytest.approx(-1)
    assert judge([at(0, 0), at(30, 30)], pairs(5, 4)).metrics["spearman"] == 0.0


def test_pairs_of_two_labels_are_parted_by_the_threshold():
    vectors, examples = [at(0, 0, 0, 0), at(10, 20, 50, 80)], pairs(1, 0, 1, 0)
    found = judge(vectors, examples, np.cos(np.radians(30)))
    assert found.metrics["accuracy"] == 0.5
    assert found.metrics["f1"] == 0.5
    report = found.report(examples, seed=1)
    assert [(error["where"], error["predicted"][0]) for error in report["worst"]] == [
        ("data[2]", "0"),
        ("data[1]", "1"),
    ]
    low, high = report["intervals"]["accuracy"]
    assert low <= 0.5 <= high


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=30))
def test_no_threshold_makes_fewer_errors_than_the_best(rows):
    if len({label for _, label in rows}) < 2:
        return
    vectors = [at(*[0] * len(rows)), at(*[5 * angle for angle, _ in rows])]
    examples = pairs(*[int(label) for _, label in rows])
    cosines, gold = cosines_of(*vectors), np.array([label for _, label in rows])

    def errors(threshold):
        return int(((cosines >= threshold) != gold).sum())

    others = [*cosines.tolist(), 1.1, -1.1]
    assert errors(best_threshold(vectors, examples)) == min(map(errors, others))


def test_a_threshold_needs_both_labels():
    with pytest.raises(InputError, match="every label is `1`"):
        best_threshold([at(0, 0), at(1, 2)], pairs(1, 1))


def test_triplets_count_where_the_right_one_is_nearer():
    examples = [Sentences(("甲", "乙", "丙"), None, f"data[{i}]") for i in range(2)]
    found = judge([at(0, 0), at(10, 50), at(20, 20)], examples)
    assert found.metrics == {"accuracy": 0.5}
    assert [error["where"] for error in found.report(examples, seed=1)["worst"]] == ["data[1]"]


def test_pairs_alone_are_scored_by_the_rank_of_what_belongs():
    examples = [Sentences(texts, None, "data") for texts in (("甲", "a"), ("甲", "b"), ("乙", "c"), ("c", "d"))]
    # 乙's own c is third: a and b, of 甲, are nearer. For 甲 neither a nor b is an error, and for c not c itself.
    found = judge([at(0, 0, 10, 40), at(5, 8, 40, 60)], examples)
    assert found.metrics == {"mrr": pytest.approx((3 + 1 / 3) / 4), "first": pytest.approx(3 / 4)}
    tied = [Sentences(texts, None, "data") for texts in (("甲", "a"), ("乙", "b"))]
    assert judge([at(0, 0), at(10, 10)], tied).metrics["first"] == 0.0
