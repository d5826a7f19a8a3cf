"""The commands `finetune`, `evaluate` and `predict`: arguments in, tables and files out.

A user's mistake leaves as `InputError`; `ernie_pipe.cli` prints it and exits with code 2.
"""

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ernie_pipe.config import add_arguments, from_arguments
from ernie_pipe.errors import InputError
from ernie_pipe.finetune import HEADS, head_class, metrics, record, report

log = logging.getLogger(__name__)


def finetune(argv: list[str]) -> int:
    """Train a head, print its scores and where it lies."""
    args = _finetune_parser().parse_args(argv)
    speak()
    record.check_output(args.output, model=args.model)
    cls = head_class(args.task)
    head = cls.from_pretrained(args.model, settings=from_arguments(cls.settings_class, args))
    result = head.fit(args.train, dev=args.dev, test=args.test, seeds=args.seeds, search=args.search)
    head.save(args.output, command=shlex.join(["ernie-pipe", "finetune", *argv]))
    print(_report(result))
    print("".join(f"{report.render(name, data)}\n" for name, data in head.reports.items() if data), end="")
    print(f"model: {args.output}")
    return 0


def _finetune_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ernie-pipe finetune", description="Fine-tune a head on labelled data.")
    tasks = parser.add_subparsers(dest="task", required=True, metavar="|".join(HEADS))
    for task in HEADS:
        cls = head_class(task)
        about = (cls.__doc__ or "").splitlines()[0]
        head = tasks.add_parser(task, help=about, description=about)
        head.add_argument("--model", required=True, metavar="HF", help="transformers folder to start from")
        head.add_argument("--train", required=True, metavar="FILE", help="labelled data to learn from")
        head.add_argument("--dev", metavar="FILE", help="labelled data that chooses the epoch and the seed")
        head.add_argument("--test", metavar="FILE", help="labelled data to report on, never chosen by")
        head.add_argument("--output", required=True, metavar="DIR", help="folder to write")
        head.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds to train: the best is kept")
        head.add_argument("--search", type=int, default=0, metavar="N", help="trials that choose settings by dev first")
        add_arguments(head, cls.settings_class)
    return parser


def _report(result: metrics.Metrics) -> str:
    seeds = result.get("seeds", {})
    rows: dict[str, metrics.Metrics] = {}
    for name in ("dev", "test"):
        if name in result:
            rows[name] = result[name]
        if name in seeds:
            rows[f"{name}, {len(seeds['runs'])} seeds"] = seeds[name]
    kept = f"kept: seed {result['seed']}, epoch {result['epoch']}"
    return "\n".join([*([metrics.table(rows)] if rows else []), kept])


def evaluate(argv: list[str]) -> int:
    """Print the scores of a fine-tuned folder on labelled data."""
    parser = argparse.ArgumentParser(prog="ernie-pipe evaluate", description="Score a fine-tuned model.")
    parser.add_argument("--model", required=True, metavar="DIR", help="folder written by finetune")
    parser.add_argument("--data", required=True, metavar="FILE", help="labelled data")
    args = parser.parse_args(argv)
    speak()
    head = open_head(args.model)
    result = head.evaluate(args.data)
    print(metrics.table({"all": result, **result.get("per_type", {})}))
    print("".join(f"{report.render(name, data)}\n" for name, data in head.reports.items() if data), end="")
    return 0


def predict(argv: list[str]) -> int:
    """Write the answers of a fine-tuned folder as jsonl, one line a text."""
    parser = argparse.ArgumentParser(prog="ernie-pipe predict", description="Answer for every text of a file.")
    parser.add_argument("--model", required=True, metavar="DIR", help="folder written by finetune")
    parser.add_argument("--input", required=True, metavar="FILE", help="one text a line, or TSV, CSV, jsonl")
    parser.add_argument("--output", required=True, metavar="FILE", help="jsonl to write")
    args = parser.parse_args(argv)
    speak()
    head = open_head(args.model)
    rows = answered(head, head.read_inputs(args.input))
    write_jsonl(args.output, rows)
    print(f"{len(rows)} texts: {args.output}")
    return 0


def open_head(folder: str | Path) -> Any:
    """Return the fitted head of a folder, by its record or else by its architecture."""
    from ernie_pipe.finetune.encoder import load_config

    config = load_config(folder)
    names = [str(name) for name in config.architectures or []]
    task = record.read(folder).get("task")
    for known in HEADS:
        cls = head_class(known)
        if task == known or (task is None and any(name.endswith(cls.architecture) for name in names)):
            return cls.from_pretrained(folder)
    raise InputError(f"{folder}: not fine-tuned for any of {', '.join(HEADS)}: run `ernie-pipe finetune` first")


def answered(head: Any, items: Sequence[Any]) -> list[dict[str, Any]]:
    """Return a row for each input, with no answer for an empty one, so that lines in and out correspond."""
    full = [item for item in items if not head.is_empty(item)]
    if len(full) < len(items):
        log.warning("%d empty texts: their lines have no answer", len(items) - len(full))
    answers = iter(head.predict(full))
    return [head.empty_row(item) if head.is_empty(item) else head.row(item, next(answers)) for item in items]


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line; a lone surrogate becomes its JSON escape."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def speak() -> None:
    """Let the package's own lines reach stderr, unless the program has set logging up itself."""
    logger = logging.getLogger("ernie_pipe")
    if not logger.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
