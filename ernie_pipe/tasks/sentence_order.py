"""Sentence order: do two neighbouring texts stand in their order, or swapped?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ernie_pipe import draws
from ernie_pipe.corpus.reader import Eligibility, Passages
from ernie_pipe.tasks.base import Example, Task
from ernie_pipe.tasks.sentences import cut_somewhere, documents_of, from_sentence, is_running

IN_ORDER, SWAPPED = range(2)
_BORDERS = 3
_CUT, _LABEL, _LENGTH = range(3)


class SentenceOrder(Task):
    """Tell whether two neighbouring texts of a passage stand in their order (0) or swapped (1), half of the time each.

    Teaches: coherence; topic, the same in both, does not help.
    Input: `[CLS] A [SEP] B [SEP]` or `[CLS] B [SEP] A [SEP]`: A is the beginning of the anchor passage, B begins with
    a later sentence of it and may go on into the next passage; labels (2 classes).
    Honest labels: first texts and second ones are not of one length, so both are cut to the same, at a drawn place
    within the last tokens of the shorter one: neither lengths nor ends tell the order. B begins at one of the three
    sentences with which least is cut away.
    Source: Lan et al. 2019 (ALBERT), section 3.1 (inter-sentence coherence loss); Cui et al. 2020 (MacBERT).
    Neighbours: `sentence_reordering` with more pieces and no border marked; `next_sentence`.
    """

    name: ClassVar[str] = "sentence_order"
    parts: ClassVar[int] = 2
    needs: ClassVar[str] = "passages of two or more sentences"

    @property
    def classes(self) -> int:
        return 2

    def eligible(self, passages: Passages | Eligibility) -> np.ndarray:
        """The passage needs two sentences and room."""
        return is_running(passages) & (passages.sentences >= 2) & (passages.tokens >= 8)

    def examples(self, passages: Passages, anchors: np.ndarray, keys: np.ndarray) -> list[Example]:
        """Cut each anchor in two, both parts to one length, and swap them for label 1."""
        _, ends = documents_of(passages, anchors)
        rest = np.where(anchors + 1 < ends, passages.tokens[np.minimum(anchors + 1, len(passages) - 1)], 0)
        drawn = (
            anchors,
            ends,
            rest,
            draws.uniform(keys, _CUT),
            draws.uniform(keys, _LENGTH),
            draws.below(2, keys, _LABEL),
        )
        return [_pair(passages, *row) for row in zip(*(column.tolist() for column in drawn), strict=True)]


def _pair(passages: Passages, anchor: int, end: int, rest: int, border: float, shorter: float, label: int) -> Example:
    """Build the example of an anchor; `rest`: tokens of the next passage, `border` and `shorter` are drawn."""
    ids, bits, _ = passages.get(anchor)
    size = len(ids)
    starts = passages.sentence_starts(anchor).tolist()
    # One token less than half of the passage each: there is one more [SEP] than in the passage alone.
    lengths = [min(start, size - start + rest, size // 2) for start in starts[1:]]
    best = sorted(range(len(lengths)), key=lambda place: -lengths[place])[:_BORDERS]
    chosen = best[int(border * len(best))]
    length = cut_somewhere(lengths[chosen], shorter)
    parts = [(ids[:length], bits[:length]), from_sentence(passages, anchor, chosen + 1, length, end)]
    return Example(parts[::-1] if label == SWAPPED else parts, label)
