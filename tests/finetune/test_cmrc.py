import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.finetune.cmrc import exact, overlap, reading, scores, segments, words

TEXT = st.text(st.sampled_from("哈尔滨市ab1，。·-…' \"."), max_size=8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("哈尔滨Harbin市", ["哈", "尔", "滨", "harbin", "市"]),
        ("《红楼梦》、iPhone 6s", ["红", "楼", "梦", "iphone", "6s"]),
        # The removed marks leave no gap; ASCII commas and full stops are words.
        ("2017-08", ["201708"]),
        ("3,000人, a.b", ["3,000", "人", ",", "a.b"]),
        # Ideographs after U+9FA5 and the ellipsis are no Chinese characters to the script.
        ("㐀㐁……中", ["㐀㐁……", "中"]),
        (" ", []),
    ],
)
def test_chinese_characters_count_singly_and_other_words_whole(text, expected):
    assert segments(text) == expected


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("don't o'clock it's cannot", ["do", "n't", "o'clock", "it", "'s", "can", "not"]),
        ("10.5% of $3.5 (ok).", ["10.5", "%", "of", "$", "3.5", "(", "ok", ")", "."]),
        ("etc... x:y 1:30", ["etc", "...", "x", ":", "y", "1:30"]),
        ("u.s. e.g., 1—2", ["u.s.", "e.g.", ",", "1", "—", "2"]),
    ],
)
def test_latin_words_are_cut_as_the_treebank_does(run, expected):
    assert words(run) == expected


def test_opening_and_closing_quotes_differ():
    first, _, last = words('"a"')
    assert first != last


def test_fixed_cases_score_what_the_definition_gives():
    # One of three, and two of three characters in one run; order and gaps break a run.
    assert overlap(["黑龙江"], "龙") == pytest.approx(2 * 1 / 4)
    assert overlap(["黑龙江省"], "黑河江省") == pytest.approx(2 * 2 / 8)
    assert overlap(["北京"], "京北") == pytest.approx(0.5)
    assert overlap(["北京"], "上海") == 0.0
    # The best of several answers counts, punctuation and case do not.
    assert overlap(["1949年", "1949年10月"], "1949年，10月") == 1.0
    assert exact(["《NBA》"], "nba") == 1.0
    assert exact(["北京"], "北京市") == 0.0


def test_means_over_questions_and_the_two_kinds():
    gold, predicted = [["北京"], ["黑龙江省"], [], []], ["北京", "黑龙", "", "上海"]
    assert reading(gold[:2], predicted[:2]) == pytest.approx(
        {"em": 0.5, "f1": (1 + 4 / 6) / 2, "average": (0.5 + 5 / 6) / 2, "examples": 2}
    )
    result = reading(gold, predicted)
    assert (result["em"], result["answerable_em"], result["unanswerable_accuracy"]) == (0.5, 0.5, 0.5)
    assert scores(gold, predicted)[0] == [1.0, 0.0, 1.0, 0.0]


@given(TEXT, TEXT)
def test_scores_are_symmetric_shares_and_right_is_right(one, other):
    assert 0 <= overlap([one], other) <= 1
    assert overlap([one], other) == overlap([other], one)
    assert exact([one], one) == 1.0
    if segments(one):
        assert overlap([other, one], one) == 1.0
