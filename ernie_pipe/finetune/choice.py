"""Multiple choice: which of several choices answers a question or fills a blank, by `AutoModelForMultipleChoice`.

Each choice is an input of its own, `[CLS] context [SEP] question choice [SEP]`, scored by one number. A blank is as
many `[MASK]` as the longest choice has tokens. The number of choices may differ from example to example.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import bootstrap, report
from ernie_pipe.finetune.choice_files import BLANK, Choice, is_blank, read_choice_inputs, read_choices
from ernie_pipe.finetune.data import Source
from ernie_pipe.finetune.head import Head
from ernie_pipe.finetune.metrics import Metrics
from ernie_pipe.finetune.pair_inputs import PairForm
from ernie_pipe.finetune.settings import FinetuneSettings

if TYPE_CHECKING:
    from ernie_pipe.finetune.encoder import Tokens

log = logging.getLogger(__name__)

OTHER_BLANK = "□"
"""What stands for the blanks of a passage that are not asked for."""
Outputs = tuple[list[dict[str, Any]], int]


class ChooserSettings(FinetuneSettings):
    """The settings of `configs/finetune/choice.yaml`."""

    learning_rate: float = Field(2e-5, gt=0, description="peak learning rate of AdamW")
    batch_size: int = Field(16, ge=1, description="questions in a step, each with all its choices")
    max_tokens: int = Field(256, ge=16, description="tokens of a context with question and choice; contexts are cut")


class Chooser(Head[Choice]):
    """Picks one of several choices. Contexts that are too long are cut, counted and said; the rest never is."""

    task = "choice"
    architecture = "ForMultipleChoice"
    settings_class = ChooserSettings
    dev_metric = "accuracy"
    counted = "questions"
    own_labels = False

    def __init__(self, folder: str | Path, settings: FinetuneSettings) -> None:
        super().__init__(folder, settings)
        self._form = PairForm.of(self.tokenizer)
        if self.tokenizer.mask_token_id is None:
            raise InputError(f"{folder}: the tokenizer has no mask token, which stands for a blank: add one")

    def read(self, source: Source, name: str) -> list[Choice]:
        """Return the questions of C3 or ChID files, jsonl, dicts or a Dataset."""
        from ernie_pipe.finetune import encoder

        examples = read_choices(source, name)
        for some in encoder.chunks(examples):
            self._seconds(some)
        return examples

    def labels_of(self, examples: Sequence[Choice]) -> list[str]:
        """Return the one output of the model: the score of a choice."""
        return ["choice"]

    def check(self, examples: Sequence[Choice], labels: Sequence[str]) -> None:
        """Accept every question: choices are no classes."""

    def features(self, examples: Sequence[Choice]) -> list[dict]:
        """Return `input_ids` (a list a choice), `token_type_ids` likewise, and the place of the answer as `labels`."""
        inputs, cut = self._inputs(examples)
        self._tell(cut, len(examples))
        names = inputs[0][0].keys()
        pairs = zip(examples, inputs, strict=True)
        return [{**{n: [row[n] for row in rows] for n in names}, "labels": example.answer} for example, rows in pairs]

    def _tell(self, cut: int, count: int) -> None:
        if cut:
            log.warning("%d of %d contexts are cut to fit %d tokens", cut, count, self.settings.max_tokens)

    def _seconds(self, examples: Sequence[Choice]) -> list[tuple[list[int], list[list[int]]]]:
        """Return the ids of question and choices of each example; `InputError` when they leave no room."""
        questions = self._encode([example.question for example in examples])
        choices = iter(self._encode([choice for example in examples for choice in example.choices]))
        found = []
        for example, question in zip(examples, questions, strict=True):
            given = [next(choices).ids for _ in example.choices]
            longest = len(question.ids) + max(map(len, given))
            if longest >= self._room:
                raise InputError(
                    f"{example.where}: question and choice have {longest} tokens where max_tokens "
                    f"{self.settings.max_tokens} has room for {self._room - 1}: raise it, or shorten them"
                )
            found.append((question.ids, given))
        return found

    @property
    def _room(self) -> int:
        return self.settings.max_tokens - self._form.special

    def _encode(self, texts: Sequence[str]) -> list["Tokens"]:
        from ernie_pipe.finetune import encoder

        return encoder.encode(self.tokenizer, texts)

    def _inputs(self, examples: Sequence[Choice]) -> tuple[list[list[dict]], int]:
        """Return one input a choice for each example, and how many contexts were cut."""
        from ernie_pipe.finetune import encoder

        found: list[list[dict]] = []
        cut = 0
        for some in encoder.chunks(examples):
            inputs, shorter = self._inputs_at_once(some)
            found += inputs
            cut += shorter
        return found, cut

    def _inputs_at_once(self, examples: Sequence[Choice]) -> tuple[list[list[dict]], int]:
        sides = [_sides(example) for example in examples]
        lefts = self._encode([left for left, _ in sides])
        rights = self._encode([right for _, right in sides])
        seconds = self._seconds(examples)
        found, cut = [], 0
        for example, left, right, (question, choices) in zip(examples, lefts, rights, seconds, strict=True):
            # All choices of a question see the same context: what the longest one leaves room for.
            longest = max(map(len, choices))
            room = self._room - len(question) - longest
            hole = [self.tokenizer.mask_token_id] * min(longest, room) if example.blank else []
            context = around(left.ids, hole, right.ids, room)
            cut += len(context) < len(left.ids) + len(hole) + len(right.ids)
            found.append([self._form.join(context, question + choice) for choice in choices])
        return found, cut

    def collator(self) -> Any:
        """Return the function that pads choices and inputs to a batch of [questions, choices, tokens]."""
        from ernie_pipe.finetune.choice_model import ChoiceCollator

        return ChoiceCollator(self.tokenizer)

    def start(self, labels: list[str]) -> Any:
        """Return the model that training begins with, deaf to padded choices."""
        from ernie_pipe.finetune.choice_model import ignore_padding

        return ignore_padding(super().start(labels))

    def outputs(self, examples: Sequence[Choice]) -> Outputs:
        """Return the answer to each question as `predict` gives it, and how many contexts were cut."""
        return self._answers(examples)

    def score(self, examples: Sequence[Choice], outputs: Outputs) -> Metrics:
        """Return accuracy, what guessing would have, and how many contexts were cut."""
        answers, cut = outputs
        right = [answer["index"] == example.answer for answer, example in zip(answers, examples, strict=True)]
        chance = float(np.mean([1 / len(example.choices) for example in examples]))
        return {"accuracy": float(np.mean(right)), "chance": chance, "cut": cut, "examples": len(examples)}

    def report(self, examples: Sequence[Choice], outputs: Outputs) -> report.Report:
        """Return accuracy with its interval, and the wrong answers, those that thought least of the right one first."""
        pairs = list(zip(examples, outputs[0], strict=True))
        right = [float(answer["index"] == example.answer) for example, answer in pairs]
        errors = [
            {
                "where": example.where,
                "text": example.question or example.context,
                "gold": example.choices[example.answer],
                "predicted": answer["answer"],
                "loss": round(-float(np.log(max(answer["scores"][example.answer], 1e-12))), 6),
            }
            for example, answer in pairs
            if example.answer is not None and answer["index"] != example.answer
        ]
        return {
            "examples": len(examples),
            "metrics": {"accuracy": float(np.mean(right))},
            "intervals": bootstrap.of_means({"accuracy": right}, seed=self.settings.seed),
            "worst": report.worst(errors),
        }

    def predict(self, texts: Sequence[Any]) -> list[dict[str, Any]]:
        """Return `answer`, its place `index`, its `score`, and the `scores` of all choices, for each question.

        A question is `{"context", "question", "choices"}`, or a context with one blank `#idiom#` and `choices`. The
        scores are probabilities, one over all choices of the question.
        """
        answers, cut = self._answers(_checked(texts))
        self._tell(cut, len(answers))
        return answers

    def read_inputs(self, path: str | Path) -> list[Any]:
        """Return the questions of a file; its answers are not looked at."""
        return read_choice_inputs(path)

    def is_empty(self, item: Any) -> bool:
        """Tell whether nothing is asked."""
        return is_blank(item)

    def row(self, item: Any, answer: dict[str, Any]) -> dict[str, Any]:
        """Return id and question with the answer."""
        return {**self.empty_row(item), **answer}

    def empty_row(self, item: Any) -> dict[str, Any]:
        """Return id and question alone."""
        return {"id": item.id, "question": item.question}

    def _answers(self, examples: Sequence[Choice]) -> Outputs:
        from ernie_pipe.finetune import encoder, inference
        from ernie_pipe.finetune.choice_model import OneByOne

        self.labels  # noqa: B018  (refuses a model that was not fitted)
        scorer: Any = OneByOne(self.model)
        answers, cut = [], 0
        for some in encoder.chunks(examples):
            inputs, shorter = self._inputs(some)
            cut += shorter
            flat = [row for rows in inputs for row in rows]
            found = iter(inference.logits(scorer, self.tokenizer, flat, self.settings.batch_size))
            for example in some:
                shares = inference.probabilities(np.concatenate([next(found) for _ in example.choices]))
                answers.append(_answer(example, shares))
        return answers, cut


def _answer(example: Choice, shares: np.ndarray) -> dict[str, Any]:
    scores, best = [float(share) for share in shares], int(shares.argmax())
    return {"answer": example.choices[best], "index": best, "score": scores[best], "scores": scores}


def _sides(example: Choice) -> tuple[str, str]:
    """Return the context before and after the blank, all of it before where there is none."""
    if example.blank is None:
        return example.context, ""
    start, end = example.blank
    return BLANK.sub(OTHER_BLANK, example.context[:start]), BLANK.sub(OTHER_BLANK, example.context[end:])


def around(left: list[int], hole: list[int], right: list[int], room: int) -> list[int]:
    """Return at most `room` ids with the hole in their middle, or, without a hole, the first ones.

    Where one side is shorter than its half, the other side has what it leaves.
    """
    if not hole:
        return (left + right)[:room]
    rest = room - len(hole)
    before = min(len(left), max(rest // 2, rest - len(right)))
    return left[len(left) - before :] + hole + right[: rest - before]


def _checked(items: Any) -> list[Choice]:
    if isinstance(items, str | dict):
        raise InputError("predict takes a list of {'context': …, 'question': …, 'choices': […]}")
    items = list(items)
    if all(isinstance(item, Choice) for item in items):
        return items
    return read_choice_inputs(items, "predict") if items else []
