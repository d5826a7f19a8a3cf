"""The guard of every step: a loss or gradient that is not finite, and a loss that leaps, before weights are touched.

Its state is small, goes into every checkpoint, and is the same on all ranks because the figures it sees are.
"""

import logging
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ernie_pipe.errors import TrainingStopped

logger = logging.getLogger(__name__)
# The running mean of the loss forgets with this factor a step (about 50 steps), and speaks after so many.
_MEMORY, _LEARNING = 0.98, 20
# So many steps in a row without one that counts: the run is broken, skipping on would only burn time.
_GIVE_UP = 25
_INTACT = "what was saved before is intact"


class NonFiniteGradient(TrainingStopped):
    """The loss or the gradient of a step is not finite: training stops before it touches the weights."""


class LossSpike(TrainingStopped):
    """The loss of a step is far above its running mean: training stops before it touches the weights."""


@dataclass
class GuardState:
    """Skipped steps in all and in a row; the stage, the decayed sums and the count behind the mean of its losses."""

    skipped: int = 0
    in_a_row: int = 0
    stage: int = -1
    total: float = 0.0
    weight: float = 0.0
    seen: int = 0


class Guard:
    """Decides for every step whether its update counts."""

    def __init__(
        self,
        on_non_finite: Literal["stop", "skip"],
        on_spike: Literal["ignore", "stop", "skip"],
        spike_factor: float,
    ) -> None:
        self._on_non_finite, self._on_spike, self._spike_factor = on_non_finite, on_spike, spike_factor
        self.state = GuardState()

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what a checkpoint stored."""
        self.state = GuardState(**state)

    def counts(self, step: int, stage: int, loss: float, norm: float) -> bool:
        """Return whether the update of `step` is to be made; raise where the settings say stop.

        `loss` is the whole step's (all ranks), `norm` the gradient's before clipping.
        """
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what = "gradient" if math.isfinite(loss) else "loss"
            if self._on_non_finite == "stop":
                raise NonFiniteGradient(
                    f"step {step}: the {what} is not finite; lower optimizer.learning_rate, "
                    f"or pass over such steps with --set on_non_finite=skip; {_INTACT}"
                )
            self._skip(step, f"the {what} is not finite")
            return False
        mean = self._mean(stage)
        if self._on_spike != "ignore" and mean and loss > self._spike_factor * mean:
            what = f"the loss is {loss:.3f}, {loss / mean:.1f} × its running mean"
            if self._on_spike == "stop":
                raise LossSpike(f"step {step}: {what}; pass over such steps with --set on_spike=skip; {_INTACT}")
            self._skip(step, what)
            return False
        self._learn(loss)
        self.state.in_a_row = 0
        return True

    def _skip(self, step: int, why: str) -> None:
        self.state.skipped += 1
        self.state.in_a_row += 1
        logger.warning("step %d: %s: skipped (%d so far)", step, why, self.state.skipped)
        if self.state.in_a_row >= _GIVE_UP:
            raise NonFiniteGradient(
                f"step {step}: {_GIVE_UP} steps in a row had to be skipped, the last because {why}; "
                f"lower optimizer.learning_rate; {_INTACT}"
            )

    def _mean(self, stage: int) -> float | None:
        """Return the running mean of this stage's losses: another stage has other tasks, so other losses."""
        state = self.state
        if stage != state.stage:
            state.stage, state.total, state.weight, state.seen = stage, 0.0, 0.0, 0
        return state.total / state.weight if state.seen >= _LEARNING else None

    def _learn(self, loss: float) -> None:
        state = self.state
        state.total = _MEMORY * state.total + (1 - _MEMORY) * loss
        state.weight = _MEMORY * state.weight + (1 - _MEMORY)
        state.seen += 1

    def to_state(self) -> dict[str, Any]:
        """Return what a checkpoint stores."""
        return asdict(self.state)
