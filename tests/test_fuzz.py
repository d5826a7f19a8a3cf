"""Whatever a corpus holds: no crash, every record accounted for, no character lost but those the tokenizer drops.

Hundreds of documents in the suite; with `--soak` more than ten thousand.
"""

import json
import random

import numpy as np
import pytest
from transformers import BertTokenizer

from ernie_pipe.corpus import schema
from ernie_pipe.text import document, vocabulary
from ernie_pipe.text.document import ROLES, Record, Rejected, Split
from ernie_pipe.text.encode import SPECIAL_TOKENS, Encoder
from ernie_pipe.text.lexicon import ENTITY_TYPES, compile_lexicon, from_bytes
from ernie_pipe.text.passages import (
    ENTITY_START,
    IN_ENTITY,
    IN_PHRASE,
    PHRASE_START,
    WORD_START,
    Tally,
    encode_documents,
)
from ernie_pipe.text.units import Segmenter
from ernie_pipe.text.words import load_engine

MAX_TOKENS = 32
TYPES = {kind: number for number, kind in enumerate(ENTITY_TYPES, start=1)}
PIECES = [
    *"哈尔滨是黑龙江的省会。，！？；：“”《》（）…\n\r\t \u3000\xa0", "哈尔滨", "黑龙江省", "冰雪大世界",
    "三十五个", "2008年8月8日", "《红楼梦》", "[MASK]", "[SEP]", "[CLS][PAD]", "##a", "iPhone15", "3.14", "Ａｂ１２",
    "http://a.cn/?id=1&b=2!x", "café", "e\u0301", "\x00", "\x1b[31m", "\ufeff", "\u200b", "\u200d", "\ufffd",
    "\u202e", "שלום", "مرحبا", "กขค", "한국어", "ひらカナ", "👨\u200d👩\u200d👧", "👍🏽", "👨\u200d", "🇨", "豈",
    "\U0002f800", "\U00020000", "\ue000", "\uffff", "㎏", "ﬁ", "İ", "ß", "\u2028", "\x85", "\x0b", "\r\n", "\r",
]  # fmt: skip


def any_text(rng):
    """A text of one of many kinds."""
    kind = rng.randrange(10)
    if kind == 0:
        return "".join(
            chr(rng.choice((rng.randrange(0x80), rng.randrange(0x3000), rng.randrange(0x110000))))
            for _ in range(rng.randrange(80))
        )
    if kind == 1:
        return rng.choice("哈a1，\u0301😀") * rng.randrange(1, 400)
    if kind == 2:
        return "".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(rng.randrange(300)))
    return "".join(rng.choice(PIECES) for _ in range(rng.randrange(60)))


def any_line(rng):
    """A line of a jsonl file: mostly a document, at times with much that is wrong."""
    kind = rng.randrange(12)
    if kind == 0:
        return rng.choice(
            ["{", "[]", "17", '"text"', '{"text": 3}', '{"txt": "a"}', '{"text": ""}', "\\", '{"text": "a"', "null"]
        )
    text = any_text(rng)
    if kind == 1:
        turns = [
            any_text(rng) if rng.random() < 0.7 else {"role": rng.choice(["user", "response", "boss"]), "text": text}
            for _ in range(rng.randrange(4))
        ]
        return json.dumps({"turns": turns})
    row = {"text": text, "id": rng.choice(["a", 7, None, text[:3]]), "label": rng.choice([None, "x", 1])}
    if kind == 2:
        row["entities"] = [
            {"start": rng.randrange(-1, 20), "end": rng.randrange(25), "type": rng.choice(["LOC", "PER", "RIVER"])}
            for _ in range(3)
        ]
    line = json.dumps(row, ensure_ascii=rng.random() < 0.5)
    return line.replace("哈", "\\ud800", 1) if kind == 3 else line


LARGE = {
    "a million characters without a mark": "哈尔滨是黑龙江的省会" * 100_000,
    "a word of a hundred thousand letters": "x" * 100_000,
    "a hundred thousand digits": "7" * 100_000 + "个",
    "a hundred thousand times one": "一" * 100_000,
    "combining marks": "é" + "\u0301" * 100_000,
    "opening marks": "《" * 50_000 + "“" * 50_000,
    "joined emoji": "👨\u200d" * 30_000,
    "white space": "哈" + " \n\u3000" * 50_000 + "尔",
}


@pytest.fixture(scope="module")
def tools():
    letters = dict.fromkeys(
        "哈尔滨是黑龙江的省会冰雪大世界年月日个三十五。，！？；：“”《》（）…abcdefghijklmnopqrstuvwxyz0123456789[]-.#?=&:/!"
    )
    pieces = [
        *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"),
        "cafe",
        "mask",
        "sep",
        "한국",
        "##어",
    ]
    ids = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *letters, *pieces])}
    lexicon = from_bytes(
        compile_lexicon(
            {"哈尔滨": "LOC", "龙江": "ORG", "冰雪大世界": "WORK", "AI": "TERM", "👨": "MISC"},
            ["的省会", "是黑龙江", "省会"],
        )
    )
    segmenter = Segmenter(load_engine("rjieba"), lexicon)
    return segmenter, Encoder(vocabulary.backend(ids, lowercase=True)), BertTokenizer(vocab=ids, do_lower_case=True)


