"""Words added to a given vocabulary: whole where BERT can use them, as characters elsewhere; no id moves."""

from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.text.encode import SPECIAL_TOKENS
from ernie_pipe.text.extend import add_words, grow, place
from ernie_pipe.text.unknown import measure
from ernie_pipe.text.vocabulary import backend

VOCAB = [*SPECIAL_TOKENS, "[unused1]", "哈", "尔", "[unused2]", "c", "har", "##bin", "-"]


def added(*words, lowercase=True):
    return add_words(words, set(VOCAB), lowercase=lowercase)


def tokenizer(tokens):
    return backend({token: number for number, token in enumerate(tokens)}, lowercase=True)


def test_a_latin_word_is_one_token_at_once():
    found = added("Harbin", "hárbin", "HAR")
    assert found.tokens == {"harbin": "word"}
    assert found.kinds == {"added_whole": 1, "duplicate": 1, "already_there": 1}
    made, _ = place(VOCAB, found.tokens)
    assert tokenizer(made).encode("Harbin 哈", add_special_tokens=False).ids == [5, 6]
    assert added("Harbin", lowercase=False).tokens == {"Harbin": "word"}


def test_of_a_chinese_word_only_the_missing_characters_are_added():
    found = added("哈尔滨", "滨", "哈尔", "龘")
    assert found.tokens == {"滨": "character", "龘": "character"}
    assert found.kinds == {"several_characters": 2, "already_there": 1, "added_whole": 1}
    assert found.samples["several_characters"] == ["哈尔滨", "哈尔"]


def test_words_with_punctuation_or_spaces_give_their_parts():
    found = added("COVID-19", "New York", "C", "[MASK]", "维C")
    assert found.tokens == {
        "covid": "part", "19": "part", "new": "part", "york": "part", "[": "character", "mask": "part",
        "]": "character", "维": "character",
    }  # fmt: skip
    assert found.kinds == {"several_parts": 3, "already_there": 1, "several_characters": 1}


def test_what_can_be_no_token_is_counted():
    found = added("x" * 101, "\u200b", "y" * 100)
    assert found.tokens == {"y" * 100: "word"}
    assert found.kinds == {"too_long": 1, "nothing_left": 1, "added_whole": 1}


@given(st.lists(st.text(min_size=1, max_size=8) | st.text(alphabet="哈尔滨c-harbin ", min_size=1)))
def test_every_word_is_counted_once_and_nothing_moves(words):
    found = added(*words)
    assert found.kinds.total() == len(words)
    made, appended = place(VOCAB, found.tokens)
    assert len(made) == len(set(made)) == len(VOCAB) + appended
    assert all(made[i] == token for i, token in enumerate(VOCAB) if not token.startswith("[unused"))
    ours = tokenizer(made)
    assert all("[UNK]" not in ours.encode(word).tokens for word in words if "[UNK]" not in word)


def test_unused_rows_come_first_then_the_end():
    assert place(VOCAB, ["甲", "乙", "丙"]) == (
        [*SPECIAL_TOKENS, "甲", "哈", "尔", "乙", "c", "har", "##bin", "-", "丙"], 1,
    )  # fmt: skip
    assert place(VOCAB, []) == (VOCAB, 0)


UNKNOWN = {"滨": 5, "c×c": 3, "c÷×": 3, "龘": 1, "z" * 101: 9}


def test_what_the_corpus_needs_comes_by_how_often_it_helps():
    def grown(limit, coverage=1.0):
        return grow(UNKNOWN, set(VOCAB) | {"##c"}, limit=limit, coverage=coverage, tokens=100)

    assert grown(9) == ["##×", "滨", "##÷", "龘"]
    assert grown(2) == ["##×", "滨"]
    assert grown(9, coverage=0.88) == ["##×", "滨", "##÷"]
    assert grown(9, coverage=0.7) == []
    assert grown(9, coverage=0.86) == ["##×", "滨"]
    assert grown(0) == []


def test_growing_mends_what_it_says():
    tokens = [*VOCAB, "##c", *grow(UNKNOWN, {*VOCAB, "##c"}, limit=9, coverage=1.0, tokens=100)]
    left = measure(UNKNOWN, tokenizer(tokens)).unknown
    assert left == {"z" * 101: 9}
