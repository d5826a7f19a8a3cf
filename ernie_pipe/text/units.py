"""Words, phrases and entities of texts, aligned into one layer of character spans.

Rules: an entity named by the document itself wins over the lexicon, the lexicon over the tagger; inside one
source the leftmost, then the longest match wins. A phrase (of the lexicon, or by rule: see `rules`) that crosses an
entity's border yields to it; of phrases that overlap, the leftmost, then the longest wins. Borders of phrases and
entities become word borders. Refused is what would cut a Latin word, a number or a joined character in two, and a
match of two characters that does not begin and end with words (主|义和|谈), unless `short_anywhere`.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ernie_pipe.errors import InputError
from ernie_pipe.stopwatch import Stopwatch
from ernie_pipe.text import lexicon as lexicons
from ernie_pipe.text.borders import cut_places
from ernie_pipe.text.lexicon import ENTITY_TYPES, Lexicon, Matches, Span, leftmost_longest
from ernie_pipe.text.rules import find_rule_phrases
from ernie_pipe.text.sentences import sentence_spans
from ernie_pipe.text.spans import IS_SPACE, SEPARATOR, Joined, Spans
from ernie_pipe.text.words import NAME_TAGS, WordEngine, load_engine

Entity = tuple[int, int, str, str]
Given = Sequence[tuple[int, int, str]]
SOURCES = ("document", "lexicon", "tagger")
_WORD, _TAG = itemgetter(0), itemgetter(1)


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


class Entities(NamedTuple):
    """Entities in the joined text, by start: arrays of one number each; `types` index `Segmenter.type_names`."""

    starts: np.ndarray
    ends: np.ndarray
    types: np.ndarray

    @staticmethod
    def none() -> "Entities":
        """Return no entities."""
        return Entities(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8))

    def of(self, chosen: np.ndarray) -> "Entities":
        """Return those that a mask or an index chooses."""
        return Entities(self.starts[chosen], self.ends[chosen], self.types[chosen])


@dataclass
class Segmenter:
    """One engine and one lexicon, built once per Python worker.

    `tagged_entities`: also take the engine's part-of-speech names (nr, ns, nt, nz) as entities. `rule_phrases`:
    also take numerals with measure words, dates and titles as phrases. `short_anywhere`: take matches of two
    characters also where the engine's words do not begin and end.
    """

    engine: WordEngine
    lexicon: Lexicon = field(default_factory=lambda: lexicons.from_bytes(lexicons.compile_lexicon({})))
    tagged_entities: bool = True
    rule_phrases: bool = True
    entity_types: Sequence[str] = ENTITY_TYPES
    short_anywhere: bool = False
    type_names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.type_names = list(dict.fromkeys([*self.entity_types, *self.lexicon.type_names, *NAME_TAGS.values()]))
        self._codes = {name: code for code, name in enumerate(self.type_names)}
        # 0 is no name; unknown tags are learnt as such.
        self._tags: defaultdict[str, int] = defaultdict(int)
        self._tags |= {tag: 1 + self._codes[name] for tag, name in NAME_TAGS.items()}
        # Where the engine tells all its names, they are looked up at once, and it only has to cut.
        self._names = _names_of(self.engine) if self.tagged_entities else None
        self._lexicon_codes = np.array([0, *(self._codes[name] for name in self.lexicon.type_names)], dtype=np.uint8)

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
        found = self.lexicon.find(joined.codes)
        watch.lap("lexicon")
        cuts = cut_places(joined.codes)
        fits = self._fits(found.starts, found.ends, cuts, borders)
        matches = found.of(fits)
        claimed = np.zeros(len(joined.codes) + 1, dtype=bool)
        sources = [
            _claim(self._given(joined, given or [()] * len(texts)), cuts, claimed),
            self._lexicon_entities(matches, claimed),
            _claim(tagged, cuts, claimed),
        ]
        entities, entity_sources = _merged([source.entities for source in sources])
        phrases, crossing = self._phrases(joined, matches, entities, cuts, borders)
        sentences = sentence_spans(joined.codes)
        for places in (joined.starts, joined.ends, *sentences, *phrases, entities.starts, entities.ends):
            borders[places] = True
        layers = Layers(
            joined.spans(*sentences),
            joined.spans(*_between(borders, joined.codes)),
            joined.spans(*phrases),
            joined.spans(entities.starts, entities.ends),
            entities.types,
            entity_sources,
            refused=int(np.count_nonzero(~fits)) + sum(source.refused for source in sources),
            yielded=crossing + sum(source.yielded for source in sources),
        )
        watch.lap("units")
        return layers

    def _words(self, texts: Sequence[str], joined: Joined, borders: np.ndarray) -> Entities:
        """Mark the engine's borders; return the words of two characters or more that the tagger names."""
        sizes, names = _Sizes(), bytearray(1)
        sizes.add([SEPARATOR])
        tagging = self.tagged_entities and self._names is None
        for text in texts:
            if tagging:
                pairs = self.engine.tag(text)
                sizes.add(list(map(_WORD, pairs)))
                names += bytes(map(self._tags.__getitem__, map(_TAG, pairs)))
                names.append(0)
            else:
                sizes.add(self.engine.cut(text))
            sizes.add([SEPARATOR])
        ends = np.cumsum(sizes.array(), dtype=np.int64) - 1
        whole = ends[-1] == len(joined.codes) + 1
        if whole:
            borders[ends[:-1]] = True
        if not whole or not borders[joined.ends].all():
            raise InputError(f"word engine `{self.engine.name}`: its words joined are not the text; it must keep all")
        if self._names is not None:
            return self._known_names(self._names, joined.codes, ends)
        if not tagging:
            return Entities.none()
        kinds = np.frombuffer(names, dtype=np.uint8)
        named = np.flatnonzero(kinds)
        starts, stops = ends[named - 1], ends[named]
        long = stops - starts > 1
        return Entities(starts[long], stops[long], kinds[named[long]] - np.uint8(1))

    def _known_names(self, names: Lexicon, codes: np.ndarray, ends: np.ndarray) -> Entities:
        """Return the words (given by their ends) that are names of the engine."""
        found = names.find_spans(codes, ends[:-2], ends[1:-1])
        kinds = np.array([0, *(self._codes[NAME_TAGS[tag]] for tag in names.type_names)], dtype=np.uint8)
        return Entities(found.starts, found.ends, kinds[names.types[found.entries]])

    def _fits(self, starts: np.ndarray, ends: np.ndarray, cuts: np.ndarray, borders: np.ndarray) -> np.ndarray:
        """Return which spans found without the engine may stand; `borders` are those of its words."""
        fits = ~(cuts[starts] | cuts[ends])
        return fits if self.short_anywhere else fits & ((ends - starts > 2) | (borders[starts] & borders[ends]))

    def _given(self, joined: Joined, given: Sequence[Given]) -> Entities:
        """Return what the documents name; of those that overlap, the first and then the longest stands."""
        spans = [
            (start + shift, end + shift, self._codes[kind])
            for shift, found in zip(joined.starts.tolist(), given, strict=True)
            for start, end, kind in found
        ]
        columns = np.array(sorted(spans), dtype=np.int64).reshape(-1, 3)
        return Entities(columns[:, 0], columns[:, 1], columns[:, 2].astype(np.uint8))

    def _lexicon_entities(self, matches: Matches, claimed: np.ndarray) -> "_Claimed":
        matches = matches.of(self.lexicon.types[matches.entries] > 0)
        free = _free(claimed, matches.starts, matches.ends)
        chosen = leftmost_longest(matches.of(free))
        _mark(claimed, chosen.starts, chosen.ends)
        entities = Entities(chosen.starts, chosen.ends, self._lexicon_codes[self.lexicon.types[chosen.entries]])
        return _Claimed(entities, refused=0, yielded=int(np.count_nonzero(~free)))

    def _phrases(
        self, joined: Joined, matches: Matches, entities: Entities, cuts: np.ndarray, borders: np.ndarray
    ) -> tuple[tuple[np.ndarray, np.ndarray], int]:
        """Return starts and ends of the phrases, and how many yielded to entities."""
        matches = matches.of(self.lexicon.is_phrase[matches.entries] > 0)
        starts, ends = matches.starts, matches.ends
        if self.rule_phrases:
            by_rule = np.array(find_rule_phrases(joined.text), dtype=np.int64).reshape(-1, 2)
            by_rule = by_rule[self._fits(by_rule[:, 0], by_rule[:, 1], cuts, borders)]
            starts, ends = np.append(starts, by_rule[:, 0]), np.append(ends, by_rule[:, 1])
        crossing = _crosses(starts, ends, entities)
        starts, ends = starts[~crossing], ends[~crossing]
        order = np.lexsort((ends, starts))
        chosen = leftmost_longest(Matches(starts[order], ends[order], order))
        return (chosen.starts, chosen.ends), int(np.count_nonzero(crossing))


_TABLES_OF_NAMES: WeakKeyDictionary[WordEngine, Lexicon | None] = WeakKeyDictionary()


def _names_of(engine: WordEngine) -> Lexicon | None:
    """Return the table of an engine's names, made once for each engine; None where it has none to tell."""
    if engine not in _TABLES_OF_NAMES:
        names = getattr(engine, "names", lambda: None)()
        _TABLES_OF_NAMES[engine] = None if names is None else lexicons.from_bytes(lexicons.compile_lexicon(names))
    return _TABLES_OF_NAMES[engine]


class _Claimed(NamedTuple):
    """The entities that a source adds, and how many of its were refused and how many yielded."""

    entities: Entities
    refused: int
    yielded: int


def _claim(found: Entities, cuts: np.ndarray, claimed: np.ndarray) -> _Claimed:
    """Take the entities (by start) that cut nothing and overlap none taken before; mark their characters."""
    if not len(found.starts):
        return _Claimed(found, refused=0, yielded=0)
    whole = ~(cuts[found.starts] | cuts[found.ends])
    kept = found.of(whole)
    free = _free(claimed, kept.starts, kept.ends)
    chosen = leftmost_longest(Matches(kept.starts[free], kept.ends[free], np.flatnonzero(free)))
    _mark(claimed, chosen.starts, chosen.ends)
    lost = len(kept.starts) - len(chosen.starts)
    return _Claimed(kept.of(chosen.entries), refused=int(np.count_nonzero(~whole)), yielded=lost)