def expected_text(row):
    """What the reader must make of a row's text: nothing but line ends and lone surrogates may differ."""
    text = "".join("\ufffd" if 0xD800 <= ord(character) < 0xE000 else character for character in row["text"])
    return text.replace("\r\n", " \n" if row.get("entities") else "\n").replace("\r", "\n")


def check_batch(tools, records):
    """Segment and encode records as the jobs do, and look at everything that must hold."""
    segmenter, encoder, reference = tools
    texts = [record.text for record in records]
    layers = segmenter.segment(texts, [record.entities for record in records])
    batch = schema.segmented_batch(records, layers, segmenter.type_names)
    documents = schema.read_documents(batch, TYPES)
    tally = Tally()
    passages = encode_documents(encoder, documents, max_tokens=MAX_TOKENS, tally=tally)
    columns = schema.passages_schema(encoder.size)
    rows = schema.passages_batch(passages, documents, columns, offsets=True)
    assert rows.num_rows == len(passages)
    for number, text in enumerate(texts):
        check_units(text, layers, number)
    check_tokens(texts, passages, reference)
    check_bits(passages)
    assert tally.units["word"] + tally.units_without_token["word"] == len(layers.words.bounds)


def check_units(text, layers, number):
    visible = np.array([not character.isspace() for character in text], dtype=bool)
    for spans in (layers.words, layers.sentences, layers.phrases, layers.entities):
        starts, ends = spans.of(number).T
        assert (starts < ends).all()
        assert (ends[:-1] <= starts[1:]).all()
        assert not len(starts) or (starts[0] >= 0 and ends[-1] <= len(text))
    for spans in (layers.words, layers.sentences):
        step = np.zeros(len(text) + 1, dtype=np.int8)
        np.add.at(step, spans.of(number)[:, 0], 1)
        np.add.at(step, spans.of(number)[:, 1], -1)
        assert (np.cumsum(step)[:-1][visible] == 1).all()
    words = set(layers.words.of(number)[:, 0].tolist())
    for spans in (layers.phrases, layers.entities):
        assert all(start in words for start in spans.of(number)[:, 0].tolist() if visible[start])


def check_tokens(texts, passages, reference):
    """Ids and offsets are transformers' own: what has no token there has none here."""
    for number, text in enumerate(texts):
        mine = np.flatnonzero(passages.document == number)
        first, last = (passages.offsets[mine[0]], passages.offsets[mine[-1] + 1]) if len(mine) else (0, 0)
        found = reference(text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True)
        assert passages.ids[first:last].tolist() == found["input_ids"]
        offsets = zip(passages.starts[first:last].tolist(), passages.ends[first:last].tolist(), strict=True)
        assert list(offsets) == [tuple(pair) for pair in found["offset_mapping"]]
        assert passages.index[mine].tolist() == list(range(len(mine)))


def check_bits(passages):
    bits = passages.bits
    assert (np.diff(passages.offsets) > 0).all()
    assert (np.diff(passages.offsets) <= MAX_TOKENS - 2).all()
    assert (bits[(bits & (PHRASE_START | ENTITY_START)) > 0] & WORD_START).all()
    assert ((bits & IN_ENTITY > 0) == (passages.types > 0)).all()
    for start, inside in ((PHRASE_START, IN_PHRASE), (ENTITY_START, IN_ENTITY)):
        begins = (bits & inside > 0) & (np.concatenate([[0], bits[:-1]]) & inside == 0)
        assert (bits[begins] & start).all()
    assert (bits[passages.offsets[:-1]] & WORD_START).all()
    assert (passages.sentence_starts[passages.sentence_offsets[:-1]] == 0).all()
    roles = {role for segments in passages.segments for _, role in segments}
    assert roles <= set(ROLES)


@pytest.mark.parametrize("seed", range(4))
def test_generated_documents(tools, write, soak, seed):
    rng = random.Random(seed)
    lines = [any_line(rng) for _ in range(2600 if soak else 75)]
    path = write("a.jsonl", "\n".join(lines).encode("utf-8", "surrogatepass").replace(b"\xed", b"?"))
    found = list(document.read(Split(str(path), "s", "jsonl", name="a.jsonl")))
    assert len(found) == sum(bool(line.strip()) for line in "\n".join(lines).split("\n"))
    assert all(item.reason for item in found if isinstance(item, Rejected))
    records = [item for item in found if isinstance(item, Record)]
    assert len(records) > len(lines) // 2
    for first in range(0, len(records), 40):
        check_batch(tools, records[first : first + 40])


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE)
def test_large_documents(tools, write, text):
    path = write("a.jsonl", json.dumps({"text": text}))
    (record,) = document.read(Split(str(path), "s", "jsonl", name="a.jsonl"))
    assert record.text == text
    check_batch(tools, [record])


@pytest.mark.parametrize("seed", range(2))
def test_the_text_is_kept_to_the_character(write, soak, seed):
    rng = random.Random(100 + seed)
    rows = [{"text": any_text(rng), "entities": rng.choice([None, []])} for _ in range(2000 if soak else 100)]
    path = write("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    found = list(document.read(Split(str(path), "s", "jsonl", name="a.jsonl")))
    assert len(found) == len(rows)
    for row, item in zip(rows, found, strict=True):
        if isinstance(item, Rejected):
            assert (item.reason, row["text"].strip()) == ("empty", "")
        else:
            assert item.text == expected_text(row)
            assert item.repaired == sum(0xD800 <= ord(character) < 0xE000 for character in row["text"])
