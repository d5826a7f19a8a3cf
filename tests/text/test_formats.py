"""Lines of dialogues and pairs → rows: what was said, by whom, and why a line is no such thing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.text import formats
from ernie_pipe.text.document import Record, Rejected
from ernie_pipe.text.formats import Unusable
from tests.text.test_document import read_all


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("为 什 么 听 信 ？", "为什么听信？"),
        ("打 包 2 斤 牛 油", "打包2斤牛油"),
        ("用 app store 下 载", "用app store下载"),
        ("早上好 ， 你好吗", "早上好 ， 你好吗"),
        ("plain old words", "plain old words"),
        ("好", "好"),
    ],
)
def test_spaces_between_characters_go(text, expected):
    assert formats.unspaced(text) == expected


@given(st.text("一二三好吗？，。", min_size=2, max_size=30))
def test_spaced_text_comes_back(text):
    assert formats.unspaced(" ".join(text)) == text


def test_a_dialogue_on_a_line(write):
    good, bad, last = read_all(
        write("a.txt", "你 好\t你 好 啊\t再 见\r\n只 有 一 句\t\n\n几点了？\t三点。"), format="dialogue-lines"
    )
    assert good.text == "你好\n你好啊\n再见"
    assert good.segments == ((0, "query"), (3, "response"), (7, "query"))
    assert (bad.line, bad.reason, bad.detail) == (2, "one turn", "1 turns between tabs, a dialogue has two or more")
    assert (last.doc_id, last.segments) == ("a.txt#4", ((0, "query"), (5, "response")))


YAML = """categories:
- 生活
conversations:
- - 几点了
  - 3
  - true
- - 问: 这是什么
  - 答: 一本书

- 不是列表
- - 只有一句
"""


def test_conversations_of_a_yaml_file_whatever_their_turns_look_like(write):
    first, second, *rest = read_all(write("a.yml", YAML))
    assert (first.text, first.doc_id) == ("几点了\n3\ntrue", "a.yml#4")
    assert second.text == "问: 这是什么\n答: 一本书"
    assert [role for _, role in first.segments] == ["query", "response", "query"]
    (bad,) = [item for item in rest if isinstance(item, Rejected)]
    assert (bad.line, bad.reason) == (10, "bad turns")
    assert [item.text for item in rest if isinstance(item, Record)] == ["只有一句"]


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        ("conversations:\n- [a, b\n", "not YAML", "line 3"),
        ("categories: [a]\n", "no conversations", "needs `conversations:`"),
        ("- a\n", "no conversations", "needs"),
    ],
)
def test_a_yaml_file_without_dialogues_says_so(write, content, reason, detail):
    (bad,) = read_all(write("a.yaml", content))
    assert bad.reason == reason
    assert detail in bad.detail


def test_a_yaml_file_is_read_whole_whatever_the_splits(write):
    path = write("a.yml", YAML)
    assert read_all(path, split_bytes=7) == read_all(path)


def test_pairs_between_tabs(write):
    first, second, bad = read_all(write("a.tsv", "米饭\t怎样煮米饭\t1\n米饭\t米的种类\n米饭\n"), format="pairs")
    assert (first.text, first.segments, first.label) == ("米饭\n怎样煮米饭", ((0, "query"), (3, "title")), "1")
    assert second.label is None
    assert (bad.line, bad.reason) == (3, "no pair")


def test_a_row_with_query_and_title_is_a_pair(write):
    lines = ['{"query": "米饭", "title": "煮\\n米饭", "label": 2, "id": 7}', '{"query": "米饭", "title": " "}']
    pair, bad = read_all(write("a.jsonl", "\n".join(lines)))
    assert (pair.doc_id, pair.text, pair.label, pair.title) == ("7", "米饭\n煮 米饭", "2", None)
    assert pair.segments == ((0, "query"), (3, "title"))
    assert (bad.reason, bad.detail) == ("no pair", "needs a query and a title: `title` holds ' '")


def test_text_goes_before_query_and_title(write):
    (record,) = read_all(write("a.jsonl", '{"text": "正文", "query": "a", "title": "b"}'))
    assert (record.text, record.title, record.segments) == ("正文", "b", ())


def test_every_document_of_a_question_is_a_pair(write):
    line = (
        '{"question": "米饭", "question_id": 5, "documents": [{"title": "煮饭", "is_selected": true},'
        ' {"title": "种稻", "is_selected": false}, {"title": "", "is_selected": false}]}'
    )
    strong, weak, bad = read_all(write("a.jsonl", line), format="dureader")
    assert [(item.doc_id, item.text, item.label) for item in (strong, weak)] == [
        ("5.1", "米饭\n煮饭", "strong"),
        ("5.2", "米饭\n种稻", "weak"),
    ]
    assert (bad.line, bad.reason) == (1, "no pair")


@pytest.mark.parametrize("row", [{}, {"question": "a"}, {"question": "a", "documents": [{"title": "b"}]}])
def test_what_is_no_question_is_refused(row):
    with pytest.raises(Unusable):
        formats.dureader_rows(row)


def test_a_text_file_needs_no_field(write):
    assert read_all(write("a.txt", "好"), text_field="content")[0].text == "好"
