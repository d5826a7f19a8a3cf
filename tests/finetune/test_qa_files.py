import json

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe import resources
from ernie_pipe.errors import InputError
from ernie_pipe.finetune.qa_files import Answer, read_question_inputs, read_questions

CONTEXT = "他去过北京，也去过上海。"


def squad(*qas, **paragraph):
    return json.dumps({"version": "1", "data": [{"paragraphs": [{"context": CONTEXT, "qas": qas, **paragraph}]}]})


def asked(*answers, **more):
    return {"id": "q1", "question": "去过哪里？", "answers": list(answers), **more}


BEIJING = {"text": "北京", "answer_start": 3}


@pytest.mark.parametrize(
    ("question", "form"),
    [
        (asked(BEIJING), "SQuAD JSON"),
        (asked(BEIJING, is_impossible=False), "SQuAD 2.0 JSON"),
        (asked(BEIJING, id="TRAIN_1_QUERY_0"), "CMRC2018 JSON"),
        (asked({**BEIJING, "id": "1"}, {**BEIJING, "id": "2"}), "DRCD JSON"),
    ],
)
def test_the_kinds_of_squad_s_form_are_told_apart_and_said(write, said, question, form):
    (found,) = read_questions(write("a.json", squad(question)))
    assert (found.context, found.answers) == (CONTEXT, (Answer("北京", 3),))
    assert found.where.endswith(f"a.json: question {question['id']}")
    assert f"{form}, 1 example" in said()


def test_one_question_a_record_in_lines_lists_and_datasets(write):
    row = {"id": "q1", "context": CONTEXT, "question": "去过哪里？", "answers": {"text": ["北京"], "answer_start": [3]}}
    text = json.dumps(row)
    sources = [
        write("a.jsonl", f"{text}\n{text}\n"),
        write("a.json", json.dumps([row, row])),
        [row, row],
        datasets.Dataset.from_list([row, row]),
    ]
    for source in sources:
        found = read_questions(source)
        assert [(q.id, q.question, q.answers) for q in found] == [("q1", "去过哪里？", (Answer("北京", 3),))] * 2
    assert read_questions(sources[0])[1].where.endswith("a.jsonl:2")


def test_cmrc2018_s_first_form_has_no_offsets(write, said):
    item = {
        "context_id": "T",
        "context_text": CONTEXT,
        "qas": [{"query_id": "T_Q", "query_text": "去？", "answers": ["去过"]}],
    }
    (found,) = read_questions(write("a.json", json.dumps([item])))
    assert (found.id, found.question, found.answers) == ("T_Q", "去？", (Answer("去过", 1),))
    assert "1 × an answer without an offset, taken at its first place" in said()


def test_an_answer_moves_to_the_nearest_place_where_it_stands(said):
    def placed(text, start):
        return read_questions([{**asked({"text": text, "answer_start": start}), "context": CONTEXT}])[0].answers

    assert placed("去过", 1) == (Answer("去过", 1),)
    assert "moved" not in said()
    assert placed("去过", 5) == (Answer("去过", 7),)
    assert placed("去过", 3) == (Answer("去过", 1),)
    assert placed(" 上海\n", 9) == (Answer("上海", 9),)
    assert placed("北京", -7) == (Answer("北京", 3),)
    assert "1 × an answer that is not at its offset, moved to where it stands, first at data[0]" in said()


def test_an_answer_that_is_nowhere_is_counted_listed_or_an_error(said):
    rows = [{**asked({"text": f"东京{i}", "answer_start": 0}), "id": i, "context": CONTEXT} for i in range(22)]
    assert read_questions(rows)[0].answers == (Answer("东京0", None),)
    assert "data: answers not in their contexts: 22" in said()
    assert "data[19]: `东京19`" in said()
    assert "东京20" not in said()
    assert "… and 2 more" in said()
    with pytest.raises(InputError, match=r"data\[0\]: `东京0` is not in its context \(22 such answers\)"):
        read_questions(rows, strict=True)


