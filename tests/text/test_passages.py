"""Units → bits per token; documents → passages."""

import itertools
import re
import time
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.corpus import schema
from ernie_pipe.text import vocabulary
from ernie_pipe.text.document import Record
from ernie_pipe.text.encode import SPECIAL_TOKENS, Encoder
from ernie_pipe.text.lexicon import ENTITY_TYPES, compile_lexicon, from_bytes
from ernie_pipe.text.passages import (
    CAPITALISED,
    ELSEWHERE,
    ENTITY_START,
    IN_ENTITY,
    IN_PHRASE,
    PHRASE_START,
    WORD_START,
    Tally,
    encode_documents,
    restart_units,
)
from ernie_pipe.text.segments import fair_sizes
from ernie_pipe.text.spans import Places
from ernie_pipe.text.units import Segmenter
from ernie_pipe.text.words import load_engine

SINGLE = "哈尔滨是黑龙江的省会他说冰雪，。“”abcdefgABé1230!.-[]家在好"
TOKENS = list(dict.fromkeys([*SPECIAL_TOKENS, *SINGLE, "##a", "##b", "##c", "ab", "##bc", "mask"]))
ENGINE = load_engine("rjieba")
TYPES = {kind: number for number, kind in enumerate(dict.fromkeys(("LOC", *ENTITY_TYPES)), start=1)}


@pytest.fixture(scope="module")
def encoder():
    return Encoder(vocabulary.backend({token: number for number, token in enumerate(TOKENS)}, lowercase=True))


def split_lexicon(surfaces):
    """Entities and phrases of a surface → type table."""
    entities = {surface: kind for surface, kind in surfaces.items() if kind != "PHRASE"}
    return entities, surfaces.keys() - entities.keys()


@lru_cache
def segmenter_with(**lexicon):
    """A segmenter with a lexicon: each is built once, for it compiles all names of the engine."""
    return Segmenter(ENGINE, from_bytes(compile_lexicon(*split_lexicon(lexicon))))


def segmented(*texts, lexicon=None, segments=(), given=()):
    """The documents of `texts` as the segmenting job makes them."""
    segmenter = segmenter_with(**(lexicon or {}))
    records = [Record(f"d{number}", "s", text, segments=tuple(segments)) for number, text in enumerate(texts)]
    layers = segmenter.segment(texts, [given] * len(texts))
    return schema.read_documents(schema.segmented_batch(records, layers, segmenter.type_names), TYPES)


def passages(encoder, documents, *, max_tokens=512, tally=None):
    """The passages of documents, one by one."""
    batch = encode_documents(encoder, documents, max_tokens=max_tokens, tally=tally or Tally())
    rows = zip(itertools.pairwise(batch.offsets), itertools.pairwise(batch.sentence_offsets), strict=True)
    return [
        SimpleNamespace(
            document=batch.document[number],
            index=batch.index[number],
            input_ids=batch.ids[first:last],
            unit_bits=batch.bits[first:last],
            entity_types=batch.types[first:last],
            starts=batch.starts[first:last],
            ends=batch.ends[first:last],
            sentence_starts=batch.sentence_starts[first_sentence:last_sentence],
            segments=batch.segments[number],
        )
        for number, ((first, last), (first_sentence, last_sentence)) in enumerate(rows)
    ]


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
    assert [row.texts[0][a:b] for a, b in zip(passage.starts, passage.ends, strict=True)] == list(row.texts[0])


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
    row.words = Places(np.array([0]), np.array([0, 1]))
    found = passages(encoder, row, max_tokens=8)
    assert [len(passage.input_ids) for passage in found] == [6, 6, 6, 2]
    assert all(passage.unit_bits[0] & WORD_START for passage in found)


def test_units_without_token_are_counted_not_moved(encoder):
    tally = Tally()
    (passage,) = passages(encoder, segmented("哈\u200b\u200b尔", given=[(1, 3, "LOC")]), tally=tally)
    assert passage.unit_bits.tolist() == [WORD_START, WORD_START]
    assert tally.units_without_token["entity"] == 1
    assert [passage.document for passage in passages(encoder, segmented("\u200b\u200b", "哈", "\u3000"))] == [1]


def test_unknown_characters_are_counted(encoder):
    tally = Tally()
    passages(encoder, segmented("哈魑魅魑。"), tally=tally)
    assert (tally.unknown, tally.unknown_texts) == (3, {"魑": 2, "魅": 1})


def test_turns_keep_their_roles_over_passages(encoder):
    row = segmented("他说冰雪。\n是的。是的。", segments=[(0, "query"), (6, "response")])
    whole = passages(encoder, row)
    assert [passage.segments for passage in whole] == [[(0, "query"), (5, "response")]]
    cut = passages(encoder, row, max_tokens=9)
    assert [passage.segments for passage in cut] == [[(0, "query")], [(0, "response")]]
    in_a_turn = passages(encoder, segmented("是的。是的。是的。", segments=[(0, "query")]), max_tokens=8)
    assert [passage.segments for passage in in_a_turn] == [[(0, "query")], [(0, "query")]]


