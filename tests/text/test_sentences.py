"""Sentence spans: a partition of the visible text that keeps quotes and brackets together."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.text.sentences import LONGEST_NESTING, split_sentences

TEXTS = st.text(st.sampled_from("ab他说。！？…；.,“”‘’「」（）()【】《》\"'3 \n\r\t\u3000\u2028😀\u0301"), max_size=80)


def sentences(text):
    return [text[start:end] for start, end in split_sentences(text)]


@given(TEXTS)
def test_spans_cover_every_visible_character_once(text):
    spans = split_sentences(text)
    assert [border for span in spans for border in span] == sorted(border for span in spans for border in span)
    covered = [at for start, end in spans for at in range(start, end)]
    assert len(covered) == len(set(covered))
    assert {at for at, char in enumerate(text) if not char.isspace()} <= set(covered)


@given(TEXTS)
def test_rims_are_visible_and_newlines_always_end(text):
    for sentence in sentences(text):
        assert sentence == sentence.strip() != ""
        assert "\n" not in sentence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("他说。她笑！好吗？", ["他说。", "她笑！", "好吗？"]),
        ("他说：“走吧。快走！”然后走了。好。", ["他说：“走吧。快走！”", "然后走了。", "好。"]),
        ("（他来了。又走了。）好。", ["（他来了。又走了。）", "好。"]),
        ("“「好。」他说。”完。", ["“「好。」他说。”", "完。"]),
        ("《三国演义》。好", ["《三国演义》。", "好"]),
        ("什么？！……好", ["什么？！……", "好"]),
        ("圆周率是3.14，不是3.15。", ["圆周率是3.14，不是3.15。"]),
        ("It is. So be it.", ["It is.", "So be it."]),
        ("1. 总则。\n  12. 细则。\n3.\n附则", ["1. 总则。", "12. 细则。", "3.", "附则"]),
        ("In 12. Then\n1999. Then x1. Then", ["In 12.", "Then", "1999.", "Then x1.", "Then"]),
        ("第一；第二。", ["第一；", "第二。"]),
        ("“没有结束\n新的一行。好。", ["“没有结束", "新的一行。", "好。"]),
        ("1）好。2）坏。", ["1）好。", "2）坏。"]),
        ("甲）说“好。走。”完。", ["甲）说“好。走。”", "完。"]),
        ("他说：「齿尽生。」。完。", ["他说：「齿尽生。」。", "完。"]),
        ("见https://a.cn/x?id=1&b=2!c好吗?是。", ["见https://a.cn/x?id=1&b=2!c好吗?", "是。"]),
        ("迷Q!?-迷宫", ["迷Q!?", "-迷宫"]),
        (" \n\u3000 ", []),
        ("", []),
    ],
)
def test_examples(text, expected):
    assert sentences(text) == expected


def test_an_unpaired_quote_swallows_nothing():
    found = sentences("“" + "他来了。" * 300)
    assert max(map(len, found)) <= LONGEST_NESTING + 4
    assert len(found) > 200


def test_white_space_costs_linear_time():
    began = time.perf_counter()
    assert len(split_sentences("好" + " " * 300_000 + "好" + " \n" * 100_000)) == 1
    assert time.perf_counter() - began < 2
