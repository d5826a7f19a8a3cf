"""Lines of ERNIE 1.0's released pretraining format → documents of token ids, as passages.

A line is `token_ids;sentence_type_ids;position_ids;seg_labels;next_sentence_label`, whole numbers with spaces
between: `[CLS] A [SEP] B [SEP]`, type 0 up to the first `[SEP]` and 1 behind it, positions 0, 1, 2, …. A seg label
is −1 on `[CLS]` and `[SEP]`, 0 where a unit begins and 1 where it goes on. The next-sentence label is 1 when B
follows A in its document, 0 when B is random. (PaddlePaddle/ERNIE, branch `repro`: ernie/reader/pretraining.py,
ernie/batching.py.) In the released sample the units are fine words (mean 1.4 tokens, at most 9, numbers and Latin
words whole): they become word starts, and nothing is said of phrases and entities.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ernie_pipe.text.document import Unusable
from ernie_pipe.text.encode import SpecialIds
from ernie_pipe.text.passages import WORD_START, PassageBatch, Tally, cut_passages, mark_elsewhere, restart_units
from ernie_pipe.text.spans import histogram

FIELDS = ("token ids", "sentence types", "positions", "seg labels", "next-sentence label")
NUMBERING = ("id outside the vocabulary", "no [CLS] A [SEP] B [SEP]")
_DIGITS = re.compile(r"[0-9\s-]+", re.ASCII)


@dataclass(frozen=True)
class Sample:
    """One line without its special tokens: ids and seg labels of A and of B, and whether B follows A."""

    ids: tuple[list[int], list[int]]
    labels: tuple[list[int], list[int]]
    follows: bool


def parse(line: str, special: SpecialIds) -> Sample:
    """Read one line; raises `Unusable` with the reason and what was found."""
    fields = line.split(";")
    if len(fields) != len(FIELDS):
        raise Unusable("not five fields", f"{len(fields)} fields between `;`, expected {', '.join(FIELDS)}")
    ids, types, positions, labels, following = map(_numbers, FIELDS, fields)
    if not len(ids) == len(types) == len(positions) == len(labels):
        sizes = zip(FIELDS, map(len, (ids, types, positions, labels)), strict=False)
        raise Unusable("lengths differ", ", ".join(f"{size} {name}" for name, size in sizes))
    if following not in ([0], [1]):
        raise Unusable("next-sentence label", f"{fields[4].strip()[:40]}, expected 0 or 1")
    border = _border(ids, special)
    if types != [0] * (border + 1) + [1] * (len(ids) - border - 1) or positions != list(range(len(ids))):
        raise Unusable("sentence types or positions", "types are 0 up to the first [SEP] and then 1, positions 0, 1, 2")
    first, second = slice(1, border), slice(border + 1, -1)
    if [labels[0], labels[border], labels[-1]] != [-1] * 3 or not {*labels[first], *labels[second]} <= {0, 1}:
        raise Unusable("seg labels", "expected -1 on [CLS] and [SEP], 0 or 1 elsewhere")
    return Sample((ids[first], ids[second]), (labels[first], labels[second]), following == [1])


def _numbers(name: str, field: str) -> list[int]:
    try:
        numbers = list(map(int, field.split()))
    except ValueError:
        numbers = []
    # Python's `int` reads more than digits: 1_0, and those of other scripts.
    if not numbers or not _DIGITS.fullmatch(field):
        raise Unusable("not whole numbers", f"{name}: {field.strip()[:40]!r}")
    return numbers


def _border(ids: list[int], special: SpecialIds) -> int:
    """Return where the first [SEP] stands; raises `Unusable` unless the ids are [CLS] A [SEP] B [SEP]."""
    if min(ids) < 0 or max(ids) >= special.size:
        wrong = next(number for number in ids if not 0 <= number < special.size)
        raise Unusable(NUMBERING[0], f"{wrong}, the vocabulary has 0 to {special.size - 1}")
    if (ids[0], ids[-1], ids.count(special.cls), ids.count(special.sep)) != (special.cls, special.sep, 1, 2):
        frame = f"{special.cls} … {special.sep} … {special.sep}"
        raise Unusable(NUMBERING[1], f"ids begin with {ids[0]} and end with {ids[-1]}, expected {frame}")
    inside = next((number for number in (special.pad, special.mask) if number in ids), None)
    if inside is not None:
        raise Unusable("special token inside", f"id {inside} is [PAD] or [MASK]")
    border = ids.index(special.sep)
    if border in (1, len(ids) - 2):
        raise Unusable("empty sentence", "nothing between two special tokens")
    return border


def doc_ids(samples: Sequence[Sample], names: Sequence[str]) -> list[str]:
    """Return the ids of the documents: one a line (its name) when B follows A, else two."""
    return [
        doc_id
        for sample, name in zip(samples, names, strict=True)
        for doc_id in ([name] if sample.follows else [f"{name}.1", f"{name}.2"])
    ]


def passages(samples: Sequence[Sample], special: SpecialIds, *, max_tokens: int, tally: Tally) -> PassageBatch:
    """Turn samples into passages of at most `max_tokens` − 2 ids, of the documents that `doc_ids` names.

    A and B are the sentences; one longer than a passage is cut at a word and counted. Characters of tokens are not
    known: `starts` and `ends` are zeros. Ids are lower-cased, so no token is marked as capitalised.
    """
    ids = np.concatenate([np.array(part, dtype=np.int32) for sample in samples for part in sample.ids])
    labels = np.concatenate([np.array(part, dtype=np.int8) for sample in samples for part in sample.labels])
    ends = np.cumsum([len(part) for sample in samples for part in sample.ids])
    sentences = np.concatenate([[0], ends[:-1]])
    begins = np.array([first or not sample.follows for sample in samples for first in (True, False)])
    firsts = sentences[begins]
    lasts = np.append(firsts[1:], len(ids))
    bits = (labels == 0) * np.uint8(WORD_START)
    restart_units(bits, sentences)
    borders, owners, cuts = cut_passages(sentences, firsts, lasts, bits, max_tokens - 2, tally)
    mark_elsewhere(ids, borders, owners, bits, special.size)
    words = np.flatnonzero(bits & WORD_START)
    tally.tokens += len(ids)
    tally.unknown += int(np.count_nonzero(ids == special.unk))
    tally.sentences += len(sentences)
    tally.units.update({"word": len(words), "phrase": 0, "entity": 0})
    tally.lengths["word"].update(histogram(np.diff(np.append(words, len(ids)))))
    sentences = np.unique(np.concatenate([sentences, cuts]))
    passage_of = np.searchsorted(borders, sentences, side="right") - 1
    return PassageBatch(
        document=owners,
        index=(np.arange(len(owners)) - np.searchsorted(owners, owners)).astype(np.int32),
        offsets=borders,
        ids=ids,
        bits=bits,
        types=np.zeros(len(ids), dtype=np.uint8),
        starts=np.zeros(len(ids), dtype=np.int32),
        ends=np.zeros(len(ids), dtype=np.int32),
        sentence_starts=sentences - borders[passage_of],
        sentence_offsets=np.searchsorted(sentences, borders),
        segments=[[] for _ in owners],
    )
