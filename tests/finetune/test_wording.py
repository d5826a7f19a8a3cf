import pytest

from ernie_pipe.finetune import wording


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((0, "texts"), "0 texts"),
        ((1, "texts"), "1 text"),
        ((2, "texts"), "2 texts"),
        ((1, "queries", "query"), "1 query"),
    ],
)
def test_one_thing_is_no_plural(given, text):
    assert wording.many(*given) == text


@pytest.mark.parametrize(
    ("text", "columns"), [("", 0), ("ab", 2), ("哈尔滨", 6), ("Ａ，", 4), ("cafe\u0301", 4), ("한", 2), ("a\u200bb", 2)]
)
def test_width_is_that_of_a_terminal(text, columns):
    assert wording.width(text) == columns
    assert wording.left(text, 8) == text + " " * (8 - columns)
    assert wording.right(text, 8) == " " * (8 - columns) + text
