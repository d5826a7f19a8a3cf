"""Lexicons: leftmost-longest matches, and errors that name file and line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.errors import InputError
from ernie_pipe.text.lexicon import compile_lexicon, fingerprint, from_bytes
from ernie_pipe.text.lexicon_files import read_tsv

SURFACES = st.sets(st.text("ab哈", min_size=2, max_size=4), min_size=1, max_size=8)


def naive(text, surfaces):
    """Leftmost-longest, without overlap, by looking at every place."""
    found, at = [], 0
    while at < len(text):
        longest = max((len(surface) for surface in surfaces if text.startswith(surface, at)), default=0)
        if longest:
            found.append((at, at + longest))
        at += longest or 1
    return found


@given(SURFACES, SURFACES, st.data())
def test_matches_are_leftmost_longest(entities, phrases, data):
    phrases -= entities
    text = "".join(data.draw(st.lists(st.sampled_from(sorted({*entities, *phrases, *"ab哈😀"})), max_size=12)))
    kinds = {surface: ("LOC", "PER")[len(surface) % 2] for surface in entities}
    lexicon = from_bytes(compile_lexicon({**kinds, **dict.fromkeys(phrases, "PHRASE")}))
    assert lexicon.find_phrases(text) == naive(text, phrases)
    assert lexicon.find_entities(text) == [(a, b, kinds[text[a:b]]) for a, b in naive(text, entities)]


def test_an_empty_lexicon_and_single_characters_match_nothing():
    lexicon = from_bytes(compile_lexicon({"哈": "LOC", "的": "PHRASE"}))
    assert lexicon.find_entities("哈的") == lexicon.find_phrases("哈的") == []


def test_the_heaviest_type_wins_the_first_at_a_tie(write):
    first = write("1.tsv", "\ufeff# comment\r\n长江\tLOC\r\n\r\n黄河\tLOC\t2\n# 1\n")
    second = write("2.tsv", "长江\tORG\n黄河\tWORK\t3\n省会\tPHRASE\n")
    assert read_tsv([str(first), str(second)]) == {"长江": "LOC", "黄河": "WORK", "省会": "PHRASE"}


def test_further_types_can_be_named(write):
    assert read_tsv([str(write("a.tsv", "感冒\tDISEASE"))], types=["DISEASE"]) == {"感冒": "DISEASE"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("长江\tLOC\n黄河\n", r"a\.tsv, line 2: expected `surface<TAB>type`.*'黄河'"),
        ("\tLOC\n", r"a\.tsv, line 1: expected"),
        ("a\tb\tc\td\n", r"a\.tsv, line 1: expected"),
        ("长江\tRIVER\n", r"a\.tsv, line 1: unknown type 'RIVER'; known: LOC, .*PHRASE"),
        ("长江\tLOC\theavy\n", r"a\.tsv, line 1: the weight 'heavy' is no number"),
        ("长江\tLOC\n".encode("gb18030"), r"a\.tsv: not UTF-8 \(byte 0\): save the lexicon as UTF-8"),
    ],
)
def test_errors_name_file_and_line(write, content, message):
    with pytest.raises(InputError, match=message):
        read_tsv([str(write("a.tsv", content))])


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.tsv: no such lexicon file"):
        read_tsv([str(tmp_path / "gone.tsv")])
    with pytest.raises(InputError, match="cannot be read"):
        read_tsv([str(tmp_path)])


def test_the_fingerprint_is_of_the_content():
    assert fingerprint({"a": "LOC", "b": "PER"}) == fingerprint({"b": "PER", "a": "LOC"})
    assert fingerprint({"a": "LOC"}) != fingerprint({"a": "PER"})
