"""Answers as characters and as tokens: where one lies in a window, and which characters a window's scores mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ernie_pipe.finetune.qa_files import Question
from ernie_pipe.finetune.span_scores import best_spans, log_sum

if TYPE_CHECKING:
    from ernie_pipe.finetune.encoder import Tokens


@dataclass(frozen=True)
class Window:
    """Context tokens `start` to `end` of question number `question`, and where they stand in the input."""

    question: int
    start: int
    end: int
    shift: int


Scored = tuple[Window, np.ndarray, np.ndarray]
"""A window with the start and the end logits of its whole input."""


def token_span(tokens: "Tokens", example: Question) -> tuple[int, int] | None:
    """Return the first and last token that share characters with the answer to learn; None without such tokens."""
    answer = next((answer for answer in example.answers if answer.start is not None), None)
    if answer is None or answer.start is None:
        return None
    start, end = answer.start, answer.start + len(answer.text)
    touched = [i for i, (left, right) in enumerate(tokens.offsets) if left < end and right > start]
    return (touched[0], touched[-1]) if touched else None


def is_exact(tokens: "Tokens", example: Question, span: tuple[int, int]) -> bool:
    """Tell whether the characters of a span of tokens are an answer."""
    text = example.context[tokens.offsets[span[0]][0] : tokens.offsets[span[1]][1]]
    return any(answer.text == text for answer in example.answers)


def inside(span: tuple[int, int] | None, window: Window) -> tuple[int, int]:
    """Return the positions of a span's ends in the input of a window, those of `[CLS]` where it is not wholly there."""
    if span is None or span[0] < window.start or span[1] >= window.end:
        return 0, 0
    return span[0] - window.start + window.shift, span[1] - window.start + window.shift


@dataclass(frozen=True)
class Ranked:
    """The best spans of a question, best first: characters and sum of logits each; and what else could be said.

    `null` is the score of the empty answer, None without windows; `total` is the logarithm of the sum of exp(score)
    over all spans that could be given.
    """

    context: str
    spans: list[tuple[tuple[int, int], float]]
    null: float | None
    total: float

    @property
    def text(self) -> str:
        """The best span's text, empty where there is no span at all."""
        return self.context[slice(*self.spans[0][0])] if self.spans else ""

    @property
    def margin(self) -> float | None:
        """By how many logits the empty answer is ahead of the best span; None where one of them is missing."""
        return self.null - self.spans[0][1] if self.null is not None and self.spans else None

    def answer(self, n_best: int, null_threshold: float | None) -> dict[str, Any]:
        """Return the answer and the `n_best` best; with `null_threshold`, in logits, it may be empty.

        It is when the empty answer is by more than this ahead of the best span, or there is no span.
        """
        listed, total = list(self.spans), self.total
        if null_threshold is not None and self.null is not None:
            margin, null = self.margin, self.null
            wins = margin is None or margin > null_threshold
            behind = next((i for i, (_, score) in enumerate(listed) if score < null), len(listed))
            listed.insert(0 if wins else max(1, behind), ((0, 0), null))
            total = log_sum(np.array([total, null]))
        found = [self._given(place, float(np.exp(score - total))) for place, score in listed[:n_best]]
        return {**(found[0] if found else self._given((0, 0), 0.0)), "nbest": found}

    def _given(self, place: tuple[int, int], score: float) -> dict[str, Any]:
        start, end = place
        return {"answer": self.context[start:end], "start": start, "end": end, "score": min(1.0, score)}


def rank(context: str, tokens: "Tokens", pieces: Sequence[Scored], *, longest: int, n_best: int) -> Ranked:
    """Return the `n_best` best spans of at most `longest` tokens over the scored windows of one question."""
    best: dict[tuple[int, int], float] = {}
    sums = []
    begins = np.array(tokens.leading, dtype=bool)
    closes = np.array([start < end for start, end in tokens.offsets], dtype=bool)
    for window, starts, ends in pieces:
        own = slice(window.shift, window.shift + window.end - window.start)
        usable = begins[window.start : window.end], closes[window.start : window.end]
        spans, total = best_spans(starts[own], ends[own], usable, longest, n_best)
        sums.append(total)
        for first, last, score in spans:
            place = tokens.offsets[window.start + first][0], tokens.offsets[window.start + last][1]
            best[place] = max(best.get(place, score), score)
    ranked = sorted(best.items(), key=lambda item: (-item[1], item[0]))
    # The window that is least sure that it holds no answer speaks for the whole context.
    null = min((float(starts[0] + ends[0]) for _, starts, ends in pieces), default=None)
    return Ranked(context, ranked[:n_best], null, log_sum(np.array(sums)))
