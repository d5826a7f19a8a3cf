"""The loader: tokens a second on one core with all tasks mixed, by task, padding and memory.

    python benchmarks/batches.py [--data PASSAGES] [--mix ernie2 ernie1] [--tokens-per-step 131072] [--copies N]

Mixes: the tasks of `configs/ernie2-base-zh.yaml` (masking half of the examples, the others share the rest) and of
`configs/ernie1-base-zh.yaml` (its first stage); `sentences` is masking 70 %, reordering and distance 15 % each. Masks
are put on all; arrays end as the tensors that the model takes. By task: µs of the processor for an example, packing and
masking not counted. Padding: what is missing to the longest micro-batch of a step, rounded up to 128 tokens. Memory:
the resident set (`rss_mib`), mapped pages among it, that opening and building add, and the whole process beside it.
Without `--data`: the sample with its dialogues, its queries and the pairs mined from it (`all_tasks.py`).
`--copies N` opens the corpus N times over (hard links in a temporary folder): the index is made first, then the
time to open it is taken, so that 100 M passages can be tried on a small disk. Five rounds of processor time; the last
line is JSON, of the first mix.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import all_tasks
import numpy as np
import torch
import yaml

from ernie_pipe import draws, resources
from ernie_pipe.config import validate
from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError, mistake
from ernie_pipe.pretrain.batch import to_tensors
from ernie_pipe.pretrain.prepare import prepare
from ernie_pipe.pretrain.settings import PretrainSettings
from ernie_pipe.tasks import BUILT_IN, Task, find
from ernie_pipe.text.encode import SpecialIds, load_encoder

ROUNDS = 5
WIDTH = 128
EXAMPLES = 256
MASKING = "knowledge_masking"


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", metavar="PASSAGES", help="folder of `ernie-pipe encode`; default: the sample's")
    parser.add_argument("--mix", nargs="+", choices=MIXES, default=list(MIXES), help="which tasks, in which shares")
    parser.add_argument("--tokens-per-step", type=int, default=131_072, help="tokens of a step")
    parser.add_argument("--micro-batches", type=int, default=4, help="parts of a step")
    parser.add_argument("--copies", type=int, default=1, help="times that the corpus is opened over")
    args = parser.parse_args()
    torch.set_num_threads(1)
    beside = Path(args.data).resolve().parent if args.data else None
    folder = tempfile.mkdtemp(prefix="ernie_pipe_benchmark_", dir=beside)
    try:
        data = args.data or all_tasks.write(Path(folder) / "sample")
        if args.copies > 1:
            data = repeated(data, Path(folder) / "copies", args.copies)
        report(measure(data, args))
    except InputError as error:
        print(mistake(error), file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(folder)
    return 0


def ernie2() -> dict[str, float]:
    """The tasks of ERNIE 2.0's config: masking in its share, the others alike."""
    found = yaml.safe_load((resources.folder("configs") / "ernie2-base-zh.yaml").read_text(encoding="utf-8"))
    share = found["schedule"]["masking_share"]
    others = [name for name in found["tasks"] if name != MASKING]
    return {MASKING: share} | dict.fromkeys(others, (1 - share) / len(others))


def ernie1() -> dict[str, float]:
    """The tasks of the first stage of ERNIE 1.0's config."""
    found = yaml.safe_load((resources.folder("configs") / "ernie1-base-zh.yaml").read_text(encoding="utf-8"))
    return found["stages"][0]["tasks"]


def sentences() -> dict[str, float]:
    """Tasks that any running text can serve."""
    return {MASKING: 0.7, "sentence_reordering": 0.15, "sentence_distance": 0.15}


MIXES = {"ernie2": ernie2, "ernie1": ernie1, "sentences": sentences}


def repeated(data: str, folder: Path, copies: int) -> str:
    """Return a folder that names every shard of `data` so many times."""
    found = manifests.read(data, "passages")
    shutil.copytree(f"{data}/tokenizer", folder / "tokenizer")
    shards = []
    for copy in range(copies):
        for number, shard in enumerate(found.shards):
            name = f"part-{copy * len(found.shards) + number:05d}-{copy:08x}.arrow"
            os.link(f"{data}/{shard['name']}", folder / name)
            shards.append({**shard, "name": name})
    fields = {"config": found.config, "counts": found.counts, "details": found.details}
    manifests.commit(str(folder), manifests.Manifest(kind="passages", shards=shards, **fields))
    return str(folder)


def measure(data: str, args: argparse.Namespace) -> dict[str, Any]:
    """Open, build some steps of each mix, and return the figures."""
    began = time.perf_counter()
    Passages(data)
    indexed = time.perf_counter() - began
    # Before anything else has mapped pages.
    mixes = {name: measure_mix(data, MIXES[name](), args) for name in args.mix}
    return {"indexed": indexed, "mixes": mixes, "micros": micros(data), "masking": masking_padding(data, args)}


