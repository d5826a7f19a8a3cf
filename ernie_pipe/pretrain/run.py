"""The folder of a run: its settings and the data it was started on, written once and checked ever after.

`RUN/run.json`, `RUN/config.json` (encoder), `RUN/tokenizer/`, `RUN/checkpoints/`,
`RUN/metrics.jsonl`, `RUN/evaluations.jsonl`, `RUN/tensorboard/`.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ernie_pipe.config import validate
from ernie_pipe.corpus.manifest import Manifest
from ernie_pipe.corpus.storage import write_atomic
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain.settings import PretrainSettings
from ernie_pipe.text.encode import Encoder, load_encoder

# Settings that may differ when a run goes on, by key or block: none of them changes a weight (beyond rounding).
# All others, and every key that is not named here, are refused.
HARMLESS = (
    "processes",
    "log_every",
    "trackers",
    "checkpoint",
    "batch.loader_workers",
    "evaluate",
    "activation_checkpointing",
    # Compiled code rounds otherwise and draws other dropout, as another device does; batches and masks are the same.
    "compile",
    # A run that a step like these has stopped must be able to pass over it.
    "on_non_finite",
    "on_spike",
    "spike_factor",
)

# Raised whenever the same settings and passages would make other batches or masks than before.
BATCHES = 2


@dataclass(frozen=True)
class Run:
    """What `run.json` holds."""

    settings: PretrainSettings
    data: str
    data_fingerprint: str
    tokenizer_fingerprint: str
    task_names: list[str]
    stage_fingerprints: list[str] = field(default_factory=list)
    batches: int = 1


def corpus_encoder(data: str, manifest: Manifest) -> Encoder:
    """Return the tokenizer that lies beside the passages; `InputError` when it did not make them."""
    encoder = load_encoder(f"{data}/tokenizer")
    expected = manifest.details["tokenizer"]
    if encoder.fingerprint != expected:
        raise InputError(
            f"the vocabulary {data}/tokenizer does not fit the encoded corpus: its fingerprint is "
            f"{encoder.fingerprint[:12]}, the passages were made with {expected[:12]}; run `ernie-pipe encode` "
            "again with the tokenizer you want"
        )
    return encoder


@contextmanager
def lock(run: Path) -> Iterator[None]:
    """Hold the folder while training (a killed process lets go); `InputError` when another process holds it."""
    try:
        with FileLock(run / ".lock", timeout=0):
            yield
    except Timeout:
        raise InputError(f"{run}: another process is training in this folder; choose another --output") from None


def create(
    run: Path, settings: PretrainSettings, data: str, manifest: Manifest, stages: Sequence[Manifest] = ()
) -> None:
    """Write `run.json` and the tokenizer, unless the folder holds this very run already.

    `stages`: the manifest of each stage's passages, where some are others than those in `data`.
    A run whose passages have moved is told where they lie now.
    """
    place = str(Path(data).resolve())
    if check(run, settings, manifest, stages):
        found = _content(run)
        known = read(run).settings
        moved = [
            old.model_copy(update={"data": new.data}) for old, new in zip(known.stages, settings.stages, strict=True)
        ]
        if found["data"] != place or moved != known.stages:
            kept = known.model_copy(update={"stages": moved})
            _write(run, found | {"data": place, "settings": kept.model_dump()})
        return
    content = {
        "settings": settings.model_dump(),
        "data": place,
        "data_fingerprint": manifest.data_fingerprint,
        "tokenizer_fingerprint": manifest.details["tokenizer"],
        "task_names": settings.task_names(),
        "stage_fingerprints": _fingerprints(settings, manifest.data_fingerprint, stages),
        "batches": BATCHES,
    }
    try:
        shutil.copytree(Path(data) / "tokenizer", run / "tokenizer", dirs_exist_ok=True)
    except shutil.Error as error:
        raise InputError(f"{run}: the tokenizer cannot be copied there: {error.args[0][0][2]}") from None
    _write(run, content)


def extend(run: Path, settings: PretrainSettings, manifest: Manifest, stages: Sequence[Manifest]) -> None:
    """Rewrite `run.json` of a finished run with more stages and tasks; `stages` as in `create`.

    `InputError` where something else would change.
    """
    known = read(run).settings
    count = len(known.stages)
    old = settings.model_copy(
        update={
            "stages": settings.stages[:count],
            "tasks": {name: settings.tasks[name] for name in known.tasks},
            "schedule": known.schedule,
        }
    )
    check(run, old, manifest, stages[:count])
    content = {
        "settings": settings.model_dump(),
        "task_names": settings.task_names(),
        "stage_fingerprints": _fingerprints(settings, manifest.data_fingerprint, stages),
    }
    _write(run, _content(run) | content)


def _write(run: Path, content: dict[str, Any]) -> None:
    write_atomic(str(run / "run.json"), json.dumps(content, ensure_ascii=False, indent=1).encode())


def _fingerprints(settings: PretrainSettings, data: str, stages: Sequence[Manifest]) -> list[str]:
    """Return the fingerprint of each stage's passages: those of the run where nothing else is said."""
    return [stage.data_fingerprint for stage in stages] or [data] * len(settings.stages)


