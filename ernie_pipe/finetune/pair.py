"""Classification of pairs: NLI, paraphrase, query and title, graded similarity, as `[CLS] first [SEP] second [SEP]`."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.data import Columns, Source
from ernie_pipe.finetune.pair_inputs import PairForm
from ernie_pipe.finetune.pairs import LabelledPair, read_pair_inputs, read_pairs
from ernie_pipe.finetune.sequence import SequenceHead, SequenceSettings
from ernie_pipe.finetune.wording import many

log = logging.getLogger(__name__)

Pair = tuple[str, str]


class PairSettings(SequenceSettings):
    """The settings of `configs/finetune/pair.yaml`."""

    second_column: str = Field("", description="name of the second text's column, given with text_column")
    swap: bool = Field(False, description="train on each pair in both orders; not where the order means something")
    after_training: ClassVar = (*SequenceSettings.after_training, "second_column")


class PairClassifier(SequenceHead[LabelledPair]):
    """Gives each pair of texts a label, or a number. Pairs longer than `max_tokens` lose from their longer text."""

    task = "pair"
    settings_class = PairSettings
    dev_metric = "macro_f1"
    graded_integers = True
    counted = "pairs"

    @property
    def _columns(self) -> Columns:
        given = self.settings
        return Columns(text=given.text_column, second=given.second_column, label=given.label_column)

    def read_examples(self, source: Source, name: str, columns: Columns) -> list[LabelledPair]:
        """Return the pairs and labels of a source."""
        return read_pairs(source, name, columns)

    def items_of(self, examples: Sequence[LabelledPair]) -> list[Pair]:
        """Return the pairs of texts."""
        return [(example.first, example.second) for example in examples]

    def features(self, examples: Sequence[LabelledPair]) -> list[dict]:
        """Return `input_ids`, `token_type_ids` and `labels`; with `swap`, of each pair in both orders."""
        if self.settings.swap:
            swapped = [LabelledPair(e.second, e.first, e.label, e.where) for e in examples if e.first != e.second]
            log.info("swap: %s learnt in both orders", many(len(swapped), "pairs"))
            if any("entail" in str(label).lower() for label in self.labels):
                log.warning("swap: entailment has a direction: leave swap off for NLI")
            examples = [*examples, *swapped]
        return super().features(examples)

    def inputs(self, items: Sequence[Pair]) -> tuple[list[dict], int]:
        """Return `input_ids` and `token_type_ids` of each pair, and how many pairs were cut."""
        from ernie_pipe.finetune import encoder

        form = PairForm.of(self.tokenizer)
        capacity = self.settings.max_tokens - form.special
        features, longer = [], 0
        for some in encoder.chunks(items):
            sides = (encoder.encode(self.tokenizer, [pair[side] for pair in some]) for side in (0, 1))
            for first, second in zip(*sides, strict=True):
                lengths = fair_lengths(len(first.ids), len(second.ids), capacity)
                longer += sum(lengths) < len(first.ids) + len(second.ids)
                features.append(form.join(first.ids[: lengths[0]], second.ids[: lengths[1]]))
        return features, longer

    def predict(self, texts: Sequence[Any]) -> list[dict[str, Any]]:
        """Return `{"label", "score"}` for each pair: two strings, or a dict with `text` and `text_pair`."""
        return self.answers([_pair(item) for item in _listed(texts)])

    def read_inputs(self, path: str | Path) -> list[Pair]:
        """Return the pairs of a file, those with an empty text too."""
        return read_pair_inputs(path, self._columns)

    def is_empty(self, item: Pair) -> bool:
        """Tell whether one of the texts is empty."""
        return not (item[0].strip() and item[1].strip())

    def empty_row(self, item: Pair) -> dict[str, Any]:
        """Return the texts under the names that transformers' pipeline has for them."""
        return {"text": item[0], "text_pair": item[1]}


def fair_lengths(first: int, second: int, capacity: int) -> tuple[int, int]:
    """Return how many tokens of each text fit: the longer one is cut first, then both alike.

    It is the `longest_first` of transformers' tokenizers: a stock pipeline that truncates sees the same.
    """
    if first + second <= capacity:
        return first, second
    short = min(first, second, capacity)
    rest = max(short, capacity - short)
    if short + rest > capacity:
        short, rest = capacity // 2, capacity - capacity // 2
    return (rest, short) if first > second else (short, rest)


def _listed(texts: Any) -> Sequence[Any]:
    if isinstance(texts, str | Mapping) or not isinstance(texts, Sequence):
        raise InputError("predict takes a list of pairs: two strings each, or dicts with text and text_pair")
    return texts


def _pair(item: Any) -> Pair:
    values: Any = (item.get("text"), item.get("text_pair")) if isinstance(item, Mapping) else item
    if isinstance(values, str) or len(values) != 2 or not all(isinstance(value, str) for value in values):
        raise InputError(f"predict takes pairs of two strings, or dicts with text and text_pair, found {item!r}")
    return values[0], values[1]
