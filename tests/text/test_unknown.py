"""What becomes [UNK]: counted as the encoder counts, explained, and found again in the text."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.text.encode import SPECIAL_TOKENS, Encoder
from ernie_pipe.text.unknown import examples, forms, lacking, measure, table
from ernie_pipe.text.vocabulary import backend, count_text, pieces

VOCAB = {
    token: number
    for number, token in enumerate([*SPECIAL_TOKENS, "哈", "尔", "，", "a", "ab", "##c", "##cd", "3", "##4", "x"])
}
TOKENIZER = backend(VOCAB, lowercase=True)
ENCODER = Encoder(backend(VOCAB, lowercase=True))


def counted(text):
    counts: Counter[str] = Counter()
    count_text(text, counts)
    return counts


def measured(text):
    return measure(pieces(counted(text).items(), lowercase=True), TOKENIZER)


@given(st.text() | st.text(alphabet="哈尔滨，。abcd34×X \n㗎"))
def test_the_measure_is_what_the_encoder_gives(text):
    ids = ENCODER.encode(text).ids.tolist()
    found = measured(text)
    assert (found.tokens, found.unknown.total()) == (len(ids), ids.count(VOCAB["[UNK]"]))


def test_words_that_wordpiece_cannot_cut_are_unknown_and_characters_counted():
    found = measured("哈尔滨，滨 abcd 3×4 3×4 ABC abd")
    assert found.unknown == {"滨": 2, "3×4": 2, "abd": 1}
    assert found.most_frequent == [("3×4", 2), ("滨", 2), ("abd", 1)]
    assert (found.characters, found.covered) == (5, 3)


def test_what_lacks_is_what_mends():
    assert lacking("3×4", VOCAB) == ["##×"]
    assert lacking("abcd", VOCAB) == []
    assert lacking("滨", VOCAB) == ["滨"]
    assert lacking("y" * 101, VOCAB) == []


@given(st.text(alphabet="abcdx34×é", min_size=1, max_size=12))
def test_with_what_lacks_every_word_is_known(word):
    vocab = [*VOCAB, *(piece for piece in dict.fromkeys(lacking(word, VOCAB)))]
    tokenizer = backend({token: number for number, token in enumerate(vocab)}, lowercase=False)
    assert not measure({word: 1}, tokenizer).unknown


def test_an_example_is_the_first_place_of_the_very_string():
    text = "甲" * 30 + "x3×4 哈尔滨\n的 3×4，" + "乙" * 30
    written = forms(counted(text), {"滨", "3×4"}, TOKENIZER)
    assert written == {"滨": ["滨"], "3×4": ["3×4"]}
    found = dict(examples(text, written))
    assert found["滨"] == "甲" * 13 + "x3×4 哈尔滨 的 3×4，" + "乙" * 13
    assert found["3×4"] == "甲" * 9 + "x3×4 哈尔滨 的 3×4，" + "乙" * 19
    assert not list(examples("别的x3×4", written))


def test_a_word_is_found_however_it_is_written():
    written = forms(counted("Ábd ABD abd"), {"abd"}, TOKENIZER)
    assert set(written) == {"Ábd", "ABD", "abd"}
    assert list(examples("- Ábd -", written)) == [("abd", "- Ábd -")]


def test_the_table_says_why():
    text = "滨滨 3×4 " + "z" * 300
    found = measured(text)
    lines = table(found, {"滨": "哈尔滨"}, VOCAB, rows=2).splitlines()
    assert lines[0] == "text\tcount\tshare\tnote\texample"
    assert lines[1] == "滨\t2\t0.5\tU+6EE8 CJK UNIFIED IDEOGRAPH-6EE8\t哈尔滨"
    assert len(lines) == 3
    assert lines[2] == "3×4\t1\t0.25\tlacks ##×\t"
    full = table(found, {}, VOCAB, rows=9).splitlines()
    assert full[3] == "z" * 100 + "…\t1\t0.25\tlonger than 100 characters\t"