def check(run: Path, settings: PretrainSettings, manifest: Manifest, stages: Sequence[Manifest] = ()) -> bool:
    """Return whether `run` exists; `InputError` names what differs from the settings and data it was started with."""
    if not (run / "run.json").is_file():
        _check_free(run)
        return False
    found = _content(run)
    if found["data_fingerprint"] != manifest.data_fingerprint:
        raise InputError(f"{run}: was started on other data ({found['data']}); choose another --output")
    known = read(run)
    if known.batches != BATCHES:
        raise InputError(
            f"{run}: was started by another version of ernie_pipe, which drew other batches: finish it with that "
            "version, or choose another --output (--init-from takes over the weights of its export)"
        )
    # Read as settings first: a key that is younger than the run had its default then.
    before, now = (dict(_flat(_whole(each))) for each in (known.settings, settings))
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key) and not harmless(key):
            raise InputError(
                f"{run}: was started with {key} = {before.get(key)!r}, now it is {now.get(key)!r}; "
                "set it back, or choose another --output"
            )
    had = known.stage_fingerprints or _fingerprints(known.settings, known.data_fingerprint, ())
    has = _fingerprints(settings, manifest.data_fingerprint, stages)
    for number in range(len(settings.stages)):
        if had[number] != has[number]:
            folder = known.settings.stages[number].data or known.data
            raise InputError(f"{run}: stage {number + 1} was started on other data ({folder}); choose another --output")
    return True


def _check_free(run: Path) -> None:
    """Refuse a place where no run can begin: a file, or the result of another command, which a run would write over."""
    there = next(place for place in (run, *run.absolute().parents) if place.exists())
    if not there.is_dir():
        raise InputError(f"{there}: is a file; --output is the folder of a run")
    for name in ("manifest.json", "config.json"):
        if (run / name).exists():
            raise InputError(f"{run}: holds something else ({name}), and no run; choose another --output")


def harmless(key: str) -> bool:
    """Return whether a setting (`checkpoint.every`) may differ when a run goes on."""
    return any(key == name or key.startswith(f"{name}.") for name in HARMLESS)


def _whole(settings: PretrainSettings) -> dict[str, Any]:
    """Return the settings with those of the tasks filled in: a default that is spelled out is no change."""
    tasks = {name: task.settings.model_dump() for name, task in settings.build_tasks().items()}
    # Where passages lie says nothing, their fingerprints do.
    stages = [stage.model_dump(exclude={"data"}) for stage in settings.stages]
    # A rule is what its stages are.
    return settings.model_dump(exclude={"schedule"}) | {"tasks": tasks, "stages": stages}


def cut_logs(run: Path, step: int) -> None:
    """Drop the lines after `step` from the logs: they are going to be written again."""
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        path = run / name
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
            write_atomic(str(path), "".join(kept).encode())


def last_metrics(run: Path) -> dict[str, float]:
    """Return the last line of the log, or nothing where there is none."""
    path = run / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return json.loads(lines[-1]) if lines else {}


def read(run: Path) -> Run:
    """Read `run.json`; `InputError` when `run` is no run."""
    found = _content(run)
    return Run(**{**found, "settings": validate(PretrainSettings, found["settings"], where=f"{run}/run.json")})


def _content(run: Path) -> dict[str, Any]:
    try:
        return json.loads((run / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{run}: no run.json there: it is not a folder of `ernie-pipe pretrain`") from None
    except ValueError as error:
        raise InputError(f"{run}/run.json: damaged ({error})") from None


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(item, f"{prefix}{key}.")
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _flat(item, f"{prefix}{number}.")
    else:
        yield prefix.rstrip("."), value
