"""The loader: tokens a second on one core with all tasks mixed, padding and memory.

    python benchmarks/batches.py --data PASSAGES [--tokens-per-step 131072] [--micro-batches 4] [--copies N]

Masking serves 70 % of the examples, reordering and distance 15 % each, masks are put on all; arrays end as the tensors
that the model takes. Padding: what is missing to the longest micro-batch of a step, rounded up to 128 tokens. Memory:
the resident set (`rss_mib`), mapped pages among it, that opening and building add, and the whole process beside it.
`--copies N` opens the corpus N times over (hard links in a temporary folder): the index is made first, then the
time to open it is taken, so that 100 M passages can be tried on a small disk. Five rounds; the last line is JSON.
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

import torch

from ernie_pipe.config import validate
from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError, mistake
from ernie_pipe.pretrain.batch import to_tensors
from ernie_pipe.pretrain.prepare import prepare
from ernie_pipe.pretrain.settings import PretrainSettings

ROUNDS = 5
WIDTH = 128
TASKS = {"knowledge_masking": 0.7, "sentence_reordering": 0.15, "sentence_distance": 0.15}


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, metavar="PASSAGES", help="folder of `ernie-pipe encode`")
    parser.add_argument("--tokens-per-step", type=int, default=131_072, help="tokens of a step")
    parser.add_argument("--micro-batches", type=int, default=4, help="parts of a step")
    parser.add_argument("--copies", type=int, default=1, help="times that the corpus is opened over")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = tempfile.mkdtemp(prefix="ernie_pipe_benchmark_", dir=Path(args.data).resolve().parent)
    try:
        data = args.data if args.copies == 1 else repeated(args.data, Path(folder), args.copies)
        report(measure(data, args))
    except InputError as error:
        print(mistake(error), file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(folder)
    return 0


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
    """Open, build some steps a round, and return the figures."""
    began = time.perf_counter()
    Passages(data)
    indexed = time.perf_counter() - began
    before = resident()
    wanted = settings(args, TASKS, Passages(data).longest)
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
        "passages": len(prepared.passages), "indexed": indexed, "opened": opened, "after_open": after_open,
        "most": most, "speeds": speeds, "padding": padding, "tokens": tokens, "masking": masking_padding(data, args),
    }  # fmt: skip


def padding_of(widths: list[int]) -> float:
    """Return the share of a step that is padding."""
    return 1 - sum(widths) / (len(widths) * -(-max(widths) // WIDTH) * WIDTH)


def masking_padding(data: str, args: argparse.Namespace) -> float:
    """Return the padding share of steps whose every example serves masking: its anchor and two tokens more."""
    prepared = prepare(settings(args, {"knowledge_masking": 1.0}, Passages(data).longest), data)
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
    speeds = [value / 1e6 for value in found["speeds"]]
    print(f"{found['passages']:,} passages: index made in {found['indexed']:.1f} s, opened in {found['opened']:.2f} s")
    print(f"M tokens/s a core: {statistics.median(speeds):.2f} (least {min(speeds):.2f}, most {max(speeds):.2f})")
    spread = (max(found["tokens"]) - min(found["tokens"])) / statistics.mean(found["tokens"])
    print(f"tokens a step: {statistics.mean(found['tokens']):,.0f}, most and least {spread:.1%} apart")
    padding = statistics.mean(found["padding"])
    print(f"padding: {padding:.2%} with all tasks, {found['masking']:.2%} with masking alone")
    print(f"memory: {found['after_open']:.0f} MiB more once open, {found['most']:.0f} at most; {resident():.0f} in all")
    line = {
        "mtok_per_s_core": round(statistics.median(speeds), 2),
        "padding_share": round(padding, 4),
        "rss_mib": round(found["most"]),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    sys.exit(main())
