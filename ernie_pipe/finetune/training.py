"""One training run: transformers' Trainer, with the head's own score after every epoch."""

import logging
import math
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import layers
from ernie_pipe.finetune.encoder import device, quiet
from ernie_pipe.finetune.settings import FinetuneSettings
from ernie_pipe.finetune.trainer import HeadTrainer

log = logging.getLogger(__name__)

Score = Callable[[], float]


class _Bar(ProgressCallback):
    """The Trainer's bar without its dictionaries between the lines."""

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        """Say nothing."""


class KeepBest(TrainerCallback):
    """Score the model after every epoch, keep the weights of the best, stop when patience runs out.

    The weights stay in memory: a checkpoint on disk for each epoch would cost more than the epoch of a
    small set. The first of equal epochs is kept.
    """

    def __init__(self, score: Score, patience: int) -> None:
        self.score = score
        self.patience = patience
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
        log.info("epoch %d: dev %.4f%s", epoch, value, " (best)" if self.epoch == epoch else "")
        if self.patience and epoch - self.epoch >= self.patience:
            control.should_training_stop = True


def train(
    model: PreTrainedModel,
    features: list[dict],
    *,
    collator: Any,
    settings: FinetuneSettings,
    seed: int,
    score: Score | None = None,
) -> int:
    """Train `model` in place and return the epoch whose weights it has; it is left without dropout, in float32.

    With `score`, a function of the model's present weights, these are the best epoch's, else the last's. `InputError`:
    there are no features.
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
        if sys.stderr.isatty():
            trainer.add_callback(_Bar)
        keep = KeepBest(score, settings.early_stop) if score else None
        if keep:
            trainer.add_callback(keep)
        with quiet(), layers.frozen(model, settings), layers.dropout(model, settings):
            trainer.train()
        # With bf16 its forward would go on in that precision, unlike that of the model once saved and loaded.
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    if keep:
        model.load_state_dict(keep.weights)
    model.eval()
    return keep.epoch if keep else math.ceil(trainer.state.epoch)


def _arguments(settings: FinetuneSettings, seed: int, folder: str, examples: int) -> TrainingArguments:
    chosen = device(settings.device)
    steps = settings.epochs * math.ceil(examples / settings.batch_size)
    arguments = TrainingArguments(
        output_dir=folder,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps if 0 < settings.max_steps < steps else -1,
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
