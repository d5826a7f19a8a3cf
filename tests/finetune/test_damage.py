"""Whatever happened to a file: its readers give examples, or one line that says what is wrong."""

import json
import random
from pathlib import Path

import pytest

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.choice_files import read_choice_inputs, read_choices
from ernie_pipe.finetune.data import read_classification, read_texts
from ernie_pipe.finetune.embedder_data import read_inputs, read_sentences
from ernie_pipe.finetune.entities import read_tagging, read_tagging_inputs
from ernie_pipe.finetune.pairs import read_pair_inputs, read_pairs
from ernie_pipe.finetune.qa_files import read_question_inputs, read_questions

READERS = [
    *[read_classification, read_texts, read_pairs, read_pair_inputs, read_sentences, read_inputs],
    *[read_tagging, read_tagging_inputs, read_questions, read_question_inputs, read_choices, read_choice_inputs],
]
ODD = ["\x00", "\ufeff", "\u2028", "\u200b", "𠮷", "👨\u200d👩\u200d👧", "e\u0301", '"', "[", "]", "{", "}", ",", ":"]
ODD += ["\t", "\n", "\r", "||", "-", "null", "NaN", "-1", "9" * 4400, "#idiom1#", "[MASK]", "\\ud800", "[" * 2000]
DELIMITERS = ["\t", ",", "||", " ", "\n", ";", "/"]


def lines(*rows: object) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)


QUESTION = {"id": "q", "question": "哪里？", "answers": [{"text": "北京", "answer_start": 2}]}
WHOLE = [
    lines("text\tlabel", *(f"书很好{i}\t{i % 2}" for i in range(4))),
    lines("1,书很好", "0,书很坏", '"1","书,很""好"""'),
    lines(*({"sentence1": "书好", "sentence2": f"书{i}", "label": i % 2} for i in range(3))),
    lines("a-1||书好||书很好||5", "a-2||菜好||书坏||0"),
    lines("书好\t书很好\t菜坏", "菜好\t菜很好\t书坏"),
    lines("他 O", "北 B-LOC", "京 I-LOC", "", "好 O"),
    lines("他/r 在/p 北京/ns", "很/d 好/a"),
    lines({"text": "他在北京", "label": {"address": {"北京": [[2, 3]]}}}),
    lines({"tokens": ["他", "在"], "tags": ["O", "B-X"]}),
    lines({"version": "1", "data": [{"paragraphs": [{"context": "他在北京", "qas": [QUESTION]}]}]}),
    lines({**QUESTION, "context": "他在北京"}),
    lines([{"context_text": "他在北京", "qas": [{"query_text": "哪里？", "answers": ["北京"]}]}]),
    lines([[["男：你好"], [{"question": "谁？", "choice": ["男", "女"], "answer": "男"}], "1-1"]]),
    lines({"content": "他#idiom1#，#idiom2#", "candidates": [["一心", "二意"]] * 2, "groundTruth": ["一心", "二意"]}),
    lines({"context": "他", "question": "谁？", "choices": ["他", "她"], "answer": 1}),
]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Damage a file in one to three of the ways in which files are: cut, doubled, mixed up, converted, set apart."""
    for _ in range(rng.randint(1, 3)):
        start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        text = data.decode("utf-8", "replace")
        place = rng.randrange(len(text) + 1)
        one, other = rng.sample(DELIMITERS, 2)
        rows = text.split("\n")
        data = rng.choice(
            [
                data[:start] + data[end:],
                data[:end] + data[start:],
                data[:start] + rng.randbytes(rng.randint(1, 4)) + data[start:],
                (text[:place] + rng.choice(ODD) + text[place:]).encode(),
                text.replace(one, other, rng.choice([1, 2, -1])).encode(),
                "\n".join(f"{row}{one}{row}" for row in rows).encode(),
                "\n".join(rng.sample(rows, len(rows))).encode(),
                text.encode(rng.choice(["gb18030", "utf-16", "utf-8-sig"]), "replace"),
                text.replace("\n", rng.choice(["\r\n", "\r", "\n\n"])).encode(),
                text.replace('"', "'", rng.choice([1, -1])).encode(),
                _retyped(text, rng).encode(),
            ]
        )
    return data


def _retyped(text: str, rng: random.Random) -> str:
    """Put a value of another type into JSON, as a script that wrote it may."""
    marks = [i for i, character in enumerate(text) if character in ":[" and text[i + 1 : i + 2].strip() != ""]
    if not marks:
        return text
    place = rng.choice(marks) + 1
    return f"{text[:place]}{rng.choice(['null', '[]', '{}', '3', 'true', '1.5', 'NaN'])}, {text[place:]}"


@pytest.mark.parametrize("whole", WHOLE)
def test_damaged_files_give_examples_or_an_error_of_the_file(whole: str, tmp_path: Path, soak: bool) -> None:
    rng = random.Random(whole)
    path = tmp_path / "file"
    refused = []
    for _ in range(3000 if soak else 12):
        data = damaged(whole.encode(), rng)
        path.write_bytes(data)
        for reader in READERS:
            try:
                assert isinstance(reader(path), list)
            except InputError as error:
                refused.append(str(error))
            except Exception as error:
                raise AssertionError(f"{reader.__name__} of {data!r}") from error
    assert refused
    assert [message for message in refused if str(path) not in message] == []
