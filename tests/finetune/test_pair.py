import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import pipeline

from ernie_pipe import resources
from ernie_pipe.errors import InputError
from ernie_pipe.finetune import PairClassifier
from ernie_pipe.finetune.commands import evaluate, finetune, predict
from ernie_pipe.finetune.pair import fair_lengths
from tests.finetune.toys import FAST, verdicts

ONE = FAST | {"epochs": 1}
PAIRS = [("书真好。", "书很坏。"), ("菜糟糕。", "菜好极了。"), ("[SEP]好", "书[MASK]很坏。")]


def test_it_learns_which_text_is_which(pair_head):
    assert pair_head.metrics["dev"]["accuracy"] == 1.0
    assert [answer["label"] for answer in pair_head.predict(PAIRS)[:2]] == ["bad", "good"]
    assert pair_head.predict([]) == []


def test_the_stock_pipeline_gives_the_same_answers(pair_head, tmp_path):
    pair_head.save(tmp_path / "out")
    stock = pipeline("text-classification", model=str(tmp_path / "out"))
    items = [{"text": first, "text_pair": second} for first, second in PAIRS]
    for item, answer in zip(items, pair_head.predict(items), strict=True):
        expected = stock(item)
        assert answer["label"] == expected["label"]
        assert answer["score"] == pytest.approx(expected["score"], abs=1e-5)


def test_a_saved_head_answers_as_before(pair_head, tmp_path):
    pair_head.save(tmp_path / "out")
    loaded = PairClassifier.from_pretrained(tmp_path / "out")
    assert loaded.predict(PAIRS) == pair_head.predict(PAIRS)
    assert json.loads((tmp_path / "out" / "ernie_pipe.json").read_text(encoding="utf-8"))["task"] == "pair"


@given(st.integers(0, 40), st.integers(1, 40))
def test_pairs_are_cut_as_the_tokenizer_cuts_them(pair_head, first, second):
    texts = "好" * first, "坏" * second
    (feature,), cut = pair_head.inputs([texts])
    expected = pair_head.tokenizer(*texts, truncation="longest_first", max_length=32)
    assert feature["input_ids"] == expected["input_ids"]
    assert feature["token_type_ids"] == expected["token_type_ids"]
    assert cut == (first + second + 3 > 32)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(2, 200))
def test_no_text_loses_more_than_it_must(first, second, capacity):
    a, b = fair_lengths(first, second, capacity)
    assert a + b == min(first + second, capacity)
    # A text that is cut is not the shorter one, up to the odd token.
    assert a == first or a >= b - 1
    assert b == second or b >= a - 1


def test_long_pairs_are_counted_and_said(pair_head, said):
    pair_head.predict([("书很坏。" * 5, "菜真好。" * 5), ("好", "坏")])
    assert "1 of 2 pairs are cut to 32 tokens" in said()


def test_swapping_teaches_both_orders(encoder_folder, said):
    head = PairClassifier.from_pretrained(encoder_folder, **ONE | {"swap": True})
    rows = [
        {"text_a": "书好", "text_b": "书坏", "label": "entailment"},
        {"text_a": "书", "text_b": "书", "label": "neutral"},
    ]
    head.fit(rows)
    examples = head.read(rows, "train")
    features = head.features(examples)
    swapped = head.inputs([("书坏", "书好")])[0][0]
    assert [item["labels"] for item in features] == [0, 1, 0]
    assert features[2]["input_ids"] == swapped["input_ids"]
    assert "swap: entailment has a direction" in said()
    assert "swap: 1 pair learnt in both orders" in said()


def test_grades_are_a_regression(encoder_folder, said):
    rows = [{"sentence1": "书好", "sentence2": "书" * (i + 1), "score": i} for i in range(6)]
    head = PairClassifier.from_pretrained(encoder_folder, **ONE)
    result = head.fit(rows, dev=rows)
    assert "problem: regression (labels are the grades 0 to 5)" in said()
    assert result["dev"].keys() == {"spearman", "pearson", "mean_error", "examples", "cut"}
    assert head.reports["dev"]["intervals"].keys() == {"spearman", "pearson"}


def test_the_commands_read_and_answer_pairs(encoder_folder, write, tmp_path, capsys):
    table = "".join(f"{row['text_a']}\t{row['text_b']}\t{row['label']}\n" for row in verdicts())
    data, out = str(write("a.tsv", table)), str(tmp_path / "out")
    argv = ["pair", "--model", str(encoder_folder), "--train", data, "--dev", data, "--output", out]
    finetune([*argv, "--epochs", "1", "--set", "max_tokens=32", "--set", "swap=true"])
    evaluate(["--model", out, "--data", data])
    assert "data, right label by row" in capsys.readouterr().out
    texts = str(write("b.jsonl", '{"text_a": "好", "text_b": "坏"}\n{"text_a": " ", "text_b": "坏"}\n'))
    predict(["--model", out, "--input", texts, "--output", str(tmp_path / "c.jsonl")])
    rows = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[0].keys() == {"text", "text_pair", "label", "score"}
    assert rows[1] == {"text": " ", "text_pair": "坏"}


@pytest.mark.parametrize("texts", ["好", ["好"], [("好", "坏", "x")], [("好", 3)], [{"text": "好"}], {"text": "好"}])
def test_what_is_no_pair_is_refused(pair_head, texts):
    with pytest.raises(InputError, match="predict takes"):
        pair_head.predict(texts)


def test_an_unseen_label_is_named_with_its_line(encoder_folder, write):
    train, dev = write("a.tsv", "好\t坏\t1\n好\t好\t0\n"), write("b.tsv", "好\t坏\t1\n\n好\t好\t2\n")
    with pytest.raises(InputError, match=r"b\.tsv:3: unknown label `2`: the training data has 0, 1"):
        PairClassifier.from_pretrained(encoder_folder).fit(train, dev=dev)


def test_the_sample_is_read(encoder_folder, said):
    head = PairClassifier.from_pretrained(encoder_folder)
    for name, count in [("train", 100), ("dev", 24), ("test", 30)]:
        assert len(head.read(resources.sample() / "pairs" / f"{name}.tsv", name)) == count
    assert "×" not in said()
