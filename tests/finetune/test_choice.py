import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForMultipleChoice, AutoTokenizer

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import Chooser
from ernie_pipe.finetune.choice import around
from ernie_pipe.finetune.choice_files import read_choices
from ernie_pipe.finetune.commands import evaluate, finetune, predict
from tests.finetune.toys import FAST, choices

ASKED = {"context": "她住。", "question": "在", "choices": ["喜欢", "上海", "糟糕"]}
IDS = st.lists(st.integers(0, 9), max_size=12)


def tokens_of(head, example):
    (feature,) = head.features(read_choices([example]))
    return [head.tokenizer.convert_ids_to_tokens(ids) for ids in feature["input_ids"]], feature


def test_it_learns_with_two_to_four_choices(chooser):
    assert chooser.metrics["dev"]["accuracy"] == 1.0
    assert {len(row["choices"]) for row in choices()} == {2, 3, 4}
    (answer,) = chooser.predict([ASKED])
    assert (answer["answer"], answer["index"], len(answer["scores"])) == ("上海", 1, 3)
    assert answer["score"] == max(answer["scores"])
    assert sum(answer["scores"]) == pytest.approx(1)
    assert chooser.predict([]) == []


def test_padded_choices_change_neither_loss_nor_answers(encoder_folder):
    head = Chooser.from_pretrained(encoder_folder, **FAST)
    torch.manual_seed(0)
    head.model = head.start(["choice"]).eval()
    collate = head.collator()
    two, four = (head.features(read_choices([row]))[0] for row in (choices()[0], choices()[2]))
    with torch.inference_mode():
        alone = [head.model(**collate([feature])) for feature in (two, four)]
        both = head.model(**collate([two, four]))
    assert both["logits"].shape == (2, 4)
    torch.testing.assert_close(both["logits"][0, :2], alone[0]["logits"][0])
    torch.testing.assert_close(both["loss"], (alone[0]["loss"] + alone[1]["loss"]) / 2)
    assert both["logits"].softmax(-1)[0, 2:].tolist() == [0, 0]


def test_an_input_is_context_then_question_and_choice(chooser):
    rows, feature = tokens_of(chooser, {**ASKED, "answer": 1})
    assert rows[1] == ["[CLS]", "她", "住", "。", "[SEP]", "在", "上", "海", "[SEP]"]
    assert feature["token_type_ids"][1] == [0] * 5 + [1] * 4
    assert feature["labels"] == 1


def test_a_long_context_is_cut_and_nothing_else(chooser, said):
    rows, _ = tokens_of(chooser, {**ASKED, "context": "书" * 99, "choices": ["喜欢", "哈尔滨糟糕极了"], "answer": 0})
    assert "1 of 1 contexts are cut to fit 32 tokens" in said()
    assert rows[1][-9:] == ["在", *"哈尔滨糟糕极了", "[SEP]"]
    # Both choices see as much of the context as the longer one leaves room for.
    assert [row.count("书") for row in rows] == [21, 21]
    assert max(map(len, rows)) == 32
    with pytest.raises(InputError, match=r"data\[0\]: question and choice have 31 tokens where max_tokens 32 has room"):
        chooser.evaluate([{**ASKED, "choices": ["书" * 30, "好"], "answer": 0}])


def test_a_blank_is_masks_in_its_context_and_other_blanks_are_none(chooser):
    context = "他#idiom1#很好，她#idiom2#。"
    second = {"context": context, "blank": (13, 21), "choices": ["好", "喜欢书"], "answer": 0}
    assert context[13:21] == "#idiom2#"
    rows, _ = tokens_of(chooser, second)
    assert rows[0] == ["[CLS]", *"他", "[UNK]", *"很好，她", *["[MASK]"] * 3, "。", "[SEP]", "好", "[SEP]"]
    rows, _ = tokens_of(chooser, {**second, "context": "书" * 60 + context, "blank": (73, 81)})
    assert {"[MASK]", "。"} <= set(rows[1])
    assert max(map(len, rows)) == 32


@given(IDS, st.integers(1, 4), IDS, st.integers(4, 30))
def test_what_is_kept_lies_around_the_blank_and_fills_the_room(left, size, right, room):
    hole = [-1] * size
    kept = around(left, hole, right, room)
    assert len(kept) == min(room, len(left) + size + len(right))
    place = kept.index(-1)
    assert left[len(left) - place :] == kept[:place]
    assert kept[place : place + size] == hole
    assert right[: len(kept) - place - size] == kept[place + size :]
    assert around(left, [], right, room) == (left + right)[:room]


def test_save_and_load_answer_the_same_to_the_bit_and_stock_classes_agree(chooser, tmp_path):
    chooser.save(tmp_path / "out")
    assert Chooser.from_pretrained(tmp_path / "out").predict([ASKED]) == chooser.predict([ASKED])
    model = AutoModelForMultipleChoice.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    endings = [ASKED["question"] + choice for choice in ASKED["choices"]]
    batch = tokenizer([ASKED["context"]] * 3, endings, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**{name: value.unsqueeze(0) for name, value in batch.items()}).logits
    assert logits[0].softmax(-1).tolist() == pytest.approx(chooser.predict([ASKED])[0]["scores"], abs=1e-5)


def test_the_three_commands_work_on_c3_json(encoder_folder, tmp_path, write, capsys):
    dialogues = [[[row["context"]], [{**row, "choice": row["choices"]}], str(i)] for i, row in enumerate(choices())]
    data = str(write("c3.json", json.dumps(dialogues, ensure_ascii=False)))
    out, flags = str(tmp_path / "out"), [f"--set={key}={value}" for key, value in FAST.items()]
    finetune(["choice", "--model", str(encoder_folder), "--train", data, "--dev", data, "--output", out, *flags])
    assert evaluate(["--model", out, "--data", data]) == 0
    assert "accuracy" in capsys.readouterr().out
    blank = {"context": " ", "question": "", "choices": ["好", "坏"]}
    inputs = write("in.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in (ASKED, {**blank, "id": 7})))
    predict(["--model", out, "--input", str(inputs), "--output", str(tmp_path / "a.jsonl")])
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (rows[0]["answer"], rows[0]["question"]) == ("上海", "在")
    assert rows[1] == {"id": "7", "question": ""}


@pytest.mark.parametrize("items", ["在", ASKED, ["在"], [{**ASKED, "choices": "好"}]])
def test_other_inputs_are_refused(chooser, items):
    with pytest.raises(InputError, match=r"takes a list|expected a dict|no list of strings `choices`"):
        chooser.predict(items)


def test_the_report_lists_the_worst(chooser):
    rows = [*choices(), {**ASKED, "answer": "糟糕"}]
    scores = chooser.evaluate(rows)
    assert scores["accuracy"] == pytest.approx(18 / 19)
    assert scores["chance"] == pytest.approx((6 / 2 + 6 / 3 + 6 / 4 + 1 / 3) / 19)
    (error,) = chooser.reports["data"]["worst"]
    assert (error["where"], error["gold"], error["predicted"]) == ("data[18]", "糟糕", "上海")
