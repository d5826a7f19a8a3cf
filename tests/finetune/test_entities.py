import json

import pytest

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.entities import read_tagging
from ernie_pipe.finetune.tag_lines import join_tokens


def found(examples):
    return [[(e.text[s.start : s.end], s.type) for s in e.entities] for e in examples]


@pytest.mark.parametrize(
    "content",
    [
        "他 O\n在 O\n北 B-LOC\n京 I-LOC\n\n好 O\n",
        "他\tO\n在\tO\n北\tB-LOC\n京\tE-LOC\n\n\n好\tO",
        "他 O \r\n在  O\r\n北 B-LOC\r\n京 E-LOC\r\n \r\n好 O\r\n",
        '{"text": "他在北京", "entities": [{"start": 2, "end": 4, "type": "LOC"}]}\n{"text": "好", "entities": []}\n',
    ],
)
def test_the_forms_of_the_field_read_alike(write, said, content):
    examples = read_tagging(write("train", content))
    assert [example.text for example in examples] == ["他在北京", "好"]
    assert found(examples) == [[("北京", "LOC")], []]
    assert "illegal" not in said()


def test_a_brace_may_be_the_first_character(write):
    (example,) = read_tagging(write("a", "{ O\n京 S-LOC\n} O\n"))
    assert (example.text, found([example])) == ("{京}", [[("京", "LOC")]])


@pytest.mark.parametrize("space", [" ", "\t", "\u3000", "\xa0", "\u2028"])
def test_a_space_may_be_a_character(write, space):
    (example,) = read_tagging(write("a", f"北 B-LOC\n{space} I-LOC\n京 I-LOC\n"))
    assert len(example.text) == 3
    assert example.entities == ((0, 3, "LOC"),)


def test_illegal_sequences_are_counted_and_repaired(write, said):
    examples = read_tagging(write("a", "他 O\n北 I-LOC\n京 I-LOC\n\n北 B-LOC\n他 I-PER\n"))
    assert found(examples) == [[("北京", "LOC")], [("北", "LOC"), ("他", "PER")]]
    assert "2 × an illegal tag sequence" in said()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("他 O\n在\n", "a:2: 1 column:"),
        ("他 r O\n", "a:1: 3 columns"),
        ('{\n"text": "好"\n', "a:1: not JSON"),
        ("他 O\n在 LOC\n", "a:2: tag 'LOC' is none of"),
        ('{"text": "好"}\n', "neither `text` with `entities` nor"),
        ('{"text": "好", "entities": 3}\n', "a:1: `entities` must be a list"),
        (
            '{"text": "好", "entities": [{"start": 0, "end": 1}]}\n',
            "a:1: an entity needs start, end and type",
        ),
        ('{"text": "好", "entities": [{"start": 0, "end": 2, "type": "X"}]}\n', "outside its text of 1"),
        ('{"text": "好", "entities": [{"start": "0", "end": 1, "type": "X"}]}\n', "whole numbers"),
    ],
)
def test_mistakes_say_where_and_what(write, content, message):
    with pytest.raises(InputError, match=message):
        read_tagging(write("a", content))


def test_an_inclusive_end_is_noticed_where_the_text_is_given():
    entity = {"start": 2, "end": 3, "type": "LOC", "text": "北京"}
    with pytest.raises(InputError, match="`end` is the position after"):
        read_tagging([{"text": "他在北京", "entities": [entity]}])


def test_overlaps_and_empty_texts_are_counted(write, said):
    entities = [{"start": 0, "end": 2, "type": "LOC"}, {"start": 0, "end": 4, "type": "ORG"}]
    rows = [{"text": "北京大学", "entities": entities}, {"text": " ", "entities": []}]
    examples = read_tagging(write("a", "".join(json.dumps(row) + "\n" for row in rows)))
    assert found(examples) == [[("北京大学", "ORG")]]
    assert "1 × an entity that overlaps" in said()
    assert "1 × an empty text" in said()


def test_tokens_and_tags_of_a_list():
    rows = [{"tokens": ["在", "New", "York", "2", "0", "年"], "tags": ["O", "B-LOC", "I-LOC", "O", "O", "O"]}]
    (example,) = read_tagging(rows)
    assert example.text == "在New York 20年"
    assert found([example]) == [[("New York", "LOC")]]
    with pytest.raises(InputError, match=r"data\[0\]: 2 tokens and 1 tag: "):
        read_tagging([{"tokens": ["a", "b"], "tags": ["O"]}])


def test_every_entity_knows_its_line(write):
    (example,) = read_tagging(write("a.txt", "\n他 O\n北 B-LOC\n京 I-LOC\n她 B-PER\n"))
    assert [place.rpartition(":")[2] for place in example.places] == ["3", "5"]


def test_joined_tokens_start_where_they_stand():
    tokens = ["1", "9", "9", "9", "年", "NBA", "2K", "球", "x"]
    text, starts = join_tokens(tokens)
    assert text == "1999年NBA 2K球x"
    assert [text[start : start + len(token)] for start, token in zip(starts, tokens, strict=True)] == tokens
