"""The commands `finetune`, `evaluate` and `predict`: arguments in, tables and files out.

A user's mistake leaves as `InputError`; `ernie_pipe.cli` prints it and exits with code 2.
"""

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ernie_pipe.config import add_arguments, from_arguments, given_arguments, nearest, validate
from ernie_pipe.errors import InputError
from ernie_pipe.finetune import HEADS, head_class, metrics, record, report
from ernie_pipe.finetune.settings import FinetuneSettings
from ernie_pipe.finetune.wording import many

log = logging.getLogger(__name__)

Flags = dict[str, dict[str, Any]]
"""Flags of a command, and what argparse is told of each."""


def finetune(argv: list[str]) -> int:
    """Train a head, print its scores and where it lies."""
    args = _finetune_arguments(argv)
    speak()
    record.check_output(args.output, model=args.model)
    cls = head_class(args.task)
    head = cls.from_pretrained(args.model, settings=from_arguments(cls.settings_class, args))
    result = head.fit(args.train, dev=args.dev, test=args.test, seeds=args.seeds, search=args.search)
    head.save(args.output, command=shlex.join(["ernie-pipe", "finetune", *argv]))
    print(_report(result, head.dev_metric))
    print("".join(f"{report.render(name, data)}\n" for name, data in head.reports.items() if data), end="")
    contents = report.contents(head.reports)
    print(f"model: {args.output}" + (f" ({report.FILE}: {contents})" if contents else ""))
    return 0


def _finetune_arguments(argv: list[str]) -> argparse.Namespace:
    if argv and not argv[0].startswith("-") and argv[0] not in HEADS:
        raise InputError(f"unknown task `{argv[0]}`{nearest(argv[0], HEADS)}")
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
        if argv[:1] == [task]:
            _refuse_unknown(head, argv[1:])
    return parser.parse_args(argv)


