"""Text → ids: what transformers' tokenizer gives; units → bits; documents → passages."""

import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import BertTokenizer

from ernie_pipe.errors import InputError
from ernie_pipe.text import vocabulary
from ernie_pipe.text.encode import (
    CAPITALISED,
    ELSEWHERE,
    ENTITY_START,
    IN_ENTITY,
    IN_PHRASE,
    PHRASE_START,
    SPECIAL_TOKENS,
    WORD_START,
    Encoder,
    Segmented,
    Tally,
    encode_document,
    load_encoder,
    restart_units,
)
from ernie_pipe.text.lexicon import compile_lexicon, from_bytes
from ernie_pipe.text.units import Segmenter
from ernie_pipe.text.words import load_engine

SINGLE = "哈尔滨是黑龙江的省会他说冰雪，。“”abcdefgABé1230!.-[]가カ\u1100\u1161\u30ab"
PIECES = ["##a", "##b", "##c", "##2", "##3", "ab", "##bc", "mask", "##k", "cafe", "café", "A", "哈尔", "##尔", "##ᅡ"]
TOKENS = list(dict.fromkeys([*SPECIAL_TOKENS, *SINGLE, *PIECES]))
CHUNKS = [
    *SINGLE, "[MASK]", "[SEP]", "[PAD]", "mask", "café", "ABC", "Ａｂ１２", "１２", "😀", "👨\u200d👩", "e\u0301",
    "\u0301", "가나", "각", "カタ", "が", "\u3099", "\u200b", "\u200d", "\ufeff", "\x00", "\x7f", "\ufffd", " ", "\n",
    "\t", "\r", "\xa0", "\u3000", "\u2028", "≠", "İ", "ß", "Σ", "ﬁ", "㍿", "豈", "\U0002f800", "\U0002a6e0", "〇", "々",
    "\u2e4f", "\u2e43", "a" * 101, "①", "\ue000", "\u0378", "\u0345",
]  # fmt: skip
ENGINE = load_engine("rjieba")
TEXTS = st.lists(st.sampled_from(CHUNKS) | st.characters(exclude_categories=["Cs"]), max_size=25).map("".join)


@pytest.fixture(scope="module", params=[True, False], ids=["lower", "cased"])
def both(request):
    """Our encoder and transformers' tokenizer of the same vocabulary."""
    ids = {token: number for number, token in enumerate(TOKENS)}
    ours = Encoder(vocabulary.backend(ids, lowercase=request.param))
    return ours, BertTokenizer(vocab=ids, do_lower_case=request.param)


@pytest.fixture(scope="module")
def encoder():
    return Encoder(vocabulary.backend({token: number for number, token in enumerate(TOKENS)}, lowercase=True))


def reference(tokenizer, text):
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True)
    return found["input_ids"], [tuple(pair) for pair in found["offset_mapping"]]


def as_lists(encoding):
    return encoding.ids.tolist(), list(zip(encoding.starts.tolist(), encoding.ends.tolist(), strict=True))


@given(TEXTS)
@example("哈尔滨[MASK]是café，１２가。")
@example("a\u2e4fb")
def test_ids_and_offsets_are_those_of_transformers(both, text):
    ours, theirs = both
    assert as_lists(ours.encode(text)) == reference(theirs, text)


def test_every_character_of_the_table_stands_alone_in_transformers_too(both):
    ours, theirs = both
    codes = np.flatnonzero(ours._table != -1)
    assert len(codes) > 70_000
    for first in range(0, len(codes), 1000):
        text = "a" + "a".join(map(chr, codes[first : first + 1000].tolist())) + "a"
        assert as_lists(ours.encode(text)) == reference(theirs, text)


def test_offsets_are_the_tokens_own_text(encoder):
    text = "哈 café，\n[MASK]是ABC。"
    encoding = encoder.encode(text)
    shown = [text[start:end] for start, end in zip(encoding.starts, encoding.ends, strict=True)]
    assert shown == ["哈", "café", "，", "[", "MASK", "]", "是", "AB", "C", "。"]
    assert encoder.vocab["[MASK]"] not in encoding.ids


def test_an_added_token_is_found_as_transformers_does():
    backend = vocabulary.backend({token: number for number, token in enumerate(TOKENS)}, lowercase=True)
    backend.add_tokens(["哈尔滨"])
    encoder = Encoder(backend)
    found = [encoder.vocab[token] for token in ("[", "mask", "]", "。")]
    assert encoder.encode("在哈尔滨[MASK]。").ids.tolist() == [1, len(TOKENS), *found]


