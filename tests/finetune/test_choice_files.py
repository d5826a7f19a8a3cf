import json

import pytest

from ernie_pipe import resources
from ernie_pipe.errors import InputError
from ernie_pipe.finetune.choice_files import read_choice_inputs, read_choices


def lines(*rows):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def seen(examples):
    return [(e.id, e.context, e.question, e.choices, e.blank, e.answer) for e in examples]


C3 = [
    [["女：几点了？", "男：三点。"], [{"question": "几点？", "choice": ["三点", "四点"], "answer": "三点"}], "9-1"],
    [["男：走吧。"], [{"question": "谁？", "choice": ["男的", "女的", "都不"], "answer": "女的"}] * 2, "9-2"],
]


def test_c3_has_a_question_for_each_of_a_dialogue_s(write, said):
    found = read_choices(write("c3.json", json.dumps(C3, indent=1)))
    assert seen(found)[0] == ("9-1-1", "女：几点了？\n男：三点。", "几点？", ("三点", "四点"), None, 0)
    assert [e.id for e in found] == ["9-1-1", "9-2-1", "9-2-2"]
    assert "C3 JSON, 2 or 3 choices, 3 examples" in said()


@pytest.mark.parametrize("answer", ["坏", 1, "1", "B"])
def test_an_answer_is_its_text_its_place_or_its_letter(write, answer):
    row = {"context": "书", "question": "怎么样？", "options": ["好", "坏"], "label": answer}
    (example,) = read_choices(write("a.jsonl", lines(row)))
    assert example.answer == 1
    assert read_choices([row])[0].answer == 1


def test_a_choice_that_looks_like_a_place_is_a_choice():
    assert read_choices([{"question": "几？", "choices": ["1", "0"], "answer": "0"}])[0].answer == 1


def test_fewclue_lines_have_one_blank(write, said):
    rows = [{"id": 3, "content": "他#idiom#走。", "candidates": ["快快", "慢慢"], "answer": 1}]
    (example,) = read_choices(write("a.json", lines(*rows)))
    assert seen([example]) == [("3", "他#idiom#走。", "", ("快快", "慢慢"), (1, 8), 1)]
    assert "ChID lines" in said()


def test_a_question_beside_a_blank_is_kept():
    row = {"context": "他#idiom#走。", "question": "怎样？", "choices": ["快快", "慢慢"], "answer": "慢慢"}
    (example,) = read_choices([row])
    assert (example.question, example.blank, example.answer) == ("怎样？", (1, 8), 1)
    assert read_choices([row | {"question": None}])[0].question == ""


def test_the_contest_s_lines_have_candidates_and_truth_for_each_blank(write):
    row = {"content": "#idiom#，#idiom#。", "groundTruth": ["乙", "丙"], "candidates": [["甲", "乙"], ["丙", "丁"]]}
    found = read_choices(write("a.txt", lines(row)))
    assert [(e.blank, e.choices, e.answer) for e in found] == [((0, 7), ("甲", "乙"), 1), ((8, 15), ("丙", "丁"), 0)]
    assert found[1].where.endswith("a.txt:1, blank 2")
    assert found[0].text != found[1].text


def test_clue_s_answers_stand_in_the_file_beside(write, said):
    row = {"candidates": ["甲", "乙"], "content": ["#idiom000001#。", "他#idiom000002#，#idiom000003#。"]}
    path = write("train.json", lines(row))
    with pytest.raises(InputError, match=r"train\.json:1, blank 1: no `answer`"):
        read_choices(path)
    write("train_answer.json", json.dumps({"#idiom000001#": 1, "#idiom000002#": 0, "#idiom000003#": 1}))
    found = read_choices(path)
    assert [(e.id, e.blank, e.answer) for e in found] == [
        ("idiom000001", (0, 13), 1),
        ("idiom000002", (1, 14), 0),
        ("idiom000003", (15, 28), 1),
    ]
    assert "answers to train.json" in said()
    assert [e.answer for e in read_choice_inputs(path)] == [None] * 3


def test_what_asks_nothing_or_answers_twice_is_counted(said):
    rows = [
        {"context": "", "question": " ", "choices": ["a", "b"], "answer": 0},
        {"context": "书", "question": "", "choices": ["a", "b", "a"], "answer": "a"},
    ]
    assert len(read_choices(rows)) == 1
    assert "1 × a blank context and question, skipped, first at data[0]" in said()
    assert "1 × an answer that is there twice among the choices" in said()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": "谁", "choices": ["a"], "answer": 0}', r"x:1: 1 choices, some blank"),
        ('{"question": "谁", "choices": ["a", " "], "answer": 0}', r"x:1: 2 choices, some blank"),
        ('{"question": "谁", "choices": ["a", "b"], "answer": 2}', r"x:1: answer `2` is none of the 2 choices"),
        ('{"question": "谁", "choices": ["a", "b"], "answer": "c"}', r"x:1: answer `c` is none of the 2 choices"),
        ('{"question": "谁", "choices": ["a", "b"]}', r"x:1: no `answer`"),
        ('{"question": "谁", "answer": 0}', r"x:1: no list of strings `choices`"),
        ('{"question": 5, "choices": ["a", "b"], "answer": 0}', r"x:1: `question` must be a string"),
        ('{"content": "#idiom#", "candidates": [["a", "b"]] }', r"x:1: no `answer`"),
        ('{"content": "#idiom##idiom#", "candidates": [["a", "b"]]}', r"x:1: 1 lists of candidates for 2 blanks"),
        ('{"content": "#idiom##idiom#", "candidates": ["a", "b"], "answer": 1}', r"one `answer` for 2 blanks"),
        ("[[1, 2]]", r"x: \[0\]: not C3's form"),
        ('[["a"], [], 3]', r"x: \[0\]: not C3's form"),
        ("谁\t谁", r"x:1: not JSON"),
        ("[\n1,\n]", r"x:3: not JSON"),
        ("[3, 4]", r"not C3's form"),
    ],
)
def test_a_file_that_cannot_be_right_is_named_with_its_place(write, content, message):
    with pytest.raises(InputError, match=message):
        read_choices(write("x", content))


@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_the_sample_is_whole(name):
    folder = resources.sample() / "choice"
    for path in (folder / f"{name}.json", folder / f"idioms-{name}.jsonl"):
        examples = read_choices(path)
        assert all(len(set(example.choices)) == len(example.choices) for example in examples)
    mine, others = [
        {text for other in names for e in read_choices(folder / f"{other}.json") for text in (e.context, e.question)}
        for names in ({name}, {"train", "dev", "test"} - {name})
    ]
    assert not mine & others


@pytest.mark.parametrize("blank", ["x", [0], [1, 1], [0, 99], [-1, 2], [0.0, 1.0]])
def test_a_blank_outside_its_context_is_refused(blank):
    row = {"context": "他#idiom#", "blank": blank, "choices": ["一心一意", "画龙点睛"], "answer": 0}
    with pytest.raises(InputError, match=r"data\[0\]: `blank` must be a start and an end within the context"):
        read_choices([row])


def test_an_endless_number_is_no_answer_and_a_missing_context_is_counted(said):
    row = {"question": "几？", "choices": ["一", "二"], "answer": "9" * 5000}
    with pytest.raises(InputError, match="is none of the 2 choices"):
        read_choices([row])
    read_choices([{**row, "answer": "B"}])
    assert "1 × no `context`: asked by the question alone, first at data[0]" in said()
