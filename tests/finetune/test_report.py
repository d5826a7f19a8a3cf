import json

import pytest

from ernie_pipe.finetune import report


def error(number, **changes):
    given = {"where": f"a.tsv:{number}", "gold": "1", "predicted": "0", "loss": float(number), "text": "好\n坏" * 40}
    return {**given, **changes}


def test_the_worst_errors_come_first_and_few_are_kept():
    kept = report.worst([error(number) for number in range(30)], 3)
    assert [item["where"] for item in kept] == ["a.tsv:29", "a.tsv:28", "a.tsv:27"]


def test_confusions_are_counted_by_right_label_and_answer():
    found = report.confusion(["a", "a", "b"], ["a", "b", "b"], ["a", "b", "c"])
    assert found["counts"] == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_a_report_is_printed_in_short():
    found = {
        "intervals": {"accuracy": [0.5, 0.75]},
        "confusion": report.confusion(["a", "a"], ["a", "b"], ["a", "b"]),
        "worst": [error(2, gold=2.0, predicted=1.23456), error(1, gold=["x", "y"], predicted=[])],
    }
    lines = report.render("dev", found).splitlines()
    assert lines[:5] == [
        "dev, 95 % intervals: accuracy 0.5000 to 0.7500",
        "dev, right label by row, answer by column:",
        "   a  b",
        "a  1  1",
        "b  0  0",
    ]
    assert lines[5] == "dev, worst errors (right → answered):"
    assert lines[6].startswith("  a.tsv:2: 2 → 1.235: 好 坏好 坏")
    assert lines[6].endswith("…")
    assert lines[7].startswith("  a.tsv:1: x, y → (none): ")
    assert report.render("dev", {}) == ""


@pytest.mark.parametrize("count", [0, 1, 20, 21])
def test_scores_by_label_are_printed_for_few_labels(count):
    row = {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "examples": 4}
    lines = report.render("dev", {"per_label": {f"类{i}": row for i in range(count)}}).splitlines()
    assert len(lines) == (count + 2 if count in (1, 20) else 0)
    if lines:
        assert lines[0] == "dev, by label:"
        assert lines[1].split() == ["f1", "precision", "recall", "examples"]
        assert lines[2].split() == ["类0", "0.6667", "1.0000", "0.5000", "4"]


def test_what_a_report_holds_is_said():
    assert report.contents({"dev": {}, "test": {}}) == ""
    assert report.contents({"dev": {"intervals": {"em": [0, 1]}, "worst": []}, "test": {"worst": [error(1)]}}) == (
        "intervals, the worst errors"
    )


def test_of_many_labels_the_most_frequent_confusions_are_printed():
    labels = list("abcdefghij")
    found = {"confusion": report.confusion([*"aab", *"cc"], [*"bba", *"cc"], labels)}
    assert report.render("dev", found) == "dev, most often confused: a → b 2, b → a 1"


def test_reports_are_written_by_set_and_none_when_there_is_none(tmp_path):
    report.write(tmp_path, {"dev": {}})
    assert not (tmp_path / report.FILE).exists()
    report.write(tmp_path, {"dev": {"worst": [error(1, text="\ud800")]}, "test": {}})
    assert json.loads((tmp_path / report.FILE).read_text(encoding="utf-8"))["dev"]["worst"][0]["text"] == "\ud800"
