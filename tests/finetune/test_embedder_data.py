import pytest

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.data import Columns
from ernie_pipe.finetune.embedder_data import (
    check_scorable,
    choose,
    kind_of,
    likeness,
    read_inputs,
    read_sentences,
    targets,
)

GRADED = [{"text_a": "甲", "text_b": "乙", "score": score} for score in (0, 2.5, 5)]
BINARY = [{"text_a": "甲", "text_b": "乙", "label": label} for label in (0, 1)]
NLI = [
    {"premise": "甲", "hypothesis": "乙", "label": label} for label in ("entailment", "neutral", "contradiction", "-")
]
PAIRS = [{"anchor": "甲", "positive": "乙"}]
TRIPLETS = [{"anchor": "甲", "positive": "乙", "negative": "丙"}]


@pytest.mark.parametrize(
    ("rows", "kind", "objective"),
    [
        (GRADED, "graded", "cosine"),
        (BINARY, "binary", "cosine"),
        (NLI, "classes", "classification"),
        (PAIRS, "pairs", "ranking"),
        (TRIPLETS, "triplets", "triplet"),
    ],
)
def test_the_data_decides_the_objective_and_it_is_said(rows, kind, objective, said):
    examples = read_sentences(rows, "train")
    assert kind_of(examples) == kind
    assert choose("auto", examples) == objective
    assert f"objective: {objective}, for " in said()


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        (["你好\t您好\t4.5", "再见\t您好\t0"], "graded"),
        (["你好\t您好\t1", "再见\t您好\t0"], "binary"),
        (["你好\t您好", "再见\t再会"], "pairs"),
        (["你好\t您好\t再见", "再见\t再会\t你好"], "triplets"),
        (["你好\t您好\tEntailment", "再见\t你好\tcontradiction"], "classes"),
        (["你好\t您好\t同", "再见\t你好\t异"] * 3, "classes"),
        (["anchor\tpositive\tnegative", "你好\t您好\t再见"], "triplets"),
        (["query\ttitle", "你好\t您好"], "pairs"),
    ],
)
def test_tables_with_and_without_a_header(lines, kind, write):
    examples = read_sentences(write("a.tsv", "\n".join(lines)))
    assert kind_of(examples) == kind
    assert examples[0].texts[:2] == ("你好", "您好")


def test_empty_texts_and_missing_agreement_are_counted(said):
    assert len(read_sentences(NLI, "train")) == 3
    assert "1 × a pair without an agreed label, skipped, first at train[3]" in said()
    assert len(read_sentences([*PAIRS, {"anchor": "甲", "positive": " "}], "train")) == 1
    assert "1 × an empty text, skipped, first at train[1]" in said()


def test_columns_of_other_names_are_taken_when_named():
    rows = [{"问": "甲", "答": "乙", "分": 3}]
    with pytest.raises(InputError, match="no two texts among 问, 答, 分"):
        read_sentences(rows)
    (example,) = read_sentences(rows, given=Columns("问", "答", "分"))
    assert (example.texts, example.label) == (("甲", "乙"), "3")


def test_several_labels_are_refused():
    with pytest.raises(InputError, match=r"data\[0\]: several labels"):
        read_sentences([{"text_a": "甲", "text_b": "乙", "label": ["x", "y"]}])


def test_numbers_become_cosines_from_0_to_1(said):
    assert [target for _, target in targets("cosine", read_sentences(GRADED), [], aloud=True)] == [0, 0.5, 1]
    assert "labels from 0 to 5 are cosines from 0 to 1" in said()
    assert [target for _, target in targets("cosine", read_sentences(BINARY), [])] == [0, 1]
    low = read_sentences([{**GRADED[0], "score": score} for score in (0.2, 0.4)])
    assert [target for _, target in targets("cosine", low, [])] == [0.2, 0.4]
    assert likeness(read_sentences(NLI)) == [1, 0.5, 0]


def test_classes_become_ids():
    labels = ["contradiction", "entailment", "neutral"]
    assert [target for _, target in targets("classification", read_sentences(NLI), labels)] == [1, 2, 0]


def test_in_batch_negatives_learn_from_pairs_alike_and_count_the_rest(said):
    chosen = targets("ranking", read_sentences(NLI, "train"), [], aloud=True)
    assert [example.label for example, _ in chosen] == ["entailment"]
    assert "train: 2 × a pair not alike, left out" in said()
    with pytest.raises(InputError, match="no pair is alike"):
        targets("ranking", read_sentences(BINARY[:1]), [])


@pytest.mark.parametrize(
    ("objective", "rows"),
    [("triplet", BINARY), ("cosine", TRIPLETS), ("classification", PAIRS), ("ranking", GRADED)],
)
def test_an_objective_that_the_data_is_not_for_is_refused(objective, rows):
    with pytest.raises(InputError, match=rf"data\[0\]: .* are not for the objective {objective}: leave it at auto"):
        choose(objective, read_sentences(rows))


def test_one_label_for_all_and_classes_without_an_order_cannot_be_scored():
    with pytest.raises(InputError, match="every label is `1`: there is nothing to compare"):
        check_scorable(read_sentences(BINARY[1:]))
    with pytest.raises(InputError, match=r"every label is `1`: .* for the objective ranking"):
        targets("cosine", read_sentences(BINARY[1:]), [])
    topics = [{**BINARY[0], "label": label} for label in ("体育", "财经")]
    with pytest.raises(InputError, match="label `体育` says not how alike"):
        check_scorable(read_sentences(topics))
    check_scorable(read_sentences(TRIPLETS))


def test_inputs_are_pairs_where_there_are_two_columns_of_texts(write):
    assert read_inputs(write("a.txt", "你好，再见\n\n好, 很好\n")) == ["你好，再见", "", "好, 很好"]
    assert read_inputs(write("b.tsv", "你好\t您好\t1\n再见\t您好\t0\n")) == [("你好", "您好"), ("再见", "您好")]
    assert read_inputs(write("c.csv", "text_a,text_b\n你好,\n")) == [("你好", "")]
    assert read_inputs(write("d.jsonl", '{"text": "你好"}\n')) == ["你好"]
    assert read_inputs(write("e.jsonl", '{"x": "你", "y": "好"}\n'), Columns("x", "y")) == [("你", "好")]
