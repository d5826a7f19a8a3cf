"""Sentence distance: are two sentences adjacent, in the same document, or from different documents?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ernie_pipe import draws
from ernie_pipe.corpus.reader import Eligibility, Passages
from ernie_pipe.tasks.base import Example, Part, Task

ADJACENT, SAME_DOCUMENT, OTHER_DOCUMENT = range(3)
ATTEMPTS, NEAR = 8, 32


class SentenceDistance(Task):
    """Tell how far apart two sentences stand: 0 adjacent, 1 same document but not adjacent, 2 other document.

    Teaches: discourse coherence at two ranges.
    Input: `[CLS] A [SEP] B [SEP]`, A from the anchor passage; labels (3 classes).
    Honest labels: all three candidates for B are always drawn, and B is cut to one token less than the shortest
    of them whatever the label, so neither its length nor a cut-off end tells the class; classes are equally
    likely; the other document is never the same one, and a sentence of it that stands in the anchor's document
    too (a copy of the document, a stock phrase) is drawn again, up to 8 times.
    Source: Sun et al. 2020 (ERNIE 2.0), section 4.2 (sentence distance task).
    Neighbours: `sentence_reordering`, `next_sentence`.
    """

    name: ClassVar[str] = "sentence_distance"
    parts: ClassVar[int] = 2

    @property
    def classes(self) -> int:
        return 3

    def eligible(self, passages: Passages | Eligibility) -> np.ndarray:
        """The document needs one sentence beside A and its neighbours, the passage two (A and the next) and room."""
        if passages.documents < 2:
            return np.zeros(len(passages), dtype=bool)
        return (passages.document_sentences >= 4) & (passages.sentences >= 2) & (passages.tokens >= 8)

    def example(self, passages: Passages, anchor: int, key: np.ndarray) -> Example:
        """Pair a sentence A of the anchor with one of three candidates for B, cut alike whatever the label."""
        count = int(passages.sentences[anchor])
        first = int(draws.below(count - 1, key, 0))
        candidates = [
            _sentence(passages, anchor, first + 1),
            self._same_document(passages, anchor, first, key),
            self._other_document(passages, anchor, key),
        ]
        label = int(draws.below(3, key, 1))
        room = int(passages.tokens[anchor]) - 1
        length = max(1, min(min(len(ids) for ids, _ in candidates) - 1, room // 2))
        ids, bits = _sentence(passages, anchor, first)
        kept = max(1, min(len(ids), room - length))
        other_ids, other_bits = candidates[label]
        return Example([(ids[:kept], bits[:kept]), (other_ids[:length], other_bits[:length])], label)

    def _same_document(self, passages: Passages, anchor: int, first: int, key: np.ndarray) -> Part:
        """Draw a sentence of the document that neither is A nor stands beside it."""
        document = _document(passages, anchor)
        start, end = passages.first_passage(document), passages.first_passage(document + 1)
        counts = passages.sentences[start:end].astype(np.int64)
        ends = np.cumsum(counts)
        mine = int(ends[anchor - start] - counts[anchor - start]) + first
        near = [number for number in (mine - 1, mine, mine + 1) if 0 <= number < ends[-1]]
        chosen = int(draws.below(int(ends[-1]) - len(near), key, 2))
        chosen += len(near) if chosen >= near[0] else 0
        passage = int(np.searchsorted(ends, chosen, side="right"))
        return _sentence(passages, start + passage, chosen - int(ends[passage] - counts[passage]))

    def _other_document(self, passages: Passages, anchor: int, key: np.ndarray) -> Part:
        """Draw a sentence of another document; one that stands in the anchor's own (a copy) is drawn again."""
        mine = _document(passages, anchor)
        own = _tokens_near(passages, anchor)
        for attempt in range(ATTEMPTS):
            again = draws.key(key, attempt)
            document = int(draws.below(passages.documents - 1, again, 3))
            document += document >= mine
            start, end = passages.first_passage(document), passages.first_passage(document + 1)
            passage = start + int(draws.below(end - start, again, 4))
            part = _sentence(passages, passage, int(draws.below(int(passages.sentences[passage]), again, 5)))
            if part[0].tobytes() not in own:
                break
        return part


def _tokens_near(passages: Passages, anchor: int) -> bytes:
    """Return the ids of the anchor's document as bytes, at most `NEAR` passages to either side."""
    document = _document(passages, anchor)
    first = max(passages.first_passage(document), anchor - NEAR)
    last = min(passages.first_passage(document + 1), anchor + NEAR + 1)
    return b"".join(passages.get(passage)[0].tobytes() for passage in range(first, last))


def _document(passages: Passages, anchor: int) -> int:
    return int(passages.document_of(np.array([anchor]))[0])


def _sentence(passages: Passages, passage: int, number: int) -> Part:
    ids, bits, _ = passages.get(passage)
    borders = [*passages.sentence_starts(passage).tolist(), len(ids)]
    chosen = slice(borders[number], borders[number + 1])
    return ids[chosen], bits[chosen]
