"""Typed entities and phrases from TSV files, in automata that match leftmost-longest (daachorse).

A lexicon is compiled once on the driver into one file, which every Python worker loads once.
"""

import hashlib
import io
from functools import lru_cache
from pathlib import Path

import daachorse
import numpy as np

PHRASE = "PHRASE"
ENTITY_TYPES = ("PER", "LOC", "ORG", "WORK", "TIME", "TERM", "MISC")
Span = tuple[int, int]


class Lexicon:
    """Entities by type, and phrases, found in text by one automaton each.

    `types[i]` indexes `type_names` for the entity pattern i.
    """

    def __init__(self, entities: bytes, phrases: bytes, types: np.ndarray, type_names: list[str]) -> None:
        build = daachorse.CharwiseDoubleArrayAhoCorasick
        self._entities = build.deserialize(entities) if entities else None
        self._phrases = build.deserialize(phrases) if phrases else None
        self._types = types
        self.type_names = type_names

    def find_entities(self, text: str) -> list[tuple[int, int, str]]:
        """Return leftmost-longest, non-overlapping (start, end, type)."""
        if self._entities is None:
            return []
        names, types = self.type_names, self._types
        return [(start, end, names[types[index]]) for start, end, index in self._entities.find(text)]

    def find_phrases(self, text: str) -> list[Span]:
        """Return leftmost-longest, non-overlapping (start, end)."""
        if self._phrases is None:
            return []
        return [(start, end) for start, end, _ in self._phrases.find(text)]


def compile_lexicon(surfaces: dict[str, str]) -> bytes:
    """Serialise a surface → type table for `load`; surfaces of one character are left out (they match anywhere)."""
    entities = sorted((surface, kind) for surface, kind in surfaces.items() if kind != PHRASE and len(surface) > 1)
    phrases = sorted(surface for surface, kind in surfaces.items() if kind == PHRASE and len(surface) > 1)
    names = sorted({kind for _, kind in entities})
    buffer = io.BytesIO()
    np.savez(
        buffer,
        entities=_automaton([surface for surface, _ in entities]),
        phrases=_automaton(phrases),
        types=np.array([names.index(kind) for _, kind in entities], dtype=np.uint8),
        type_names=np.array(names, dtype=np.str_),
    )
    return buffer.getvalue()


def _automaton(patterns: list[str]) -> np.ndarray:
    if not patterns:
        return np.zeros(0, dtype=np.uint8)
    kind = daachorse.MATCH_KIND_LEFTMOST_LONGEST
    automaton = daachorse.CharwiseDoubleArrayAhoCorasick(patterns, match_kind=kind)
    return np.frombuffer(automaton.serialize(), dtype=np.uint8)


def from_bytes(data: bytes) -> Lexicon:
    """Load what `compile_lexicon` made."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return Lexicon(
            arrays["entities"].tobytes(),
            arrays["phrases"].tobytes(),
            arrays["types"],
            [str(name) for name in arrays["type_names"]],
        )


@lru_cache(maxsize=2)
def load(path: str) -> Lexicon:
    """Load a compiled lexicon once per process."""
    return from_bytes(Path(path).read_bytes())


def fingerprint(surfaces: dict[str, str]) -> str:
    """Return a hash of the table's content, whatever the order of its files and lines."""
    value = hashlib.blake2b(digest_size=8)
    for surface, kind in sorted(surfaces.items()):
        value.update(f"{surface}\t{kind}\n".encode())
    return value.hexdigest()
