"""The table of surfaces: every match that a naive search finds, and no other; leftmost-longest."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.text import lexicon as lexicons
from ernie_pipe.text.lexicon import compile_lexicon, fingerprint, from_bytes, leftmost_longest, load
from ernie_pipe.text.spans import code_points

LETTERS = "ab哈\U00020000"
SURFACES = st.sets(st.text(LETTERS, min_size=1, max_size=5), max_size=12)


def find(lexicon, text):
    """Every match as (start, end, type or None, whether a phrase)."""
    found = lexicon.find(code_points(text))
    names = [None, *lexicon.type_names]
    return [
        (start, end, names[lexicon.types[entry]], bool(lexicon.is_phrase[entry]))
        for start, end, entry in zip(*(part.tolist() for part in found), strict=True)
    ]


def naive(text, entities, phrases):
    """The same by looking at every part of the text."""
    spans = [(start, end) for start in range(len(text)) for end in range(start + 2, len(text) + 1)]
    known = entities.keys() | phrases
    parts = [(start, end, text[start:end]) for start, end in spans]
    return [(start, end, entities.get(part), part in phrases) for start, end, part in parts if part in known]


@given(SURFACES, SURFACES, st.data())
def test_every_match_is_found_and_no_other(entities, phrases, data):
    entities = {surface: ("LOC", "PER")[len(surface) % 2] for surface in sorted(entities)}
    text = "".join(data.draw(st.lists(st.sampled_from(sorted({*entities, *phrases, *LETTERS, "😀"})), max_size=12)))
    assert find(from_bytes(compile_lexicon(entities, phrases)), text) == naive(text, entities, phrases)


@given(SURFACES, st.lists(st.sampled_from([*LETTERS, "ab", "哈哈", "aab", "b哈ab"]), max_size=12))
def test_given_spans_are_found_exactly(entities, pieces):
    lexicon = from_bytes(compile_lexicon(dict.fromkeys(entities, "LOC")))
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    starts = ends - [len(piece) for piece in pieces] if pieces else ends
    found = lexicon.find_spans(code_points("".join(pieces)), starts, ends)
    expected = [
        (a, b) for a, b, piece in zip(starts, ends, pieces, strict=True) if len(piece) > 1 and piece in entities
    ]
    assert list(zip(found.starts, found.ends, strict=True)) == expected


@pytest.mark.parametrize("bits", [0, 8])
def test_hashes_that_collide_invent_nothing(monkeypatch, bits):
    mixed = lexicons._mixed
    monkeypatch.setattr(lexicons, "_mixed", lambda hashes: mixed(hashes) & np.uint64((1 << bits) - 1))
    rng = random.Random(1)
    entities = {"".join(rng.choices(LETTERS, k=rng.randint(2, 6))): "LOC" for _ in range(60)}
    text = "".join(rng.choices(LETTERS, k=500))
    assert find(from_bytes(compile_lexicon(entities)), text) == naive(text, entities, set())


def test_surfaces_of_any_length_are_found():
    rng = random.Random(2)
    surfaces = ["".join(rng.choices(LETTERS, k=length)) for length in (2, 3, 30, 31, 32, 33, 64, 65, 200, 1000)]
    nested = [surface[: len(surface) // 2] for surface in surfaces[2:]]
    text = "😀".join([*surfaces, *nested, surfaces[-1][:-1]])
    found = find(from_bytes(compile_lexicon(dict.fromkeys([*surfaces, *nested], "ORG"))), text)
    assert {text[start:end] for start, end, *_ in found} == {*surfaces, *nested}
    expected = sum(text.startswith(surface, at) for surface in {*surfaces, *nested} for at in range(len(text)))
    assert len(found) == expected


def test_a_large_table_finds_what_a_naive_search_finds():
    rng = random.Random(3)
    letters = [chr(0x4E00 + number) for number in range(300)]
    entities = {"".join(rng.choices(letters, k=rng.choice((2, 2, 3, 4)))): "LOC" for _ in range(20_000)}
    text = "".join(rng.choices(letters, k=3000))
    spans = [(start, start + size) for start in range(len(text)) for size in (2, 3, 4) if start + size <= len(text)]
    expected = [(start, end) for start, end in spans if text[start:end] in entities]
    assert len(expected) > 300
    assert [match[:2] for match in find(from_bytes(compile_lexicon(entities)), text)] == expected


def greedy(spans):
    """Leftmost-longest, without overlap, span by span."""
    chosen = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not chosen or start >= chosen[-1][1]:
            chosen.append((start, end))
    return chosen


@given(st.sets(st.tuples(st.integers(0, 30), st.integers(1, 8)), max_size=20))
def test_the_leftmost_then_the_longest_is_chosen(pairs):
    spans = sorted((start, start + size) for start, size in pairs)
    starts, ends = np.array(spans, dtype=np.int64).reshape(-1, 2).T
    chosen = leftmost_longest(lexicons.Matches(starts, ends, np.arange(len(spans))))
    assert list(zip(chosen.starts.tolist(), chosen.ends.tolist(), strict=True)) == greedy(spans)
    assert [spans[entry] for entry in chosen.entries] == greedy(spans)


def test_an_empty_lexicon_and_single_characters_match_nothing():
    for lexicon in (from_bytes(compile_lexicon({})), from_bytes(compile_lexicon({"哈": "LOC"}, ["的"]))):
        assert len(lexicon) == 0
        assert find(lexicon, "哈的") == find(lexicon, "") == find(lexicon, "哈") == []


def test_a_compiled_table_is_mapped_from_its_file(tmp_path):
    path = tmp_path / "lexicon.arrow"
    path.write_bytes(compile_lexicon({"哈尔滨": "LOC"}, ["哈尔滨", "省会"]))
    lexicon = load(str(path))
    assert find(lexicon, "哈尔滨省会") == [(0, 3, "LOC", True), (3, 5, None, True)]
    assert load(str(path)) is lexicon
    assert not lexicon.types.flags.owndata


def test_the_fingerprint_is_of_the_content():
    assert fingerprint({"a": "LOC", "b": "PER"}) == fingerprint({"b": "PER", "a": "LOC"})
    prints = [
        fingerprint({"a": "LOC"}),
        fingerprint({"a": "PER"}),
        fingerprint({}, ["a"]),
        fingerprint({"a": "LOC"}, ["a"]),
    ]
    assert len(set(prints)) == 4
