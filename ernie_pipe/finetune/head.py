"""What all heads share: loading, fitting over seeds, evaluating and saving.

A head says what it reads, which features it trains on, how it answers and how answers are scored; see
`classifier.py` for the shortest one. torch and transformers are imported only where a model is at work.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from ernie_pipe.config import validate
from ernie_pipe.errors import InputError
from ernie_pipe.finetune import fitting, record, saving
from ernie_pipe.finetune.data import Source, read_texts
from ernie_pipe.finetune.metrics import Metrics
from ernie_pipe.finetune.settings import FinetuneSettings

log = logging.getLogger(__name__)


class Example(Protocol):
    """What all examples have: their text, and the place they were read from."""

    @property
    def text(self) -> str:
        """The text, by which the sets are searched for common examples."""

    @property
    def where(self) -> str:
        """File and line, or the place in a list."""


E = TypeVar("E", bound=Example)


class Head(ABC, Generic[E]):
    """A model for one task; `E` is its kind of example."""

    task: ClassVar[str]
    """The name on the command line and in `ernie_pipe.json`."""
    architecture: ClassVar[str]
    """The end of the transformers class name, `ForTokenClassification`."""
    settings_class: ClassVar[type[FinetuneSettings]]
    dev_metric: str
    """The metric by which epochs and seeds are compared."""
    counted: str = "texts"
    """What its inputs are called in messages."""
    own_labels: ClassVar[bool] = True
    """Whether labels come from the data, and are worth a line."""
    unchosen: ClassVar[Mapping[str, float]] = {}
    """The settings that may be `auto`, chosen on dev, each with its value where dev cannot tell."""

    def __init__(self, folder: str | Path, settings: FinetuneSettings) -> None:
        from ernie_pipe.finetune import encoder, layers

        config = encoder.load_config(folder)
        layers.check(config, settings)
        before = record.read(folder)
        self.chain = record.chain(folder, before)
        limit = encoder.token_limit(config, settings.max_tokens)
        self.folder = folder
        self.settings: Any = settings.model_copy(update={"max_tokens": limit})
        self.tokenizer = encoder.load_tokenizer(folder)
        self.tokenizer.model_max_length = limit
        encoder.match_segments(self.tokenizer, config)
        self.metrics: Metrics = {}
        self.reports: dict[str, Metrics] = {}
        self.data: dict[str, Any] = {}
        self.chosen: dict[str, float] = before.get("chosen", {}) if before.get("task") == self.task else {}
        self.model: Any = None
        self._fitted: list[str] = []
        if before.get("task", self.task) != self.task:
            log.info(
                "%s: fine-tuned as %s before: its encoder is carried over, the head is new", folder, before["task"]
            )
        elif any(str(name).endswith(self.architecture) for name in config.architectures or []):
            self.model = encoder.load_trained(folder, self._auto_class)
            self.model.to(encoder.device(settings.device))
            self._fitted = self.labels

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, settings: FinetuneSettings | None = None, **changes: Any) -> Self:
        """Load an encoder to fit, or a fitted head to use; `changes` are single settings.

        Settings start from `settings`, else from those the folder was fitted with, else from the defaults.
        `InputError`: the folder is no model, or a setting is unknown.
        """
        known = record.read(folder)
        base = known.get("settings", {}) if known.get("task") == cls.task else {}
        base = settings.model_dump() if settings else base
        return cls(folder, validate(cls.settings_class, {**base, **changes}, where=cls.__name__))

    @property
    def _way_to_fit(self) -> str:
        return f"call fit, or run `ernie-pipe finetune {self.task}`, first"

    @property
    def _auto_class(self) -> str:
        return f"AutoModel{self.architecture}"

    @property
    def labels(self) -> list[str]:
        """The labels in the order of their ids; `InputError` before the model has any."""
        if self.model is None:
            raise InputError(f"{self.folder}: not fine-tuned as {self.task} yet: {self._way_to_fit}")
        names = self.model.config.id2label
        return [names[i] for i in range(len(names))]

    @abstractmethod
    def read(self, source: Source, name: str) -> list[E]:
        """Return the examples of a file, a list of dicts or a Dataset, called `name` in messages."""

    @abstractmethod
    def labels_of(self, examples: Sequence[E]) -> list[str]:
        """Return the labels a new head needs for these training examples, in the order of their ids."""

    @abstractmethod
    def check(self, examples: Sequence[E], labels: Sequence[str]) -> None:
        """Raise `InputError` with its line for an example that a model with `labels` cannot get right."""

    @abstractmethod
    def features(self, examples: Sequence[E]) -> list[dict]:
        """Return the training features: `input_ids` and `labels`."""

    @abstractmethod
    def collator(self) -> Any:
        """Return the function that pads features to a batch."""

    @abstractmethod
    def outputs(self, examples: Sequence[E]) -> Any:
        """Return what `score`, `report` and `choose` go by: one pass of the model."""

    @abstractmethod
    def score(self, examples: Sequence[E], outputs: Any) -> Metrics:
        """Return the metrics of the model's answers, given its `outputs` for these examples."""

    @abstractmethod
    def predict(self, texts: Sequence[Any]) -> list:
        """Return the answers for texts, or for what else `read_inputs` returns, in their order."""

    def answers_of(self, items: Sequence[Any]) -> Iterable[Any]:
        """Return what `predict` does, each only when it is asked for where answers are large."""
        return self.predict(items)

    @abstractmethod
    def row(self, item: Any, answer: Any) -> dict[str, Any]:
        """Return the line of `ernie-pipe predict` for an input and its answer."""

    def report(self, examples: Sequence[E], outputs: Any) -> Metrics:
        """Return what `ernie_pipe.finetune.report` writes and prints for these examples; empty: no report."""
        return {}

    def choose(self, sets: Mapping[str, Sequence[E]], outputs: Mapping[str, Any]) -> dict[str, float | None]:
        """Choose by dev, where there is one, what is `auto` in the settings; None: dev cannot tell, or is missing.

        `sets` holds dev alone after each epoch, all sets at the end; `outputs` those of all but train.
        """
        return {}

    def setting(self, name: str) -> float:
        """Return a setting of `unchosen`: as given, or as chosen where it is `auto`."""
        given = getattr(self.settings, name)
        return self.chosen.get(name, self.unchosen[name]) if given == "auto" else given

    def empty_row(self, item: Any) -> dict[str, Any]:
        """Return the line of `ernie-pipe predict` for an input that holds nothing to answer for."""
        return {"text": item}

    def read_inputs(self, path: str | Path) -> list[Any]:
        """Return the inputs of `predict` from a file: texts, empty ones too."""
        return read_texts(path)

    def is_empty(self, item: Any) -> bool:
        """Tell whether an input holds nothing to answer for."""
        return not item.strip()

    def fit(
        self,
        train: Source,
        dev: Source | None = None,
        test: Source | None = None,
        seeds: int = 1,
        search: int = 0,
    ) -> Metrics:
        """Train from the loaded folder and return the metrics; calling it again starts anew.

        With `dev` the best epoch is kept. With several seeds, `seed`, `seed + 1` … are trained and the best
        on dev is kept, the first without dev; `seeds` in the result holds mean and standard deviation.
        With `search`, so many trials choose settings by dev before, see `ernie_pipe.finetune.tuning`.
        All data is read and checked before anything is trained.
        """
        sources = {"train": train, "dev": dev, "test": test}
        given = {name: source for name, source in sources.items() if source is not None}
        return fitting.fit(self, given, seeds=seeds, search=search)

    def plan(self, sets: Mapping[str, Sequence[E]]) -> list[str]:
        """Return the labels to train for: those of a fitted head where they cover the data, else new ones."""
        wanted = self.labels_of(sets["train"])
        if set(wanted) <= set(self._fitted):
            wanted = self._fitted
        if self.own_labels and len(wanted) > 1:
            log.info("labels: %s", ", ".join(wanted))
        return wanted

    def start(self, labels: list[str]) -> Any:
        """Return the model that training begins with."""
        from ernie_pipe.finetune import encoder

        if labels != self._fitted:
            return encoder.new_model(self.folder, self._auto_class, labels, self.settings.task_id)
        model = encoder.load_trained(self.folder, self._auto_class)
        encoder.fold_task(model, self.settings.task_id, self.folder)
        return model

    def trained(self) -> Any:
        """Return the module to train: the model, or what holds it under a loss of the head's own."""
        return self.model

    def evaluate(self, data: Source) -> Metrics:
        """Return the metrics on a file, a list of dicts or a Dataset; its report is in `reports["data"]`."""
        labels = self.labels
        examples = self.read(data, "data")
        self.check(examples, labels)
        self.data["data"] = record.fingerprint(data, examples)
        outputs = self.outputs(examples)
        self.reports["data"] = self.report(examples, outputs)
        return self.score(examples, outputs)

    def _checked_texts(self, texts: Sequence[str]) -> list[str]:
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InputError("predict takes a list of strings")
        return list(texts)

    def save(self, folder: str | Path, *, command: str | None = None) -> None:
        """Write a stock transformers folder and `ernie_pipe.json`; an earlier result there is replaced."""
        saving.save(self, folder, command)
