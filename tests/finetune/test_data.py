import pytest

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.data import (
    Columns,
    check_labels,
    encodable,
    is_blank,
    label_order,
    read_classification,
    read_texts,
)


def pairs(examples):
    return [(example.text, example.label) for example in examples]


@pytest.mark.parametrize(
    "content",
    [
        "label\ttext_a\n1\t很好\n0\t很坏\n",
        "很好\t1\n很坏\t0\n",
        "1\t很好\n0\t很坏\n",
        "review,label\n很好,1\n很坏,0\n",
        '{"sentence": "很好", "label": 1}\n{"sentence": "很坏", "label": "0"}\n',
    ],
)
def test_the_forms_of_the_field_read_alike(write, said, content):
    path = write("train", content)
    assert pairs(read_classification(path)) == [("很好", "1"), ("很坏", "0")]
    assert str(path) in said()
    assert "2 examples" in said()


def test_empty_texts_are_counted_and_the_rest_is_kept_as_it_is(write, said):
    examples = read_classification(write("a.tsv", "text\tlabel\n 好 \t1\n  \t0\n\t1\n"))
    assert pairs(examples) == [(" 好 ", "1")]
    assert "2 × an empty text" in said()
    assert "a.tsv:3" in said()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("comment\tlabel\n好\t1\n", "no text column among comment, label"),
        ("text\tclass\n好\t1\n", "no label column among text, class"),
        ("好\n坏\n", "no header and 1 column:"),
        ("text\tlabel\n好\t\n", "a:2: no label"),
        ("text\tlabel\n \t1\n", "no example is left"),
        ('{"text": 3, "label": 1}\n', "a:1: `text` must be a string"),
        ('{"text": "好", "label": null}\n', "a:1: no label"),
        ('{"text": "好", "label": [null]}\n', "a:1: `label` must be a list of labels"),
        ("text_a\ttext_b\tlabel\n好\t坏\t1\n", "two texts, `text_a` and `text_b`: use the task pair"),
        ("好\t坏\t1\n", "no header and 3 columns.*for the task pair"),
        ("".join(f"好{i}\t坏{i}\n" for i in range(30)), "no column looks like a label: `column 1` has 30"),
    ],
)
def test_mistakes_say_where_and_what(write, content, message):
    with pytest.raises(InputError, match=message):
        read_classification(write("a", content))


def test_several_labels_are_a_list_in_json_or_in_a_cell(write):
    content = '{"text": "好", "labels": ["a", 2, "a"]}\n{"text": "坏", "labels": []}\n'
    assert pairs(read_classification(write("a", content))) == [("好", ("a", "2")), ("坏", ())]
    assert pairs(read_classification(write("b", 'text\tlabel\n好\t["a"]\n坏\t[a]\n'))) == [
        ("好", ("a",)),
        ("坏", "[a]"),
    ]


def test_columns_are_chosen_by_name(write):
    path = write("a.tsv", "text_a\ttext_b\tSense\tlabel\n好\t坏\tx\ty\n")
    assert pairs(read_classification(path, columns=Columns(text="text_b", label="Sense"))) == [("坏", "x")]
    with pytest.raises(InputError, match="no label column `class`: there are text_a, text_b, sense, label"):
        read_classification(path, columns=Columns(text="text_a", label="class"))


def test_a_header_of_unknown_names_is_suspected_or_refused_and_can_be_named(write, said):
    rows = [f"第{i}条\t{i % 2}\n" for i in range(30)]
    path = write("a.tsv", "words\tclass\n" + "".join(rows))
    with pytest.raises(InputError, match=r"a\.tsv:1: `class` is no number.*--set label_column"):
        read_classification(path)
    found = read_classification(path, columns=Columns(text="words", label="Class"))
    assert (len(found), found[0].text) == (30, "第0条")
    assert read_texts(path, "words")[:2] == ["第0条", "第1条"]
    read_classification(write("b.tsv", "words\tclass\n" + "".join(row.replace("\t", "\tc") for row in rows)))
    assert "b.tsv:1: label `class` occurs once" in said()


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (float("nan"), "no label in `label`"),
        ("a\ud800", "half a character"),
        ("9" * 5000, "holds 5000 characters"),
    ],
)
def test_labels_that_cannot_be_meant(label, message):
    with pytest.raises(InputError, match=rf"data\[0\]: .*{message}"):
        read_classification([{"text": "好", "label": label}])


def test_what_stands_there_twice_is_told(said):
    rows = [("好", "1"), ("坏", "0"), ("好", "1"), ("好", "0")]
    assert len(read_classification([{"text": text, "label": label} for text, label in rows])) == 4
    assert "data: repeated texts: 2, all kept" in said()
    assert "data: repeated texts with another label than before: 1, first at data[3]" in said()


@pytest.mark.parametrize("text", ["", " \n", "\u3000", "\u200b\ufeff", "\x00", "\u2028\x85"])
def test_a_text_that_shows_nothing_is_blank(text):
    assert is_blank(text)
    assert not is_blank(f"{text}好")


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("很好，\n\n a\tb \n", ["很好，", "", " a\tb "]),
        ("id\ttext\n1\t好\n", ["好"]),
        ("\ntext\n好\n\n坏\n", ["好", "", "坏"]),
        ('{"text": "好"}\n', ["好"]),
        ("{不是 JSON}\n", ["{不是 JSON}"]),
    ],
)
def test_texts_to_predict(write, content, texts):
    assert read_texts(write("a", content)) == texts


def test_an_unknown_label_is_named_with_its_line():
    with pytest.raises(InputError, match=r"dev\.tsv:7: unknown label `2`: the training data has 0, 1"):
        check_labels([("0", "dev.tsv:6"), ("2", "dev.tsv:7")], ["1", "0"], "label")


def test_labels_are_ordered_by_value_or_name():
    assert label_order(["10", "9", "9"]) == ["9", "10"]
    assert label_order(["10", "9", "x"]) == ["10", "9", "x"]


def test_lone_surrogates_keep_positions():
    assert encodable("a\ud800😀b") == "a\ufffd😀b"
