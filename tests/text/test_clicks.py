import pytest

from ernie_pipe.text.clicks import Layout, Shown, parse
from ernie_pipe.text.formats import Unusable

SOGOU = Layout("3", "6", "4", "all", "2")
JSON = Layout("q", "t", "", "c")


def test_columns_between_tabs():
    line = "20111230000005\tuser\t[奇艺 高清]\t1\t1\thttp://www.example.com/"
    assert parse(line, SOGOU) == Shown("user", "奇艺 高清", "http://www.example.com/", 1, True)


@pytest.mark.parametrize(
    ("value", "clicked"), [("1", True), ("true", True), ("0", False), ("null", False), ('""', False)]
)
def test_fields_of_json_lines(value, clicked):
    assert parse(f'{{"q": "米", "t": "饭", "c": {value}}}', JSON) == Shown("", "米", "饭", 0, clicked)


@pytest.mark.parametrize(
    ("line", "layout", "reason"),
    [
        ("a\tb\tc", SOGOU, "no such column"),
        ("a\tb\t \t1\t1\tu", SOGOU, "no pair"),
        ("a\tb\tq\tx\t1\tu", SOGOU, "no rank"),
        ("[1]", JSON, "not a JSON object"),
        ("{", JSON, "not JSON"),
        ('{"q": "a", "t": "b", "c": "perhaps"}', JSON, "clicked or not"),
    ],
)
def test_a_line_that_cannot_be_used_says_why(line, layout, reason):
    with pytest.raises(Unusable) as error:
        parse(line, layout)
    assert error.value.args[0] == reason


@pytest.mark.parametrize(
    ("layout", "wrong"), [(Layout("3", "title"), "not both"), (Layout("0", "1"), "from 1"), (SOGOU, ""), (JSON, "")]
)
def test_a_layout_is_of_one_kind(layout, wrong):
    assert wrong in layout.wrong()
    assert bool(layout.wrong()) == bool(wrong)
