"""Units: one aligned layer of words, phrases and entities over the text."""

import itertools
import json
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe import resources
from ernie_pipe.errors import InputError
from ernie_pipe.text import user_dictionary
from ernie_pipe.text.borders import cuts_latin
from ernie_pipe.text.lexicon import compile_lexicon, from_bytes
from ernie_pipe.text.units import Segmenter
from ernie_pipe.text.words import load_engine

DOCUMENTS = sorted((resources.sample() / "documents").glob("*.jsonl"))

LEXICON = {
    "黑龙江": "LOC", "冰雪大世界": "WORK", "AI": "TERM", "20": "TIME",
    "江的": "PHRASE", "是黑": "PHRASE", "省会": "PHRASE", "冰雪": "PHRASE",
}  # fmt: skip
ANY = st.characters(exclude_categories=["Cs"])
WORDS = ["哈尔滨", "是黑龙江的", "黑龙", "省会", "冰雪大世界", "冰雪", "AI", "20", "a"]
KNOWN = st.sampled_from([*WORDS, *".。“” \n\r\t\u3000\x00\u200b\u0301é😀가カ"])
TEXTS = st.lists(KNOWN | ANY, max_size=30).map("".join)


@pytest.fixture(scope="module")
def engine():
    return load_engine("rjieba")


def segmenter(engine, surfaces, **options):
    entities = {surface: kind for surface, kind in surfaces.items() if kind != "PHRASE"}
    compiled = compile_lexicon(entities, surfaces.keys() - entities.keys())
    return Segmenter(engine, from_bytes(compiled), rule_phrases=False, **options)


@given(text=TEXTS, data=st.data())
def test_words_cover_what_is_visible_and_units_stand_on_words(engine, text, data):
    size = len(text)
    border = st.integers(0, size)
    pairs = data.draw(st.lists(st.tuples(border, border), max_size=4))
    given_spans = sorted((min(pair), max(pair), "LOC") for pair in pairs if pair[0] != pair[1])
    units = segmenter(engine, LEXICON).units(text, given_spans)
    words = units.word_bounds.tolist()
    assert all(start < end for start, end in words)
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(words))
    visible = {at for at, char in enumerate(text) if not char.isspace()}
    assert visible <= {at for start, end in words for at in range(start, end)}
    borders = {border for word in words for border in word}
    for start, end, *_ in [*units.phrases, *units.entities]:
        if start in visible:
            assert start in borders
        if end - 1 in visible:
            assert end in borders
        assert not cuts_latin(text, start)
        assert not cuts_latin(text, end)


@given(text=TEXTS)
def test_entities_are_disjoint_and_phrases_cross_none(engine, text):
    units = segmenter(engine, LEXICON).units(text)
    assert units.entities == sorted(units.entities)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(units.entities))
    for start, end in units.phrases:
        for left, right, *_ in units.entities:
            overlap = max(start, left) < min(end, right)
            assert not overlap or (left <= start and end <= right) or (start <= left and right <= end)


def test_the_document_wins_over_the_lexicon_over_the_tagger(engine):
    text = "哈尔滨是黑龙江的省会"
    found = segmenter(engine, {"黑龙江": "ORG"}).units(text)
    assert found.entities == [(0, 3, "LOC", "tagger"), (4, 7, "ORG", "lexicon")]
    assert found.yielded == 1
    found = segmenter(engine, {"黑龙江": "ORG"}).units(text, [(5, 7, "PER")])
    assert found.entities == [(0, 3, "LOC", "tagger"), (5, 7, "PER", "document")]
    assert found.yielded == 2
    assert segmenter(engine, {}, tagged_entities=False).units(text).entities == []


def test_a_phrase_yields_where_it_crosses_an_entity_only(engine):
    text = "是黑龙江的省会有冰雪大世界"
    anywhere = {"tagged_entities": False, "short_anywhere": True}
    units = segmenter(engine, LEXICON, **anywhere).units(text)
    assert [text[start:end] for start, end in units.phrases] == ["省会", "冰雪"]
    assert units.yielded == 2
    shorter = {surface: kind for surface, kind in LEXICON.items() if surface != "是黑"}
    assert segmenter(engine, shorter, **anywhere).units(text).yielded == 1


def test_a_phrase_may_hold_whole_entities(engine):
    lexicon = {"黑龙江": "LOC", "在黑龙江的": "PHRASE"}
    units = segmenter(engine, lexicon, tagged_entities=False).units("他在黑龙江的家")
    assert (units.phrases, units.entities) == ([(1, 6)], [(2, 5, "LOC", "lexicon")])


@pytest.mark.parametrize(
    ("text", "found"), [("SAID", 0), ("AI", 1), ("用AI。", 1), ("2021", 0), ("AI2", 0), ("20岁", 1)]
)
def test_latin_words_and_numbers_are_not_cut(engine, text, found):
    units = segmenter(engine, LEXICON).units(text)
    assert len(units.entities) == found
    assert units.refused == 1 - found


