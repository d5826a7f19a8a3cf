"""transformers' Trainer with our loss, our order of examples, and rates by layer.

A step is that of the Trainer: mean loss, clipping at norm 1, AdamW, linear warm-up and decay. The mean is one over the
whole step, in however many parts it is computed: over the labels where a head classifies sequences or tokens, else over
the sequences, each part's mean by its share of them.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, Trainer, TrainingArguments

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import layers, objective
from ernie_pipe.finetune.ordering import LengthOrder
from ernie_pipe.finetune.settings import FinetuneSettings


class DivergedError(InputError):
    """The loss became infinite or no number: nothing that comes after could be used."""


class HeadTrainer(Trainer):
    """Trains `model` on `features`: dicts of `input_ids`, labels, and what else the collator takes."""

    def __init__(
        self,
        model: PreTrainedModel,
        features: Sequence[dict],
        *,
        arguments: TrainingArguments,
        collator: Any,
        settings: FinetuneSettings,
    ) -> None:
        super().__init__(model=model, args=arguments, train_dataset=features, data_collator=collator)
        self.settings = settings
        self.lengths = [length(item) for item in features]
        # What the Trainer keeps may be wrapped.
        self.head: Any = model
        self.classes = _classes(model, features)
        weights = self._checked_weights(features)
        self.weights = None if weights is None else weights.to(model.device)
        self.adversary = objective.Adversary(model.get_input_embeddings(), settings.fgm) if settings.fgm else None
        # The number of labels in a step is counted for models that take it; here our own loss does.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True
        self._passes = 2 if settings.r_drop else 1
        self._sequences = 0

    def _checked_weights(self, features: Sequence[dict]) -> Tensor | None:
        wanted = self.settings.class_weights
        if not self.classes and (wanted is not None or self.settings.label_smoothing):
            key = "label_smoothing" if wanted is None else "class_weights"
            raise InputError(f"{key}: only for heads that choose one label of several: leave it out")
        if wanted is None:
            return None
        config = self.head.config
        names = [config.id2label[i] for i in range(config.num_labels)]
        return objective.class_weights(wanted, names, [item["labels"] for item in features])

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthOrder:
        window = self.settings.length_window
        return LengthOrder(self.lengths, self.settings.batch_size, window=window, seed=self.args.seed)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Make the Trainer's optimiser, its groups split by layer where rates differ."""
        optimizer = super().create_optimizer(model)
        if self.settings.layer_decay < 1:
            optimizer.param_groups = layers.parameter_groups(
                self.head, optimizer.param_groups, self.settings.layer_decay
            )
        return optimizer

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list, Any]:
        """Return the parts of a step with the number of their labels; the sequences in them are counted too."""
        parts, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._sequences = sum(len(part["input_ids"]) for part in parts)
        return parts, items

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return what a part adds to the mean loss of its step: of one pass, or of two with their divergence."""
        passes = [model(**inputs) for _ in range(self._passes)]
        loss = sum(self._loss(outputs, inputs, num_items_in_batch) for outputs in passes) / len(passes)
        if len(passes) == 2:
            loss = loss + self.settings.r_drop * self._divergence(passes[0], passes[1], inputs, num_items_in_batch)
        if not self.classes and self._sequences:
            loss = loss * len(inputs["input_ids"]) / self._sequences
        return (loss, passes[0]) if return_outputs else loss

    def _loss(self, outputs: Any, inputs: dict[str, Any], items: Any) -> Tensor:
        if not self.classes:
            return outputs["loss"]
        labels, smoothing = inputs["labels"], self.settings.label_smoothing
        return objective.cross_entropy(
            outputs["logits"], labels, items=_count(labels, items), weights=self.weights, smoothing=smoothing
        )

    def _divergence(self, one: Any, other: Any, inputs: dict[str, Any], items: Any) -> Tensor:
        problem = getattr(self.head.config, "problem_type", None)
        names = [name for name in one if name.endswith("logits")]
        if not names:
            raise InputError("r_drop: this head gives no distributions to compare: leave it out")
        found = [objective.divergence(one[name], other[name], problem) for name in names]
        if not self.classes:
            return torch.stack([part.mean() for part in found]).mean()
        labels = inputs["labels"]
        return found[0][labels != objective.IGNORED].sum() / _count(labels, items)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Compute one part of a step and its gradient, with the adversary's where there is one."""
        if self.adversary is None:
            loss = super().training_step(model, inputs, num_items_in_batch)
        else:
            with self.adversary.watching():
                loss = super().training_step(model, dict(inputs), num_items_in_batch)
            passes, self._passes = self._passes, 1
            with self.adversary.perturbing():
                super().training_step(model, inputs, num_items_in_batch)
            self._passes = passes
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss is {float(loss)} at step {self.state.global_step + 1}: lower learning_rate "
                f"({self.settings.learning_rate:g})"
            )
        return loss


def _classes(model: Any, features: Sequence[dict]) -> bool:
    """Tell whether the head gives each sequence or token one label of several."""
    if not type(model).__name__.endswith(("ForSequenceClassification", "ForTokenClassification")):
        return False
    label = features[0].get("labels")
    first = label[0] if isinstance(label, list) and label else label
    return isinstance(first, int) and model.config.num_labels > 1 and model.config.problem_type in _CHOICES


_CHOICES = (None, "single_label_classification")


def _count(labels: Tensor, items: Any) -> Any:
    """Return the number of labels in the step, at least one."""
    found = (labels != objective.IGNORED).sum() if items is None else items
    return max(1, int(found))


def length(feature: dict) -> int:
    """Return the tokens of a feature, of its longest sequence where it holds several."""
    ids = feature["input_ids"]
    return max(map(len, ids)) if len(ids) and isinstance(ids[0], list) else len(ids)
