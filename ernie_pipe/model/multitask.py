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
        self.heads = nn.ModuleDict({head_name(name): task.build_head(config) for name, task in tasks.items()})
        for head in self.heads.values():
            head.apply(self.encoder._init_weights)
        self.tie()

    def tie(self) -> None:
        """Let the vocabulary projection share the word embeddings, and its bias the head's."""
        if MASKING in self.heads:
            head: Any = self.heads[MASKING]
            head.decoder.weight = self.encoder.embeddings.word_embeddings.weight
            head.decoder.bias = head.bias

    def state(self, *, cpu: bool = True) -> dict[str, Tensor]:
        """Return the state with each tied tensor once, under its first name (safetensors refuses shared memory).

        It is the model's own memory where that is the CPU's, or where `cpu` is false.
        """
        seen: dict[int, str] = {}
        return {
            name: (tensor.detach().cpu() if cpu else tensor.detach()).contiguous()
            for name, tensor in self.state_dict(keep_vars=True).items()
            if seen.setdefault(id(tensor), name) == name
        }

    def hidden(self, batch: Mapping[str, Any], wanted: Tensor | None = None) -> Tensor:
        """Return the last hidden states: of all tokens (T, H), or of those at `wanted`."""
        packing = Packing(batch["starts"], batch["longest"])
        names = ("input_ids", "position_ids", "token_type_ids", "task_type_ids")
        inputs = {name: batch[name][None] for name in names}
        return self.encoder(**inputs, packing=packing, wanted=wanted).last_hidden_state[0]

    def logits(self, name: str, hidden: Tensor, positions: Tensor) -> Tensor:
        """Return the logits of task `name` at `positions`: (M, classes)."""
        return self._logits(name, hidden[positions])

    def _logits(self, name: str, chosen: Tensor) -> Tensor:
        if self.tasks[name].pooled:
            chosen = self.encoder.pooler(chosen[:, None])
        return self.heads[head_name(name)](chosen)

    def forward(self, batch: Mapping[str, Any]) -> dict[str, TaskOutput]:
        """Return the summed loss of every task; one without positions adds zero times its parameters.

        So no rank waits for the gradient of a head that had no example, or of an encoder in whose micro-batch
        nothing is predicted.
        """
        outputs = {}
        for (name, task), chosen in zip(self.tasks.items(), self._chosen(batch), strict=True):
            labels = batch["targets"][name][1]
            if len(labels):
                logits = self._logits(name, chosen)
                outputs[name] = TaskOutput(
                    task.loss(logits, labels), task.correct(logits.detach(), labels), len(labels)
                )
            else:
                outputs[name] = TaskOutput(self._zero(name, chosen), torch.zeros((), device=chosen.device), 0)
        return outputs

    def _chosen(self, batch: Mapping[str, Any]) -> list[Tensor]:
        """Return the last hidden states that each task predicts from, (M, H); the last layer makes no others."""
        positions = [batch["targets"][name][0] for name in self.tasks]
        wanted = torch.cat(positions)
        if 0 < len(wanted) < len(batch["input_ids"]):
            return list(self.hidden(batch, wanted).split([len(mine) for mine in positions]))
        hidden = self.hidden(batch)
        return [hidden.index_select(0, mine) for mine in positions]

    def _zero(self, name: str, chosen: Tensor) -> Tensor:
        parameters = list(self.heads[head_name(name)].parameters())
        if self.tasks[name].pooled:
            parameters += list(self.encoder.pooler.parameters())
        # The sum over no position: zero, with the encoder in its graph.
        return sum((parameter.sum() * 0.0 for parameter in parameters), chosen.sum())


def head_name(task: str) -> str:
    """Return the name of a task's head among the model's modules."""
    # A task given as `package.module:Class`: a module's name must not hold a dot.
    return task.replace(".", "/")
