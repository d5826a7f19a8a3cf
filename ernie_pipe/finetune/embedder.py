"""Sentence vectors: sentences of like meaning get vectors of like direction, by sentence-transformers."""

import importlib.util
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import embedder_metrics, record
from ernie_pipe.finetune.data import Columns, Source, label_order, read_texts
from ernie_pipe.finetune.embedder_data import (
    Objective,
    Sentences,
    check_scorable,
    choose,
    kind_of,
    read_inputs,
    read_sentences,
    targets,
)
from ernie_pipe.finetune.embedder_settings import EmbedderSettings
from ernie_pipe.finetune.head import Head
from ernie_pipe.finetune.metrics import Metrics

log = logging.getLogger(__name__)

Outputs = tuple[list[np.ndarray], int]
"""Vectors of each column of sentences, [N, H] each, and how many texts were cut."""


class Embedder(Head[Sentences]):
    """Gives sentences vectors whose cosine tells how alike they are, and searches by them.

    Learns from pairs with a number (cosine), a class (classification over u, v, |u - v|), nothing (in-batch
    negatives), or from triplets. Sentences longer than `max_tokens` are cut at the end, counted, and said.
    """

    task = "embedder"
    # None: a folder of sentence vectors is known by its modules, not by the encoder's class.
    architecture = "ForSentenceVectors"
    settings_class = EmbedderSettings
    dev_metric = "spearman"

    def __init__(self, folder: str | Path, settings: EmbedderSettings) -> None:
        if importlib.util.find_spec("sentence_transformers") is None:
            raise InputError("sentence-transformers is missing: pip install 'ernie-pipe[finetune]'")
        super().__init__(folder, settings)
        from ernie_pipe.finetune import embedder_model, encoder

        self._classes: list[str] = []
        self._objective: Objective = "cosine"
        if embedder_model.is_one(folder):
            self.model = self.start([])
            self.model.to(encoder.device(self.settings.device))
            self._classes = record.read(folder).get("labels", [])

    @property
    def labels(self) -> list[str]:
        """The classes it was trained on, none for other objectives; `InputError` before it was trained."""
        if self.model is None:
            raise InputError(f"{self.folder}: not fine-tuned as {self.task} yet: {self._way_to_fit}")
        return self._classes

    def read(self, source: Source, name: str) -> list[Sentences]:
        """Return the pairs or triplets of a file, a list of dicts or a Dataset."""
        return read_sentences(source, name, self._columns_given)

    @property
    def _columns_given(self) -> Columns:
        given = self.settings
        return Columns(text=given.text_column, second=given.second_column, label=given.label_column)

    def labels_of(self, examples: Sequence[Sentences]) -> list[str]:
        """Return the classes for the classification objective, none for others; decides the objective."""
        self._objective = choose(self.settings.objective, examples)
        if self._objective != "classification":
            targets(self._objective, examples, [], aloud=True)
            return []
        labels = label_order(str(example.label) for example in examples)
        if len(labels) < 2:
            raise InputError(f"{examples[0].where}: every label is `{labels[0]}`: give at least two classes")
        return labels

    def plan(self, sets: Mapping[str, Sequence[Sentences]]) -> list[str]:
        """Decide the objective and the metric of dev, and return the classes, none for most objectives."""
        if "dev" in sets:
            self.dev_metric = embedder_metrics.MAIN[kind_of(sets["dev"])]
        self._classes = self.labels_of(sets["train"])
        if self._classes:
            log.info("labels: %s", ", ".join(self._classes))
        return self._classes

    def check(self, examples: Sequence[Sentences], labels: Sequence[str]) -> None:
        """Refuse data by which vectors cannot be judged; its kind need not be that of the training data."""
        check_scorable(examples)

    def start(self, labels: list[str]) -> Any:
        """Return the model that training begins with."""
        from ernie_pipe.finetune import embedder_model

        task_id = self.settings.task_id
        model = embedder_model.load(self.folder, self.tokenizer, pooling=self.settings.pooling, task_id=task_id)
        kept = embedder_model.pooling_of(model)
        if kept and kept != self.settings.pooling:
            log.info("pooling %s, as the folder has it", kept)
            self.settings = self.settings.model_copy(update={"pooling": kept})
        return model

    def trained(self) -> Any:
        """Return the model under the loss of the objective."""
        from ernie_pipe.finetune import embedder_model

        # A threshold of before says nothing about what is learnt now.
        vars(self.model.config).pop("finetune_threshold", None)
        return embedder_model.Siamese(
            self.model,
            embedder_model.make_loss(
                self._objective,
                width=self.model.get_embedding_dimension(),
                classes=len(self._classes),
                margin=self.settings.margin,
                scale=self.settings.scale,
            ),
        )

    def features(self, examples: Sequence[Sentences]) -> list[dict]:
        """Return `input_ids` [K][T] and the target of each example that the objective trains on."""
        from ernie_pipe.finetune import encoder

        chosen = targets(self._objective, examples, self._classes)
        texts = [text for example, _ in chosen for text in example.texts]
        inputs, longer = encoder.single_inputs(self.tokenizer, texts, self.settings.max_tokens)
        self._tell(longer, len(inputs))
        size = len(chosen[0][0].texts)
        return [
            {"input_ids": [item["input_ids"] for item in inputs[size * i : size * (i + 1)]], "labels": target}
            for i, (_, target) in enumerate(chosen)
        ]

    def collator(self) -> Any:
        """Return the function that pads features to [B, K, T]."""
        from functools import partial

        from ernie_pipe.finetune import embedder_model

        whole = self._objective == "classification"
        return partial(embedder_model.collate, pad=self.tokenizer.pad_token_id, whole=whole)

    def _tell(self, longer: int, count: int) -> None:
        if longer:
            log.warning("%d of %d texts are cut to %d tokens", longer, count, self.settings.max_tokens)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of texts [texts, H], float32 of length 1: their dot product is their cosine.

        `InputError` for an empty text, which has no meaning to compare.
        """
        vectors, longer = self._encode(self._checked_texts(texts))
        self._tell(longer, len(texts))
        return vectors

    def _encode(self, texts: Sequence[str]) -> tuple[np.ndarray, int]:
        from ernie_pipe.finetune import embedder_model

        self.labels  # noqa: B018  refuses a model that has not been trained
        empty = next((i for i, text in enumerate(texts) if not text.strip()), None)
        if empty is not None:
            raise InputError(f"texts[{empty}]: empty: leave it out")
        given = self.settings
        return embedder_model.encode(self.model, self.tokenizer, texts, given.max_tokens, given.batch_size)

    def outputs(self, examples: Sequence[Sentences]) -> Outputs:
        """Return the vectors of the first, second … sentences, and how many texts were cut."""
        return self._columns(examples)

    def choose(self, sets: Mapping[str, Sequence[Sentences]], outputs: Mapping[str, Outputs]) -> dict[str, Any]:
        """Choose the cosine that parts 0 from 1 on dev, or on train where dev has no such labels.

        It stands in the model's config, so that every copy of the folder has it.
        """
        if _is_binary(sets.get("dev")):
            vectors, tuned_on = outputs["dev"][0], sets["dev"]
        elif _is_binary(sets.get("train")):
            vectors, tuned_on = self._columns(sets["train"])[0], sets["train"]
        else:
            return {}
        self.model.config.finetune_threshold = embedder_metrics.best_threshold(vectors, tuned_on)
        return {}

    def score(self, examples: Sequence[Sentences], outputs: Outputs) -> Metrics:
        """Return Spearman and Pearson of cosines with grades; accuracy for 0 and 1; what ranks first for others.

        For 0 and 1 the threshold is the one that was best on dev (or on train, without such a dev set); a model that
        has none chooses one on this very data, and says so.
        """
        judged = self._judge(examples, outputs, aloud=True)
        return {**judged.metrics, "examples": len(examples), "cut": outputs[1]}

    def report(self, examples: Sequence[Sentences], outputs: Outputs) -> Metrics:
        """Return intervals and the worst errors."""
        return self._judge(examples, outputs).report(examples, seed=self.settings.seed)

    def _judge(
        self, examples: Sequence[Sentences], outputs: Outputs, *, aloud: bool = False
    ) -> embedder_metrics.Judged:
        threshold = getattr(self.model.config, "finetune_threshold", None)
        if threshold is None and kind_of(examples) == "binary":
            threshold = embedder_metrics.best_threshold(outputs[0], examples)
            if aloud:
                log.warning("no threshold was chosen before: %.4f is the best on these very pairs", threshold)
        return embedder_metrics.judge(outputs[0], examples, threshold)

    def _columns(self, examples: Sequence[Sentences]) -> Outputs:
        """Return the vectors of the first, second … sentences; each different sentence is computed once."""
        place = {text: i for i, text in enumerate(dict.fromkeys(text for item in examples for text in item.texts))}
        vectors, longer = self._encode(list(place))
        size = len(examples[0].texts)
        return [vectors[[place[item.texts[k]] for item in examples]] for k in range(size)], longer

    def fingerprint(self) -> str:
        """Return a hash of everything that decides a vector, by which an index knows its model."""
        from ernie_pipe.finetune import embedder_model

        self.labels  # noqa: B018  refuses a model that has not been trained
        return embedder_model.fingerprint(self.model, self.tokenizer)

    def read_inputs(self, path: str | Path) -> list[Any]:
        """Return the pairs of a file with two columns of texts, else its texts."""
        items = read_inputs(path, self._columns_given)
        self.counted = "pairs" if items and not isinstance(items[0], str) else "texts"
        return items

    def is_empty(self, item: Any) -> bool:
        """Tell whether a text, or one of a pair, is blank."""
        return not all(text.strip() for text in _parts(item))

    def empty_row(self, item: Any) -> dict[str, Any]:
        """Return the texts alone."""
        return _texts_of(item)

    def predict(self, texts: Sequence[Any]) -> list[dict[str, Any]]:
        """Return each pair's cosine as `score`, and a `label` where there is a threshold; or each text's `vector`.

        The label is 1 from the threshold up, else 0. All items are texts, or all are pairs.
        """
        return list(self.answers_of(texts))

    def answers_of(self, texts: Sequence[Any]) -> Iterable[dict[str, Any]]:
        """Return what `predict` does; vectors become lists, of many times their size, one by one."""
        if texts and all(isinstance(item, str) for item in texts):
            return ({"vector": [round(float(value), 6) for value in row]} for row in self.encode(texts))
        if isinstance(texts, str) or not all(_is_pair(item) for item in texts):
            raise InputError("predict takes a list of strings, or a list of pairs of strings")
        if not texts:
            return []
        first, second = (self.encode([item[k] for item in texts]) for k in (0, 1))
        threshold = getattr(self.model.config, "finetune_threshold", None)
        return [
            {"score": round(float(score), 6), **({} if threshold is None else {"label": str(int(score >= threshold))})}
            for score in embedder_metrics.cosines_of(first, second)
        ]

    def row(self, item: Any, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the text with its vector, or the pair with its cosine."""
        return {**_texts_of(item), **answer}

    def search(self, queries: Sequence[str], corpus: str | Path | Sequence[str], top: int = 10) -> list[list[dict]]:
        """Return for each query its `top` nearest texts of `corpus`, a list or a file: `{"score", "number", "text"}`.

        Exact: every vector is compared. The score is the cosine, the number counts the corpus' texts from 1, equal
        scores stand by it; blank texts are left out and counted. For a corpus that is searched again and again see
        `ernie_pipe.finetune.semantic_search.Index`.
        """
        from ernie_pipe.finetune.semantic_search import Index

        given = isinstance(corpus, str | Path)
        texts = read_texts(corpus) if isinstance(corpus, str | Path) else list(corpus)
        index = Index.build(self, texts, name=str(corpus) if given else "corpus")
        return index.search(self.encode(queries), top)


def _is_binary(examples: Sequence[Sentences] | None) -> bool:
    return examples is not None and kind_of(examples) == "binary" and len({item.label for item in examples}) > 1


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(text, str) for text in item)


def _parts(item: Any) -> Sequence[str]:
    return [item] if isinstance(item, str) else item


def _texts_of(item: Any) -> dict[str, Any]:
    return {"text": item} if isinstance(item, str) else {"text": item[0], "text_pair": item[1]}
