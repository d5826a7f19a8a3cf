"""A tiny model that learns one task: any task, any kind of passages."""

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import torch

from ernie_pipe import draws
from ernie_pipe.model.convert import new_config
from ernie_pipe.model.multitask import MultiTaskModel
from ernie_pipe.model.settings import ModelSettings
from ernie_pipe.pretrain.batch import Built, pack, to_tensors
from ernie_pipe.pretrain.plan import Slots
from ernie_pipe.text.encode import SpecialIds

SHAPE = {"layers": 2, "heads": 4, "dropout": 0.0, "attention_dropout": 0.0, "task_rows": 4}
BATCH = 64


@dataclass
class Learner:
    """A task with its model; `special` may hold a vocabulary."""

    task: object
    special: SpecialIds
    hidden: int = 64
    longest: int = 256

    def __post_init__(self):
        torch.manual_seed(0)
        self.task.prepare(self.special)
        shape = ModelSettings(
            hidden_size=self.hidden, intermediate_size=2 * self.hidden, max_positions=self.longest, **SHAPE
        )
        config = new_config(shape, self.special, ["knowledge_masking", "t"])
        # So small a model takes long to leave weights of 0.02.
        config.initializer_range = 0.1
        self.model = MultiTaskModel(config, {"t": self.task})

    def batches(self, passages, anchors, seed):
        """The examples of these anchors, `BATCH` sequences each."""
        made = []
        for first in range(0, len(anchors), BATCH):
            part = anchors[first : first + BATCH]
            keys = draws.key(seed, np.arange(first, first + len(part)))
            listed = self.task.examples(passages, part, keys)
            packed = pack(listed, Slots(np.zeros(len(part), int), part, keys), self.special)
            made.append(to_tensors(Built(packed, {"t": self.task.targets(packed, 0)})))
        return made

    def reach(self, batches):
        """The share that is right of who knows all of these sequences by heart: some read alike and differ in label."""
        labels = defaultdict(Counter)
        for batch in batches:
            ids, starts = batch["input_ids"].tolist(), batch["starts"].tolist()
            for start, end, label in zip(starts, starts[1:], batch["targets"]["t"][1].tolist(), strict=False):
                labels[tuple(ids[start:end])][label] += 1
        return sum(max(of.values()) for of in labels.values()) / sum(sum(of.values()) for of in labels.values())

    def train(self, epochs, rate=2e-3, until=1.0):
        """Train on what `epochs` yields, epoch by epoch, until an epoch is right to this share; returns that share."""
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate)
        share = 0.0
        for batches in epochs:
            right = count = 0
            for batch in batches:
                output = self.model(batch)["t"]
                (output.loss / max(1, output.positions)).backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                right, count = right + float(output.correct), count + output.positions
            share = right / count
            if share >= until:
                break
        return share

    @torch.no_grad()
    def score(self, batches):
        """(share that is right, share of the commonest answer)."""
        self.model.eval()
        outputs = [self.model(batch)["t"] for batch in batches]
        self.model.train()
        labels = torch.cat([batch["targets"]["t"][1] for batch in batches])
        right = sum(float(output.correct) for output in outputs)
        return right / len(labels), labels.bincount().max().item() / len(labels)
