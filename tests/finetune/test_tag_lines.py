import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.entities import read_tagging, read_tagging_inputs

WORDS = [[("他", "WORD"), ("在", "WORD"), ("哈尔滨", "WORD")], [("很", "WORD"), ("好", "WORD")]]


def found(examples):
    return [[(e.text[s.start : s.end], s.type) for s in e.entities] for e in examples]


@pytest.mark.parametrize(
    "content",
    [
        "他  在  哈尔滨  \n很  好\n",
        "他 在 哈尔滨\r\n\r\n很\u3000好",
        "他 S\n在 S\n哈 B\n尔 M\n滨 E\n\n很 S\n好 S\n",
        "他\tB\n在\tB\n哈\tB\n尔\tI\n滨\tI\n\n很\tB\n好\tB\n",
    ],
)
def test_words_are_read_from_every_form_of_segmentation(write, said, content):
    examples = read_tagging(write("words", content))
    assert [example.text for example in examples] == ["他在哈尔滨", "很好"]
    assert found(examples) == WORDS
    assert "WORD" in said()


@pytest.mark.parametrize(
    "content",
    ["他/r 在/p [哈尔滨/ns 师范/n 大学/n]nt\n很/d\n", "他 r\n在 p\n哈尔滨 ns\n师范 n\n大学 n\n\n很 d\n"],
)
def test_parts_of_speech_are_spans_of_their_words(write, content):
    assert found(read_tagging(write("pos", content))) == [
        [("他", "r"), ("在", "p"), ("哈尔滨", "ns"), ("师范", "n"), ("大学", "n")],
        [("很", "d")],
    ]


def test_a_slash_may_stand_in_a_word(write):
    assert found(read_tagging(write("pos", "1/2/m 的/u\n"))) == [[("1/2", "m"), ("的", "u")]]


def test_bare_tags_with_an_o_are_spans(write):
    assert found(read_tagging(write("a", "哈 B\n尔 I\n滨 I\n好 O\n"))) == [[("哈尔滨", "SPAN")]]


def test_words_may_end_with_the_letter_o(write):
    examples = read_tagging(write("a", "他 的 血型 是 O\n我 的 血型 是 A\n她 的 呢\n"))
    assert found(examples)[0][-1] == ("O", "WORD")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("这是没有切分的一行文字，很长很长。 只有一个空格\n", "a:1: no tag in 2 columns: give a token"),
        ("他\t在 哈尔滨\n", "a:1: no tag in 3 columns"),
        ("他去过很多很多好地方。\tgood\n", "a:1: no tag in 2 columns"),
        ("他 O\n在 B-LOC\n北 LOC\n", "a:3: tag 'LOC' is none of"),
    ],
)
def test_what_is_no_form_is_said_with_its_line(write, content, message):
    with pytest.raises(InputError, match=message):
        read_tagging(write("a", content))


def test_a_late_line_without_pos_names_itself(write):
    with pytest.raises(InputError, match="a:301: `哈尔滨` is not word/POS"):
        read_tagging(write("a", "好/a 的/u\n" * 300 + "哈尔滨 很/d\n"))


def test_tokens_of_python_take_parts_of_speech_too():
    rows = [{"tokens": ["他", "在"], "pos_tags": ["PN", "VV"]}]
    assert found(read_tagging(rows)) == [[("他", "PN"), ("在", "VV")]]


CLUENER = """{
    "text": "他在哈尔滨，哈尔滨很冷",
    "label": {
        "address": {
            "哈尔滨": [[2, 4], [6, 8]]
        }
    }
}
{"text": "好", "label": {}}
"""
DOCCANO = """{"id": 1, "text": "他在哈尔滨", "label": [[2, 5, "address"]]}
{"id": 2, "text": "好", "label": []}
"""
NEW_DOCCANO = (
    '{"text": "他在哈尔滨", "entities": [{"id": 7, "label": "address", "start_offset": 2, "end_offset": 5}]}\n'
)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (CLUENER, [["哈尔滨", "哈尔滨"], []]),
        (CLUENER.replace("\n", "").replace("}{", "}\n{"), [["哈尔滨", "哈尔滨"], []]),
        (DOCCANO, [["哈尔滨"], []]),
        (NEW_DOCCANO, [["哈尔滨"]]),
    ],
)
def test_spans_in_the_forms_of_others(write, said, content, names):
    examples = read_tagging(write("a", content))
    assert found(examples) == [[(name, "address") for name in row] for row in names]
    assert "spans in `" in said()


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ('{"address": {"哈尔": [[2, 4]]}}', "is '哈尔滨' in its text"),
        ('{"address": [[2, 4]]}', "`address` must hold"),
        ('{"address": {"哈尔滨": [2, 4]}}', "`address` must hold"),
        ('[[2, 9, "address"]]', "outside its text"),
        ("[[2, 5]]", "needs start, end and type"),
    ],
)
def test_spans_that_do_not_fit_are_refused(write, label, message):
    with pytest.raises(InputError, match=message):
        read_tagging(write("a", f'{{"text": "他在哈尔滨", "label": {label}}}\n'))


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("他 O\n在 O\n\n好 O\n", ["他在", "好"]),
        ("他\n在\n\n好\n的\n", ["他在", "好的"]),
        ("他在\n\n好\n", ["他在", "", "好"]),
        ("他 在 哪里\n好\n", ["他 在 哪里", "好"]),
        ('{"tokens": ["他", "在"]}\n', ["他在"]),
        ('{"text": "他在"}\n', ["他在"]),
        ("text\tlabel\n" + "他去过很多很多好地方。\tgood\n" * 2, ["他去过很多很多好地方。"] * 2),
    ],
)
def test_inputs_are_texts_labelled_or_not(write, content, texts):
    assert read_tagging_inputs(write("a", content)) == texts


@given(st.lists(st.lists(st.text("哈尔滨很好的a1", min_size=1, max_size=4), min_size=2), min_size=1))
def test_cut_words_come_back_whole(tmp_path_factory, sentences):
    path = tmp_path_factory.mktemp("words") / "a"
    path.write_text("".join("  ".join(words) + "\n" for words in sentences), encoding="utf-8")
    examples = read_tagging(path)
    assert [[name for name, _ in row] for row in found(examples)] == sentences