def test_fingerprints_tell_vocabularies_apart(encoder):
    def fingerprint(tokens, *, lowercase=True):
        return Encoder(vocabulary.backend({t: i for i, t in enumerate(tokens)}, lowercase=lowercase)).fingerprint

    assert fingerprint(TOKENS) == encoder.fingerprint
    assert len({fingerprint(TOKENS), fingerprint(TOKENS, lowercase=False), fingerprint(TOKENS[:-1])}) == 3


def test_a_folder_that_changed_is_read_again(tmp_path):
    for tokens in (TOKENS, TOKENS[:-1]):
        vocabulary.save(tokens, str(tmp_path), lowercase=True)
        assert load_encoder(str(tmp_path)).size == len(tokens)


def test_a_folder_without_tokenizer_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no tokenizer\.json there; make a tokenizer"):
        load_encoder(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="not a tokenizer"):
        load_encoder(str(tmp_path))


def segmented(text, *, lexicon=None, segments=(), given=()):
    """The document of `text` as the segmenting job makes it."""
    units = Segmenter(ENGINE, from_bytes(compile_lexicon(lexicon or {}))).units(text, given)
    return Segmented(
        "d", "s", text,
        np.array(units.sentences).reshape(-1, 2), units.word_bounds, np.array(units.phrases, int).reshape(-1, 2),
        np.array([entity[:2] for entity in units.entities], int).reshape(-1, 2),
        [entity[2] for entity in units.entities], list(segments),
    )  # fmt: skip


def passages(encoder, row, *, max_tokens=512, tally=None):
    types = {"LOC": 1, "PER": 2, "ORG": 3, "MISC": 4}
    tally = Tally() if tally is None else tally
    return encode_document(encoder, row, max_tokens=max_tokens, type_ids=types, tally=tally)


def test_the_bits_of_an_example(encoder):
    row = segmented("哈尔滨是黑龙江的省会", lexicon={"黑龙江": "LOC", "的省会": "PHRASE"})
    (passage,) = passages(encoder, row)
    entity, phrase = IN_ENTITY, IN_PHRASE
    assert passage.unit_bits.tolist() == [
        WORD_START | ENTITY_START | entity, entity, entity,
        WORD_START,
        WORD_START | ENTITY_START | entity, entity, entity,
        WORD_START | PHRASE_START | phrase, WORD_START | phrase, phrase,
    ]  # fmt: skip
    assert passage.entity_types.tolist() == [1, 1, 1, 0, 1, 1, 1, 0, 0, 0]
    assert passage.sentence_starts.tolist() == [0]
    assert [row.text[a:b] for a, b in zip(passage.starts, passage.ends, strict=True)] == list(row.text)


def test_capitals_are_marked_at_the_token_that_begins_with_one(encoder):
    text = "ABC abc Éa 哈"
    (passage,) = passages(encoder, segmented(text))
    marked = passage.unit_bits & CAPITALISED > 0
    spans = zip(passage.starts[marked], passage.ends[marked], strict=True)
    assert [text[start:end] for start, end in spans] == ["AB", "C", "É"]


def test_what_occurs_in_another_passage_is_marked(encoder):
    found = passages(encoder, segmented("哈尔滨是他说。黑龙江是冰雪。"), max_tokens=9)
    shown = [[TOKENS[number] for number in passage.input_ids] for passage in found]
    assert shown == [list("哈尔滨是他说。"), list("黑龙江是冰雪。")]
    for passage in found:
        marked = passage.input_ids[passage.unit_bits & ELSEWHERE > 0]
        assert {TOKENS[number] for number in marked} == {"是", "。"}


def test_one_passage_has_nothing_elsewhere(encoder):
    (passage,) = passages(encoder, segmented("是是是。是。"))
    assert not (passage.unit_bits & ELSEWHERE).any()


WORDS = ["哈尔滨是黑龙江的省会", "他说", "。", "，", "“", "”", "冰雪", "abc", "ABC", " ", "\n", "😀"]
DOCUMENTS = st.lists(st.sampled_from(WORDS), max_size=50)