def measure_mix(data: str, tasks: dict[str, float], args: argparse.Namespace) -> dict[str, Any]:
    """Open the passages for a mix of tasks and build some steps a round."""
    before = resident()
    wanted = settings(args, tasks, Passages(data).longest)
    began = time.perf_counter()
    prepared = prepare(wanted, data)
    opened = time.perf_counter() - began
    builder, parts = prepared.builder, range(args.micro_batches)
    after_open = resident() - before
    for built in builder.step(0, parts):
        to_tensors(built)
    speeds, padding, tokens, most = [], [], [], after_open
    for number in range(ROUNDS):
        began, done = time.process_time(), 0
        for step in range(1 + number * 4, 5 + number * 4):
            widths = [len(to_tensors(built)["input_ids"]) for built in builder.step(step, parts)]
            padding.append(padding_of(widths))
            tokens.append(sum(widths))
            done += tokens[-1]
            most = max(most, resident() - before)
        speeds.append(done / (time.process_time() - began))
    return {
        "passages": len(prepared.passages), "opened": opened, "after_open": after_open, "most": most, "speeds": speeds,
        "padding": padding, "tokens": tokens, "examples": sum(len(part) for part in prepared.plan.step(1)),
    }  # fmt: skip


def micros(data: str) -> dict[str, tuple[float, float]]:
    """Return (µs an example, tokens an example with special ones) of every built-in task that the data can serve."""
    passages, special = Passages(data), SpecialIds.of(load_encoder(f"{data}/tokenizer"))
    found = {}
    for name in BUILT_IN:
        task = find(name)(find(name).Settings())
        try:
            task.prepare(special)
            anchors = np.flatnonzero(task.eligible(passages.part(0, len(passages))))
        except InputError as error:
            print(f"left out: {error}")
            continue
        if len(anchors):
            found[name] = micros_of(task, passages, anchors)
    return found


def micros_of(task: Task, passages: Passages, anchors: np.ndarray) -> tuple[float, float]:
    """Return (µs, tokens) of a task's examples, `EXAMPLES` at a time; the median of the rounds after the first."""
    times, tokens = [], 0
    for number in range(ROUNDS + 1):
        keys = draws.key(number, np.arange(EXAMPLES))
        chosen = anchors[draws.below(len(anchors), keys)]
        began = time.process_time()
        made = task.examples(passages, chosen, keys)
        times.append((time.process_time() - began) / EXAMPLES * 1e6)
        tokens = sum(1 + sum(len(ids) + 1 for ids, _ in example.parts) for example in made)
    return statistics.median(times[1:]), tokens / EXAMPLES


def padding_of(widths: list[int]) -> float:
    """Return the share of a step that is padding."""
    return 1 - sum(widths) / (len(widths) * -(-max(widths) // WIDTH) * WIDTH)


def masking_padding(data: str, args: argparse.Namespace) -> float:
    """Return the padding share of steps whose every example serves masking: its anchor and two tokens more."""
    prepared = prepare(settings(args, {MASKING: 1.0}, Passages(data).longest), data)
    lengths = prepared.passages.tokens
    steps = [prepared.plan.step(step) for step in range(20)]
    return statistics.mean(
        padding_of([int((lengths[part.passage].astype(int) + 2).sum()) for part in slots]) for slots in steps
    )


def settings(args: argparse.Namespace, tasks: dict[str, float], longest: int) -> PretrainSettings:
    """The run whose batches are built."""
    return validate(
        PretrainSettings,
        {
            "model": {"max_positions": max(8, longest + 2)},
            "tasks": {name: {} for name in tasks},
            "stages": [{"steps": 1_000_000, "tasks": tasks}],
            "batch": {"tokens_per_step": args.tokens_per_step, "micro_batches": args.micro_batches},
        },
        where="benchmark",
    )


def resident() -> float:
    """Return the resident memory of this process in MiB (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def report(found: dict[str, Any]) -> None:
    """Print the figures and the line of JSON."""
    print(f"index made or found in {found['indexed']:.1f} s")
    for name, (micro, tokens) in found["micros"].items():
        print(f"  {name:<20}{micro:6.1f} µs an example of {tokens:5.1f} tokens: {tokens / micro:5.1f} M tokens/s")
    lines = {name: tell(name, mix) for name, mix in found["mixes"].items()}
    print(f"padding with masking alone: {found['masking']:.2%}; memory of the process: {resident():.0f} MiB")
    first = next(iter(lines.values()))
    speeds = {name: line["mtok_per_s_core"] for name, line in lines.items()}
    micro = {name: round(value, 1) for name, (value, _) in found["micros"].items()}
    print(json.dumps({**first, "by_mix": speeds, "us_per_example": micro}))


def tell(name: str, mix: dict[str, Any]) -> dict[str, float]:
    """Print the figures of one mix; returns what goes into the JSON."""
    speeds = [value / 1e6 for value in mix["speeds"]]
    tokens, padding = mix["tokens"], statistics.mean(mix["padding"])
    spread = (max(tokens) - min(tokens)) / statistics.mean(tokens)
    print(
        f"{name}, {mix['passages']:,} passages opened in {mix['opened']:.2f} s: M tokens/s a core: "
        f"{statistics.median(speeds):.2f} (least {min(speeds):.2f}, most {max(speeds):.2f})\n"
        f"  a step: {statistics.mean(tokens):,.0f} tokens, most and least {spread:.1%} apart, "
        f"{statistics.mean(tokens) / mix['examples']:.0f} an example; padding {padding:.2%}; "
        f"memory {mix['after_open']:.0f} MiB more once open, {mix['most']:.0f} at most"
    )
    return {
        "mtok_per_s_core": round(statistics.median(speeds), 2),
        "padding_share": round(padding, 4),
        "rss_mib": round(mix["most"]),
    }


if __name__ == "__main__":
    sys.exit(main())