def _merged(sources: Sequence[Entities]) -> tuple[Entities, np.ndarray]:
    """Return the entities of all sources by start, and the number of each one's source."""
    starts, ends, types = (np.concatenate(parts) for parts in zip(*sources, strict=True))
    numbers = np.repeat(np.arange(len(sources), dtype=np.uint8), [len(source.starts) for source in sources])
    order = np.argsort(starts, kind="stable")
    return Entities(starts[order], ends[order], types[order]), numbers[order]


class _Sizes:
    """The lengths of many words, one byte each, which is what Python collects fastest; longer ones are apart."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._long: dict[int, int] = {}

    def add(self, words: Sequence[str]) -> None:
        try:
            self._bytes += bytes(map(len, words))
        except ValueError:
            self._long |= {len(self._bytes) + at: len(word) for at, word in enumerate(words) if len(word) > 255}
            self._bytes += bytes(len(word) % 256 for word in words)

    def array(self) -> np.ndarray:
        sizes = np.frombuffer(self._bytes, dtype=np.uint8)
        if self._long:
            sizes = sizes.astype(np.int64)
            sizes[list(self._long)] = list(self._long.values())
        return sizes


def _crosses(starts: np.ndarray, ends: np.ndarray, entities: Entities) -> np.ndarray:
    """Return which spans begin inside an entity and end outside, or the other way round."""
    if not len(entities.starts):
        return np.zeros(len(starts), dtype=bool)
    first, last = _around(starts, entities), _around(ends, entities)
    # Inside one entity is no crossing: then it reaches as far as the span on the other side too.
    out_of = (first >= 0) & (entities.ends[first] < ends)
    into = (last >= 0) & (entities.starts[last] > starts)
    return out_of | into


def _around(borders: np.ndarray, entities: Entities) -> np.ndarray:
    """Return the entity (they are disjoint) that has each border strictly inside, or −1."""
    before = np.searchsorted(entities.starts, borders) - 1
    return np.where((before >= 0) & (entities.ends[before] > borders), before, -1)


def _mark(claimed: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
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
    # What begins with white space is blank up to the next visible character.
    leading = np.flatnonzero(IS_SPACE[codes[starts]])
    visible = np.append(np.flatnonzero(~IS_SPACE[codes]), len(codes))
    blank = visible[np.searchsorted(visible, starts[leading])] >= ends[leading]
    kept = np.ones(len(starts), dtype=bool)
    kept[leading[blank]] = False
    return starts[kept], ends[kept]


@lru_cache(maxsize=2)
def load_segmenter(
    lexicon_path: str, *, engine: str, hmm: bool = False, user_dictionary: str | None = None, **options: Any
) -> Segmenter:
    """Build a segmenter with a compiled lexicon (and a merged user dictionary) once per process.

    `options` are further fields of `Segmenter`.
    """
    words = load_engine(engine, hmm=hmm, user_dictionary=user_dictionary)
    return Segmenter(words, lexicons.load(lexicon_path), **options)