def test_borders_of_units_cut_words(engine):
    text = "中华人民共和国"
    assert segmenter(engine, {}).units(text).word_bounds.tolist() == [[0, 7]]
    assert segmenter(engine, {"华人民": "PHRASE"}).units(text).word_bounds.tolist() == [[0, 1], [1, 4], [4, 7]]


def test_a_match_of_two_characters_stands_on_words(engine):
    text = "中华人民共和国的人民"
    units = segmenter(engine, {"华人": "LOC", "人民": "ORG"}, tagged_entities=False).units(text)
    assert (units.entities, units.refused) == ([(8, 10, "ORG", "lexicon")], 2)
    anywhere = segmenter(engine, {"华人": "LOC", "人民": "ORG"}, tagged_entities=False, short_anywhere=True).units(text)
    assert [text[start:end] for start, end, *_ in anywhere.entities] == ["华人", "人民"]
    assert [source for *_, source in segmenter(engine, {}).units(text, [(1, 3, "LOC")]).entities] == ["document"]


def test_of_overlapping_given_entities_the_first_then_the_longest_stands(engine):
    given_spans = [(0, 2, "PER"), (0, 3, "LOC"), (2, 5, "ORG"), (4, 7, "ORG")]
    units = segmenter(engine, {}, tagged_entities=False).units("哈尔滨是黑龙江", given_spans)
    assert units.entities == [(0, 3, "LOC", "document"), (4, 7, "ORG", "document")]
    assert units.yielded == 2


@pytest.mark.parametrize("words", [["哈尔滨"], ["哈尔滨", "是", "是"], ["哈尔滨是哈", "尔滨是"]])
def test_an_engine_that_loses_characters_is_named(words):
    class Lossy:
        name = "lossy"

        def cut(self, text):
            return words if text else []

    with pytest.raises(InputError, match="word engine `lossy`: its words joined are not the text"):
        Segmenter(Lossy(), tagged_entities=False).segment(["哈尔滨是", "哈尔滨是"])


def test_joined_characters_and_decimals_are_not_cut(engine):
    lexicon = {"5亿": "TERM", "👩是": "MISC", "哈e": "LOC"}
    units = segmenter(engine, lexicon, tagged_entities=False, short_anywhere=True)
    found = units.segment(["3.5亿", "👨\u200d👩是", "哈e\u0301", "，5亿"])
    assert np.diff(found.entities.offsets).tolist() == [0, 0, 0, 1]
    assert found.refused == 3


def test_texts_at_once_are_segmented_each_as_alone(engine):
    texts = ["哈尔滨是黑龙江的省会。", "", "冰雪大世界\n很冷。", "“", "”他说。AI"]
    both = segmenter(engine, LEXICON)
    together = both.segment(texts)
    for number, text in enumerate(texts):
        alone = both.segment([text])
        for layer in ("sentences", "words", "phrases", "entities"):
            assert getattr(together, layer).of(number).tolist() == getattr(alone, layer).bounds.tolist()


def test_names_looked_up_are_those_that_the_tagger_tells(write):
    user = write("user.txt", "冰雪大世界 9 nt\n北京 x\n爱冰 9 ns\n")
    words = str(write("user.tsv", user_dictionary.merge([str(user)])))
    engine = load_engine("rjieba", user_dictionary=words)
    lines = "".join(file.read_text(encoding="utf-8") for file in DOCUMENTS).splitlines()
    texts = [json.loads(line).get("text", "") for line in lines]
    texts += ["", "北京", "在冰雪大世界爱冰雪的人说北京话\n毛泽东", "张伟文在ABC公司"]
    looked_up, tagged = Segmenter(engine), Segmenter(engine)
    tagged._names = None
    found, expected = looked_up.segment(texts), tagged.segment(texts)
    assert len(expected.entities.bounds) > 1000
    for layer in ("entities", "words"):
        assert np.array_equal(getattr(found, layer).bounds, getattr(expected, layer).bounds)
        assert np.array_equal(getattr(found, layer).offsets, getattr(expected, layer).offsets)
    assert np.array_equal(found.entity_types, expected.entity_types)


def test_with_the_hmm_the_tagger_is_asked():
    engine = load_engine("rjieba", hmm=True)
    text = "张伟文在说话"
    tagged = [word for word, tag in engine.tag(text) if tag == "nr"]
    assert tagged
    assert [text[start:end] for start, end, *_ in Segmenter(engine).units(text).entities] == tagged


class Names:
    """An engine to which every word is a place."""

    name = "names"

    def tag(self, text):
        return [(word, "ns") for word in ("京", "和", "上海")]


def test_a_tagged_name_of_one_character_is_none():
    assert Segmenter(Names()).units("京和上海").entities == [(2, 4, "LOC", "tagger")]


def test_a_whole_book_costs_linear_time(engine):
    book = segmenter(engine, LEXICON, tagged_entities=False)
    began = time.perf_counter()
    units = book.units("黑龙江和省会。" * 50_000)
    assert len(units.phrases) == len(units.entities) == 50_000
    assert time.perf_counter() - began < 10
