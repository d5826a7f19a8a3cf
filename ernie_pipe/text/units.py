"""Words, phrases and entities of texts, aligned into one layer of character spans.

Rules: an entity named by the document itself wins over the lexicon, the lexicon over the tagger; inside one
source the leftmost-longest match wins. A phrase (of the lexicon, or by rule: see `rules`) that crosses an
entity's border yields to it; of phrases that overlap, the leftmost, then the longest wins. Borders of phrases and
entities become word borders. A match that would cut a Latin word, a number or a joined character in two is refused.
"""

import itertools
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ernie_pipe.errors import InputError
from ernie_pipe.stopwatch import Stopwatch
from ernie_pipe.text import lexicon as lexicons
from ernie_pipe.text.lexicon import ENTITY_TYPES, Lexicon, Matches, Span, leftmost_longest
from ernie_pipe.text.rules import find_rule_phrases
from ernie_pipe.text.sentences import sentence_spans
from ernie_pipe.text.spans import IS_SPACE, Joined, Spans, code_points
from ernie_pipe.text.words import NAME_TAGS, WordEngine, load_engine

Entity = tuple[int, int, str, str]
Given = Sequence[tuple[int, int, str]]
SOURCES = ("document", "lexicon", "tagger")
_ZERO_WIDTH_JOINER = 0x200D


@dataclass
class Layers:
    """Units of a batch of documents. `entity_types` index `Segmenter.type_names`, `entity_sources` index `SOURCES`.

    Words cover every character but white space. `refused` counts matches that would have cut a Latin word or a
    number, `yielded` those that lost to a stronger source.
    """

    sentences: Spans
    words: Spans
    phrases: Spans
    entities: Spans
    entity_types: np.ndarray
    entity_sources: np.ndarray
    refused: int
    yielded: int


@dataclass
class Units:
    """`Layers` of one text as lists sorted by start; `entities` are (start, end, type, source)."""

    sentences: list[Span]
    word_bounds: np.ndarray
    phrases: list[Span]
    entities: list[Entity]
    refused: int = 0
    yielded: int = 0


class _Entities(NamedTuple):
    """Entities in the joined text: arrays of one number each."""

    starts: np.ndarray
    ends: np.ndarray
    types: np.ndarray


