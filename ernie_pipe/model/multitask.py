"""One encoder and a head per task: the model that is trained.

It knows neither devices nor ranks. Shapes: `T` packed tokens, `H` hidden, `M` predicted positions of a task.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import ErnieConfig

from ernie_pipe.model.encoder import Packing, build_encoder
from ernie_pipe.tasks import Task

MASKING = "knowledge_masking"


class TaskOutput(NamedTuple):
    """Sums over the M positions of one task: loss (differentiable), right answers, M."""

    loss: Tensor
    correct: Tensor
    positions: int


class MultiTaskModel(nn.Module):
    """An ERNIE encoder with task embedding and one head per task.

    `batch` holds tensors `input_ids`, `position_ids`, `token_type_ids`, `task_type_ids` (T), `starts` (B + 1),
    the int `longest`, and `targets`: task → (positions, labels).
    """

    def __init__(self, config: ErnieConfig, tasks: Mapping[str, Task]) -> None:
        super().__init__()
        self.config = config
        self.tasks = dict(tasks)
        self.encoder: Any = build_encoder(config, pooler=any(task.pooled for task in tasks.values()))
        self.heads = nn.ModuleDict({_head_name(name): task.build_head(config) for name, task in tasks.items()})
        for head in self.heads.values():
            head.apply(self.encoder._init_weights)
        self.tie()

    def tie(self) -> None:
        """Let the vocabulary projection share the word embeddings, and its bias the head's."""
        if MASKING in self.heads:
            head: Any = self.heads[MASKING]
            head.decoder.weight = self.encoder.embeddings.word_embeddings.weight
            head.decoder.bias = head.bias

    def state(self) -> dict[str, Tensor]:
        """Return the state with each tied tensor once, under its first name (safetensors refuses shared memory)."""
        seen: dict[int, str] = {}
        return {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in self.state_dict(keep_vars=True).items()
            if seen.setdefault(id(tensor), name) == name
        }

    def hidden(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the last hidden states, (T, H)."""
        packing = Packing.of(batch["starts"], batch["longest"])
        names = ("input_ids", "position_ids", "token_type_ids", "task_type_ids")
        inputs = {name: batch[name][None] for name in names}
        return self.encoder(**inputs, packing=packing).last_hidden_state[0]

    def logits(self, name: str, hidden: Tensor, positions: Tensor) -> Tensor:
        """Return the logits of task `name` at `positions`: (M, classes)."""
        chosen = hidden[positions]
        if self.tasks[name].pooled:
            chosen = self.encoder.pooler(chosen[:, None])
        return self.heads[_head_name(name)](chosen)

    def forward(self, batch: Mapping[str, Any]) -> dict[str, TaskOutput]:
        """Return the summed loss of every task; one without positions adds zero times its parameters.

        So no rank waits for the gradient of a head that had no example, or of an encoder in whose micro-batch
        nothing is predicted.
        """
        hidden = self.hidden(batch)
        outputs = {}
        for name, task in self.tasks.items():
            positions, labels = batch["targets"][name]
            if len(positions):
                logits = self.logits(name, hidden, positions)
                outputs[name] = TaskOutput(
                    task.loss(logits, labels), task.correct(logits.detach(), labels), len(positions)
                )
            else:
                outputs[name] = TaskOutput(self._zero(name, hidden), torch.zeros((), device=hidden.device), 0)
        return outputs

    def _zero(self, name: str, hidden: Tensor) -> Tensor:
        parameters = list(self.heads[_head_name(name)].parameters())
        if self.tasks[name].pooled:
            parameters += list(self.encoder.pooler.parameters())
        # The sum over no position: zero, with the encoder in its graph.
        return sum((parameter.sum() * 0.0 for parameter in parameters), hidden[:0].sum())


def _head_name(task: str) -> str:
    # A task given as `package.module:Class`: a module's name must not hold a dot.
    return task.replace(".", "/")
