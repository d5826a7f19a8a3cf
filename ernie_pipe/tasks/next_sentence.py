"""Next sentence: does the second text follow the first?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ernie_pipe import draws
from ernie_pipe.corpus.reader import Eligibility, Passages
from ernie_pipe.tasks.base import Example, Task
from ernie_pipe.tasks.sentences import cut_somewhere, documents_of, from_sentence, is_running, other_sentences

FOLLOWS, RANDOM = range(2)
_CUT, _LABEL, _LENGTH = range(3)


class NextSentence(Task):
    """Tell whether B follows A (0) or is a text of another document (1), half of the time each.

    Teaches: topic and coherence from one text to the next.
    Input: `[CLS] A [SEP] B [SEP]`: the anchor passage, cut in two between two of its sentences (any of them); labels
    (2 classes). B is the passage's rest, or as many tokens of another document, from a sentence on that like the
    passage's own is no passage's first.
    Honest labels: both candidates for B are always drawn, and B ends inside the shorter one, at a drawn place within
    its last tokens, whatever the label: neither its length nor how it ends tells the class. The other document is
    none that repeats the anchor's (`ernie_pipe.tasks.sentences`); where none can be found, B follows A.
    Source: Devlin et al. 2018 (BERT), section 3.1 (task 2).
    Neighbours: `sentence_order`, which a model cannot solve by topic alone; `sentence_distance`.
    """

    name: ClassVar[str] = "next_sentence"
    parts: ClassVar[int] = 2
    needs: ClassVar[str] = "passages of two or more sentences, in two or more documents"

    @property
    def classes(self) -> int:
        return 2

    def eligible(self, passages: Passages | Eligibility) -> np.ndarray:
        """The passage needs two sentences and room; there must be another document."""
        if passages.documents < 2:
            return np.zeros(len(passages), dtype=bool)
        return is_running(passages) & (passages.sentences >= 2) & (passages.tokens >= 8)

    def examples(self, passages: Passages, anchors: np.ndarray, keys: np.ndarray) -> list[Example]:
        """Cut each anchor in two and keep its second part, or put one of another document in its place."""
        cuts = 1 + draws.below(passages.sentences[anchors].astype(np.int64) - 1, keys, _CUT)
        others, numbers = other_sentences(passages, anchors, keys, inner=True)
        _, ends = documents_of(passages, np.maximum(others, 0))
        labels = np.where(others >= 0, draws.below(2, keys, _LABEL), FOLLOWS)
        drawn = (anchors, cuts, others, numbers, ends, labels, draws.uniform(keys, _LENGTH))
        return [_pair(passages, *row) for row in zip(*(column.tolist() for column in drawn), strict=True)]


def _pair(
    passages: Passages, anchor: int, cut: int, other: int, number: int, end: int, label: int, shorter: float
) -> Example:
    """Build the example of an anchor cut at sentence `cut`; `end`: the first passage after the other document."""
    ids, bits, _ = passages.get(anchor)
    cut = int(passages.sentence_starts(anchor)[cut])
    # One token less: there is one more [SEP] than in the passage alone.
    room = max(1, len(ids) - cut - 1)
    kept = min(cut, len(ids) - 1 - room)
    follows = (ids[cut : cut + room], bits[cut : cut + room])
    random = follows if other < 0 else from_sentence(passages, other, number, room, end)
    length = cut_somewhere(min(len(follows[0]), len(random[0])), shorter)
    second, second_bits = random if label == RANDOM else follows
    return Example([(ids[:kept], bits[:kept]), (second[:length], second_bits[:length])], label)
