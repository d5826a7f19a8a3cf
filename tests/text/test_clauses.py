import pytest

from ernie_pipe.text.clauses import LINE, STRONG, WEAK, Clauses, balanced


def clauses(text):
    found = Clauses(text)
    return [text[start:end] for start, end in zip(found.starts, found.ends, strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("天黑了，路很远。", ["天黑了", "路很远", ""]),
        ("他说：“走吧。”然后走了", ["他说", "“走吧", "然后走了"]),
        ("共1,200人，10:30出发", ["共1,200人", "10:30出发"]),
        ("好的, 走吧", ["好的", "走吧"]),
        ("真的……\n是吗？！", ["真的", "是吗", ""]),
    ],
)
def test_clauses_end_at_commas_and_sentences(text, expected):
    assert clauses(text) == expected


def test_kinds_of_borders():
    found = Clauses("一，二。三\n四；“五。”\n六")
    assert [found.kind(clause) for clause in range(len(found.starts))] == [LINE, WEAK, STRONG, LINE, STRONG, LINE]
    assert [clause for clause in range(7) if found.goes_on(clause)] == [1]


def test_the_words_of_a_clause_begin_behind_opening_marks():
    assert Clauses("他说：“ 「走").first_word(1) == 6


@pytest.mark.parametrize(
    ("text", "wrapped"),
    [
        ("这一行的字很多很多很多很多很多很多很多很多很多\n没有写完", True),
        ("这一行的字很多很多很多很多很多很多很多很多很多。\n写完了", False),
        ("标题\n第一句", False),
    ],
)
def test_a_long_line_without_an_end_mark_goes_on(text, wrapped):
    assert Clauses(text).is_wrapped(1) is wrapped


@pytest.mark.parametrize(
    ("text", "end", "beginning"),
    [
        ("走（很远）了", "走（很远）了", "走（很远）了"),
        ("他说：“走", "走", "他说："),
        ("走”，他说", "，他说", "走"),
        ("（甲“乙）丙", "丙", "（甲“乙）丙"),
    ],
)
def test_arguments_stay_inside_their_quotes(text, end, beginning):
    found = balanced(text, keep_end=True), balanced(text, keep_end=False)
    if text != "（甲“乙）丙":
        assert found == (end, beginning)
    else:
        assert len(found[0]) < len(text)
