"""A search for the settings that do best on dev: Optuna's tree-structured Parzen estimator around the given ones.

In: settings, and a function that trains with some and returns the dev score. Out: the best settings, and a record of
all trials. The first trial is the settings as given, so the search ends no worse on dev than it began; dev scores of
a search flatter, the more trials the more: only a test set that chose nothing tells the truth.
"""

import importlib.util
import logging
import math
from collections.abc import Callable
from typing import Any

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.settings import FinetuneSettings

log = logging.getLogger(__name__)

NAMES = ("learning_rate", "epochs", "batch_size", "layer_decay")
"""The settings that are searched."""


def check(trials: int, *, dev: bool) -> None:
    """Raise `InputError` when there can be no search: no Optuna, no dev set, a number below 0."""
    if trials < 0:
        raise InputError(f"search {trials}: give the number of trials, or 0 for no search")
    if trials and not dev:
        raise InputError("search: settings are chosen by the dev set: give one")
    if trials and importlib.util.find_spec("optuna") is None:
        raise InputError('search: Optuna is not installed: pip install "ernie-pipe[search]"')


def space(settings: FinetuneSettings) -> dict[str, Any]:
    """Return the distribution of each of `NAMES` around `settings`.

    Learning rate: a quarter to four times it, by its logarithm; epochs: half to twice as many; batch size: half, the
    same or twice, where `accumulate` divides it; layer decay: 0.75 (or the one given, when that is lower) to 1.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    rate, epochs, size = settings.learning_rate, settings.epochs, settings.batch_size
    sizes = [n for n in (size // 2, size, size * 2) if n and n % settings.accumulate == 0]
    return {
        "learning_rate": FloatDistribution(rate / 4, rate * 4, log=True),
        "epochs": IntDistribution(max(1, epochs // 2), epochs * 2),
        "batch_size": CategoricalDistribution(sizes),
        "layer_decay": FloatDistribution(min(0.75, settings.layer_decay), 1.0),
    }


def search(
    settings: FinetuneSettings, trials: int, run: Callable[[FinetuneSettings], float]
) -> tuple[FinetuneSettings, dict[str, Any]]:
    """Try `trials` settings and return the best with `{"trials": [{name: value, "dev": score}], "best": index}`.

    The draws depend on `settings.seed` and the scores alone. A trial whose training diverges, or whose score is no
    number, counts as the worst, its score None; `InputError` when all are.
    """
    import optuna

    from ernie_pipe.finetune.trainer import DivergedError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=settings.seed))
    study.enqueue_trial({name: getattr(settings, name) for name in NAMES})
    around = space(settings)
    tried: list[dict[str, Any]] = []
    for number in range(trials):
        trial = study.ask(around)
        chosen = settings.model_copy(update=trial.params)
        try:
            score = run(chosen)
        except DivergedError as error:
            log.warning("%s", error)
            score = math.nan
        tried.append({**trial.params, "dev": score if math.isfinite(score) else None})
        # Optuna learns nothing from a failed trial; from a score below all others it does.
        study.tell(trial, score if math.isfinite(score) else -1.0)
        _tell(number + 1, trials, tried)
    best = _best(tried)
    if tried[best]["dev"] is None:
        raise InputError(f"search: none of {trials} trials has a dev score: lower learning_rate")
    found = settings.model_copy(update={name: tried[best][name] for name in NAMES})
    return found, {"trials": tried, "best": best}


def _best(tried: list[dict[str, Any]]) -> int:
    """Return the index of the first best trial."""
    scores = [-math.inf if trial["dev"] is None else trial["dev"] for trial in tried]
    return scores.index(max(scores))


def _tell(number: int, trials: int, tried: list[dict[str, Any]]) -> None:
    last = tried[-1]
    values = ", ".join(f"{name} {last[name]:.3g}" for name in NAMES)
    score = "no score" if last["dev"] is None else f"dev {last['dev']:.4f}"
    mark = " (best)" if _best(tried) == number - 1 and last["dev"] is not None else ""
    log.info("trial %d of %d: %s: %s%s", number, trials, values, score, mark)
