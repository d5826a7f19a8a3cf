"""Classification of single texts: one class, several, or a number, by `AutoModelForSequenceClassification`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ernie_pipe.finetune.data import Columns, LabelledText, Source, read_classification, read_texts
from ernie_pipe.finetune.sequence import SequenceHead, SequenceSettings


class ClassifierSettings(SequenceSettings):
    """The settings of `configs/finetune/classifier.yaml`."""


class Classifier(SequenceHead[LabelledText]):
    """Gives each text a label, several, or a number. Texts longer than `max_tokens` are cut at the end."""

    task = "classifier"
    settings_class = ClassifierSettings
    dev_metric = "macro_f1"

    def read_examples(self, source: Source, name: str, columns: Columns) -> list[LabelledText]:
        """Return the texts and labels of a source."""
        return read_classification(source, name, columns)

    def items_of(self, examples: Sequence[LabelledText]) -> list[str]:
        """Return the texts."""
        return [example.text for example in examples]

    def inputs(self, items: Sequence[str]) -> tuple[list[dict], int]:
        """Return `input_ids` of each text, and how many texts were cut."""
        from ernie_pipe.finetune import encoder

        return encoder.single_inputs(self.tokenizer, items, self.settings.max_tokens)

    def read_inputs(self, path: str | Path) -> list[str]:
        """Return the texts of a file, empty ones too."""
        return read_texts(path, self.settings.text_column)

    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Return `{"label", "score"}` for each text: a class and its probability, or `score` and the number.

        For the problem multi, `{"labels", "scores"}`: the classes at or over the threshold, and all probabilities.
        """
        return self.answers(self._checked_texts(texts))
