"""`ernie-pipe plan`: what a run will do — stages, tasks, steps, tokens, epochs, padding, memory and time. No torch."""

import argparse
import json
import time
from typing import Any

import numpy as np
import yaml

from ernie_pipe.config import apply_overrides, load_yaml, validate
from ernie_pipe.pretrain.plan import Plan
from ernie_pipe.pretrain.prepare import Prepared, prepare
from ernie_pipe.pretrain.settings import PretrainSettings, Stage

# Steps that are built to see how many tokens and how much padding they really have; widths as on a device.
_TRIED, _WIDTH = 4, 128
_YAML: dict[str, Any] = {"allow_unicode": True, "sort_keys": False}
_NO_DATA = "with --data PASSAGES: examples, tokens, epochs, padding, memory and time"


def main(argv: list[str]) -> int:
    """Print the plan of a run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ernie-pipe plan", description=__doc__.split(":")[1])
    parser.add_argument("--config", metavar="YAML", required=True, help="settings of the run (see configs/)")
    parser.add_argument("--data", metavar="PASSAGES", help="folder of `ernie-pipe encode`; without it: stages alone")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="change one setting")
    parser.add_argument("--tokens-per-second", metavar="N", type=_rate, help="speed of all processes, to tell the time")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the figures as one line of JSON")
    form.add_argument("--stages", action="store_true", help="print the stages of a `schedule` as YAML, to change them")
    args = parser.parse_args(argv)
    settings = validate(PretrainSettings, apply_overrides(load_yaml(args.config), args.set), where=args.config)
    if args.stages:
        print(yaml.safe_dump({"stages": [_explicit(stage) for stage in settings.stages]}, **_YAML), end="")
        return 0
    if args.data is None:
        stages = task_steps(settings)
        print(
            json.dumps({"steps": settings.steps, "task_steps": stages}, ensure_ascii=False)
            if args.json
            else "\n".join([*table(stages), "", _NO_DATA])
        )
        return 0
    began = time.perf_counter()
    prepared = prepare(settings, args.data)
    figures = {**describe(prepared), "open_seconds": time.perf_counter() - began}
    if args.tokens_per_second:
        figures["seconds"] = figures["tokens"] / args.tokens_per_second
    print(json.dumps(figures, ensure_ascii=False) if args.json else "\n".join(render(figures)))
    return 0


def _explicit(stage: Stage) -> dict[str, Any]:
    return {name: value for name, value in stage.model_dump().items() if value not in (None, "")}


def _rate(text: str) -> float:
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def task_steps(settings: PretrainSettings) -> list[dict[str, int]]:
    """Return the steps of each task in each stage: its share of the examples of that stage's steps.

    Under a `schedule` that keeps masking in every stage, masking stands beside them and is left out.
    """
    beside = settings.schedule.beside() if settings.schedule and settings.schedule.kind != "stages" else {}
    left, found = 1 - sum(beside.values()), []
    for stage in settings.stages:
        steps = {name: round(stage.steps * share / left) for name, share in stage.tasks.items() if name not in beside}
        # What is rounded goes to the largest, so that a stage's sum is its steps.
        steps[max(steps, key=lambda name: steps[name])] += stage.steps - sum(steps.values())
        found.append(steps)
    return found


def describe(prepared: Prepared) -> dict:
    """Return the figures of a run; tokens and padding are those of a few steps of each stage, built as in training."""
    plan, settings = prepared.plan, prepared.plan.settings
    stages, first = [], 0
    for number, (stage, steps) in enumerate(zip(settings.stages, task_steps(settings), strict=True)):
        tokens, padding, seconds = _try(prepared, first, min(_TRIED, stage.steps))
        before, after = plan.served(first), plan.served(first + stage.steps)
        stages.append(
            {
                "name": stage.name or f"stage {number + 1}",
                "steps": stage.steps,
                "task_steps": steps,
                "data": plan.data[plan.data_of[number]].folder,
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
        **_data(plan, 0),
        "others": [_data(plan, number) for number in range(1, len(plan.data))],
        "steps": plan.steps,
        "tokens": sum(stage["tokens"] for stage in stages),
        "stages": stages,
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


def _data(plan: Plan, number: int) -> dict[str, Any]:
    """Return what some passages hold, and how often their tasks and sources are gone through."""
    passages = plan.data[number]
    return {
        "data": passages.folder,
        "passages": len(passages),
        "documents": passages.documents,
        "corpus_tokens": passages.total_tokens,
        "longest": passages.longest,
        "tasks": _tasks(plan, number),
        "sources": _sources(plan, number),
    }


def _tasks(plan: Plan, data: int) -> dict[str, dict[str, float]]:
    served, epochs = plan.served_by_source(plan.steps, data), plan.epochs(plan.steps, data)
    return {
        name: {"passages": len(anchors), "examples": round(served[name].sum()), "epochs": epochs[name]}
        for name, anchors in plan.anchors_of[data].items()
    }


def _sources(plan: Plan, data: int) -> dict[str, dict[str, float]]:
    """Return for each source its passages, the examples that it serves, and those a passage."""
    passages = plan.data[data]
    rows = np.zeros(len(passages.source_names), dtype=np.int64)
    for start in range(0, len(passages), 1 << 20):
        rows += np.bincount(passages.source[start : start + (1 << 20)], minlength=len(rows))
    served = sum(plan.served_by_source(plan.steps, data).values(), np.zeros(len(rows)))
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
    everything = [figures, *figures["others"]]
    lines = [
        f"{found['data']}: {found['passages']:,} passages of {found['documents']:,} documents, "
        f"{found['corpus_tokens']:,} tokens, the longest {found['longest']}"
        for found in everything
    ]
    lines += [f"(opened in {figures['open_seconds']:.1f} s)", ""]
    for stage in figures["stages"]:
        where = f" on {stage['data']}" if stage["data"] != figures["data"] else ""
        lines.append(
            f"{stage['name']}{where}: {stage['steps']:,} steps of {stage['examples_per_step']:,} examples, "
            f"{stage['tokens_per_step']:,.0f} tokens a step, {stage['tokens']:,.0f} in all, "
            f"padding {stage['padding']:.1%}"
        )
        lines += [f"  {name:<28}{count:>14,} examples" for name, count in stage["examples"].items()]
    lines += ["", *table([stage["task_steps"] for stage in figures["stages"]])]
    for found in everything:
        title = found["data"] if figures["others"] else ""
        lines += ["", f"{title:<30}{'passages':>14}{'examples':>14}{'epochs':>10}"]
        for kind, word in (("tasks", "can serve"), ("sources", "source")):
            for name, row in found[kind].items():
                label = f"{name} ({word})"
                lines.append(f"{label:<30}{row['passages']:>14,}{row['examples']:>14,.0f}{row['epochs']:>10.2f}")
    lines += ["", *_summary(figures)]
    return lines


def table(stages: list[dict[str, int]]) -> list[str]:
    """Write the steps of tasks (rows) in stages (columns), and their sums."""
    names = list(dict.fromkeys(name for stage in stages for name in stage))
    titles = [f"stage {number + 1}" for number in range(len(stages))]
    rows = {name: [stage.get(name, 0) for stage in stages] for name in names}
    rows["all"] = [sum(stage.values()) for stage in stages]
    lines = ["".join([f"{'steps of a task':<24}", *(f"{title:>12}" for title in [*titles, "in all"])])]
    for name, counts in rows.items():
        shown = [f"{count:,}" if count else "" for count in [*counts, sum(counts)]]
        lines.append("".join([f"{name:<24}", *(f"{count:>12}" for count in shown)]))
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
