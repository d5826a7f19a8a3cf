"""Sentence distance: are two sentences adjacent, in the same document, or from different documents?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ernie_pipe import draws
from ernie_pipe.corpus.reader import Eligibility, Passages
from ernie_pipe.tasks.base import Example, Task
from ernie_pipe.tasks.sentences import borders_of, bounds, documents_of, is_running, other_sentences

ADJACENT, SAME_DOCUMENT, OTHER_DOCUMENT = range(3)


class SentenceDistance(Task):
    """Tell how far apart two sentences stand: 0 adjacent, 1 same document but not adjacent, 2 other document.

    Teaches: discourse coherence at two ranges.
    Input: `[CLS] A [SEP] B [SEP]`, A from the anchor passage; labels (3 classes).
    Honest labels: all three candidates for B are always drawn, and B is cut to one token less than the shortest
    of them whatever the label, so neither its length nor a cut-off end tells the class; classes are equally
    likely; every passage of the other documents is, too (of text for text, of dialogues for dialogues). The other
    document is none that repeats the anchor's (a copy, an edited copy, a stock sentence: `ernie_pipe.tasks.sentences`);
    where none can be found, the label is 0 or 1.
    Source: Sun et al. 2020 (ERNIE 2.0), section 4.2 (sentence distance task).
    Neighbours: `sentence_reordering`, `next_sentence`.
    """

    name: ClassVar[str] = "sentence_distance"
    parts: ClassVar[int] = 2
    needs: ClassVar[str] = "documents of four or more sentences, two of them in one passage, and another document"

    @property
    def classes(self) -> int:
        return 3

    def eligible(self, passages: Passages | Eligibility) -> np.ndarray:
        """The document needs one sentence beside A and its neighbours, the passage two (A and the next) and room."""
        if passages.documents < 2:
            return np.zeros(len(passages), dtype=bool)
        return (
            is_running(passages)
            & (passages.document_sentences >= 4)
            & (passages.sentences >= 2)
            & (passages.tokens >= 8)
        )

    def examples(self, passages: Passages, anchors: np.ndarray, keys: np.ndarray) -> list[Example]:
        """Pair a sentence A of each anchor with one of three candidates for B, cut alike whatever the label."""
        firsts = draws.below(passages.sentences[anchors].astype(np.int64) - 1, keys, 0)
        same = _same_document(passages, anchors, firsts, keys)
        others = other_sentences(passages, anchors, keys)
        labels = draws.below(2 + (others[0] >= 0), keys, 1)
        drawn = (anchors, firsts, *same, *others, labels)
        return [_pair(passages, *row) for row in zip(*(column.tolist() for column in drawn), strict=True)]


def _pair(
    passages: Passages, anchor: int, first: int, near: int, number: int, far: int, far_number: int, label: int
) -> Example:
    """Build the example of sentence `first` of the anchor; `near` and `far`: the passages of candidates 1 and 2."""
    borders = borders_of(passages, anchor)
    start, stop, after = borders[first : first + 3]
    places = [(anchor, stop, after), (near, *bounds(passages, near, number))]
    if far >= 0:
        places.append((far, *bounds(passages, far, far_number)))
    room = borders[-1] - 1
    length = max(1, min(min(end - begin for _, begin, end in places) - 1, room // 2))
    kept = max(1, min(stop - start, room - length))
    ids, bits, _ = passages.get(anchor)
    passage, begin, _ = places[label]
    other_ids, other_bits, _ = passages.get(passage)
    return Example(
        [
            (ids[start : start + kept], bits[start : start + kept]),
            (other_ids[begin : begin + length], other_bits[begin : begin + length]),
        ],
        label,
    )


def _same_document(
    passages: Passages, anchors: np.ndarray, firsts: np.ndarray, keys: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw sentences of the documents that neither are sentence `firsts` of the anchors nor stand beside it.

    Returns (passages, numbers of the sentences in them).
    """
    starts, stops = documents_of(passages, anchors)
    ends = [np.cumsum(passages.sentences[a:b], dtype=np.int64) for a, b in zip(starts, stops, strict=True)]
    before = np.array([0 if not n else of[n - 1] for of, n in zip(ends, (anchors - starts).tolist(), strict=True)])
    totals = np.array([of[-1] for of in ends])
    mine = before + firsts
    lowest, highest = np.maximum(mine - 1, 0), np.minimum(mine + 1, totals - 1)
    near = highest - lowest + 1
    chosen = draws.below(totals - near, keys, 2)
    chosen += np.where(chosen >= lowest, near, 0)
    within = np.array([of.searchsorted(one, side="right") for of, one in zip(ends, chosen, strict=True)])
    skipped = np.array([0 if not n else of[n - 1] for of, n in zip(ends, within.tolist(), strict=True)])
    return starts + within, chosen - skipped
