"""The folder of a run: its settings and the data it was started on, written once and checked ever after.

`RUN/run.json`, `RUN/config.json` (encoder), `RUN/tokenizer/`, `RUN/checkpoints/`,
`RUN/metrics.jsonl`, `RUN/tensorboard/`.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_pipe.config import validate
from ernie_pipe.corpus.manifest import Manifest
from ernie_pipe.corpus.storage import write_atomic
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain.settings import PretrainSettings
from ernie_pipe.text.encode import Encoder, load_encoder

# Settings that may differ when a run goes on: none of them changes a weight (beyond rounding).
HARMLESS = ("processes", "log_every", "trackers", "checkpoint.", "batch.loader_workers")


@dataclass(frozen=True)
class Run:
    """What `run.json` holds."""

    settings: PretrainSettings
    data: str
    data_fingerprint: str
    tokenizer_fingerprint: str
    task_names: list[str]


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


def create_or_check(run: Path, settings: PretrainSettings, data: str, manifest: Manifest) -> None:
    """Write `run.json`, or compare it key by key with what is asked for now."""
    content = {
        "settings": settings.model_dump(),
        "data": str(Path(data).resolve()),
        "data_fingerprint": manifest.data_fingerprint,
        "tokenizer_fingerprint": manifest.details["tokenizer"],
        "task_names": settings.task_names(),
    }
    if not (run / "run.json").is_file():
        shutil.copytree(Path(data) / "tokenizer", run / "tokenizer", dirs_exist_ok=True)
        write_atomic(str(run / "run.json"), json.dumps(content, ensure_ascii=False, indent=1).encode())
        return
    found = _content(run)
    if found["data_fingerprint"] != content["data_fingerprint"]:
        raise InputError(f"{run}: was started on other data ({found['data']}); choose another --output")
    before, now = dict(_flat(found["settings"])), dict(_flat(content["settings"]))
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key) and not key.startswith(HARMLESS):
            raise InputError(
                f"{run}: was started with {key} = {before.get(key)!r}, now it is {now.get(key)!r}; "
                "set it back, or choose another --output"
            )


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
