import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import Reader, inference
from ernie_pipe.finetune.commands import evaluate, finetune, predict
from ernie_pipe.finetune.encoder import encode, load_tokenizer
from ernie_pipe.finetune.qa_files import Answer, Question
from ernie_pipe.finetune.qa_spans import Ranked, is_exact, token_span
from ernie_pipe.finetune.span_scores import log_sum
from tests.finetune.toys import CHARACTERS, FAST, questions

ODD = st.text(
    st.one_of(st.sampled_from(CHARACTERS + "北京[MASK] \u3000Ａ１A😀\u0301\u200d한İß\x00囧"), st.characters())
)


def asked(context, *answers, question="在书"):
    return Question("q", question, context, tuple(Answer(*answer) for answer in answers), "x: question q")


def test_it_learns_and_answers_in_the_context_s_own_positions(reader):
    assert reader.metrics["dev"]["em"] == 1.0
    context = " 她\u3000去过 哈尔滨。한"
    (answer,) = reader.predict([{"question": "在书", "context": context}])
    assert (answer["start"], answer["end"], answer["answer"]) == (6, 9, "哈尔滨")
    assert answer["nbest"][0] == {key: answer[key] for key in ("answer", "start", "end", "score")}
    assert 1 < len(answer["nbest"]) <= reader.settings.n_best
    assert answer["score"] == max(other["score"] for other in answer["nbest"])


@settings(max_examples=60)
@given(st.lists(st.tuples(ODD, ODD), min_size=1, max_size=4))
def test_answers_are_exact_substrings_of_any_context(reader, pairs):
    items = [{"question": question, "context": context} for question, context in pairs]
    for item, answer in zip(items, reader.predict(items), strict=True):
        for given_ in answer["nbest"]:
            assert item["context"][given_["start"] : given_["end"]] == given_["answer"] != ""
            assert 0 < given_["score"] <= 1
        places = [(given_["start"], given_["end"]) for given_ in answer["nbest"]]
        assert len(set(places)) == len(places)
        assert sum(given_["score"] for given_ in answer["nbest"]) <= 1 + 1e-5
        assert answer["answer"] == item["context"][answer["start"] : answer["end"]]


@given(ODD, st.integers(0, 20), st.integers(1, 6))
def test_tokens_to_learn_cover_the_answer_and_no_more(encoder_folder, context, start, size):
    text = context[start : start + size]
    (tokens,) = encode(load_tokenizer(encoder_folder), [context])
    example = asked(context, (text, start if text else None))
    span = token_span(tokens, example)
    if span is None:
        return
    covered = range(tokens.offsets[span[0]][0], tokens.offsets[span[1]][1])
    own = [i for left, right in tokens.offsets for i in range(left, right) if start <= i < start + len(text)]
    assert set(own) <= set(covered)
    inner = [tokens.offsets[i] for i in (span[0], span[1])]
    assert all(left < start + len(text) and right > start for left, right in inner)
    assert is_exact(tokens, example, span) == (context[covered.start : covered.stop] == text)


def test_a_long_context_is_read_in_windows_and_loses_nothing(reader, monkeypatch):
    context = "书很好。" * 15 + "她去过哈尔滨。"
    (answer,) = reader.predict([{"question": "在书", "context": context}])
    assert (answer["start"], answer["answer"]) == (63, "哈尔滨")
    sizes = []
    run = inference.outputs
    monkeypatch.setattr(inference, "outputs", lambda *args, **kw: sizes.append(len(args[2])) or run(*args, **kw))
    for overlap in (0, 7, 99):
        monkeypatch.setattr(reader, "settings", reader.settings.model_copy(update={"overlap": overlap}))
        reader.predict([{"question": "在书", "context": "他" * 81}])
    # 81 tokens by 27 a window (32 less question and special tokens), each 27, 20 and 14 after the one before.
    assert sizes == [3, 4, 5]


def test_training_windows_point_at_the_answer_or_at_cls(reader, said):
    context = "书很好。" * 15 + "她去过上海。"
    features = reader.features([asked(context, ("上海", 63))])
    tokens = reader.tokenizer.convert_ids_to_tokens
    ends = [(f["start_positions"], f["end_positions"]) for f in features]
    inside = [(f, pair) for f, pair in zip(features, ends, strict=True) if pair != (0, 0)]
    assert len(features) > len(inside) >= 1
    for feature, (first, last) in inside:
        assert tokens(feature["input_ids"][first : last + 1]) == ["上", "海"]
        assert feature["token_type_ids"][first] == 1
    assert all(len(feature["input_ids"]) <= 32 for feature in features)
    assert f"1 question in {len(features)} training windows" in said()


