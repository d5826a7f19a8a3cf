"""What all heads share: loading, fitting over seeds, evaluating and saving.

A head says what it reads, which features it trains on, how it answers and how answers are scored; see
`classifier.py` for the shortest one. torch and transformers are imported only where a model is at work.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from ernie_pipe.config import validate
from ernie_pipe.errors import InputError
from ernie_pipe.finetune import metrics, record, report, tuning
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
        self.metrics: Metrics = {}
        self.reports: dict[str, Metrics] = {}
        self.data: dict[str, Any] = {}
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
    def _auto_class(self) -> str:
        return f"AutoModel{self.architecture}"

    @property
    def labels(self) -> list[str]:
        """The labels in the order of their ids; `InputError` before the model has any."""
        if self.model is None:
            raise InputError(f"{self.folder}: not fine-tuned as {self.task} yet: call fit first")
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
    def score(self, examples: Sequence[E]) -> Metrics:
        """Return the metrics of the model's answers."""

    @abstractmethod
    def predict(self, texts: Sequence[Any]) -> list:
        """Return the answers for texts, or for what else `read_inputs` returns, in their order."""

    @abstractmethod
    def row(self, item: Any, answer: Any) -> dict[str, Any]:
        """Return the line of `ernie-pipe predict` for an input and its answer."""

    def report(self, examples: Sequence[E]) -> Metrics:
        """Return what `ernie_pipe.finetune.report` writes and prints for these examples; empty: no report."""
        return {}

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
        if seeds < 1:
            raise InputError(f"seeds {seeds}: train at least one")
        tuning.check(search, dev=dev is not None)
        if self.settings.early_stop and dev is None:
            log.warning("early_stop: without a dev set every epoch is trained, and the last is kept")
        sources = {"train": train, "dev": dev, "test": test}
        given = {name: source for name, source in sources.items() if source is not None}
        sets = {name: self.read(source, name) for name, source in given.items()}
        labels = self._labels_for(sets["train"])
        for name in list(sets)[1:]:
            self.check(sets[name], labels)
            _tell_common(name, sets[name], sets["train"])
        self.data = {name: record.fingerprint(given[name], sets[name]) for name in sets}
        found = {"search": self._search(search, labels, sets)} if search else {}
        runs, best = [], None
        for seed in range(self.settings.seed, self.settings.seed + seeds):
            run = self._train(seed, labels, sets)
            runs.append(run)
            if best is None or self._compared(run) > self._compared(best[0]):
                best = run, self.model
        assert best is not None
        kept, self.model = best
        self.metrics = {**kept, **self._over_seeds(runs), **found}
        self.reports = {name: self.report(examples) for name, examples in sets.items() if name != "train"}
        return self.metrics

    def _search(self, trials: int, labels: list[str], sets: dict[str, list[E]]) -> Metrics:
        """Take over the settings that do best on dev, and return the record of all that were tried."""
        before, seen = self.settings, {name: sets[name] for name in ("train", "dev")}

        def run(settings: FinetuneSettings) -> float:
            self.settings = settings
            return self._compared(self._train(settings.seed, labels, seen))

        try:
            self.settings, found = tuning.search(before, trials, run)
        except BaseException:
            self.settings = before
            raise
        return found

    def _labels_for(self, examples: Sequence[E]) -> list[str]:
        """Keep a fitted head whose labels cover the data; else plan a new one."""
        wanted = self.labels_of(examples)
        if set(wanted) <= set(self._fitted):
            wanted = self._fitted
        log.info("labels: %s", ", ".join(wanted))
        return wanted

    def _train(self, seed: int, labels: list[str], sets: dict[str, list[E]]) -> Metrics:
        import transformers

        from ernie_pipe.finetune import training

        transformers.set_seed(seed)
        self.model = self._start(labels)
        log.info("seed %d: %d examples, %d epochs at most", seed, len(sets["train"]), self.settings.epochs)
        epoch = training.train(
            self.trained(),
            self.features(sets["train"]),
            collator=self.collator(),
            settings=self.settings,
            seed=seed,
            score=(lambda: self.score(sets["dev"])[self.dev_metric]) if "dev" in sets else None,
        )
        scores = {name: self.score(examples) for name, examples in sets.items() if name != "train"}
        return {"seed": seed, "epoch": epoch, **scores}

    def _start(self, labels: list[str]) -> Any:
        from ernie_pipe.finetune import encoder

        if labels != self._fitted:
            return encoder.new_model(self.folder, self._auto_class, labels, self.settings.task_id)
        model = encoder.load_trained(self.folder, self._auto_class)
        encoder.fold_task(model, self.settings.task_id, self.folder)
        return model

    def trained(self) -> Any:
        """Return the module to train: the model, or what holds it under a loss of the head's own."""
        return self.model

    def _compared(self, run: Metrics) -> float:
        return run["dev"][self.dev_metric] if "dev" in run else 0.0

    def _over_seeds(self, runs: list[Metrics]) -> Metrics:
        if len(runs) == 1:
            return {}
        result: Metrics = {"runs": runs}
        for name in ("dev", "test"):
            if name in runs[0]:
                result[name] = metrics.mean_and_deviation([run[name] for run in runs])
        return {"seeds": result}

    def evaluate(self, data: Source) -> Metrics:
        """Return the metrics on a file, a list of dicts or a Dataset; its report is in `reports["data"]`."""
        labels = self.labels
        examples = self.read(data, "data")
        self.check(examples, labels)
        self.reports["data"] = self.report(examples)
        return self.score(examples)

    def _checked_texts(self, texts: Sequence[str]) -> list[str]:
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InputError("predict takes a list of strings")
        return list(texts)

    def save(self, folder: str | Path, *, command: str | None = None) -> None:
        """Write a stock transformers folder and `ernie_pipe.json`; an earlier result there is replaced."""
        from ernie_pipe.finetune import encoder

        data = {
            "task": self.task,
            "labels": self.labels,
            "metrics": {name: self.metrics[name] for name in ("dev", "test") if name in self.metrics},
            "kept": {name: self.metrics[name] for name in ("seed", "epoch") if name in self.metrics},
            "seeds": self.metrics.get("seeds", {}),
            "search": self.metrics.get("search", {}),
            "settings": self.settings.model_dump(),
            "task_id": getattr(self.model.config, "finetune_task_id", 0),
            "model": str(self.folder),
            "chain": self.chain,
            "data": self.data,
            "command": command,
            "versions": record.versions(),
        }

        def fill(draft: Path) -> None:
            with encoder.quiet():
                self.model.save_pretrained(draft)
                self.tokenizer.save_pretrained(draft)
            report.write(draft, {name: self.reports[name] for name in self.metrics if name in self.reports})

        record.write_folder(folder, fill, data)


def _tell_common(name: str, examples: Sequence[Example], train: Sequence[Example]) -> None:
    known = {example.text for example in train}
    common = [example.where for example in examples if example.text in known]
    if common:
        log.warning(
            "%s: %d of %d texts stand in the training data too, first at %s: its scores flatter",
            name,
            len(common),
            len(examples),
            common[0],
        )
