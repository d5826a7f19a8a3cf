"""Sentence classification: one label a text, by `AutoModelForSequenceClassification`."""

import logging
from collections.abc import Sequence
from typing import Any

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import metrics
from ernie_pipe.finetune.data import LabelledText, Source, check_labels, label_order, read_classification
from ernie_pipe.finetune.head import Head
from ernie_pipe.finetune.settings import FinetuneSettings

log = logging.getLogger(__name__)


class ClassifierSettings(FinetuneSettings):
    """The settings of `configs/finetune/classifier.yaml`."""


class Classifier(Head[LabelledText]):
    """Gives each text one label. Texts longer than `max_tokens` are cut at the end, counted, and said."""

    task = "classifier"
    architecture = "ForSequenceClassification"
    settings_class = ClassifierSettings
    dev_metric = "macro_f1"

    def read(self, source: Source, name: str) -> list[LabelledText]:
        """Return the texts and labels of TSV, CSV, jsonl, dicts or a Dataset."""
        return read_classification(source, name)

    def labels_of(self, examples: Sequence[LabelledText]) -> list[str]:
        """Return the different labels, numbers by value; `InputError` when there is only one."""
        labels = label_order(example.label for example in examples)
        if len(labels) < 2:
            raise InputError(f"{examples[0].where}: every label is `{labels[0]}`: give at least two classes")
        return labels

    def check(self, examples: Sequence[LabelledText], labels: Sequence[str]) -> None:
        """Refuse a label that the model does not have."""
        check_labels(((example.label, example.where) for example in examples), labels, "label")

    def features(self, examples: Sequence[LabelledText]) -> list[dict]:
        """Return `input_ids` and the label's id for each text."""
        ids = {label: i for i, label in enumerate(self.labels)}
        inputs, longer = self._inputs([example.text for example in examples])
        self._tell(longer, len(examples))
        return [{**item, "labels": ids[example.label]} for item, example in zip(inputs, examples, strict=True)]

    def _inputs(self, texts: Sequence[str]) -> tuple[list[dict], int]:
        """Return `input_ids` of each text, and how many texts were cut."""
        from ernie_pipe.finetune import encoder

        before, after = encoder.special_ids(self.tokenizer)
        capacity = self.settings.max_tokens - len(before) - len(after)
        tokens = encoder.encode(self.tokenizer, texts)
        longer = sum(len(item.ids) > capacity for item in tokens)
        return [{"input_ids": [*before, *item.ids[:capacity], *after]} for item in tokens], longer

    def _tell(self, longer: int, count: int) -> None:
        if longer:
            log.warning("%d of %d texts are cut to %d tokens", longer, count, self.settings.max_tokens)

    def collator(self) -> Any:
        """Return transformers' collator that pads the inputs."""
        from transformers import DataCollatorWithPadding

        return DataCollatorWithPadding(self.tokenizer)

    def score(self, examples: Sequence[LabelledText]) -> metrics.Metrics:
        """Return accuracy, macro F1 and how many texts were cut to `max_tokens`."""
        answers, longer = self._answers([example.text for example in examples])
        predicted = [answer["label"] for answer in answers]
        return {**metrics.classification([example.label for example in examples], predicted), "cut": longer}

    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Return `{"label", "score"}` for each text; the score is the label's probability."""
        answers, longer = self._answers(self._checked_texts(texts))
        self._tell(longer, len(answers))
        return answers

    def row(self, item: str, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the text with its label and score."""
        return {"text": item, **answer}

    def _answers(self, texts: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
        from ernie_pipe.finetune import inference

        labels = self.labels
        inputs, longer = self._inputs(texts)
        rows = inference.logits(self.model, self.tokenizer, inputs, self.settings.batch_size)
        shares = [inference.probabilities(row) for row in rows]
        return [{"label": labels[int(row.argmax())], "score": float(row.max())} for row in shares], longer
