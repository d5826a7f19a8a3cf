"""Phrases by rule: what is one, what only looks like one, and time that stays linear."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.text.borders import cuts_latin
from ernie_pipe.text.rules import TITLE_LIMIT, find_rule_phrases

QUANTITIES = """
三十五个 1,200公里 ３５％ 12.5% 两千多名 第三届 第一次 20万元 十几年 3.5亿美元 数十年 数百万人 几千年 百余名
百分之十三 三分之一 3至5个 10-20公里 三到五年 一公里 一个月 两个 三点五个百分点 5km 30℃ 第30届 一百八十度
一千零一页 二十世纪 100多所 2008年8月8日 二〇〇八年八月 8月8日 一月三日 12月8号 20世纪90年代 1980年代 公元前221年
公元1世纪 民国三十六年 2008-08-08 2008/8/8 10时30分 三点二十五分三十秒 上午10时30分 上午10:30 下午三点 凌晨两点
三年级 2008年8月份
"""
FALSE_FRIENDS = """
一个 一些 一起 一样 一年 一下 一点 第一 万一 千万要 百姓 三国演义 四川 五台山 三门峡 三轮车 十分 四面八方 三角形
零件 数学 数位 人数十分低 第三位于 第一只有 星期三天气 统一个性 2008 3.5 10:30 3:2 v3.5亿 a5个 5kmh 1.2.3.4 3D 5G
〇 第 年月日 十 一百 公元前 上午 百三个 3三个
"""


def phrases(text):
    return [text[start:end] for start, end in find_rule_phrases(text)]


@pytest.mark.parametrize("phrase", [*QUANTITIES.split(), "2008 年 8 月 8 日", "第 3 章", "3.5 亿元", "100 km"])
def test_numbers_with_measures_dates_and_times_are_phrases(phrase):
    assert phrases(phrase) == [phrase]
    assert phrases(f"（在{phrase}，\n") == [phrase]


@pytest.mark.parametrize("text", [*FALSE_FRIENDS.split(), "", "三\n个", "第\n三", "3\n%"])
def test_what_only_looks_like_a_quantity_is_none(text):
    assert phrases(text) == []


def test_a_match_takes_the_longest_way_and_leaves_the_rest():
    assert phrases("三年级有五个班，每班三十多名学生") == ["三年级", "五个", "三十多名"]
    assert phrases("2008年至2010年，第三方人员8月8号线") == ["2008年", "2010年", "第三方", "8月", "8号线"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("读《红楼梦》和《论〈语〉》", ["红楼梦", "论〈语〉"]),
        ("《》《家》《红楼\n梦》《未完", []),
        ("《第三届大会》有三个", ["第三届大会", "三个"]),
        ("《三个", ["三个"]),
        ("《 红楼梦\u3000》《 家 》《  》", ["红楼梦"]),
        ("《《红楼梦》研究》", ["红楼梦"]),
        (f"《{'书' * TITLE_LIMIT}》", ["书" * TITLE_LIMIT]),
        (f"《{'书' * (TITLE_LIMIT + 1)}》", []),
    ],
)
def test_titles_are_what_stands_inside_the_marks(text, expected):
    assert phrases(text) == expected


ALPHABET = st.sampled_from("一二三十百万两几数第年月日时点分个公里元前上午多至3５0,.:- %kmA《》〈\n的")
TEXTS = st.text(ALPHABET, max_size=30)


@given(TEXTS)
def test_spans_are_sorted_disjoint_and_cut_nothing(text):
    end = 0
    for start, stop in find_rule_phrases(text):
        assert end <= start <= stop - 2
        assert "\n" not in text[start:stop]
        assert not cuts_latin(text, start)
        assert not cuts_latin(text, stop)
        end = stop


@given(TEXTS, TEXTS)
def test_lines_do_not_see_each_other(first, second):
    shifted = [(start + len(first) + 1, end + len(first) + 1) for start, end in find_rule_phrases(second)]
    assert find_rule_phrases(f"{first}\n{second}") == find_rule_phrases(first) + shifted


DIGITS = st.integers(2, 9_999_999).map(str) | st.floats(0.1, 999).map("{:.2f}".format)
SIGNS = st.text("二三四五六七八九十百千万", min_size=1, max_size=4).map("两{}".format)
MEASURES = st.sampled_from(["个", "名", "公里", "美元", "小时", "年", "平方米"])


@given(st.sampled_from(["", "第"]), DIGITS | SIGNS, st.sampled_from(["", "多", "余", "多万"]), MEASURES)
def test_any_number_with_a_measure_is_one_phrase(ordinal, number, about, measure):
    phrase = ordinal + number + about + measure
    assert phrases(f"共{phrase}。") == [phrase]


@pytest.mark.parametrize(
    "piece",
    [
        "1",
        "一",
        "三",
        "几",
        "《",
        "《三",
        "1,",
        "1,222",
        "1-",
        "3 ",
        "3.",
        "三点",
        "十多",
        "多",
        "数",
        "第",
        "第三",
        "三至",
        "2008-",
    ],
)
def test_time_is_linear_in_the_text(piece):
    began = time.perf_counter()
    find_rule_phrases(piece * (100_000 // len(piece)))
    assert time.perf_counter() - began < 2
