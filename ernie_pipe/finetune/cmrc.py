"""Exact match and F1 of reading comprehension, as CMRC2018 scores them: predicted and true answers in, scores out.

The definition is that of the official script, `cmrc2018_evaluate.py` v5 (Cui et al. 2019, A Span-Extraction Dataset
for Chinese Machine Reading Comprehension, §3.3): Chinese characters count singly, other words and numbers whole, and
the F1 comes from the longest run of segments that both answers have, so order counts.
"""

import re
from collections.abc import Sequence
from itertools import chain, groupby

from ernie_pipe.finetune.metrics import Metrics

# The script's own list: ASCII commas, full stops and brackets are no part of it, and of the quotes ‘ is missing.
_REMOVED = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CHINESE = re.compile("[\u4e00-\u9fa5]")
# Words as the Penn Treebank cuts them, which the script asks of nltk: clitics (n't, 's) and halves (can-not), brackets,
# dashes and marks alone, commas and colons inside numbers kept, a full stop cut off only at the end.
_END = r"(?<!\.)\.(?=[\])}>\"'»”’ ]*$)"
_ALONE = rf"\.{{2,}}|[;@#$%&?!\[\](){{}}<>\"«»“”„‘–—―]|[:,](?!\d)|{_END}"
_CLITIC = r"(?:n't|'(?:ll|re|ve|[smd]))(?!\w)|'(?=[\s\])}>.]|$)|(?<![^\s(\[{<])'(?=\w)"
_HALF = r"(?<!\w)(?:can(?=not\b)|(?:gon|wan)(?=na\b)|got(?=ta\b)|(?:gim|lem)(?=me\b))"
_WORD = re.compile(rf"{_ALONE}|{_HALF}|{_CLITIC}|(?:(?!{_ALONE}|{_CLITIC})\S)+")
_OPENS = re.compile(r"(?:^|(?<=[\s(\[{<‘„«“]))\"")


def reading(answers: Sequence[Sequence[str]], predicted: Sequence[str]) -> Metrics:
    """Return `em`, `f1` and their mean `average`, in 0..1 where the script prints per cent.

    `answers[i]` are the right answers of question i, of which the best counts; none means that the question has no
    answer, which only an empty prediction gets right (SQuAD 2.0). With such questions in the data, the shares over
    the two kinds follow.
    """
    return summary(answers, *scores(answers, predicted))


def summary(answers: Sequence[Sequence[str]], em: Sequence[float], f1: Sequence[float]) -> Metrics:
    """Return what `reading` does from the `scores` of each question."""
    rows = list(zip(em, f1, strict=True))
    result = _means(rows)
    kinds = [bool(right) for right in answers]
    if not all(kinds):
        with_answer = _means([row for row, kind in zip(rows, kinds, strict=True) if kind])
        without = _means([row for row, kind in zip(rows, kinds, strict=True) if not kind])
        result |= {"answerable_em": with_answer["em"], "answerable_f1": with_answer["f1"]}
        result |= {"unanswerable_accuracy": without["em"]}
    return {**result, "examples": len(rows)}


def scores(answers: Sequence[Sequence[str]], predicted: Sequence[str]) -> tuple[list[float], list[float]]:
    """Return the exact match and the F1 of each question."""
    pairs = list(zip(answers, predicted, strict=True))
    return [exact(right, text) for right, text in pairs], [overlap(right, text) for right, text in pairs]


def _means(rows: Sequence[tuple[float, float]]) -> Metrics:
    em, f1 = (sum(column) / len(rows) for column in zip(*rows, strict=True)) if rows else (0.0, 0.0)
    return {"em": em, "f1": f1, "average": (em + f1) / 2}


def exact(answers: Sequence[str], predicted: str) -> float:
    """Return 1.0 when an answer equals the prediction but for case, outer blanks and the removed punctuation."""
    return float(_bare(predicted) in map(_bare, answers) if answers else not predicted)


def _bare(text: str) -> str:
    return "".join(char for char in text.lower().strip() if char not in _REMOVED)


def overlap(answers: Sequence[str], predicted: str) -> float:
    """Return the best F1 over the answers: twice the longest common run of segments over the sum of both lengths."""
    if not answers:
        return float(not predicted)
    given = segments(predicted)
    return max(_f1(segments(answer), given) for answer in answers)


def _f1(right: list[str], given: list[str]) -> float:
    common = _longest_run(right, given)
    return 2 * common / (len(right) + len(given)) if common else 0.0


def segments(text: str) -> list[str]:
    """Return the segments that are compared: single Chinese characters, other words whole, no punctuation.

    Removed punctuation leaves no gap: `2017-08` is one segment, `201708`.
    """
    parts = groupby(_bare(text), key=lambda char: bool(_CHINESE.match(char)))
    return list(chain.from_iterable(run if chinese else words("".join(run)) for chinese, run in parts))


def words(run: str) -> list[str]:
    """Return the words of a run without Chinese characters, cut as the Penn Treebank does."""
    # Opening and closing quotes are two different words there.
    return [match[0] for match in _WORD.finditer(_OPENS.sub("“", run).replace('"', "”"))]


def _longest_run(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest contiguous run that both sequences have."""
    longest, before = 0, [0] * (len(second) + 1)
    for segment in first:
        row = [0]
        for column, other in enumerate(second):
            row.append(before[column] + 1 if segment == other else 0)
        longest = max(longest, *row)
        before = row
    return longest
