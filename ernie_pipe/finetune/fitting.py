"""Fitting a head: all data read and checked first, then seed after seed, the best of them kept.

In: a head and its sources by the names train, dev and test. Out: the head's `model`, `chosen`, `metrics`, `reports`
and `data`. A set is predicted once for the scores and the report together.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import metrics, record, tuning, wording
from ernie_pipe.finetune.data import Source
from ernie_pipe.finetune.metrics import Metrics
from ernie_pipe.finetune.settings import FinetuneSettings

if TYPE_CHECKING:
    from ernie_pipe.finetune.head import Example, Head

log = logging.getLogger(__name__)

_SMALL, _HIGH_RATE = 400, 1.5e-4
"""Width below which an encoder is small, and the rate below which it learns little."""
Sets = dict[str, list[Any]]


def fit(head: "Head[Any]", given: dict[str, Source], *, seeds: int, search: int) -> Metrics:
    """Train `head` and return its metrics; see `Head.fit`."""
    if seeds < 1:
        raise InputError(f"seeds {seeds}: train at least one")
    tuning.check(search, dev="dev" in given)
    if head.settings.early_stop and "dev" not in given:
        log.warning("early_stop: without a dev set every epoch is trained, and the last is kept")
    sets = {name: head.read(source, name) for name, source in given.items()}
    labels = head.plan(sets)
    _tell_slow(head)
    for name in list(sets)[1:]:
        head.check(sets[name], labels)
        _tell_common(name, sets[name], sets["train"], head.counted)
    head.data = {name: record.fingerprint(given[name], sets[name]) for name in sets}
    found = {"search": _search(head, search, labels, sets)} if search else {}
    runs, best = [], None
    for seed in range(head.settings.seed, head.settings.seed + seeds):
        run, outputs = train(head, seed, labels, sets)
        runs.append(run)
        if best is None or _compared(head, run) > _compared(head, best[0]):
            best = run, outputs, head.model, head.chosen
    assert best is not None
    kept, outputs, head.model, head.chosen = best
    head.metrics = {**kept, **_over_seeds(runs), **found}
    head.reports = {name: head.report(sets[name], answers) for name, answers in outputs.items()}
    return head.metrics


def train(head: "Head[Any]", seed: int, labels: list[str], sets: Sets) -> tuple[Metrics, dict[str, Any]]:
    """Train one seed and return its scores, and the outputs behind them, by the names of the sets."""
    import transformers

    from ernie_pipe.finetune import training

    transformers.set_seed(seed)
    head.model = head.start(labels)
    features, examples = head.features(sets["train"]), wording.many(len(sets["train"]), "examples")
    limit = training.step_limit(head.settings, len(features))
    most = wording.many(limit, "steps") if limit else wording.many(head.settings.epochs, "epochs")
    log.info("seed %d: %s, %s at most", seed, examples, most)
    epoch = training.train(
        head.trained(),
        features,
        collator=head.collator(),
        settings=head.settings,
        seed=seed,
        score=(lambda: _dev_score(head, sets["dev"])) if "dev" in sets else None,
        metric=head.dev_metric,
    )
    outputs = {name: head.outputs(sets[name]) for name in sets if name != "train"}
    _choose(head, sets, outputs, aloud=True)
    scores = {name: head.score(sets[name], answers) for name, answers in outputs.items()}
    return {"seed": seed, "epoch": epoch, **scores}, outputs


def _dev_score(head: "Head[Any]", examples: list[Any]) -> float:
    outputs = head.outputs(examples)
    _choose(head, {"dev": examples}, {"dev": outputs})
    return head.score(examples, outputs)[head.dev_metric]


def _choose(head: "Head[Any]", sets: Sets, outputs: dict[str, Any], *, aloud: bool = False) -> None:
    found = head.choose(sets, outputs)
    head.chosen = {name: value for name, value in found.items() if value is not None}
    for name, value in found.items() if aloud else ():
        if value is None:
            log.warning("%s auto: no dev data that tells: it is %g", name, head.unchosen[name])
        else:
            log.info("%s auto: %.4g, the best on dev", name, value)


def _search(head: "Head[Any]", trials: int, labels: list[str], sets: Sets) -> Metrics:
    """Take over the settings that do best on dev, and return the record of all that were tried."""
    before, seen = head.settings, {name: sets[name] for name in ("train", "dev")}

    def run(settings: FinetuneSettings) -> float:
        head.settings = settings
        return _compared(head, train(head, settings.seed, labels, seen)[0])

    try:
        head.settings, found = tuning.search(before, trials, run)
    except BaseException:
        head.settings = before
        raise
    return found


def _compared(head: "Head[Any]", run: Metrics) -> float:
    return run["dev"][head.dev_metric] if "dev" in run else 0.0


def _over_seeds(runs: list[Metrics]) -> Metrics:
    if len(runs) == 1:
        return {}
    result: Metrics = {"runs": runs}
    for name in ("dev", "test"):
        if name in runs[0]:
            result[name] = metrics.mean_and_deviation([run[name] for run in runs])
    return {"seeds": result}


def _tell_slow(head: "Head[Any]") -> None:
    """Warn of a rate at which a small encoder learns next to nothing."""
    from ernie_pipe.finetune import encoder

    config, rate = encoder.load_config(head.folder), head.settings.learning_rate
    if getattr(config, "hidden_size", _SMALL) < _SMALL and rate < _HIGH_RATE:
        log.warning(
            "learning_rate %g suits encoders of base size, this one has %s of width %d: try "
            "configs/finetune/tiny-%s.yaml",
            rate,
            wording.many(config.num_hidden_layers, "layers"),
            config.hidden_size,
            head.task,
        )


def _tell_common(name: str, examples: Sequence["Example"], train: Sequence["Example"], counted: str) -> None:
    known = {example.text for example in train}
    common = [example.where for example in examples if example.text in known]
    if common:
        log.warning(
            "%s: %d of %s also in the training data, first at %s: its scores flatter",
            name,
            len(common),
            wording.many(len(examples), counted),
            common[0],
        )