@given(text=DOCUMENTS.map("".join), max_tokens=st.integers(8, 40))
def test_passages_are_the_encoding_in_order(encoder, text, max_tokens):
    row = segmented(text, lexicon={"的省会": "PHRASE", "冰雪": "MISC"})
    found = passages(encoder, row, max_tokens=max_tokens)
    whole = encoder.encode(text)
    for name, expected in (("input_ids", whole.ids), ("starts", whole.starts), ("ends", whole.ends)):
        assert np.concatenate([[], *(getattr(passage, name) for passage in found)]).tolist() == expected.tolist()
    assert [passage.index for passage in found] == list(range(len(found)))
    for passage in found:
        bits = passage.unit_bits
        assert 0 < len(passage.input_ids) <= max_tokens - 2
        assert passage.sentence_starts[0] == 0
        assert (np.diff(passage.sentence_starts) > 0).all()
        assert (bits[passage.sentence_starts] & WORD_START).all()
        assert (bits[(bits & (PHRASE_START | ENTITY_START)) > 0] & WORD_START).all()
        assert ((bits & IN_ENTITY > 0) == (passage.entity_types > 0)).all()


def test_whole_sentences_stay_together(encoder):
    sentence = "哈尔滨是黑龙江的省会。"
    tally = Tally()
    found = passages(encoder, segmented(sentence * 5), max_tokens=25, tally=tally)
    assert [passage.sentence_starts.tolist() for passage in found] == [[0, 11], [0, 11], [0]]
    assert (tally.sentences, tally.split_sentences, tally.tokens) == (5, 0, 55)


def test_a_sentence_longer_than_a_passage_is_cut_at_words_and_counted(encoder):
    tally = Tally()
    text = "他说哈尔滨是黑龙江的省会" * 3
    found = passages(encoder, segmented(text, lexicon={"黑龙江": "LOC"}), max_tokens=9, tally=tally)
    shown = ["".join(TOKENS[number] for number in passage.input_ids) for passage in found]
    assert "".join(shown) == text
    assert not any(re.search("^(尔滨|滨|龙江|江)|(哈|哈尔|黑|黑龙)$", part) for part in shown)
    assert tally.split_sentences == 1


def test_a_cut_keeps_units_of_several_words_whole(encoder):
    row = segmented("他说哈尔滨是黑龙江的省会", lexicon={"哈尔滨是黑龙江": "PHRASE"})
    found = passages(encoder, row, max_tokens=10)
    shown = ["".join(TOKENS[number] for number in passage.input_ids) for passage in found]
    assert shown == ["他说", "哈尔滨是黑龙江的", "省会"]


def test_a_word_longer_than_a_passage_is_cut_anywhere(encoder):
    row = segmented("哈" * 20)
    row.words = np.array([[0, 20]])
    found = passages(encoder, row, max_tokens=8)
    assert [len(passage.input_ids) for passage in found] == [6, 6, 6, 2]
    assert all(passage.unit_bits[0] & WORD_START for passage in found)


def test_units_without_token_are_counted_not_moved(encoder):
    tally = Tally()
    (passage,) = passages(encoder, segmented("哈\u200b\u200b尔", given=[(1, 3, "LOC")]), tally=tally)
    assert passage.unit_bits.tolist() == [WORD_START, WORD_START]
    assert tally.units_without_token["entity"] == 1
    assert passages(encoder, segmented("\u200b\u200b")) == []


def test_unknown_characters_are_counted(encoder):
    tally = Tally()
    passages(encoder, segmented("哈魑魅魑。"), tally=tally)
    assert (tally.unknown, tally.unknown_texts) == (3, {"魑": 2, "魅": 1})


def test_turns_keep_their_roles_over_passages(encoder):
    row = segmented("他说冰雪。\n是的。是的。", segments=[(0, "query"), (6, "response")])
    whole = passages(encoder, row)
    assert [passage.segments for passage in whole] == [[(0, "query"), (5, "response")]]
    cut = passages(encoder, row, max_tokens=10)
    assert [passage.segments for passage in cut] == [[(0, "query"), (5, "response")], [(0, "response")]]


def test_units_start_anew_where_a_sentence_does():
    bits = np.array([WORD_START | PHRASE_START | IN_PHRASE, IN_PHRASE, IN_ENTITY, 0], dtype=np.uint8)
    restart_units(bits, np.array([1, 2, 3]))
    assert bits.tolist() == [
        WORD_START | PHRASE_START | IN_PHRASE,
        WORD_START | PHRASE_START | IN_PHRASE,
        WORD_START | ENTITY_START | IN_ENTITY,
        WORD_START,
    ]


def test_an_entity_across_a_sentence_border_starts_anew_there(encoder):
    text = "他说好。他在家。"
    (passage,) = passages(encoder, segmented(text, given=[(2, 6, "ORG")]))
    assert passage.sentence_starts.tolist() == [0, 4]
    assert (passage.unit_bits[[2, 4]] & ENTITY_START > 0).all()
    assert not (passage.unit_bits[[3, 5]] & ENTITY_START).any()
