"""The order of training examples: random, yet the sequences of a step of like lengths, so that little is padding.

A pure function of lengths, seed and epoch. Steps are as many and as large as without; only who stands beside whom
changes: a step is drawn from a random window of the epoch and is one stretch of it by length, and the steps of all
windows are mixed again.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

LEAST_WINDOWS = 4
"""Windows of an epoch, at the least: with one alone, each epoch would have nearly the same steps."""


def order(lengths: Sequence[int], step: int, *, window: int, seed: int, epoch: int) -> np.ndarray:
    """Return the indices of `lengths` in the order of an epoch; `step` are the sequences of a step.

    `window` is how many steps are sorted together, 0 or 1 for none. What fills no step comes last.
    """
    rng = np.random.default_rng([seed, epoch])
    drawn = rng.permutation(len(lengths))
    steps = len(lengths) // step
    window = min(window, steps // LEAST_WINDOWS)
    if window < 2:
        return drawn
    sizes, found = np.asarray(lengths), []
    for start in range(0, steps * step, window * step):
        some = drawn[start : min(start + window * step, steps * step)]
        found.append(some[np.argsort(sizes[some], kind="stable")].reshape(-1, step))
    mixed = rng.permutation(np.concatenate(found))
    return np.concatenate([mixed.reshape(-1), drawn[steps * step :]])


class LengthOrder(Sampler[int]):
    """`order` as a sampler of PyTorch, anew for each epoch that is set."""

    def __init__(self, lengths: Sequence[int], step: int, *, window: int, seed: int) -> None:
        self.lengths, self.step, self.window, self.seed = lengths, step, window, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, whose order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        drawn = order(self.lengths, self.step, window=self.window, seed=self.seed, epoch=self.epoch)
        return iter(drawn.tolist())
