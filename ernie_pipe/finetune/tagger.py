"""Named entities: spans of characters, by `AutoModelForTokenClassification` over BIO tags.

Characters and tokens meet by offsets alone. A token takes the tag of its first character, and an entity
reaches from the first character of its first token to the last character of its last one, so whitespace,
`[UNK]`, emoji and lower-casing shift nothing.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import bootstrap, decoding, metrics, report, windows
from ernie_pipe.finetune.data import Source, check_labels
from ernie_pipe.finetune.entities import TaggedText, read_tagging, read_tagging_inputs
from ernie_pipe.finetune.head import Head
from ernie_pipe.finetune.settings import FinetuneSettings
from ernie_pipe.finetune.tag_lines import WORD
from ernie_pipe.finetune.wording import many
from ernie_pipe.text import tags
from ernie_pipe.text.tags import Span

if TYPE_CHECKING:
    from ernie_pipe.finetune.encoder import Tokens

log = logging.getLogger(__name__)

IGNORED = -100
"""The label of tokens that the loss leaves out, as transformers has it."""


class TaggerSettings(FinetuneSettings):
    """The settings of `configs/finetune/tagger.yaml`."""

    learning_rate: float = Field(5e-5, gt=0, description="peak learning rate of AdamW")
    epochs: int = Field(6, ge=1, description="passes over the training data, at most")
    batch_size: int = Field(16, ge=1, description="sequences in a step")
    overlap: int = Field(64, ge=0, description="tokens that windows of a long text share when predicting")
    after_training: ClassVar = (*FinetuneSettings.after_training, "overlap")


class Tagger(Head[TaggedText]):
    """Finds entities. Texts longer than `max_tokens` are read in windows: nothing is cut off."""

    task = "tagger"
    architecture = "ForTokenClassification"
    settings_class = TaggerSettings
    dev_metric = "f1"

    def __init__(self, folder: str | Path, settings: FinetuneSettings) -> None:
        super().__init__(folder, settings)
        try:
            self._types_of(self._fitted)
        except ValueError as error:
            raise InputError(f"{folder}: {error}: this model does not tag entities") from None

    def read(self, source: Source, name: str) -> list[TaggedText]:
        """Return the texts and entities of CoNLL, jsonl, dicts or a Dataset."""
        return read_tagging(source, name)

    def labels_of(self, examples: Sequence[TaggedText]) -> list[str]:
        """Return BIO labels of the entity types; `InputError` when there is no entity at all."""
        types = {span.type for example in examples for span in example.entities}
        if not types:
            raise InputError(f"{examples[0].where}: the training data has no entities: nothing to learn")
        return tags.bio_labels(types)

    def check(self, examples: Sequence[TaggedText], labels: Sequence[str]) -> None:
        """Refuse an entity type that the model does not have."""
        types = self._types_of(labels)
        found = ((s.type, where) for e in examples for s, where in zip(e.entities, e.places, strict=True))
        check_labels(found, types, "entity type")

    @staticmethod
    def _types_of(labels: Sequence[str]) -> set[str]:
        return {tags.split_tag(label)[1] for label in labels} - {""}

    def features(self, examples: Sequence[TaggedText]) -> list[dict]:
        """Return `input_ids` and one label id a token; a long text gives several, cut between entities."""
        from ernie_pipe.finetune import encoder

        ids = {label: i for i, label in enumerate(self.labels)}
        found, lost, empty = [], 0, 0
        for some in encoder.chunks(examples):
            for example, item in zip(some, self._encode([example.text for example in some]), strict=True):
                token_tags = align(item, example)
                lost += len(set(example.entities) - set(to_characters(item, token_tags)))
                empty += not item.ids
                found += self._windows_of(item, [ids[tag] if tag else IGNORED for tag in token_tags], token_tags)
        if lost:
            log.warning("%s not at the borders of tokens: learnt by the nearest", many(lost, "entities", "entity"))
        if empty:
            log.warning("%s without a token: nothing to learn from", many(empty, "texts"))
        if len(found) > len(examples) - empty:
            log.info("%s in %d training windows", many(len(examples), "texts"), len(found))
        return found

    def _windows_of(self, item: "Tokens", label_ids: list[int], token_tags: list[str | None]) -> list[dict]:
        before, after = self._special
        joined = [tag is None or tag.startswith("I-") for tag in token_tags]
        return [
            {
                "input_ids": [*before, *item.ids[start:end], *after],
                "labels": [IGNORED] * len(before) + label_ids[start:end] + [IGNORED] * len(after),
            }
            for start, end in windows.consecutive(joined, self._capacity)
        ]

    @property
    def _special(self) -> tuple[list[int], list[int]]:
        from ernie_pipe.finetune import encoder

        return encoder.special_ids(self.tokenizer)

    @property
    def _capacity(self) -> int:
        return self.settings.max_tokens - sum(map(len, self._special))

    def _encode(self, texts: Sequence[str]) -> list["Tokens"]:
        from ernie_pipe.finetune import encoder

        return encoder.encode(self.tokenizer, texts)

    def collator(self) -> Any:
        """Return transformers' collator that pads inputs and labels."""
        from transformers import DataCollatorForTokenClassification

        return DataCollatorForTokenClassification(self.tokenizer)

    def outputs(self, examples: Sequence[TaggedText]) -> list[list[Span]]:
        """Return the entities that are found in each text."""
        answers = self.predict([example.text for example in examples])
        return [[Span(e["start"], e["end"], e["type"]) for e in answer] for answer in answers]

    def score(self, examples: Sequence[TaggedText], outputs: list[list[Span]]) -> metrics.Metrics:
        """Return span precision, recall and F1, over all and per type."""
        return metrics.spans([len(e.text) for e in examples], [e.entities for e in examples], outputs)

    def report(self, examples: Sequence[TaggedText], outputs: list[list[Span]]) -> report.Report:
        """Return intervals over texts, scores by type, and the texts with the most missed and false entities."""
        sides = [(set(example.entities), set(spans)) for example, spans in zip(examples, outputs, strict=True)]
        scores = self.score(examples, outputs)
        errors = [
            {
                "where": example.where,
                "text": example.text,
                "gold": _shown(example.text, gold - answer),
                "predicted": _shown(example.text, answer - gold),
                "loss": float(len(gold ^ answer)),
            }
            for example, (gold, answer) in zip(examples, sides, strict=True)
            if gold != answer
        ]
        counts = [[len(gold & answer), len(answer), len(gold)] for gold, answer in sides]
        right, answered, true = (list(column) for column in zip(*counts, strict=True))
        return {
            "examples": len(examples),
            "metrics": {name: scores[name] for name in ("precision", "recall", "f1")},
            "intervals": bootstrap.of_f1(right, answered, true, seed=self.settings.seed),
            "per_label": scores["per_type"],
            "worst": report.worst(errors),
        }

    def predict(self, texts: Sequence[str]) -> list[list[dict[str, Any]]]:
        """Return the entities of each text: `start`, `end`, `text`, `type` and `score`.

        `text[start:end]` is the entity in the text as given; the score is the mean probability of its tags.
        """
        from ernie_pipe.finetune import encoder

        labels, answers = self.labels, []
        for some in encoder.chunks(self._checked_texts(texts)):
            tokens = self._encode(some)
            rows = zip(some, tokens, self._probabilities(tokens), strict=True)
            answers += [decode(text, item, shares, labels) for text, item, shares in rows]
        return answers

    def read_inputs(self, path: str | Path) -> list[Any]:
        """Return the texts of a file, labelled or not."""
        return read_tagging_inputs(path)

    def row(self, item: str, answer: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the text with its entities, for a segmenter with its words."""
        words = {"words": [span["text"] for span in answer]} if self._types_of(self.labels) == {WORD} else {}
        return {"text": item, **words, "entities": answer}

    def _probabilities(self, tokens: Sequence["Tokens"]) -> list[np.ndarray]:
        """Return [its tokens, labels] for each text, over overlapping windows where it is long."""
        from ernie_pipe.finetune import inference

        before, after = self._special
        overlap = min(self.settings.overlap, self._capacity // 2)
        cuts = [windows.overlapping(len(item.ids), self._capacity, overlap) for item in tokens]
        inputs = [
            {"input_ids": [*before, *item.ids[start:end], *after]}
            for item, pieces in zip(tokens, cuts, strict=True)
            for start, end in pieces
        ]
        rows = inference.logits(self.model, self.tokenizer, inputs, self.settings.batch_size)
        shares = iter([inference.probabilities(row[len(before) : len(row) - len(after)]) for row in rows])
        return [
            windows.stitch(len(item.ids), pieces, [next(shares) for _ in pieces])
            for item, pieces in zip(tokens, cuts, strict=True)
        ]


def _shown(text: str, spans: Iterable[Span]) -> list[str]:
    return [f"{text[span.start : span.end]} {span.type}" for span in sorted(spans)]


def decode(text: str, tokens: "Tokens", shares: np.ndarray, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return the entities of the likeliest legal tags; `shares` is [tokens, labels]."""
    carriers = [position for position, leads in enumerate(tokens.leading) if leads]
    path = decoding.legal_path(shares[carriers], labels)
    tag_of = dict(zip(carriers, path, strict=True))
    token_tags = [labels[tag_of[i]] if i in tag_of else None for i in range(len(tokens.ids))]
    answers = []
    for span, positions in token_spans(token_tags):
        start, end = tokens.offsets[positions[0]][0], tokens.offsets[positions[-1]][1]
        score = float(np.mean([shares[i, tag_of[i]] for i in positions]))
        answers.append({"start": start, "end": end, "text": text[start:end], "type": span.type, "score": score})
    return answers


def align(tokens: "Tokens", example: TaggedText) -> list[str | None]:
    """Return a legal BIO tag for each token, that of its first character; None where it has no own one."""
    characters = tags.from_spans(example.entities, len(example.text))
    starts = [start for start, _ in tokens.offsets]
    raw = [characters[start] if leads else None for start, leads in zip(starts, tokens.leading, strict=True)]
    own = [tag for tag in raw if tag is not None]
    legal = iter(tags.from_spans(tags.to_spans(own)[0], len(own)))
    return [None if tag is None else next(legal) for tag in raw]


def token_spans(token_tags: Sequence[str | None]) -> list[tuple[Span, list[int]]]:
    """Return the spans of token tags, each with the positions of its tokens that carry a tag."""
    carriers = [position for position, tag in enumerate(token_tags) if tag is not None]
    spans, _ = tags.to_spans([tag for tag in token_tags if tag is not None])
    return [(span, carriers[span.start : span.end]) for span in spans]


def to_characters(tokens: "Tokens", token_tags: Sequence[str | None]) -> list[Span]:
    """Return the entities that token tags stand for, in characters of the text."""
    return [
        Span(tokens.offsets[positions[0]][0], tokens.offsets[positions[-1]][1], span.type)
        for span, positions in token_spans(token_tags)
    ]
