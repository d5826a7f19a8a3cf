import json
from collections import Counter
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe import resources
from ernie_pipe.text.connective_inventory import RELATIONS, parse, read_text
from ernie_pipe.text.connectives import CORRELATIVES, RelationMiner
from ernie_pipe.text.words import load_engine


@cache
def miner(least=4, most=60):
    return RelationMiner(parse(read_text()), load_engine("rjieba"), least=least, most=most)


def mine(text, **limits):
    return [pair[:4] for _, pair in miner(**limits).find([text], Counter())]


def skipped(text):
    reasons = Counter()
    assert miner().find([text], reasons) == []
    return set(reasons)


@pytest.mark.parametrize(
    ("text", "relation", "connective", "arg1", "arg2"),
    [
        ("车站很远。但是他走着去。", "contrast", "但是", "车站很远", "他走着去"),
        ("车站很远，但他走着去。", "contrast", "但", "车站很远", "他走着去"),
        ("昨夜下雨了。因此，路上全是水。", "result", "因此", "昨夜下雨了", "路上全是水"),
        ("路上全是水，因为昨夜下雨了。", "reason", "因为", "路上全是水", "昨夜下雨了"),
        ("因为昨夜下雨了，所以路上全是水。", "result", "因为…所以", "昨夜下雨了", "路上全是水"),
        ("由于昨夜下雨了，路上全是水。", "result", "由于…", "昨夜下雨了", "路上全是水"),
        ("因为昨夜下雨所以路上全是水。", "result", "因为…所以", "昨夜下雨", "路上全是水"),
        ("他之所以迟到，是因为没赶上车。", "reason", "之所以…是因为", "他迟到", "没赶上车"),
        ("他虽然已经很累，但是没有停下。", "contrast", "虽然…但是", "他已经很累", "没有停下"),
        ("虽然路远，天又黑，他却没有停下。", "contrast", "虽然…却", "路远，天又黑", "他没有停下"),
        ("如果明天下雨，我们就留在家里。", "condition", "如果…就", "明天下雨", "我们留在家里"),
        ("如果明天下雨的话，那么我们就留在家里。", "condition", "如果…那么", "明天下雨", "我们留在家里"),
        ("只有天气好了，大家才能出海。", "condition", "只有…才能", "天气好了", "大家出海"),
        ("即使天气不好，大家也要出海。", "concession", "即使…也", "天气不好", "大家要出海"),
        ("他不但会画画，而且会写古诗。", "conjunction", "不但…而且", "他会画画", "会写古诗"),
        ("这里既能看山景，又能看海景。", "conjunction", "既…又", "这里能看山景", "能看海景"),
        ("他喜欢吃水果，例如苹果和香蕉。", "example", "例如", "他喜欢吃水果", "苹果和香蕉"),
        ("先把水烧开，然后放入面条。", "temporal", "然后", "先把水烧开", "放入面条"),
        ("为了早点到家，他坐了飞机。", "purpose", "为了…", "早点到家", "他坐了飞机"),
        ("把药放高一点，以免孩子拿到。", "purpose", "以免", "把药放高一点", "孩子拿到"),
        ("我们要么坐船去，要么坐火车去。", "alternative", "要么…要么", "我们坐船去", "坐火车去"),
        ("这里几乎不下雨，也就是说，没有农田。", "restatement", "也就是说", "这里几乎不下雨", "没有农田"),
        ("他很累。但如果你去，他就陪你去。", "condition", "如果…就", "你去", "他陪你去"),
        ("路不远，走路就到。尽管如此，他叫了车。", "contrast", "尽管如此", "路不远，走路就到", "他叫了车"),
    ],
)
def test_pairs(text, relation, connective, arg1, arg2):
    limits = {"least": 2} if len(arg1) < 4 else {}
    assert (relation, connective, arg1, arg2) in mine(text, **limits)