def test_no_answer_is_an_empty_list_a_blank_one_or_impossible():
    rows = [asked(), asked({"text": "", "answer_start": 0}), asked(BEIJING, is_impossible=True)]
    assert [q.answers for q in read_questions([{**row, "context": CONTEXT} for row in rows])] == [()] * 3


def test_blank_questions_are_skipped_counted_and_kept_as_inputs(write, said):
    path = write("a.json", squad(asked(BEIJING), asked(BEIJING, question=" ", id=2)))
    assert len(read_questions(path)) == 1
    assert "1 × a blank question or context, skipped" in said()
    assert [row["id"] for row in read_question_inputs(path)] == ["q1", "2"]


def test_inputs_need_no_answers(write):
    (row,) = read_question_inputs(write("a.jsonl", '{"question": "谁", "context": "他"}'))
    assert row["question"] == "谁"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": "谁", "context": "他"}', "no `answers`"),
        ('{"question": "谁", "context": "他", "answers": [5]}', "an answer is a `text`"),
        (
            '{"question": "谁", "context": "他", "answers": [{"text": "他", "answer_start": "0"}]}',
            "an answer is a `text`",
        ),
        (
            '{"question": "谁", "context": "他", "answers": {"text": ["他"], "answer_start": [0, 1]}}',
            "two lists of one",
        ),
        ('{"question": "谁", "context": "他", "answers": 3}', "`answers` must be a list"),
        ('{"question": "谁"}', "no `context`; give SQuAD"),
        ('{"data": [{"paragraphs": [{"context": "他"}]}]}', r"a: data\[0\].paragraphs\[0\]: no list `qas`"),
        (
            '{"data": [{"paragraphs": [{"context": "他", "qas": [3]}]}]}',
            r"paragraphs\[0\].qas\[0\]: expected an object",
        ),
        ('{"data": []}', "no questions in it"),
        ('{"data": 3}', "not SQuAD"),
        ('[["C3"]]', "not SQuAD"),
        ('{"data": [\n{]}', "a:2: not JSON"),
        ('{"question": "谁"}\n{"question"', "a:2: not JSON"),
        ("谁\t他", "a:1: not JSON"),
    ],
)
def test_a_file_that_cannot_be_right_is_named_with_its_place(write, content, message):
    with pytest.raises(InputError, match=message):
        read_questions(write("a", content))


@given(st.text("ab", max_size=8), st.text("ab", min_size=1, max_size=3), st.none() | st.integers(-3, 12))
def test_a_placed_answer_stands_where_it_says(context, text, start):
    row = {"context": f"a{context}", "question": "?", "answers": [{"text": text, "answer_start": start}]}
    ((answer,),) = [question.answers for question in read_questions([row])]
    if answer.start is None:
        assert text not in row["context"]
    else:
        assert row["context"][answer.start : answer.start + len(answer.text)] == answer.text == text


@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_the_sample_has_every_answer_at_its_offset(name, said):
    questions = read_questions(resources.sample() / "qa" / f"{name}.json")
    assert all(question.answers for question in questions)
    assert "×" not in said()


@pytest.mark.parametrize(
    "answers",
    [
        {"text": ["北京"], "answer_start": 3},
        {"text": "北京", "answer_start": [3]},
        [{"text": "北京", "answer_start": True}],
    ],
)
def test_answers_of_no_form_are_refused(answers):
    with pytest.raises(InputError, match=r"data\[0\]: (`answers` needs two lists|an answer is a `text` and)"):
        read_questions([{"question": "去过哪里？", "context": CONTEXT, "answers": answers}])


def test_json_nested_too_deeply_is_an_error_of_the_file(write):
    with pytest.raises(InputError, match=r"a\.json:1: not JSON: nested too deeply"):
        read_questions(write("a.json", "[" * 100_000))