def test_passages_of_a_dialogue_are_whole_turns(encoder):
    turns = ["他说。是的。", "是的。", "他在家。是的。"]
    segments = [(0, "query"), (7, "response"), (11, "query")]
    found = passages(encoder, segmented("\n".join(turns), segments=segments), max_tokens=13)
    assert [passage.segments for passage in found] == [[(0, "query"), (6, "response")], [(0, "query")]]


def test_a_turn_without_a_token_is_counted_and_left_out(encoder):
    tally = Tally()
    (passage,) = passages(
        encoder, segmented("是的。\n \n他说。", segments=[(0, "query"), (4, "response"), (6, "query")]), tally=tally
    )
    assert passage.segments == [(0, "query"), (3, "query")]
    assert (tally.segments, tally.segments_without_token) == (3, 1)


def labelled_pair(query, title, label="strong"):
    row = segmented(f"{query}\n{title}", segments=[(0, "query"), (len(query) + 1, "title")])
    row.labels[:] = [label]
    return row


def test_a_labelled_pair_is_one_passage_whose_longer_part_is_cut(encoder):
    tally = Tally()
    (passage,) = passages(encoder, labelled_pair("是的", "他说冰雪。" * 9), max_tokens=16, tally=tally)
    assert passage.segments == [(0, "query"), (2, "title")]
    # [CLS] A [SEP] B [SEP] have the 16 tokens.
    assert len(passage.input_ids) == 13
    assert (tally.trimmed_documents, tally.trimmed_tokens, tally.tokens) == (1, 34, 13)
    assert (np.diff(passage.starts) > 0).all()
    assert passage.ends[-1] == 14


def test_pairs_that_fit_or_have_no_label_are_not_cut(encoder):
    tally = Tally()
    (fits,) = passages(encoder, labelled_pair("是的", "他说冰雪。"), max_tokens=10, tally=tally)
    assert len(fits.input_ids) == 7
    assert len(passages(encoder, labelled_pair("是的", "他说冰雪。" * 9, None), max_tokens=16, tally=tally)) > 1
    assert tally.trimmed_documents == 0


def test_a_labelled_conversation_in_several_passages_is_counted(encoder):
    tally = Tally()
    row = segmented("是的。\n" * 9, segments=[(4 * turn, "query") for turn in range(9)])
    row.labels[:] = ["chat"]
    assert len(passages(encoder, row, max_tokens=16, tally=tally)) == 3
    assert (tally.labelled_in_parts, tally.trimmed_documents) == (1, 0)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.integers(5, 60))
def test_fair_sizes_fill_the_room_and_cut_the_longest(sizes, room):
    fair = fair_sizes(np.array(sizes), room)
    assert fair.sum() == min(sum(sizes), room)
    cut = fair[fair < np.array(sizes)]
    assert (fair <= np.array(sizes)).all()
    assert not len(cut) or (np.ptp(cut) <= 1 and (fair <= cut.max() + 1).all())


def test_time_is_linear_in_the_turns_of_a_document(encoder):
    def seconds(turns):
        row = segmented("是的。\n" * turns, segments=[(4 * turn, "query") for turn in range(turns)])
        begun = time.process_time()
        found = passages(encoder, row, max_tokens=8)
        assert sum(len(passage.segments) for passage in found) == turns
        return time.process_time() - begun

    seconds(100)
    assert seconds(8000) < 16 * max(0.02, min(seconds(2000) for _ in range(3)))


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


@given(st.lists(DOCUMENTS.map("".join), min_size=1, max_size=5), st.integers(8, 30))
def test_documents_at_once_are_encoded_each_as_alone(encoder, texts, max_tokens):
    lexicon = {"的省会": "PHRASE", "冰雪": "MISC"}
    together = passages(encoder, segmented(*texts, lexicon=lexicon), max_tokens=max_tokens)
    alone = [passages(encoder, segmented(text, lexicon=lexicon), max_tokens=max_tokens) for text in texts]
    expected = [(number, passage) for number, found in enumerate(alone) for passage in found]
    assert [passage.document for passage in together] == [number for number, _ in expected]
    for passage, (_, wanted) in zip(together, expected, strict=True):
        for name in ("index", "input_ids", "unit_bits", "entity_types", "starts", "ends", "sentence_starts"):
            assert np.array_equal(getattr(passage, name), getattr(wanted, name)), name


def test_what_occurs_in_another_passage_is_that_of_the_same_document(encoder, monkeypatch):
    monkeypatch.setattr("ernie_pipe.text.passages._CELLS", len(TOKENS))
    found = passages(
        encoder, segmented("哈尔滨是他说。黑龙江是冰雪。", "他说的话。", "是的是的是的。他说的是。"), max_tokens=9
    )
    marked = [{TOKENS[number] for number in passage.input_ids[passage.unit_bits & ELSEWHERE > 0]} for passage in found]
    assert marked == [{"是", "。"}, {"是", "。"}, set(), {"是", "的", "。"}, {"是", "的", "。"}]


def test_lengths_are_counted_in_tokens(encoder):
    tally = Tally()
    passages(encoder, segmented("哈尔滨是黑龙江的省会。" + "冰雪" * 20, lexicon={"冰雪" * 20: "MISC"}), tally=tally)
    assert tally.lengths["entity"] == {"3": 2, ">32": 1}
    assert sum(tally.lengths["word"].values()) == tally.units["word"]
