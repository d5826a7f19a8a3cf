"""What classifier and pair share: one answer a sequence, by `AutoModelForSequenceClassification`.

The problem is one of three, kept in the model's config as transformers names it, so that its pipeline answers alike:
`single` (one class a text: softmax), `multi` (any number of classes: a sigmoid each, given from `threshold` on) and
`regression` (a number: squared error, one output called `score`).

Shapes: `N` examples, `L` labels.
"""

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
from pydantic import BeforeValidator, Field

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import metrics, problems, report
from ernie_pipe.finetune.data import Columns, Label, Source, check_labels, label_order
from ernie_pipe.finetune.head import Head
from ernie_pipe.finetune.problems import Problem
from ernie_pipe.finetune.settings import FinetuneSettings, number_or_auto

log = logging.getLogger(__name__)


def _threshold(value: Any) -> float | str:
    found = number_or_auto(value)
    if isinstance(found, float) and not 0 < found < 1:
        raise ValueError(f"{found:g} is no probability above 0 and below 1")
    return found


Threshold = Annotated[float | Literal["auto"], BeforeValidator(_threshold)]


class SequenceSettings(FinetuneSettings):
    """The settings of heads that give a sequence one answer."""

    problem: Literal["auto", "single", "multi", "regression"] = Field(
        "auto", description="one class a text, several, or a number; auto: what the labels look like"
    )
    threshold: Threshold = Field(
        0.5, description="multi: the probability from which on a label is given; auto: chosen on dev"
    )
    label_separator: str = Field("|", min_length=1, description="multi: what stands between labels in a table's cell")
    text_column: str = Field("", description="name of the text's column; empty: found by name")
    label_column: str = Field("", description="name of the label's column; empty: found by name")
    after_training: ClassVar = (
        *FinetuneSettings.after_training,
        "threshold",
        "label_separator",
        "text_column",
        "label_column",
    )


class Labelled(Protocol):
    """An example with a label."""

    @property
    def text(self) -> str:
        """The text, by which equal examples are found."""

    @property
    def label(self) -> Label:
        """The label as it was read."""

    @property
    def where(self) -> str:
        """File and line, or the place in a list."""


E = TypeVar("E", bound=Labelled)
Outputs = tuple[np.ndarray, int]
"""Logits [N, L], and how many inputs were cut."""


