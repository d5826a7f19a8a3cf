"""Words, phrases and entities of a text, aligned into one layer of character spans.

Rules: an entity named by the document itself wins over the lexicon, the lexicon over the tagger; inside one
source the leftmost-longest match wins. A phrase that crosses an entity's border yields to it. Borders of
phrases and entities become word borders; a match that would cut a Latin word or a number in two is refused.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ernie_pipe.text import lexicon as lexicons
from ernie_pipe.text.lexicon import Lexicon, Span
from ernie_pipe.text.sentences import split_sentences
from ernie_pipe.text.words import NAME_TAGS, WordEngine, load_engine

Entity = tuple[int, int, str, str]
_SPACE = np.fromiter((chr(code).isspace() for code in range(0x110000)), dtype=bool, count=0x110000)


def code_points(text: str) -> np.ndarray:
    """Return the code points of `text` (uint32, one a character)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


@dataclass
class Units:
    """Spans over one text, each list sorted by start; `entities` are (start, end, type, source).

    `word_bounds` (int32, words × 2) covers every character but white space. `refused` counts matches that
    would have cut a Latin word or a number, `yielded` those that lost to a stronger one.
    """

    sentences: list[Span]
    word_bounds: np.ndarray
    phrases: list[Span]
    entities: list[Entity]
    refused: int = 0
    yielded: int = 0


@dataclass
class Segmenter:
    """One engine and one lexicon, built once per Python worker.

    `tagged_entities`: also take the engine's part-of-speech names (nr, ns, nt, nz) as entities.
    """

    engine: WordEngine
    lexicon: Lexicon | None = None
    tagged_entities: bool = True

    def units(self, text: str, given: Iterable[tuple[int, int, str]] = ()) -> Units:
        """Segment `text`; `given` are entities (start, end, type) that the document brought along."""
        words, tagged = self._words(text)
        claimed = bytearray(len(text))
        units = Units(split_sentences(text), np.empty((0, 2), np.int32), [], [])
        lexicon = self.lexicon
        for source, found in (
            ("document", given),
            ("lexicon", lexicon.find_entities(text) if lexicon else ()),
            ("tagger", tagged),
        ):
            _claim(units, text, claimed, found, source)
        units.entities.sort()
        if lexicon:
            _add_phrases(units, text, lexicon.find_phrases(text))
        units.word_bounds = _word_bounds(text, words, units)
        return units

    def _words(self, text: str) -> tuple[list[str], list[tuple[int, int, str]]]:
        """Return the words, and the entities that the tagger names (two characters or more)."""
        if not self.tagged_entities:
            return self.engine.cut(text), []
        words: list[str] = []
        entities = []
        end = 0
        for word, tag in self.engine.tag(text):
            words.append(word)
            start, end = end, end + len(word)
            if tag in NAME_TAGS and len(word) > 1:
                entities.append((start, end, NAME_TAGS[tag]))
        return words, entities


@lru_cache(maxsize=2)
def load_segmenter(lexicon_path: str, *, engine: str, hmm: bool, tagged_entities: bool) -> Segmenter:
    """Build a segmenter with a compiled lexicon once per process."""
    return Segmenter(load_engine(engine, hmm=hmm), lexicons.load(lexicon_path), tagged_entities)


def _claim(units: Units, text: str, claimed: bytearray, found: Iterable[tuple[int, int, str]], source: str) -> None:
    for start, end, kind in found:
        if cuts_latin(text, start) or cuts_latin(text, end):
            units.refused += 1
        elif claimed.find(1, start, end) >= 0:
            units.yielded += 1
        else:
            claimed[start:end] = b"\x01" * (end - start)
            units.entities.append((start, end, kind, source))


def cuts_latin(text: str, at: int) -> bool:
    """Return whether a border at character `at` would stand inside a Latin word or a number."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    return before.isascii() and after.isascii() and before.isalnum() and after.isalnum()


def _add_phrases(units: Units, text: str, phrases: list[Span]) -> None:
    starts = [entity[0] for entity in units.entities]

    def around(border: int) -> Entity | None:
        """Return the entity (they are disjoint) that has `border` strictly inside."""
        entity = units.entities[bisect_left(starts, border) - 1] if units.entities else None
        return entity if entity and entity[0] < border < entity[1] else None

    for start, end in phrases:
        # Inside one entity is no crossing: then it reaches as far as the phrase on the other side too.
        first, last = around(start), around(end)
        if cuts_latin(text, start) or cuts_latin(text, end):
            units.refused += 1
        elif (first and first[1] < end) or (last and last[0] > start):
            units.yielded += 1
        else:
            units.phrases.append((start, end))


def _word_bounds(text: str, words: list[str], units: Units) -> np.ndarray:
    """Return (start, end) of words: the engine's, cut also at the borders of sentences, phrases and entities."""
    lengths = np.fromiter(map(len, words), dtype=np.int32, count=len(words))
    ends = np.cumsum(lengths, dtype=np.int32)
    assert (ends[-1] if len(ends) else 0) == len(text), "a word engine must return every character of the text"
    extra = [border for span in units.sentences for border in span]
    extra += [border for span in units.phrases for border in span]
    extra += [border for entity in units.entities for border in entity[:2]]
    borders = np.unique(np.concatenate([ends, np.array([0, *extra], dtype=np.int32)]))
    visible = np.concatenate([[0], np.cumsum(~_SPACE[code_points(text)])])
    blank = visible[borders[1:]] == visible[borders[:-1]]
    return np.stack([borders[:-1], borders[1:]], axis=1)[~blank]
