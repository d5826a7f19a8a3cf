"""What is minimised: cross-entropy with class weights and smoothing, R-Drop's divergence, FGM's perturbation.

B sequences, T tokens, C classes, H width of the embeddings.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernie_pipe.errors import InputError

IGNORED = -100
"""The label that no loss counts, as transformers has it."""


def cross_entropy(
    logits: Tensor, labels: Tensor, *, items: Any, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Return the summed cross-entropy of `logits` [B, C] or [B, T, C] over `items`.

    `smoothing` spreads that share of a label over all C (Szegedy et al. 2016, §7); `weights` [C] are of mean 1 over
    the training data, so that they change what counts, not the size of the loss.
    """
    total = F.cross_entropy(
        logits.float().reshape(-1, logits.shape[-1]),
        labels.reshape(-1),
        weight=weights,
        ignore_index=IGNORED,
        label_smoothing=smoothing,
        reduction="sum",
    )
    return total / items


def divergence(one: Tensor, other: Tensor, problem: str | None = None) -> Tensor:
    """Return ½ (KL(p‖q) + KL(q‖p)) of two passes' logits, one number a distribution.

    So does R-Drop (Liang, Wu et al. 2021, §2). Distributions lie on the last axis; each label is one of its own for
    the problem `multi_label_classification`. For `regression`, which has none, it is the squared difference.
    """
    one, other = one.float(), other.float()
    if problem == "regression":
        return (one - other).square()
    if problem == "multi_label_classification":
        one, other = (torch.stack([F.logsigmoid(side), F.logsigmoid(-side)], dim=-1) for side in (one, other))
    else:
        one, other = F.log_softmax(one, dim=-1), F.log_softmax(other, dim=-1)
    # KL(p‖q) + KL(q‖p) = Σ (p - q) (log p - log q).
    return ((one.exp() - other.exp()) * (one - other)).sum(dim=-1) / 2


def class_weights(wanted: str | Mapping[str, float] | None, names: Sequence[str], labels: Sequence[Any]) -> Any:
    """Return the weight of each class [C], of mean 1 over `labels` (ids, or lists of ids), or None for none.

    `balanced` weighs a class by the inverse of its frequency; a mapping names classes, the others weigh 1.
    `InputError` for a name that is none of `names`.
    """
    if wanted is None:
        return None
    seen: Counter[int] = Counter()
    for label in labels:
        seen.update(label if isinstance(label, list) else [label])
    counts = torch.tensor([float(seen[i]) for i in range(len(names))])
    if isinstance(wanted, str):
        raw = torch.where(counts > 0, 1 / counts.clamp(min=1), torch.zeros(()))
    else:
        check_class_weights(wanted, names)
        raw = torch.tensor([float(wanted.get(name, 1.0)) for name in names])
    return raw * counts.sum() / (raw * counts).sum()


def check_class_weights(wanted: str | Mapping[str, float] | None, names: Sequence[str]) -> None:
    """Refuse weights of classes that there are not."""
    for name in wanted if isinstance(wanted, Mapping) else ():
        if name not in names:
            raise InputError(f"class_weights: unknown label `{name}`: the training data has {', '.join(names)}")


class Adversary:
    """FGM: the embeddings of each sequence moved by `length` along the gradient of the loss.

    Miyato, Dai and Goodfellow 2017, §3: r = ε g / ‖g‖, the norm over a sequence's embeddings [T, H].
    Theirs are normalised before; here, as usual for pretrained encoders, they are not.
    """

    def __init__(self, embedding: nn.Module, length: float) -> None:
        self.embedding = embedding
        self.length = length
        self._seen: list[Tensor] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Remember the embeddings of passes whose loss is computed back in this block."""
        self._seen = []
        with self._hooked(self._watch):
            yield

    @contextlib.contextmanager
    def perturbing(self) -> Iterator[None]:
        """Move the embeddings of passes in this block by what the passes before would have felt most."""
        gradient = torch.stack([seen.grad for seen in self._seen if seen.grad is not None]).sum(dim=0)
        self._seen = []
        norm = gradient.flatten(1).norm(dim=1).clamp(min=1e-12)
        shift = self.length * gradient / norm[:, None, None]
        with self._hooked(lambda output: output + shift):
            yield

    def _watch(self, output: Tensor) -> Tensor:
        # Frozen embeddings have no gradient of their own: one is asked for, of what comes out of them.
        output = output if output.requires_grad else output.requires_grad_()
        output.retain_grad()
        self._seen.append(output)
        return output

    @contextlib.contextmanager
    def _hooked(self, change: Any) -> Iterator[None]:
        handle = self.embedding.register_forward_hook(lambda module, inputs, output: change(output))
        try:
            yield
        finally:
            handle.remove()