class SequenceHead(Head[E]):
    """Inputs of one sequence each, and the answers, scores and reports of the three problems."""

    architecture = "ForSequenceClassification"
    graded_integers = False
    """Whether five and more consecutive whole numbers are grades rather than classes."""
    counted = "texts"
    """What inputs are called in messages."""
    problem: Problem = "single"
    """What the model solves: as its folder says, or as the data it was fitted to asks."""
    unchosen: ClassVar = {"threshold": 0.5}
    _mean = 0.0

    def __init__(self, folder: str | Path, settings: FinetuneSettings) -> None:
        super().__init__(folder, settings)
        if self.model is not None:
            self.problem = problems.of_config(self.model.config)
            self.dev_metric = problems.DEV_METRICS[self.problem]

    @abstractmethod
    def read_examples(self, source: Source, name: str, columns: Columns) -> list[E]:
        """Return the examples of a source, their labels as they are written."""

    @abstractmethod
    def inputs(self, items: Sequence[Any]) -> tuple[list[dict], int]:
        """Return the features of inputs, without labels, and how many of them were cut."""

    @abstractmethod
    def items_of(self, examples: Sequence[E]) -> list[Any]:
        """Return the inputs of examples, as `predict` takes them."""

    def read(self, source: Source, name: str) -> list[E]:
        """Return the examples of tables, JSON, dicts, a Dataset or a DataFrame."""
        return self.read_examples(source, name, self._columns)

    @property
    def _columns(self) -> Columns:
        return Columns(text=self.settings.text_column, label=self.settings.label_column)

    def labels_of(self, examples: Sequence[E]) -> list[str]:
        """Choose the problem, and return the different labels, numbers by value, or `score` alone for numbers.

        `InputError`: one class alone, a label that is no number, several labels where one is asked for.
        """
        given = [example.label for example in examples]
        chosen, why = problems.choose(
            given, graded_integers=self.graded_integers, separator=self.settings.label_separator
        )
        if self.settings.problem != "auto":
            chosen, why = self.settings.problem, "as set"
        log.info("problem: %s (%s)", chosen, why)
        if chosen != self.problem:
            self._fitted = []
        self.problem, self.dev_metric = chosen, problems.DEV_METRICS[chosen]
        values = self._targets(examples)
        if chosen == "regression":
            self._mean = float(np.mean(values))
            if len(set(values)) < 2:
                raise InputError(f"{examples[0].where}: every score is {values[0]}: nothing to learn")
            return [problems.SCORE]
        labels = label_order(label for value in values for label in self._names(value))
        if len(labels) < 2:
            raise InputError(f"{examples[0].where}: every label is `{labels[0] if labels else ''}`: give two classes")
        return labels

    def _targets(self, examples: Sequence[E]) -> list[Any]:
        separator = self.settings.label_separator
        return [problems.target(example.label, self.problem, separator, example.where) for example in examples]

    def check(self, examples: Sequence[E], labels: Sequence[str]) -> None:
        """Refuse a label that the model does not have."""
        values = self._targets(examples)
        if self.problem != "regression":
            found = zip(values, examples, strict=True)
            check_labels(((label, e.where) for value, e in found for label in self._names(value)), labels, "label")

    def _names(self, value: Any) -> Sequence[str]:
        return [value] if self.problem == "single" else value

    def start(self, labels: list[str]) -> Any:
        """Return the model that training begins with; a new regression's output starts at the mean."""
        import torch

        fresh = labels != self._fitted
        model = super().start(labels)
        model.config.problem_type = problems.PROBLEM_TYPES[self.problem]
        if fresh and self.problem == "regression":
            # From the mean on, the encoder has nothing to learn of where the scale lies.
            output = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
            torch.nn.init.constant_(output.bias, self._mean)
        return model

    def features(self, examples: Sequence[E]) -> list[dict]:
        """Return the inputs with `labels`: a class's id, L indicators, or a number."""
        ids = {label: i for i, label in enumerate(self.labels)}
        inputs, longer = self.inputs(self.items_of(examples))
        self._tell(longer, len(examples))
        values = self._targets(examples)
        return [
            {**item, "labels": problems.encoded(value, self.problem, ids)}
            for item, value in zip(inputs, values, strict=True)
        ]

    def _tell(self, longer: int, count: int) -> None:
        if longer:
            what, limit = self.counted, self.settings.max_tokens
            log.warning("%d of %d %s are cut to %d tokens", longer, count, what, limit)

    def collator(self) -> Any:
        """Return transformers' collator that pads the inputs."""
        from transformers import DataCollatorWithPadding

        return DataCollatorWithPadding(self.tokenizer)

    def _logits(self, items: Sequence[Any]) -> Outputs:
        """Return [N, L] of the inputs, and how many were cut."""
        from ernie_pipe.finetune import encoder, inference

        rows: list[np.ndarray] = []
        cut = 0
        for some in encoder.chunks(items):
            inputs, longer = self.inputs(some)
            rows += inference.logits(self.model, self.tokenizer, inputs, self.settings.batch_size)
            cut += longer
        return np.array(rows).reshape(len(rows), len(self.labels)), cut

    def outputs(self, examples: Sequence[E]) -> Outputs:
        """Return the logits [N, L], and how many inputs were cut to `max_tokens`."""
        return self._logits(self.items_of(examples))

    def choose(self, sets: Mapping[str, Sequence[E]], outputs: Mapping[str, Outputs]) -> dict[str, float | None]:
        """Choose the threshold of `multi` where it is `auto`: that of the best micro F1 on dev."""
        if self.problem != "multi" or self.settings.threshold != "auto":
            return {}
        return {"threshold": self._judge(sets["dev"], outputs["dev"]).best_threshold() if "dev" in sets else None}

    def score(self, examples: Sequence[E], outputs: Outputs) -> metrics.Metrics:
        """Return the problem's metrics, and how many inputs were cut to `max_tokens`."""
        return {**self._judge(examples, outputs).metrics, "cut": outputs[1]}

    def report(self, examples: Sequence[E], outputs: Outputs) -> metrics.Metrics:
        """Return intervals, confusions and the worst errors."""
        judged = self._judge(examples, outputs)
        errors = [
            {
                "where": example.where,
                "gold": right,
                "predicted": answer,
                "loss": round(float(loss), 6),
                **self.empty_row(item),
            }
            for example, item, right, answer, loss in zip(
                examples,
                self.items_of(examples),
                judged.gold,
                judged.predicted,
                problems.losses(judged.rows, judged.targets, judged.problem),
                strict=True,
            )
            if right != answer
        ]
        return {
            "examples": len(examples),
            "metrics": judged.metrics,
            "intervals": judged.intervals(seed=self.settings.seed),
            **judged.details(),
            "worst": report.worst(errors),
        }

    def _judge(self, examples: Sequence[E], outputs: Outputs) -> problems.Judged:
        threshold = self.setting("threshold")
        return problems.Judged(self.problem, self.labels, self._targets(examples), outputs[0], threshold)

    def answers(self, items: Sequence[Any]) -> list[dict[str, Any]]:
        """Return the answer for each input; see `problems.answer`. Inputs that are cut are counted and said."""
        labels, threshold = self.labels, self.setting("threshold")
        rows, longer = self._logits(items)
        self._tell(longer, len(items))
        return [problems.answer(row, self.problem, labels, threshold) for row in rows]

    def row(self, item: Any, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the input with its answer."""
        return {**self.empty_row(item), **answer}
