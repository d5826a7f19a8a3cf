"""Reading comprehension: the span of a context that answers a question, by `AutoModelForQuestionAnswering`.

Input is `[CLS] question [SEP] context [SEP]`. Characters and tokens meet by offsets alone, so that an answer is always
`context[start:end]` of the context as given: whitespace, `[UNK]`, emoji and lower-casing shift nothing.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import bootstrap, cmrc, report, thresholds, windows
from ernie_pipe.finetune.data import Source
from ernie_pipe.finetune.head import Head
from ernie_pipe.finetune.metrics import Metrics
from ernie_pipe.finetune.pair_inputs import PairForm
from ernie_pipe.finetune.qa_files import Question, read_question_inputs, read_questions
from ernie_pipe.finetune.qa_spans import Ranked, Scored, Window, inside, is_exact, rank, token_span
from ernie_pipe.finetune.settings import FinetuneSettings, number_or_auto
from ernie_pipe.finetune.wording import many

if TYPE_CHECKING:
    from ernie_pipe.finetune.encoder import Tokens

log = logging.getLogger(__name__)


NullThreshold = Annotated[float | Literal["auto"], BeforeValidator(number_or_auto)]


class ReaderSettings(FinetuneSettings):
    """The settings of `configs/finetune/reader.yaml`."""

    epochs: int = Field(3, ge=1, description="passes over the training data, at most")
    batch_size: int = Field(16, ge=1, description="windows in a step")
    max_tokens: int = Field(384, ge=16, description="tokens in a window, with the question, [CLS] and [SEP]")
    overlap: int = Field(128, ge=0, description="context tokens that windows of a long context share")
    max_question: int = Field(64, ge=1, description="tokens of a question; longer ones are cut at the end, and counted")
    max_answer: int = Field(96, ge=1, description="tokens in the longest answer that is given")
    n_best: int = Field(5, ge=1, description="answers to list for a question")
    unanswerable: bool = Field(False, description="a context may not answer its question: the answer may be empty")
    null_threshold: NullThreshold = Field(
        0.0, description="what the empty answer must be ahead of the best span, in logits; auto: chosen on dev"
    )
    strict: bool = Field(False, description="stop at an answer that is not in its context")
    after_training: ClassVar = (
        *FinetuneSettings.after_training,
        *("overlap", "max_question", "max_answer", "n_best", "unanswerable", "null_threshold", "strict"),
    )


class Reader(Head[Question]):
    """Answers questions by spans of their contexts. Long contexts are read in windows: nothing is cut off."""

    task = "reader"
    architecture = "ForQuestionAnswering"
    settings_class = ReaderSettings
    dev_metric = "f1"
    counted = "questions"
    own_labels = False
    unchosen: ClassVar = {"null_threshold": 0.0}

    def __init__(self, folder: str | Path, settings: FinetuneSettings) -> None:
        super().__init__(folder, settings)
        self._form = PairForm.of(self.tokenizer)

    def read(self, source: Source, name: str) -> list[Question]:
        """Return the questions of SQuAD, CMRC2018 or DRCD JSON, jsonl, dicts or a Dataset."""
        questions = read_questions(source, name, strict=self.settings.strict)
        empty = [question.where for question in questions if not question.answers]
        if empty and not self.settings.unanswerable:
            raise InputError(
                f"{empty[0]}: no answer ({len(empty)} such questions): set `unanswerable` (--unanswerable), "
                "or leave them out"
            )
        return questions

    def labels_of(self, examples: Sequence[Question]) -> list[str]:
        """Return the model's two outputs for a token; `InputError` when there is nothing to learn."""
        if not any(answer.start is not None for example in examples for answer in example.answers):
            raise InputError(f"{examples[0].where}: no answer of the training data is in its context")
        return ["start", "end"]

    def check(self, examples: Sequence[Question], labels: Sequence[str]) -> None:
        """Accept every question: any answer can be given."""

    def features(self, examples: Sequence[Question]) -> list[dict]:
        """Return `input_ids` and the token positions of the answer's ends for each window of each question.

        A window without the whole answer points at `[CLS]`, as in BERT's released code. Of several answers the first
        one that is in its context is learnt; a question none of whose answers is there is left out, and counted.
        """
        placed = [e for e in examples if not e.answers or any(answer.start is not None for answer in e.answers)]
        if len(placed) < len(examples):
            log.warning("%s left out: no answer in its context", many(len(examples) - len(placed), "questions"))
        rows = [(item, e, token_span(item, e)) for item, e in zip(self._contexts(placed), placed, strict=True)]
        learnt = [(item, e, span) for item, e, span in rows if span or not e.answers]
        if len(learnt) < len(placed):
            log.warning("%s left out: no token in its answer", many(len(placed) - len(learnt), "questions"))
        unlike = sum(span is not None and not is_exact(item, e, span) for item, e, span in learnt)
        if unlike:
            log.warning("%s not at the borders of tokens: learnt by the nearest", many(unlike, "answers"))
        features = []
        cuts, shorter = self._windows([e.question for _, e, _ in learnt], [item for item, _, _ in learnt])
        self._tell(shorter, len(learnt))
        for window, feature in cuts:
            first, last = inside(learnt[window.question][2], window)
            features.append({**feature, "start_positions": first, "end_positions": last})
        if len(features) > len(learnt):
            log.info("%s in %d training windows", many(len(learnt), "questions"), len(features))
        return features

    def _contexts(self, items: Sequence[Question]) -> list["Tokens"]:
        """Tokenize contexts, each different one once: several questions share one."""
        from ernie_pipe.finetune import encoder

        unique = list(dict.fromkeys(item.context for item in items))
        found = dict(zip(unique, encoder.encode(self.tokenizer, unique), strict=True))
        return [found[item.context] for item in items]

    @property
    def _room(self) -> int:
        return self.settings.max_tokens - self._form.special

    @property
    def _most(self) -> int:
        """The tokens of a question, at most."""
        return min(self.settings.max_question, self._room // 2)

    def _tell(self, shorter: int, count: int) -> None:
        if shorter:
            log.warning("%d of %d questions are cut to %d tokens", shorter, count, self._most)

    def _windows(self, questions: Sequence[str], contexts: Sequence["Tokens"]) -> tuple[list[tuple[Window, dict]], int]:
        """Return the windows of every question with their inputs, and how many questions were cut.

        A context without tokens has no windows.
        """
        from ernie_pipe.finetune import encoder

        room, most = self._room, self._most
        asked = [item.ids for item in encoder.encode(self.tokenizer, questions)]
        found = []
        for number, (ids, context) in enumerate(zip(asked, contexts, strict=True)):
            first = ids[:most]
            capacity = room - len(first)
            for start, end in windows.overlapping(
                len(context.ids), capacity, min(self.settings.overlap, capacity // 2)
            ):
                window = Window(number, start, end, self._form.second_start(first))
                found.append((window, self._form.join(first, context.ids[start:end])))
        return found, sum(len(ids) > most for ids in asked)

    def collator(self) -> Any:
        """Return transformers' collator that pads the inputs."""
        from transformers import DataCollatorWithPadding

        return DataCollatorWithPadding(self.tokenizer)

    def outputs(self, examples: Sequence[Question]) -> list[Ranked]:
        """Return the best spans of each question, and the score of an empty answer beside them."""
        return self._ranked(examples)

    def choose(self, sets: Mapping[str, Sequence[Question]], outputs: Mapping[str, Any]) -> dict[str, float | None]:
        """Choose `null_threshold` where it is `auto`: that of the best F1 on dev."""
        if not self.settings.unanswerable or self.settings.null_threshold != "auto":
            return {}
        if "dev" not in sets:
            return {"null_threshold": None}
        rows = zip(_texts(sets["dev"]), outputs["dev"], strict=True)
        judged = [
            (found.margin, cmrc.overlap(right, found.text), cmrc.overlap(right, ""))
            for right, found in rows
            if found.margin is not None
        ]
        columns = (np.array(column, dtype=float) for column in zip(*judged, strict=True))
        return {"null_threshold": thresholds.of_empty_answers(*columns) if judged else None}

    def score(self, examples: Sequence[Question], outputs: Sequence[Ranked]) -> Metrics:
        """Return exact match and F1 as CMRC2018 defines them (`ernie_pipe.finetune.cmrc`), in 0..1."""
        return cmrc.reading(_texts(examples), [answer["answer"] for answer in self._given(outputs)])

    def report(self, examples: Sequence[Question], outputs: Sequence[Ranked]) -> report.Report:
        """Return scores with their intervals, and the answers of the least F1, the surest first."""
        answers, texts = self._given(outputs), _texts(examples)
        em, f1 = cmrc.scores(texts, [answer["answer"] for answer in answers])
        errors = [
            {
                "where": example.where,
                "text": example.question,
                "gold": " | ".join(right),
                "predicted": answer["answer"],
                "loss": round(1 - overlap + answer["score"], 6),
            }
            for example, right, answer, overlap in zip(examples, texts, answers, f1, strict=True)
            if overlap < 1
        ]
        return {
            "examples": len(examples),
            "metrics": cmrc.summary(texts, em, f1),
            "intervals": bootstrap.of_means({"em": em, "f1": f1}, seed=self.settings.seed),
            "worst": report.worst(errors),
        }

    def predict(self, texts: Sequence[Any]) -> list[dict[str, Any]]:
        """Return an answer for each `{"question", "context"}`: `answer`, `start`, `end`, `score` and `nbest`.

        `context[start:end] == answer`; an empty answer has 0 for both. The score is the probability among all spans
        that could be given (a softmax over the sums of both ends' logits, all windows together, the empty answer too
        where `unanswerable`). `nbest` lists answers in the same form, the best first.
        """
        return self._given(self._ranked([_checked(item, i) for i, item in enumerate(_listed(texts))]))

    def read_inputs(self, path: str | Path) -> list[Any]:
        """Return id, question and context of a file; its answers are not looked at."""
        return read_question_inputs(path)

    def is_empty(self, item: Any) -> bool:
        """Tell whether the question or the context is blank."""
        return not (item["question"].strip() and item["context"].strip())

    def row(self, item: Any, answer: dict[str, Any]) -> dict[str, Any]:
        """Return id and question with the answer; the context stays in the file it came from."""
        return {**self.empty_row(item), **answer}

    def empty_row(self, item: Any) -> dict[str, Any]:
        """Return id and question alone."""
        return {key: item[key] for key in ("id", "question") if key in item}

    def _given(self, ranked: Sequence[Ranked]) -> list[dict[str, Any]]:
        null = self.setting("null_threshold") if self.settings.unanswerable else None
        return [found.answer(self.settings.n_best, null) for found in ranked]

    def _ranked(self, items: Sequence[Question]) -> list[Ranked]:
        from ernie_pipe.finetune import encoder

        self.labels  # noqa: B018  (refuses a model that was not fitted)
        ranked: list[Ranked] = []
        shorter = 0
        for some in encoder.chunks(items):
            found, cut = self._ranked_at_once(some)
            ranked += found
            shorter += cut
        self._tell(shorter, len(items))
        empty = sum(found.null is None for found in ranked)
        if empty:
            log.warning("%s without a token: answered by nothing", many(empty, "contexts"))
        return ranked

    def _ranked_at_once(self, items: Sequence[Question]) -> tuple[list[Ranked], int]:
        from ernie_pipe.finetune import inference

        tokens = self._contexts(items)
        cuts, shorter = self._windows([item.question for item in items], tokens)
        names = ("start_logits", "end_logits")
        found = inference.outputs(
            self.model, self.tokenizer, [feature for _, feature in cuts], self.settings.batch_size, names=names
        )
        scores: list[list[Scored]] = [[] for _ in items]
        for (window, _), row in zip(cuts, found, strict=True):
            scores[window.question].append((window, row[names[0]], row[names[1]]))
        limits = {"longest": self.settings.max_answer, "n_best": self.settings.n_best}
        rows = zip(items, tokens, scores, strict=True)
        return [rank(item.context, context, pieces, **limits) for item, context, pieces in rows], shorter


def _texts(examples: Sequence[Question]) -> list[list[str]]:
    return [[answer.text for answer in example.answers] for example in examples]


def _listed(items: Any) -> Sequence[Any]:
    if isinstance(items, str | dict):
        raise InputError("predict takes a list of {'question': …, 'context': …}")
    return list(items)


def _checked(item: Any, number: int) -> Question:
    values: dict[str, Any] = {key: item.get(key) if isinstance(item, dict) else None for key in ("question", "context")}
    if not all(isinstance(value, str) for value in values.values()):
        raise InputError(f"predict: item {number} needs the strings `question` and `context`, found {item!r}"[:300])
    return Question(str(number), values["question"], values["context"], (), f"predict: item {number}")
