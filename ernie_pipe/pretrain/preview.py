"""`ernie-pipe plan`: what a run will do — stages, tasks, steps, tokens, epochs, padding, memory and time. No torch."""

import argparse
import json
import time

import numpy as np

from ernie_pipe.config import apply_overrides, load_yaml, validate
from ernie_pipe.pretrain.plan import Plan
from ernie_pipe.pretrain.prepare import Prepared, prepare
from ernie_pipe.pretrain.settings import PretrainSettings

# Steps that are built to see how many tokens and how much padding they really have; widths as on a device.
_TRIED, _WIDTH = 4, 128


def main(argv: list[str]) -> int:
    """Print the plan of a run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ernie-pipe plan", description=__doc__.split(":")[1])
    parser.add_argument("--config", metavar="YAML", required=True, help="settings of the run (see configs/)")
    parser.add_argument("--data", metavar="PASSAGES", required=True, help="folder of `ernie-pipe encode`")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="change one setting")
    parser.add_argument("--tokens-per-second", metavar="N", type=_rate, help="speed of all processes, to tell the time")
    parser.add_argument("--json", action="store_true", help="print the figures as one line of JSON")
    args = parser.parse_args(argv)
    settings = validate(PretrainSettings, apply_overrides(load_yaml(args.config), args.set), where=args.config)
    began = time.perf_counter()
    prepared = prepare(settings, args.data)
    figures = {**describe(prepared), "open_seconds": time.perf_counter() - began}
    if args.tokens_per_second:
        figures["seconds"] = figures["tokens"] / args.tokens_per_second
    print(json.dumps(figures, ensure_ascii=False) if args.json else "\n".join(render(figures)))
    return 0


def _rate(text: str) -> float:
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def describe(prepared: Prepared) -> dict:
    """Return the figures of a run; tokens and padding are those of a few steps of each stage, built as in training."""
    plan, passages, settings = prepared.plan, prepared.passages, prepared.plan.settings
    stages, first = [], 0
    for number, stage in enumerate(settings.stages):
        tokens, padding, seconds = _try(prepared, first, min(_TRIED, stage.steps))
        before, after = plan.served(first), plan.served(first + stage.steps)
        stages.append(
            {
                "name": stage.name or f"stage {number + 1}",
                "steps": stage.steps,
                "examples_per_step": plan.examples[number],
                "tokens_per_step": tokens,
                "tokens": tokens * stage.steps,
                "padding": padding,
                "build_tokens_per_second": tokens / seconds,
                "examples": {name: after[name] - before[name] for name in stage.tasks},
            }
        )
        first += stage.steps
    return {
        "data": passages.folder,
        "passages": len(passages),
        "documents": passages.documents,
        "corpus_tokens": passages.total_tokens,
        "longest": passages.longest,
        "steps": plan.steps,
        "tokens": sum(stage["tokens"] for stage in stages),
        "stages": stages,
        "tasks": _tasks(plan),
        "sources": _sources(plan),
        "parameters": None if settings.init_from else parameters(prepared),
    }


def _try(prepared: Prepared, first: int, steps: int) -> tuple[float, float, float]:
    """Build some steps; return their mean tokens, their padding, and the seconds that one took."""
    parts = range(prepared.plan.settings.batch.micro_batches)
    began = time.perf_counter()
    widths = [
        [len(built.packed.input_ids) for built in prepared.builder.step(step, parts)]
        for step in range(first, first + steps)
    ]
    seconds = (time.perf_counter() - began) / steps
    full = sum(len(row) * -(-max(row) // _WIDTH) * _WIDTH for row in widths)
    tokens = sum(map(sum, widths))
    return tokens / steps, 1 - tokens / full, seconds


def _tasks(plan: Plan) -> dict[str, dict[str, float]]:
    served, epochs = plan.served(plan.steps), plan.epochs(plan.steps)
    return {
        name: {"passages": len(anchors), "examples": served[name], "epochs": epochs[name]}
        for name, anchors in plan.anchors.items()
    }


def _sources(plan: Plan) -> dict[str, dict[str, float]]:
    """Return for each source its passages, the examples that it serves, and those a passage."""
    passages = plan.passages
    rows = np.zeros(len(passages.source_names), dtype=np.int64)
    for start in range(0, len(passages), 1 << 20):
        rows += np.bincount(passages.source[start : start + (1 << 20)], minlength=len(rows))
    served = np.sum(list(plan.served_by_source(plan.steps).values()), axis=0)
    return {
        name: {"passages": int(count), "examples": float(given), "epochs": float(given / count)}
        for name, count, given in zip(passages.source_names, rows, served, strict=True)
    }


def parameters(prepared: Prepared) -> int:
    """Return the weights of the encoder, its pooler where a task reads it, and the heads of built-in form.

    The matrix of the prediction head is that of the embedding.
    """
    model, vocabulary = prepared.plan.settings.model, prepared.corpus.size
    hidden, wide = model.hidden_size, model.intermediate_size
    layer = 4 * hidden * (hidden + 1) + 2 * hidden * wide + hidden + wide + 4 * hidden
    rows = vocabulary + model.max_positions + model.segments + model.task_rows
    classes = [task.classes for task in prepared.builder.tasks.values() if task.pooled]
    pooler = (hidden + sum(classes)) * (hidden + 1) if classes else 0
    masking = any(not task.pooled for task in prepared.builder.tasks.values())
    prediction = hidden * (hidden + 1) + 2 * hidden + vocabulary if masking else 0
    return rows * hidden + 2 * hidden + model.layers * layer + pooler + prediction


def render(figures: dict) -> list[str]:
    """Write the figures for people."""
    lines = [
        f"{figures['data']}: {figures['passages']:,} passages of {figures['documents']:,} documents, "
        f"{figures['corpus_tokens']:,} tokens, the longest {figures['longest']} "
        f"(opened in {figures['open_seconds']:.1f} s)",
        "",
    ]
    for stage in figures["stages"]:
        lines.append(
            f"{stage['name']}: {stage['steps']:,} steps of {stage['examples_per_step']:,} examples, "
            f"{stage['tokens_per_step']:,.0f} tokens a step, {stage['tokens']:,.0f} in all, "
            f"padding {stage['padding']:.1%}"
        )
        lines += [f"  {name:<28}{count:>14,} examples" for name, count in stage["examples"].items()]
    lines += ["", f"{'':<30}{'passages':>14}{'examples':>14}{'epochs':>10}"]
    for kind, word in (("tasks", "can serve"), ("sources", "source")):
        for name, row in figures[kind].items():
            label = f"{name} ({word})"
            lines.append(f"{label:<30}{row['passages']:>14,}{row['examples']:>14,.0f}{row['epochs']:>10.2f}")
    lines += ["", *_summary(figures)]
    return lines


def _summary(figures: dict) -> list[str]:
    weights = figures["parameters"]
    speed = min(stage["build_tokens_per_second"] for stage in figures["stages"])
    lines = [
        f"steps    {figures['steps']:,}, tokens {figures['tokens']:,.0f}",
        f"memory   {weights:,} weights: {weights * 16 / 2**20:,.0f} MiB a process for weights, gradients and two "
        "moments (fp32), activations beside"
        if weights
        else "memory   16 bytes a weight of `init_from` a process (weights, gradients, two moments), "
        "activations beside",
        f"loader   {speed / 1e6:.1f} M tokens/s on this core while nothing else runs",
    ]
    if "seconds" in figures:
        lines.append(f"time     {_duration(figures['seconds'])} at the given rate")
    else:
        lines.append("time     give --tokens-per-second (the log of a short run tells it) to have it estimated")
    return lines


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    days, hours = divmod(hours, 24)
    return (f"{days} d " if days else "") + f"{hours} h {rest // 60} min {rest % 60} s"