def _refuse_unknown(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Refuse a flag that `parser` does not have, with the nearest right one: its own error lists the usage alone."""
    known = [flag for flag in parser._option_string_actions if flag.startswith("--")]
    for flag in (word.split("=")[0] for word in argv if word.startswith("--") and word != "--"):
        if not any(name.startswith(flag) for name in known):
            raise InputError(f"command line: unknown flag `{flag}`{nearest(flag, known)}")


def _report(result: metrics.Metrics, chooser: str) -> str:
    seeds = result.get("seeds", {})
    rows: dict[str, metrics.Metrics] = {}
    for name in ("dev", "test"):
        if name in result:
            rows[name] = result[name]
        if name in seeds:
            rows[f"{name}, {len(seeds['runs'])} seeds"] = seeds[name]
    kept = f"kept: seed {result['seed']}, epoch {result['epoch']}"
    scores = metrics.table(rows, first=chooser) if rows else "nothing was scored: neither --dev nor --test was given"
    return f"{scores}\n{kept}"


def evaluate(argv: list[str]) -> int:
    """Print the scores of a fine-tuned folder on labelled data, and write them with their report."""
    flags: Flags = {
        "--data": {"required": True, "metavar": "FILE", "help": "labelled data"},
        "--output": {"metavar": "FILE", "help": "JSON to write: scores, report, settings, the data's fingerprint"},
    }
    args, head = _opened("evaluate", "Score a fine-tuned model.", flags, argv)
    if args.output:
        check_file(args.output, args.data)
    result = head.evaluate(args.data)
    by_type = result.get("per_type", {})
    print(metrics.table({"all": result, **by_type}, first=head.dev_metric))
    shown = {name: {**data, "per_label": {}} if by_type else data for name, data in head.reports.items() if data}
    print("".join(f"{report.render(name, data)}\n" for name, data in shown.items()), end="")
    if args.output:
        target = Path(args.output)
        target.parent.mkdir(parents=True, exist_ok=True)
        report.write_json(target, _evaluation(args.model, head, result))
        print(f"scores: {args.output}")
    return 0


def _evaluation(folder: str, head: Any, result: metrics.Metrics) -> dict[str, Any]:
    return {
        "model": folder,
        "task": head.task,
        "data": head.data["data"],
        "settings": {name: getattr(head.settings, name) for name in head.settings.after_training},
        "chosen": head.chosen,
        "metrics": result,
        "report": head.reports["data"],
        "versions": record.versions(),
    }


def predict(argv: list[str]) -> int:
    """Write the answers of a fine-tuned folder as jsonl, one line a text."""
    flags: Flags = {
        "--input": {"required": True, "metavar": "FILE", "help": "one text a line, or TSV, CSV, jsonl"},
        "--output": {"required": True, "metavar": "FILE", "help": "jsonl to write"},
    }
    args, head = _opened("predict", "Answer for every text of a file.", flags, argv)
    check_file(args.output, args.input)
    items = head.read_inputs(args.input)
    write_jsonl(args.output, answered(head, items))
    print(f"{many(len(items), head.counted)}: {args.output}")
    return 0


def _opened(name: str, about: str, flags: Flags, argv: list[str]) -> tuple[Any, Any]:
    """Return the arguments of a command, and the head of `--model` under the settings they change.

    Which settings there are is a matter of the head, so the folder is looked at first.
    """
    first = argparse.ArgumentParser(prog=f"ernie-pipe {name}", add_help=False)
    first.add_argument("--model")
    folder = first.parse_known_args(argv)[0].model
    # A folder that is no model is an error, but not for who asks for help.
    helped = {"-h", "--help"} & set(argv) and not (Path(folder or "") / "config.json").is_file()
    cls = head_of(folder) if folder and not helped else None
    known = cls.settings_class if cls else FinetuneSettings
    parser = argparse.ArgumentParser(
        prog=f"ernie-pipe {name}",
        description=f"{about} Settings are those of the folder, but for what is given here.",
        epilog="" if folder else "With --model, the help names the settings of its head too.",
    )
    parser.add_argument("--model", required=True, metavar="DIR", help="folder written by finetune")
    for flag, options in flags.items():
        parser.add_argument(flag, **options)
    skip = known.model_fields.keys() - set(known.after_training)
    kept = record.read(folder).get("settings", {}) if cls else {}
    add_arguments(parser, known, skip=skip, defaults=kept)
    names = [word.split("=")[0].removeprefix("--").removeprefix("no-") for word in argv if word.startswith("--")]
    _refuse_trained(known, [name.replace("-", "_") for name in names], "command line")
    _refuse_unknown(parser, argv)
    args = parser.parse_args(argv)
    speak()
    return args, open_head(args.model, **_changes(known, args))


def _changes(known: type[FinetuneSettings], args: argparse.Namespace) -> dict[str, Any]:
    values, where = given_arguments(known, args)
    _refuse_trained(known, values, where)
    validate(known, values, where=where)
    # What a step was cut into in training must not hinder other batches here.
    return {**values, "accumulate": 1} if values else {}


def _refuse_trained(known: type[FinetuneSettings], names: Iterable[str], where: str) -> None:
    for name in names:
        if name in known.model_fields and name not in known.after_training:
            raise InputError(
                f"{where}: `{name}` is a matter of training, which is over: leave it out; what can be set now: "
                f"{', '.join(known.after_training)}"
            )


def head_of(folder: str | Path) -> Any:
    """Return the class of the fitted head of a folder, by its record or else by its architecture."""
    from ernie_pipe.finetune.encoder import load_config

    config = load_config(folder)
    names = [str(name) for name in config.architectures or []]
    task = record.read(folder).get("task")
    for known in HEADS:
        cls = head_class(known)
        if task == known or (task is None and any(name.endswith(cls.architecture) for name in names)):
            return cls
    raise InputError(f"{folder}: not fine-tuned for any of {', '.join(HEADS)}: run `ernie-pipe finetune` first")


def open_head(folder: str | Path, **changes: Any) -> Any:
    """Return the fitted head of a folder; `changes` are single settings."""
    return head_of(folder).from_pretrained(folder, **changes)


def check_file(path: str | Path, source: str | Path) -> None:
    """Refuse a place where no file can be written, or where `source` stands; called before the work."""
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{path}: is a folder: give a file to write")
    if target.resolve() == Path(source).resolve():
        raise InputError(f"{path}: is what is read: give another file to write")
    above = next((parent for parent in target.parents if parent.exists()), None)
    if above is not None and not above.is_dir():
        raise InputError(f"{path}: {above} is a file, not a folder: give another place")


def answered(head: Any, items: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Return a row for each input, with no answer for an empty one, so that lines in and out correspond."""
    full = [item for item in items if not head.is_empty(item)]
    if len(full) < len(items):
        log.warning("%s without an answer: empty", many(len(items) - len(full), head.counted))
    answers = iter(head.answers_of(full))
    return (head.empty_row(item) if head.is_empty(item) else head.row(item, next(answers)) for item in items)


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
