"""The learning rate as a pure function of the step: nothing to store, so a resumed run has the same rates to the bit.

Warm-up is linear and counts from 1, so that no step is spent at rate 0. What follows agrees with transformers'
schedulers of the same names (`linear`, `cosine`, `inverse_sqrt` for noam, `warmup_stable_decay`).
"""

import math

from ernie_pipe.pretrain.settings import OptimizerSettings


def learning_rate(step: int, total: int, settings: OptimizerSettings, peak: float | None = None) -> float:
    """Return the rate of `step` (from 0) of `total`: warm-up, then what `settings.schedule` says.

    `peak` is that of the step's stage, where it has its own. Warm-up and decay go over the whole run, once: at the
    border of two stages the rate leaps by the ratio of their peaks (above `min_learning_rate`), the curve goes on.

    - `constant`: the peak.
    - `linear`, `cosine`: down to `min_learning_rate` at `total`.
    - `noam`: peak · √(warmup / n) in step n = step + 1 (Vaswani et al. 2017, section 5.3; ERNIE 2.0's recipe).
    - `warmup_stable_decay`: the peak, then straight down to `min_learning_rate` in the last `decay_steps`
      (Hu et al. 2024, MiniCPM, section 4).
    """
    peak, warmup = settings.learning_rate if peak is None else peak, settings.warmup_steps
    if step < warmup:
        return peak * min(1.0, (step + 1) / warmup)
    if settings.schedule == "constant":
        return peak
    if settings.schedule == "noam":
        return peak * math.sqrt(warmup / (step + 1))
    decay = settings.decay_steps if settings.schedule == "warmup_stable_decay" else total - warmup
    left = min(1.0, max(0.0, (total - step) / max(1, decay)))
    if settings.schedule == "cosine":
        left = 0.5 * (1.0 - math.cos(math.pi * left))
    floor = settings.min_learning_rate
    return floor + (peak - floor) * left if floor else peak * left