@pytest.mark.parametrize(
    "text",
    [
        "他们是朋友。同时代的人都认识他们。",
        "他走得很快，不过三分钟就到了门口。",
        "我们住在山下，但愿明天不会下雨。",
        "为了解真相，他查了三天的资料。",
        "他走了。结果表明这条路是对的。",
        "他们年轻时住在乡下，相反的方向有一座城。",
        "另外一个人也来到了这座城市。",
        "这是一个地方，若干年以后才有人来。",
        "他来过这里，此后的事情没有人知道。",
    ],
)
def test_what_only_looks_like_a_connective_gives_no_pair(text):
    assert mine(text) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("但是他走着去车站。", "no argument"),
        ("车站很远。\n但是他走着去。", "no argument"),
        ("他还没有走远，可是。", "no second argument"),
        ("车站很远，但是累。", "too short"),
        ("如果你明天要来这里。", "no second half"),
        ("我们很想去，但是朋友们说如果下雨我们走不了。", "another connective left"),
        ("为了解真相，他查了三天的资料。", "part of another word"),
        ("车站很远，不过三公里的路。", "ambiguous"),
        ("车站很远，但是" + "他走着去" * 20 + "。", "too long"),
    ],
)
def test_what_is_not_taken_is_counted_with_its_reason(text, reason):
    assert reason in skipped(text)


def test_the_adverbs_of_pairs_go_whatever_the_relation():
    # Left in one relation and taken from the others, 就 and 也 would say which it is.
    for connective in ("因此", "但是", "例如", "然后", "此外"):
        ((*_, arg2),) = mine(f"老人们年年在河边种树，{connective}年轻人也就跟着去种树。")
        assert arg2 == "年轻人跟着去种树"
    assert mine("城里开了工厂，因此就业的人多了。")[0][3] == "就业的人多了"


def test_arguments_stay_in_the_quote_of_their_connective():
    text = "他对朋友说：“路很远。但是我走着去。”说完，他出了门。"
    assert mine(text, least=3) == [("contrast", "但是", "路很远", "我走着去")]
    assert mine("他喜欢读《红楼梦》，但是没有读完它。")[0][2] == "他喜欢读《红楼梦》"


def test_arguments_end_where_another_connective_begins_a_clause():
    pairs = mine("昨夜下了大雨，因此路上全是水，但是孩子们很高兴。")
    assert pairs == [
        ("result", "因此", "昨夜下了大雨", "路上全是水"),
        ("contrast", "但是", "路上全是水", "孩子们很高兴"),
    ]


def test_hard_wrapped_lines_give_no_cut_arguments():
    line = "这一行的文字很长很长很长很长很长很长很长很长"
    assert mine(f"{line}，但是后面的文字还没有\n写完。") == []
    assert mine(f"{line}，但是后面的文字还没有写完。") != []


def test_where_the_second_side_begins():
    texts = ["", "车站很远，但是他走着去。", "如果明天下雨，我们就留在家里。"]
    found = miner().find(texts, Counter())
    assert [(number, texts[number][pair.at :][:4]) for number, pair in found] == [(1, "但是他走"), (2, "我们就留")]


def sample():
    path = resources.sample() / "discourse.jsonl"
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_batch_gives_what_its_texts_give():
    texts, together, apart = sample(), Counter(), Counter()
    whole = miner().find(texts, together)
    single = [(n, pair) for n, text in enumerate(texts) for _, pair in miner().find([text], apart)]
    assert whole == single
    assert together == apart


def test_most_sentences_of_the_sample_give_their_relation():
    found = miner(least=6).find(sample(), Counter())
    counts = Counter(pair.relation for _, pair in found)
    assert len(found) >= 80
    assert all(counts[name] >= 9 for name in set(RELATIONS) - {"result", "contrast", "temporal"})


CLAUSES = [
    "天气变冷了",
    "孩子们在院子里玩",
    "老人（七十岁）坐着",
    "他说“我不去”",
    "水已经烧开",
    "2,000人来了",
    "",
    "a b",
]
WORDS = sorted(set(parse(read_text()).entries) | CORRELATIVES)


@given(
    st.lists(
        st.tuples(st.sampled_from([*WORDS, ""]), st.sampled_from(CLAUSES), st.sampled_from("，。；：！\n”")), max_size=8
    )
)
def test_no_connective_and_no_mark_is_left_at_the_rims(parts):
    text = "".join(map("".join, parts))
    for _, pair in miner().find([text], Counter()):
        assert pair.relation in RELATIONS
        assert text[pair.at :]
        for argument in (pair.arg1, pair.arg2):
            assert 4 <= len(argument) <= 60
            assert argument == argument.strip(" ，。；：！\n")
            assert not miner().inventory.telling.search(argument)
        assert pair.arg2[:1] not in {"就", "才", "也", "都", "却"}