@dataclass
class Segmenter:
    """One engine and one lexicon, built once per Python worker.

    `tagged_entities`: also take the engine's part-of-speech names (nr, ns, nt, nz) as entities. `rule_phrases`:
    also take numerals with measure words, dates and titles as phrases.
    """

    engine: WordEngine
    lexicon: Lexicon | None = None
    tagged_entities: bool = True
    rule_phrases: bool = True
    entity_types: Sequence[str] = ENTITY_TYPES
    type_names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        named = [*self.entity_types, *(self.lexicon.type_names if self.lexicon else ()), *NAME_TAGS.values()]
        self.type_names = list(dict.fromkeys(named))
        self._codes = {name: code for code, name in enumerate(self.type_names)}
        # 0 is no name; unknown tags are learnt as such.
        self._tags: defaultdict[str, int] = defaultdict(int)
        self._tags |= {tag: 1 + self._codes[name] for tag, name in NAME_TAGS.items()}
        if self.lexicon:
            names = [self._codes[name] for name in self.lexicon.type_names]
            self._lexicon_codes = np.array([0, *names], dtype=np.uint8)

    def units(self, text: str, given: Given = ()) -> Units:
        """Segment one text; `given` are entities (start, end, type) that the document brought along."""
        layers = self.segment([text], [given])
        kinds = [self.type_names[code] for code in layers.entity_types.tolist()]
        sources = [SOURCES[code] for code in layers.entity_sources.tolist()]
        return Units(
            [(start, end) for start, end in layers.sentences.bounds.tolist()],
            layers.words.bounds,
            [(start, end) for start, end in layers.phrases.bounds.tolist()],
            [
                (start, end, kind, source)
                for (start, end), kind, source in zip(layers.entities.bounds.tolist(), kinds, sources, strict=True)
            ],
            layers.refused,
            layers.yielded,
        )

    def segment(
        self, texts: Sequence[str], given: Sequence[Given] | None = None, watch: Stopwatch | None = None
    ) -> Layers:
        """Segment texts at once; `given` are the entities that each document brought along."""
        watch = watch or Stopwatch()
        joined = Joined(texts)
        borders = np.zeros(len(joined.codes) + 1, dtype=bool)
        tagged = self._words(texts, joined, borders)
        watch.lap("words")
        cuts = cut_places(joined.codes)
        matches = self.lexicon.find(joined.codes) if self.lexicon else None
        watch.lap("lexicon")
        refused = 0
        if matches is not None:
            whole = ~(cuts[matches.starts] | cuts[matches.ends])
            refused += len(whole) - int(whole.sum())
            matches = matches.of(whole)
        entities, sources, counts = self._entities(joined, cuts, matches, tagged, given or [()] * len(texts))
        starts, ends, yielded = self._phrases(joined, cuts, matches, entities)
        sentences = sentence_spans(joined.codes)
        for place in (joined.starts, joined.ends, *sentences, starts, ends, entities.starts, entities.ends):
            borders[place] = True
        layers = Layers(
            joined.spans(*sentences),
            joined.spans(*_between(borders, joined.codes)),
            joined.spans(starts, ends),
            joined.spans(entities.starts, entities.ends),
            entities.types,
            sources,
            refused + counts[0],
            yielded + counts[1],
        )
        watch.lap("units")
        return layers

    def _words(self, texts: Sequence[str], joined: Joined, borders: np.ndarray) -> _Entities | None:
        """Mark the engine's borders; return the words of two characters or more that the tagger names."""
        one, no_name = np.ones(1, dtype=np.uint8), b"\0"
        sizes, names = [one], [no_name]
        for text in texts:
            if self.tagged_entities:
                pairs = self.engine.tag(text)
                words, tags = [word for word, _ in pairs], [tag for _, tag in pairs]
                names += (bytes(map(self._tags.__getitem__, tags)), no_name)
            else:
                words = self.engine.cut(text)
            sizes += (_sizes(words), one)
        ends = np.cumsum(np.concatenate(sizes), dtype=np.int64) - 1
        if ends[-1] != len(joined.codes) + 1:
            raise InputError(f"word engine `{self.engine.name}`: its words joined are not the text; it must keep all")
        borders[ends[:-1]] = True
        if not borders[joined.ends].all():
            raise InputError(f"word engine `{self.engine.name}`: its words joined are not the text; it must keep all")
        if not self.tagged_entities:
            return None
        kinds = np.frombuffer(b"".join(names), dtype=np.uint8)
        named = np.flatnonzero(kinds)
        starts, stops = ends[named - 1], ends[named]
        long = stops - starts > 1
        return _Entities(starts[long], stops[long], kinds[named[long]] - np.uint8(1))

    def _entities(
        self,
        joined: Joined,
        cuts: np.ndarray,
        matches: Matches | None,
        tagged: _Entities | None,
        given: Sequence[Given],
    ) -> tuple[_Entities, np.ndarray, tuple[int, int]]:
        """Return the entities by start, their sources, and how many were refused and how many yielded."""
        claimed = np.zeros(len(joined.codes) + 1, dtype=bool)
        found, refused, yielded = self._claim_given(joined, cuts, claimed, given)
        rounds = [found]
        if matches is not None and self.lexicon is not None:
            matches = matches.of(self.lexicon.types[matches.entries] > 0)
            free = _free(claimed, matches.starts, matches.ends)
            yielded += len(free) - int(free.sum())
            matches = leftmost_longest(matches.of(free))
            kinds = self._lexicon_codes[self.lexicon.types[matches.entries]]
            rounds.append(_Entities(matches.starts, matches.ends, kinds))
            _claim(claimed, matches.starts, matches.ends)
        else:
            rounds.append(_Entities(*(array[:0] for array in found)))
        if tagged is not None:
            whole = ~(cuts[tagged.starts] | cuts[tagged.ends])
            free = _free(claimed, tagged.starts, tagged.ends)
            refused += len(whole) - int(whole.sum())
            yielded += int((whole & ~free).sum())
            rounds.append(_Entities(*(array[whole & free] for array in tagged)))
        starts, ends, types = (np.concatenate(parts) for parts in zip(*rounds, strict=True))
        sources = np.repeat(np.arange(len(rounds), dtype=np.uint8), [len(part.starts) for part in rounds])
        order = np.argsort(starts, kind="stable")
        return _Entities(starts[order], ends[order], types[order]), sources[order], (refused, yielded)

    def _claim_given(
        self, joined: Joined, cuts: np.ndarray, claimed: np.ndarray, given: Sequence[Given]
    ) -> tuple[_Entities, int, int]:
        kept: list[tuple[int, int, int]] = []
        refused = yielded = 0
        for shift, spans in zip(joined.starts.tolist(), given, strict=True):
            for start, end, kind in spans:
                first, last = start + shift, end + shift
                if cuts[first] or cuts[last]:
                    refused += 1
                elif claimed[first:last].any():
                    yielded += 1
                else:
                    claimed[first:last] = True
                    kept.append((first, last, self._codes[kind]))
        columns = np.array(kept, dtype=np.int64).reshape(-1, 3)
        return _Entities(columns[:, 0], columns[:, 1], columns[:, 2].astype(np.uint8)), refused, yielded

    def _phrases(
        self, joined: Joined, cuts: np.ndarray, matches: Matches | None, entities: _Entities
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Return starts and ends of the phrases, and how many yielded to entities."""
        starts = ends = np.zeros(0, dtype=np.int64)
        if matches is not None and self.lexicon is not None:
            chosen = self.lexicon.is_phrase[matches.entries] > 0
            starts, ends = matches.starts[chosen], matches.ends[chosen]
        if self.rule_phrases:
            by_rule = np.array(find_rule_phrases(joined.text), dtype=np.int64).reshape(-1, 2)
            starts, ends = np.append(starts, by_rule[:, 0]), np.append(ends, by_rule[:, 1])
        first, last = _around(starts, entities), _around(ends, entities)
        # Inside one entity is no crossing: then it reaches as far as the phrase on the other side too.
        crossing = (first >= 0) & (entities.ends[first] < ends) if len(entities.ends) else first >= 0
        if len(entities.ends):
            crossing |= (last >= 0) & (entities.starts[last] > starts)
        crossing |= cuts[starts] | cuts[ends]
        kept = np.flatnonzero(~crossing)
        order = kept[np.lexsort((ends[kept], starts[kept]))]
        phrases = leftmost_longest(Matches(starts[order], ends[order], order))
        return phrases.starts, phrases.ends, int(crossing.sum())


def _sizes(words: Sequence[str]) -> np.ndarray:
    """Return the lengths of words: as bytes, which is fastest, unless one does not fit."""
    try:
        return np.frombuffer(bytes(map(len, words)), dtype=np.uint8)
    except ValueError:
        return np.fromiter(map(len, words), dtype=np.int64, count=len(words))


def _around(borders: np.ndarray, entities: _Entities) -> np.ndarray:
    """Return the entity (they are disjoint) that has each border strictly inside, or −1."""
    if not len(entities.starts):
        return np.full(len(borders), -1)
    before = np.searchsorted(entities.starts, borders) - 1
    return np.where((before >= 0) & (entities.ends[before] > borders), before, -1)


def _claim(claimed: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
    """Mark the characters of disjoint spans."""
    step = np.zeros(len(claimed), dtype=np.int8)
    step[starts] += 1
    step[ends] -= 1
    claimed |= np.cumsum(step, dtype=np.int8) > 0


def _free(claimed: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return for each span whether none of its characters is claimed."""
    before = np.concatenate([[0], np.cumsum(claimed, dtype=np.int32)])
    return before[ends] == before[starts]


def _between(borders: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return starts and ends of what lies between borders and is not all white space."""
    places = np.flatnonzero(borders)
    starts, ends = places[:-1], places[1:]
    blank = np.zeros(len(starts), dtype=bool)
    if len(starts):
        blank = np.logical_and.reduceat(IS_SPACE[codes], starts)
    return starts[~blank], ends[~blank]


@lru_cache(maxsize=1)
def _parts_of_words() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return bools a code point: letter of a script with words or digit; digit; what belongs to the one before."""
    letter, digit, joins = (np.zeros(0x110000, dtype=bool) for _ in range(3))
    for code in itertools.chain(range(0x20000), range(0xE0100, 0xE01F0)):
        category = unicodedata.category(chr(code))
        letter[code] = category in ("Lu", "Ll", "Lt", "Nd", "Mn")
        digit[code] = category == "Nd"
        joins[code] = category == "Mn" or 0x1F3FB <= code <= 0x1F3FF
    return letter, digit, joins


def cut_places(codes: np.ndarray) -> np.ndarray:
    """Return (bool, N + 1) where a border would cut a Latin word, a number (3.5 too) or a joined character."""
    letter, digit, joins = _parts_of_words()
    cuts = np.zeros(len(codes) + 1, dtype=bool)
    letters, joiner = letter[codes], codes == _ZERO_WIDTH_JOINER
    cuts[1:-1] = (letters[1:] & letters[:-1]) | joins[codes[1:]] | joiner[1:] | joiner[:-1]
    point = np.flatnonzero((codes == ord(".")) | (codes == ord(",")))
    point = point[(point > 0) & (point < len(codes) - 1)]
    point = point[digit[codes[point - 1]] & digit[codes[point + 1]]]
    cuts[point] = cuts[point + 1] = True
    return cuts


def cuts_latin(text: str, at: int) -> bool:
    """Return whether a border at character `at` would cut a Latin word, a number or a joined character."""
    return bool(cut_places(code_points(text))[at])


@lru_cache(maxsize=2)
def load_segmenter(
    lexicon_path: str,
    *,
    engine: str,
    hmm: bool = False,
    tagged_entities: bool = True,
    rule_phrases: bool = True,
    entity_types: tuple[str, ...] = ENTITY_TYPES,
    user_dictionary: str | None = None,
) -> Segmenter:
    """Build a segmenter with a compiled lexicon (and a merged user dictionary) once per process."""
    lexicon = lexicons.load(lexicon_path)
    words = load_engine(engine, hmm=hmm, user_dictionary=user_dictionary)
    return Segmenter(words, lexicon, tagged_entities, rule_phrases, entity_types)
