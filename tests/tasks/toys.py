"""Passages whose tokens tell where they stood, and a task of a third party."""

import itertools

import numpy as np

from ernie_pipe.config import Settings
from ernie_pipe.tasks import Example, Task
from ernie_pipe.text.passages import CAPITALISED, ELSEWHERE, WORD_START


class Labelled:
    """Stands in for `Passages`: every token id is unique; `place[id]` is (document, sentence in it)."""

    def __init__(self, documents: list[list[list[int]]]) -> None:
        """`documents` → passages → lengths of their sentences."""
        flat = [(number, passage) for number, document in enumerate(documents) for passage in document]
        self.document = np.array([number for number, _ in flat], np.int32)
        self.tokens = np.array([sum(lengths) for _, lengths in flat], np.uint16)
        self.sentences = np.array([len(lengths) for _, lengths in flat], np.uint16)
        self.documents = len(documents)
        self.roles = np.zeros(len(flat), np.uint8)
        self.first_passages = np.searchsorted(self.document, np.arange(len(documents) + 1))
        self._starts = [np.cumsum([0, *lengths[:-1]]) for _, lengths in flat]
        self._first = np.cumsum([0, *self.tokens.astype(int)])
        self.place: list[tuple[int, int]] = []
        for number, document in enumerate(documents):
            for sentence, length in enumerate(itertools.chain(*document)):
                self.place += [(number, sentence)] * length

    @classmethod
    def random(cls, documents: int, seed: int = 0) -> "Labelled":
        rng = np.random.default_rng(seed)

        def passage() -> list[int]:
            return rng.integers(2, 14, rng.integers(1, 6)).tolist()

        return cls([[passage() for _ in range(rng.integers(1, 4))] for _ in range(documents)])

    def __len__(self) -> int:
        return len(self.tokens)

    def get(self, passage: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ids = np.arange(self._first[passage], self._first[passage + 1])
        return ids, np.zeros(len(ids), np.uint8), np.zeros(len(ids), np.uint8)

    def sentence_starts(self, passage: int) -> np.ndarray:
        return self._starts[passage]

    @property
    def document_sentences(self) -> np.ndarray:
        return np.bincount(self.document, weights=self.sentences)[self.document]

    def document_of(self, passages: np.ndarray) -> np.ndarray:
        return self.document[passages]

    def first_passage(self, document: int) -> int:
        return int(np.searchsorted(self.document, document))


class Written(Labelled):
    """Stands in for `Passages`, with ids of one's own: documents → passages → sentences → tokens.

    Tokens in `capitals` were capitalised; those that another passage of their document has are marked.
    """

    def __init__(self, documents: list[list[list[list[int]]]], capitals: frozenset[int] = frozenset()) -> None:
        super().__init__([[[len(s) for s in passage] for passage in document] for document in documents])
        self._ids, self._bits = [], []
        for document in documents:
            flat = [list(itertools.chain(*passage)) for passage in document]
            for number, ids in enumerate(flat):
                others = set(itertools.chain(*flat[:number], *flat[number + 1 :]))
                bits = [CAPITALISED * (i in capitals) + ELSEWHERE * (i in others) + WORD_START for i in ids]
                self._ids.append(np.array(ids, np.uint16))
                self._bits.append(np.array(bits, np.uint8))
        self.marks = np.array([np.bitwise_or.reduce(bits) for bits in self._bits], np.uint8)

    def get(self, passage: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ids = self._ids[passage]
        return ids, self._bits[passage], np.zeros(len(ids), np.uint8)


class SentenceCount(Task):
    """How many sentences has the passage: one, two, or more?"""

    name = "sentence_count"
    Settings = Settings
    classes = 3

    def eligible(self, passages):
        return passages.sentences > 0

    def example(self, passages, anchor, key):
        ids, bits, _ = passages.get(anchor)
        return Example([(ids, bits)], min(int(passages.sentences[anchor]), 3) - 1)
