"""One training run: transformers' Trainer, with the head's own score after every epoch."""

import contextlib
import logging
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import torch
from tqdm.contrib.logging import logging_redirect_tqdm
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from ernie_pipe.environment import is_terminal
from ernie_pipe.errors import InputError
from ernie_pipe.finetune import layers, wording
from ernie_pipe.finetune.encoder import device, quiet
from ernie_pipe.finetune.settings import FinetuneSettings
from ernie_pipe.finetune.trainer import HeadTrainer
from ernie_pipe.progress import Progress

log = logging.getLogger(__name__)

Score = Callable[[], float]


class _Bar(TrainerCallback):
    """The project's own bar for the steps, gone once they are done."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Draw it."""
        self._progress = Progress("fine-tune", state.max_steps, leave=False)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move it on."""
        self._progress.advance(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take it away."""
        self._progress.close()


@contextlib.contextmanager
def _lines_above_the_bar() -> Iterator[None]:
    """Let tqdm write what is logged to the terminal: it takes its bars away before a line, and draws them again."""
    # Of loggers that write there: tqdm would make the others do so too.
    loggers = [logging.getLogger("ernie_pipe"), logging.getLogger()]
    shown = [logger for logger in loggers if any(_is_shown(handler) for handler in logger.handlers)]
    with logging_redirect_tqdm(shown):
        yield


def _is_shown(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stdout, sys.stderr)


class KeepBest(TrainerCallback):
    """Score the model after every epoch, keep the weights of the best, stop when patience runs out.

    The weights stay in memory: a checkpoint on disk for each epoch would cost more than the epoch of a
    small set. The first of equal epochs is kept. `metric` is what the score is called.
    """

    def __init__(self, score: Score, patience: int, metric: str) -> None:
        self.score = score
        self.patience = patience
        self.metric = metric
        self.best = float("-inf")
        self.epoch = 0
        self.weights: dict[str, torch.Tensor] = {}

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Score, keep or count."""
        # A last epoch that `max_steps` cuts short counts as one; a score that is no number is the worst.
        epoch, value = math.ceil(round(state.epoch, 6)), self.score()
        if not self.weights or value > self.best:
            self.best, self.epoch = float("-inf") if math.isnan(value) else value, epoch
            self.weights = {
                name: tensor.detach().cpu().clone() for name, tensor in kwargs["model"].state_dict().items()
            }
        log.info("epoch %d: %s %.4f on dev%s", epoch, self.metric, value, " (best)" if self.epoch == epoch else "")
        if self.patience and epoch - self.epoch >= self.patience and epoch < state.num_train_epochs:
            control.should_training_stop = True
            waited, whole = wording.many(self.patience, "epochs"), math.ceil(state.num_train_epochs)
            log.info("no better %s for %s: stopped after epoch %d of %d", self.metric, waited, epoch, whole)


def train(
    model: PreTrainedModel,
    features: list[dict],
    *,
    collator: Any,
    settings: FinetuneSettings,
    seed: int,
    score: Score | None = None,
    metric: str = "score",
) -> int:
    """Train `model` in place and return the epoch whose weights it has; it is left without dropout, in float32.

    With `score`, a function of the model's present weights called `metric`, these are the best epoch's, else the
    last's. `InputError`: there are no features.
    """
    if not features:
        raise InputError("train: nothing to learn from: no example gives the model a token to learn by")
    with tempfile.TemporaryDirectory() as folder:
        trainer = HeadTrainer(
            model,
            features,
            arguments=_arguments(settings, seed, folder, len(features)),
            collator=collator,
            settings=settings,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        bar = is_terminal()
        if bar:
            trainer.add_callback(_Bar)
        keep = KeepBest(score, settings.early_stop, metric) if score else None
        if keep:
            trainer.add_callback(keep)
        above = _lines_above_the_bar() if bar else contextlib.nullcontext()
        with above, quiet(), layers.frozen(model, settings), layers.dropout(model, settings):
            trainer.train()
        # With bf16 its forward would go on in that precision, unlike that of the model once saved and loaded.
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    if keep:
        model.load_state_dict(keep.weights)
    model.eval()
    return keep.epoch if keep else math.ceil(trainer.state.epoch)


def step_limit(settings: FinetuneSettings, examples: int) -> int:
    """Return `max_steps` where so many features make more steps than that, else 0."""
    steps = settings.epochs * math.ceil(examples / settings.batch_size)
    return settings.max_steps if settings.max_steps < steps else 0


def _arguments(settings: FinetuneSettings, seed: int, folder: str, examples: int) -> TrainingArguments:
    chosen = device(settings.device)
    arguments = TrainingArguments(
        output_dir=folder,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.epochs,
        max_steps=step_limit(settings, examples) or -1,
        per_device_train_batch_size=settings.batch_size // settings.accumulate,
        gradient_accumulation_steps=settings.accumulate,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup_ratio,
        seed=seed,
        bf16=settings.bf16,
        use_cpu=chosen.type == "cpu",
        dataloader_pin_memory=chosen.type == "cuda",
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        # Each process divides by its own labels; with one process, which is what heads are trained in, the same.
        average_tokens_across_devices=False,
    )
    # Several visible devices would multiply the batch behind the user's back: one is used.
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments
