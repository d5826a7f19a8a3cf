"""Word engines: whatever the text, the words joined are the text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_pipe.errors import InputError
from ernie_pipe.text.words import NAME_TAGS, engine_names, load_engine

ENGINES = [(name, hmm) for name in ("rjieba", "jieba") for hmm in (False, True)]
KNOWN = st.sampled_from("哈尔滨是黑龙江的省会aB1.\r\n \x00\u0301")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | KNOWN, max_size=40)


@pytest.fixture(scope="module")
def engines():
    return {(name, hmm): load_engine(name, hmm=hmm) for name, hmm in ENGINES}


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=50)
@given(text=TEXTS)
def test_words_joined_are_the_text(engines, engine, text):
    assert "".join(engines[engine].cut(text)) == text
    assert "".join(word for word, _ in engines[engine].tag(text)) == text


@pytest.mark.parametrize("engine", ENGINES)
def test_names_are_tagged(engines, engine):
    tagged = dict(engines[engine].tag("哈尔滨是黑龙江的省会"))
    assert NAME_TAGS[tagged["哈尔滨"]] == NAME_TAGS[tagged["黑龙江"]] == "LOC"


def test_rjieba_finds_the_words_of_jieba(engines):
    text = "哈尔滨是黑龙江的省会，国际冰雪文化名城。2023年有3.14万人。"
    assert engines["rjieba", False].cut(text) == engines["jieba", False].cut(text)


@pytest.mark.parametrize("engine", ENGINES)
def test_versions_are_told(engines, engine):
    assert engines[engine].version
    assert engines[engine].dictionary_hash


def test_an_unknown_engine_is_refused():
    assert engine_names()[:2] == ["rjieba", "jieba"]
    with pytest.raises(InputError, match=r"unknown word engine `pkuseg`; known: rjieba, jieba"):
        load_engine("pkuseg")