def test_what_cannot_be_learnt_is_said(reader, said):
    rows = [asked("他去过北京。", ("东京", None)), asked("他한", ("한", 1)), asked("\x00")]
    assert len(reader.features(rows)) == 1
    assert "1 question left out: no answer in its context" in said()
    assert reader.features([asked("他\x00。", ("\x00", 1))]) == []
    assert "1 question left out: no token in its answer" in said()
    assert len(reader.features([asked("在e\u0301。", ("e\u0301", 1))])) == 1
    assert "1 answer not at the borders of tokens" in said()


def test_a_long_question_is_cut_and_counted(reader, said):
    rows = reader.features([asked("他去过北京。", ("北京", 3), question="他" * 50)])
    assert "1 of 1 questions are cut to 14 tokens" in said()
    assert len(rows) == 1


def test_the_longest_answer_and_n_best_are_settings(reader, monkeypatch):
    monkeypatch.setattr(reader, "settings", reader.settings.model_copy(update={"max_answer": 1, "n_best": 3}))
    (answer,) = reader.predict([{"question": "在书", "context": "她去过哈尔滨。"}])
    assert [len(given_["answer"]) for given_ in answer["nbest"]] == [1, 1, 1]


def test_an_unanswerable_question_is_learnt_and_scored(encoder_folder):
    rows = [*questions(), *({**row, "question": "房间", "answers": []} for row in questions())]
    head = Reader.from_pretrained(encoder_folder, **FAST | {"epochs": 30}, unanswerable=True)
    scores = head.fit(rows, dev=rows)["dev"]
    assert (scores["answerable_em"], scores["unanswerable_accuracy"]) == (1.0, 1.0)
    asked_for_none = [{"question": "房间", "context": "他住在北京。"}]
    (answer,) = head.predict(asked_for_none)
    assert (answer["answer"], answer["start"], answer["end"]) == ("", 0, 0)
    assert sum(given_["answer"] == "" for given_ in answer["nbest"]) == 1
    head.settings = head.settings.model_copy(update={"null_threshold": 1e6})
    assert head.predict(asked_for_none)[0]["answer"] != ""


def test_when_an_answer_is_empty_is_chosen_on_dev_and_recorded(encoder_folder, tmp_path, said):
    rows = [*questions(), *({**row, "question": "房间", "answers": []} for row in questions())]
    head = Reader.from_pretrained(encoder_folder, **FAST | {"epochs": 3}, unanswerable=True, null_threshold="auto")
    result = head.fit(rows, dev=rows)
    chosen = head.chosen["null_threshold"]
    assert f"null_threshold auto: {chosen:.4g}, the best on dev" in said()
    head.save(tmp_path / "out")
    loaded = Reader.from_pretrained(tmp_path / "out")
    assert loaded.evaluate(rows) == result["dev"]
    assert loaded.setting("null_threshold") == chosen
    for threshold in (chosen - 1, 0.0, chosen + 1):
        assert (
            Reader.from_pretrained(tmp_path / "out", null_threshold=threshold).evaluate(rows)["f1"]
            <= (result["dev"]["f1"])
        )
    loaded.fit(rows, dev=questions())
    assert loaded.chosen == {}
    assert "null_threshold auto: no dev data that tells: it is 0" in said()
    with pytest.raises(InputError, match="`null_threshold`: 'x' is neither a number nor auto"):
        Reader.from_pretrained(encoder_folder, null_threshold="x")


def test_the_empty_answer_wins_by_more_than_the_threshold():
    found = Ranked("他去北京", [((2, 4), 3.0), ((0, 1), 1.0)], 3.5, log_sum(np.array([3.0, 1.0])))
    assert (found.text, found.margin) == ("北京", 0.5)
    assert [found.answer(2, threshold)["answer"] for threshold in (None, 0.5, 0.4)] == ["北京", "北京", ""]
    assert [item["answer"] for item in found.answer(3, 0.5)["nbest"]] == ["北京", "", "他"]
    assert sum(item["score"] for item in found.answer(3, 0.4)["nbest"]) == pytest.approx(1)
    nothing = Ranked("", [], None, -np.inf)
    assert (nothing.text, nothing.margin, nothing.answer(2, 0.0)["nbest"]) == ("", None, [])


