"""FLOPs of a real token, forward and backward: of the whole model, and as each contender of a benchmark does it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Work:
    """FLOPs a real token: the whole model's (what `mfu` counts), and those that are executed."""

    model: float
    ours: float
    padded: float
    blocks: float


def work(config: Any, *, share: float, mean: float, filled: float, longest: int) -> Work:
    """Count them; a multiplication and an addition are two, the backward pass is twice the forward.

    `share` of the tokens is predicted; `mean` is Σ length² / Σ length; of a padded batch, whose rows are `longest`,
    `filled` is real (batches taken to be alike, so an upper bound on attention).
    """
    layers, hidden, inner = config.num_hidden_layers, config.hidden_size, config.intermediate_size
    after = 6 * (hidden * hidden + 2 * hidden * inner)
    linear = layers * (6 * 3 * hidden * hidden + after)
    head = 6 * (hidden * hidden + hidden * config.vocab_size)
    attention = 12 * layers * hidden
    model = linear + attention * mean + head * share
    whole = linear + attention * longest + head
    # Our last layer leaves out what comes after its attention where no head reads.
    return Work(model=model, ours=model - after * (1 - share), padded=whole / filled, blocks=whole)
