"""Word engines behind one protocol: `rjieba` (default), `jieba`; others by the entry point `ernie_pipe.words`."""

import hashlib
import logging
from collections.abc import Callable
from importlib import metadata, resources
from typing import Protocol

from ernie_pipe.errors import InputError

ENTRY_POINTS = "ernie_pipe.words"
# jieba's part-of-speech names that stand for named entities (nr person, ns place, nt organisation, nz other).
NAME_TAGS = {"nr": "PER", "nrfg": "PER", "nrt": "PER", "ns": "LOC", "nt": "ORG", "nz": "MISC"}


class WordEngine(Protocol):
    """Cuts text into words. The words of `cut` and of `tag` joined again are exactly the text."""

    name: str
    version: str
    dictionary_hash: str

    def cut(self, text: str) -> list[str]:
        """Return the words of `text`."""

    def tag(self, text: str) -> list[tuple[str, str]]:
        """Return (word, part of speech); only the names in `NAME_TAGS` are looked at."""


def _dictionary_hash() -> str:
    data = resources.files("jieba").joinpath("dict.txt").read_bytes()
    return hashlib.blake2b(data, digest_size=8).hexdigest()


class RJieba:
    """jieba's algorithm and dictionary in Rust: with the HMM off the same words as jieba, 20 times faster."""

    name = "rjieba"

    def __init__(self, *, hmm: bool = False) -> None:
        import rjieba

        self._engine = rjieba.Jieba()
        self._hmm = hmm
        self.version = metadata.version("rjieba")
        # The dictionary is compiled into the extension: its version names it.
        self.dictionary_hash = f"rjieba-{self.version}"

    def cut(self, text: str) -> list[str]:
        return self._engine.cut(text, self._hmm)

    def tag(self, text: str) -> list[tuple[str, str]]:
        return self._engine.tag(text, self._hmm)


class Jieba:
    """The original jieba, in Python: the reference to compare with."""

    name = "jieba"

    def __init__(self, *, hmm: bool = False) -> None:
        import jieba
        import jieba.posseg

        jieba.setLogLevel(logging.WARNING)
        self._tokenizer = jieba.Tokenizer()
        self._tagger = jieba.posseg.POSTokenizer(self._tokenizer)
        self._hmm = hmm
        self.version = metadata.version("jieba")
        self.dictionary_hash = _dictionary_hash()

    def cut(self, text: str) -> list[str]:
        return self._tokenizer.lcut(text, HMM=self._hmm)

    def tag(self, text: str) -> list[tuple[str, str]]:
        return [(pair.word, pair.flag) for pair in self._tagger.lcut(text, HMM=self._hmm)]


_BUILT_IN: dict[str, Callable[..., WordEngine]] = {"rjieba": RJieba, "jieba": Jieba}


def engine_names() -> list[str]:
    """Return the names that `load_engine` knows."""
    return [*_BUILT_IN, *(point.name for point in metadata.entry_points(group=ENTRY_POINTS))]


def load_engine(name: str, *, hmm: bool = False) -> WordEngine:
    """Build the engine `name`; `InputError` lists the known names when there is none."""
    if name in _BUILT_IN:
        return _BUILT_IN[name](hmm=hmm)
    for point in metadata.entry_points(group=ENTRY_POINTS):
        if point.name == name:
            return point.load()(hmm=hmm)
    raise InputError(f"unknown word engine `{name}`; known: {', '.join(engine_names())}")