def test_an_unanswerable_question_needs_the_setting(reader, write):
    data = [{"id": "q7", "question": "在", "context": "他", "answers": []}]
    with pytest.raises(InputError, match=r"a\.json: question q7: no answer \(1 such questions\): set `unanswerable`"):
        reader.read(write("a.json", json.dumps([{"paragraphs": [{"context": "他", "qas": data}]}])), "data")


def test_strict_stops_at_an_answer_that_is_not_there(encoder_folder, said):
    rows = [*questions(), {"id": "z", "question": "在", "context": "他。", "answers": ["东京"]}]
    with pytest.raises(InputError, match=r"train\[18\]: `东京` is not in its context"):
        Reader.from_pretrained(encoder_folder, **FAST, strict=True).fit(rows)
    Reader.from_pretrained(encoder_folder, **FAST | {"epochs": 1}).fit(rows)
    assert "answers not in their contexts: 1, scored by their text, not learnt from" in said()
    with pytest.raises(InputError, match="no answer of the training data is in its context"):
        Reader.from_pretrained(encoder_folder, **FAST).fit(rows[-1:])


def test_save_and_load_answer_the_same_to_the_bit_and_stock_classes_agree(reader, tmp_path):
    reader.save(tmp_path / "out")
    items = [{"question": "在书", "context": context} for context in ("他住在上海。", "她 Ab 去过北京！")]
    assert Reader.from_pretrained(tmp_path / "out").predict(items) == reader.predict(items)
    model = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    for item, answer in zip(items, reader.predict(items), strict=True):
        batch = tokenizer(item["question"], item["context"], return_tensors="pt", return_offsets_mapping=True)
        offsets = batch.pop("offset_mapping")[0].tolist()
        with torch.inference_mode():
            output = model(**batch)
        outside = torch.tensor([part != 1 for part in batch.sequence_ids(0)])
        starts = output.start_logits[0].masked_fill(outside, -np.inf)
        ends = output.end_logits[0].masked_fill(outside, -np.inf)
        sums = (starts[:, None] + ends[None, :]).masked_fill(torch.ones(len(ends), len(ends)).tril(-1).bool(), -np.inf)
        first, last = divmod(int(sums.argmax()), len(ends))
        assert (offsets[first][0], offsets[last][1]) == (answer["start"], answer["end"])


def test_the_three_commands_work_on_squad_json(encoder_folder, tmp_path, write, capsys):
    qas = [{"id": f"q{i}", **row} for i, row in enumerate(questions())]
    articles = [{"title": "t", "paragraphs": [{"context": row["context"], "qas": [row]} for row in qas]}]
    data = str(write("a.json", json.dumps({"version": "1", "data": articles}, ensure_ascii=False)))
    out, flags = str(tmp_path / "out"), [f"--set={key}={value}" for key, value in FAST.items()]
    finetune(["reader", "--model", str(encoder_folder), "--train", data, "--dev", data, "--output", out, *flags])
    assert evaluate(["--model", out, "--data", data]) == 0
    assert "f1      em" in capsys.readouterr().out
    inputs = write(
        "in.jsonl", '{"question": "在书", "context": "她去过北京。"}\n{"id": 3, "question": " ", "context": "他"}\n'
    )
    predict(["--model", out, "--input", str(inputs), "--output", str(tmp_path / "a.jsonl")])
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (rows[0]["answer"], rows[0]["question"]) == ("北京", "在书")
    assert rows[1] == {"id": "3", "question": " "}


@pytest.mark.parametrize("items", ["在", {"question": "在", "context": "他"}, ["在"], [{"question": "在"}]])
def test_other_inputs_are_refused(reader, items):
    with pytest.raises(InputError, match=r"`question` and `context`|takes a list"):
        reader.predict(items)


def test_the_report_lists_the_worst(reader):
    rows = [*questions(), {"question": "在书", "context": "他去过上海。", "answers": ["去过"]}]
    assert reader.evaluate(rows)["em"] == pytest.approx(18 / 19)
    report = reader.reports["data"]
    (error,) = report["worst"]
    assert (error["where"], error["gold"], error["predicted"]) == ("data[18]", "去过", "上海")
    low, high = report["intervals"]["em"]
    assert low < 18 / 19 <= high
