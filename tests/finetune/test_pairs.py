import pytest

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.data import Columns
from ernie_pipe.finetune.pairs import read_pair_inputs, read_pairs


@pytest.mark.parametrize(
    "content",
    [
        "text_a\ttext_b\tlabel\n水开了\t水滚了\t1\n天晴\t天黑\t0\n",
        "水开了\t水滚了\t1\n天晴\t天黑\t0\n",
        "1\t水开了\t水滚了\n0\t天晴\t天黑\n",
        "long-source-0001||水开了||水滚了||1\nlong-source-0002||天晴||天黑||0\n",
        'query,title,label\n"水开了",水滚了,1\n天晴,天黑,0\n',
        '{"sentence1": "水开了", "sentence2": "水滚了", "label": 1, "id": 7}\n'
        '{"sentence1": "天晴", "sentence2": "天黑", "label": "0", "id": 8}\n',
    ],
)
def test_pairs_of_the_field_read_alike(write, said, content):
    found = read_pairs(write("a", content))
    assert [(pair.first, pair.second, pair.label) for pair in found] == [
        ("水开了", "水滚了", "1"),
        ("天晴", "天黑", "0"),
    ]
    assert "2 examples" in said()
    assert read_pair_inputs(write("b", content)) == [("水开了", "水滚了"), ("天晴", "天黑")]


def test_an_empty_second_text_is_a_cell_of_its_own(write):
    assert read_pair_inputs(write("a.tsv", "好\t\n好\t坏\n")) == [("好", ""), ("好", "坏")]


def test_pairs_without_label_or_text_are_counted(write, said):
    rows = "premise\thypothesis\tlabel\n水\t火\t-\n水\t \t1\n水\t冰\t1\n"
    assert len(read_pairs(write("a.tsv", rows))) == 1
    assert "1 × a pair without an agreed label, skipped, first at" in said()
    assert "1 × a pair with an empty text, skipped" in said()
    assert len(read_pairs([{"text_a": "水", "text_b": "火", "label": label} for label in (None, 2)])) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("".join(f"问{i}\t好{i}\t坏{i}\n" for i in range(30)), "no column looks like a label: `column 3` has 30"),
        ("".join(f"{i}\t好{i}\t坏{i}\n" for i in range(30)), "no column looks like a label: `column 1` has 30"),
        ("问\t答\n", "no column for a label beside two texts"),
        ("问\n", "one column: a pair needs two texts"),
        ("text\tlabel\n问\t1\n", "no two texts among text, label"),
        ("text_a\ttext_b\n问\t答\n", "no label column among text_a, text_b"),
    ],
)
def test_what_is_no_pair_is_refused(write, content, message):
    with pytest.raises(InputError, match=message):
        read_pairs(write("a.tsv", content))


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ("how do i {i} a cat\twhat is the way to {i} a cat\t{k}", (0, 1, 2)),
        ("a-very-long-source-of-one-article-{i:09}\thow to {i} a cat\tthe way to {i} a cat\t{k}", (1, 2, 3)),
        ("{i} cats\tcats {i}\tthis-pair-is-a-paraphrase-{k}", (0, 1, 2)),
        ("水{i}\t冰{i}\t完全不一样的意思{k}", (0, 1, 2)),
        ("这是第{i}个问题，问什么呢\t好\t标签{k}", (0, 1, 2)),
        ("{k}\t问题{h}\t标题{h}很好", (1, 2, 0)),
        ("同一个来源\t问题{i}是什么\t问什么{i}\t{k}", (1, 2, 3)),
    ],
)
def test_columns_without_a_header_are_told_by_what_they_hold(write, row, columns):
    lines = [row.format(i=i, k=i % 2, h=i // 5) for i in range(10)]
    (pair, *_) = read_pairs(write("a.tsv", "\n".join(lines)))
    assert (pair.first, pair.second, pair.label) == tuple(lines[0].split("\t")[place] for place in columns)


def test_a_third_column_of_text_is_refused_and_can_be_named(write):
    path = write("a.tsv", "".join(f"标题{i}\t摘要{i}\t词语{i}\t{i % 2}\n" for i in range(10)))
    with pytest.raises(InputError, match="column 1, column 2, column 3 may all be texts: say which by --set"):
        read_pairs(path)
    (pair, *_) = read_pairs(path, columns=Columns("column 1", "column 3", "column 4"))
    assert (pair.first, pair.second, pair.label) == ("标题0", "词语0", "0")


def test_scores_may_all_differ(write):
    rows = "".join(f"句{i}\t子{i}\t{i / 7:.3f}\n" for i in range(30))
    assert len(read_pairs(write("a.tsv", rows))) == 30


def test_columns_are_chosen_by_name(write):
    path = write("a.tsv", "text_a\ttext_b\tSense\tlabel\n好\t坏\tx\ty\n")
    (pair,) = read_pairs(path, columns=Columns(text="text_b", second="text_a", label="Sense"))
    assert (pair.first, pair.second, pair.label) == ("坏", "好", "x")
    for columns, message in [
        (Columns(label="class"), "no label column `class`: there are text_a, text_b, sense, label"),
        (Columns(text="text_a"), "name both, or neither"),
        (Columns(text="label", second="label"), "are both `label`"),
        (Columns(text="text_a", second="label"), "`label` is to be a text and the label"),
    ]:
        with pytest.raises(InputError, match=message):
            read_pairs(path, columns=columns)
