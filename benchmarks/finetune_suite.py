"""Every head on public sets: a pretrained encoder against the same one with random weights, over several seeds.

    python benchmarks/finetune_suite.py --model HF [--data DIR] [--sets NAME …] [--seeds N] [--rates RATE …]

DIR holds the sets in folders of their own names (`chnsenticorp/train.tsv`, … see SETS); default: the sample's sets.
Settings are those of `configs/finetune/tiny-TASK.yaml`. The peer has the config and the tokenizer of HF, and weights as
transformers draws them, others for every seed. With --rates each of the two chooses its learning rate among them by
the first seed's score on dev. The best epoch on dev is scored on test. A training that diverges has
the worst of scores.

Before that, what test has is taken out of dev and train, and what dev has out of train: an example goes as soon as one
of its texts (for questions: its context) stands there. Sets without a test or dev part give every tenth group of their
training data to it. Then --examples, --dev and --test of each are drawn.

The line of a set: mean and deviation over the seeds, the difference, its standard error √(s²/n + s²/n), and whether it
is more than twice that. The last line is JSON with all scores, the rates, what was taken out, and the seconds.
"""

import argparse
import json
import logging
import math
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

from ernie_pipe import resources
from ernie_pipe.config import load_yaml
from ernie_pipe.errors import InputError, mistake
from ernie_pipe.finetune import head_class

Row = dict[str, Any]
BOTH = ("pretrained", "random")


@dataclass(frozen=True)
class Set:
    """A public set: its head, its files below the data folder, and the metric that its publications report."""

    task: str
    metric: str
    train: str
    test: str = ""
    dev: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    sequences: int = 1
    """Inputs that an example makes, about: of such sets so many times fewer examples are drawn."""


SETS = {
    "chnsenticorp": Set(
        "classifier", "accuracy", "chnsenticorp/train.tsv", "chnsenticorp/test.tsv", "chnsenticorp/dev.tsv"
    ),
    "msra_ner": Set("tagger", "f1", "msra_ner/train.txt", "msra_ner/dev.txt"),
    # Its other part has other lengths: there equal pairs are longer than unequal ones, which here they are not.
    "lcqmc": Set("pair", "accuracy", "lcqmc/test.txt"),
    "stsb_zh": Set(
        "embedder",
        "spearman",
        "stsb_zh/STS-B.train.data",
        "stsb_zh/STS-B.test.data",
        "stsb_zh/STS-B.valid.data",
        # As published for this set: docs/finetune/embedder.md.
        {"objective": "cosent"},
    ),
    "tnews": Set(
        "classifier",
        "accuracy",
        "tnews/train_few_all.json",
        "tnews/test_public.json",
        "tnews/dev_few_all.json",
        {"label_column": "label_desc"},
    ),
    "cluener2020": Set("tagger", "f1", "cluener2020/train.json", "cluener2020/dev.json"),
    "ocnli": Set("pair", "accuracy", "ocnli/train.10k.json", "ocnli/dev.json"),
    "cmrc2018": Set("reader", "f1", "cmrc2018/cmrc2018_train.json", "cmrc2018/cmrc2018_trial.json", sequences=5),
    "c3": Set("choice", "accuracy", "c3/c3-d-train.json", "c3/c3-d-dev.json", sequences=4),
}
SAMPLE = {
    "sentiment": Set("classifier", "accuracy", "sentiment/train.tsv", "sentiment/test.tsv", "sentiment/dev.tsv"),
    "ner": Set("tagger", "f1", "ner/train.txt", "ner/test.txt", "ner/dev.txt"),
    "pairs": Set("pair", "accuracy", "pairs/train.tsv", "pairs/test.tsv", "pairs/dev.tsv"),
    "vectors": Set("embedder", "spearman", "pairs/train.tsv", "pairs/test.tsv", "pairs/dev.tsv"),
    "qa": Set("reader", "f1", "qa/train.json", "qa/test.json", "qa/dev.json"),
    "choice": Set("choice", "accuracy", "choice/train.json", "choice/test.json", "choice/dev.json"),
}


class Form(NamedTuple):
    """How examples of a head are compared, and given back to it."""

    keys: Callable[[Any], Iterable[str]]
    """The texts by which an example is known again in another part."""
    row: Callable[[Any], Row]


FORMS = {
    "classifier": Form(lambda e: [e.text], lambda e: {"text": e.text, "label": e.label}),
    "tagger": Form(
        lambda e: [e.text],
        lambda e: {"text": e.text, "entities": [span._asdict() for span in e.entities]},
    ),
    "pair": Form(
        lambda e: [e.first, e.second], lambda e: {"sentence1": e.first, "sentence2": e.second, "label": e.label}
    ),
    "embedder": Form(
        lambda e: e.texts, lambda e: {"sentence1": e.texts[0], "sentence2": e.texts[1], "label": e.label}
    ),
    "reader": Form(
        lambda e: [e.context],
        lambda e: {
            "question": e.question,
            "context": e.context,
            "answers": [{"text": answer.text, "answer_start": answer.start} for answer in e.answers],
        },
    ),
    "choice": Form(
        lambda e: [e.context],
        lambda e: {
            "context": e.context,
            "question": e.question,
            "choices": list(e.choices),
            "answer": e.answer,
            "blank": e.blank,
        },
    ),
}  # fmt: skip


class Parts(NamedTuple):
    """The rows of a set's parts, and how many of dev and train were taken out as known."""

    train: list[Row]
    dev: list[Row]
    test: list[Row]
    removed: int


class Job(NamedTuple):
    """One training: an encoder, a learning rate, a seed."""

    kind: str
    rate: float
    seed: int


class Outcome(NamedTuple):
    """What a training scored on dev (by which rates are chosen) and on test, and the seconds of the processor."""

    dev: float
    test: float
    seconds: float


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, metavar="HF", help="pretrained encoder")
    parser.add_argument("--data", metavar="DIR", help="folder of the public sets (default: the sample's sets)")
    parser.add_argument("--sets", nargs="+", metavar="NAME", help=f"of {', '.join(SETS)}; or {', '.join(SAMPLE)}")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each")
    parser.add_argument("--rates", type=float, nargs="+", help="learning rates to choose of (default: the recipe's)")
    parser.add_argument("--examples", type=int, default=2000, help="training examples at most")
    parser.add_argument("--dev", type=int, default=500, help="examples of dev at most")
    parser.add_argument("--test", type=int, default=1000, help="examples of test at most")
    parser.add_argument("--max-tokens", type=int, default=128, help="tokens in a sequence")
    parser.add_argument("--epochs", type=int, help="epochs at most, instead of the recipes'")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, of one thread each")
    args = parser.parse_args()
    began = time.time()
    try:
        if args.seeds < 2:
            raise InputError("--seeds: a deviation needs two")
        sets = chosen(args)
        parts = {name: prepared(one, args) for name, one in sets.items()}
        lines = measured(args, sets, parts)
    except InputError as error:
        print(mistake(error), file=sys.stderr)
        return 2
    won = {name: line["head"] for name, line in lines.items() if line["wins"]}
    told = ", ".join(f"{head} ({name})" for name, head in won.items()) or "none"
    seconds = time.time() - began
    print(f"better by more than two standard errors: {told}; {seconds / 60:.0f} minutes")
    print(json.dumps({"sets": lines, "won": won, "seconds": round(seconds)}))
    return 0


def chosen(args: argparse.Namespace) -> dict[str, Set]:
    """Return the sets that are asked for."""
    known = SETS if args.data else SAMPLE
    names = args.sets or list(known)
    for name in names:
        if name not in known:
            raise InputError(
                f"--sets: no `{name}` {'in --data' if args.data else 'without --data'}: {', '.join(known)}"
            )
    return {name: known[name] for name in names}


def prepared(one: Set, args: argparse.Namespace) -> Parts:
    """Read a set, take out of its parts what a later one has, and draw as many examples as are asked for."""
    root = Path(args.data) if args.data else resources.sample()
    form, head = FORMS[one.task], head_class(one.task).from_pretrained(args.model, **one.settings)
    train, parts = head.read(str(root / one.train), "train"), {}
    for name, file in (("test", one.test), ("dev", one.dev)):
        if file:
            parts[name] = head.read(str(root / file), name)
        else:
            train, parts[name] = split(train, form)
    test, dev = parts["test"], parts["dev"]
    kept_dev = without(dev, test, form)
    kept = without(train, [*test, *dev], form)
    return Parts(
        train=drawn(kept, args.examples // one.sequences, form),
        dev=drawn(kept_dev, args.dev // one.sequences, form),
        test=drawn(test, args.test // one.sequences, form),
        removed=len(dev) - len(kept_dev) + len(train) - len(kept),
    )


def without(examples: Sequence[Any], others: Sequence[Any], form: Form) -> list[Any]:
    """Return the examples none of whose texts stands in `others`, each once."""
    known = {_bare(key) for other in others for key in form.keys(other)}
    fresh = {
        example.text: example for example in examples if not any(_bare(key) in known for key in form.keys(example))
    }
    return list(fresh.values())


def _bare(text: str) -> str:
    return "".join(text.split())


def split(examples: Sequence[Any], form: Form) -> tuple[list[Any], list[Any]]:
    """Return examples without and with every tenth group; those of one first text are a group."""
    groups = list(dict.fromkeys(next(iter(form.keys(example))) for example in examples))
    held = set(random.Random(0).sample(groups, len(groups) // 10))
    sides: tuple[list[Any], list[Any]] = ([], [])
    for example in examples:
        sides[next(iter(form.keys(example))) in held].append(example)
    return sides


def drawn(examples: Sequence[Any], most: int, form: Form) -> list[Row]:
    """Return the rows of `most` examples, the same ones in every run."""
    some = examples if len(examples) <= most else random.Random(0).sample(list(examples), most)
    return [form.row(example) for example in some]


def measured(args: argparse.Namespace, sets: dict[str, Set], parts: dict[str, Parts]) -> dict[str, dict[str, Any]]:
    """Train on set after set, print the line of each, and return what JSON says of them."""
    print(f"{'set':14}{'head':12}{'metric':10}{'train':>6}{'test':>6}  {'pretrained':16}{'random':16}difference")
    lines = {}
    with (
        tempfile.TemporaryDirectory(prefix="ernie_pipe_benchmark_") as folder,
        ProcessPoolExecutor(args.processes, multiprocessing.get_context("spawn"), _one_thread) as pool,
    ):
        for seed in range(1, args.seeds + 1):
            blank_encoder(args.model, Path(folder) / str(seed), seed)
        for name, one in sets.items():
            run = partial(run_jobs, pool, name, one, parts[name], args, Path(folder))
            lines[name] = compared(name, one, parts[name], trained(args, one, run))
    return lines


def run_jobs(
    pool: ProcessPoolExecutor,
    name: str,
    one: Set,
    parts: Parts,
    args: argparse.Namespace,
    folder: Path,
    jobs: list[Job],
) -> list[Outcome]:
    """Train, several at a time, and say what each scored."""
    waiting = [pool.submit(train_one, job, one, parts, args, folder) for job in jobs]
    outcomes = []
    for job, future in zip(jobs, waiting, strict=True):
        outcomes.append(future.result())
        told = "dev {:.4f}, test {:.4f}, {:.0f} s".format(*outcomes[-1])
        print(f"{name}, {job.kind}, rate {job.rate:g}, seed {job.seed}: {told}", file=sys.stderr)
    return outcomes


Found = dict[str, dict[float, list[Outcome]]]
"""Outcomes by encoder and rate, in the order of their seeds."""


def trained(args: argparse.Namespace, one: Set, run: Callable[[list[Job]], list[Outcome]]) -> Found:
    """Return what both encoders scored by rate; the chosen rate has a score for every seed."""
    found: Found = {kind: {} for kind in BOTH}

    def score(jobs: list[Job]) -> None:
        for job, outcome in zip(jobs, run(jobs), strict=True):
            found[job.kind].setdefault(job.rate, []).append(outcome)

    score([Job(kind, rate, 1) for kind in BOTH for rate in args.rates or [recipe(one)["learning_rate"]]])
    best = {kind: max(rates, key=lambda rate: rates[rate][0].dev) for kind, rates in found.items()}
    score([Job(kind, rate, seed) for kind, rate in best.items() for seed in range(2, args.seeds + 1)])
    return found


def blank_encoder(model: str, folder: Path, seed: int) -> None:
    """Write an encoder of the same config and tokenizer with random weights."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    from ernie_pipe.finetune.encoder import quiet

    torch.manual_seed(seed)
    with quiet():
        AutoModel.from_config(AutoConfig.from_pretrained(model)).save_pretrained(folder)
        AutoTokenizer.from_pretrained(model).save_pretrained(folder)


def recipe(one: Set) -> dict[str, Any]:
    """Return the settings for a tiny encoder."""
    return load_yaml(resources.folder("configs") / "finetune" / f"tiny-{one.task}.yaml")


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
    logging.getLogger("ernie_pipe").setLevel(logging.ERROR)


def train_one(job: Job, one: Set, parts: Parts, args: argparse.Namespace, folder: Path) -> Outcome:
    """Train and score; runs in a process of its own."""
    from ernie_pipe.finetune.trainer import DivergedError

    limits = {"max_tokens": args.max_tokens, **({"epochs": args.epochs} if args.epochs else {})}
    start = args.model if job.kind == "pretrained" else folder / str(job.seed)
    settings = {**recipe(one), **one.settings, **limits, "learning_rate": job.rate, "seed": job.seed}
    # The columns of rows have the usual names.
    settings.pop("label_column", None)
    head = head_class(one.task).from_pretrained(start, **settings)
    began = time.process_time()
    try:
        scores = head.fit(parts.train, dev=parts.dev, test=parts.test)
    except DivergedError:
        # One rate that is too high must not end a run of hours. A correlation goes down to -1, on dev as on test.
        worst = -1.0 if one.metric == "spearman" else 0.0
        return Outcome(-1.0, worst, time.process_time() - began)
    return Outcome(scores["dev"][head.dev_metric], scores["test"][one.metric], time.process_time() - began)


def compared(name: str, one: Set, parts: Parts, found: Found) -> dict[str, Any]:
    """Print the line of a set, and return what JSON says of it."""
    sides = {kind: side(found[kind]) for kind in BOTH}
    known, blank = sides["pretrained"], sides["random"]
    gain = known["mean"] - blank["mean"]
    error = math.sqrt((known["deviation"] ** 2 + blank["deviation"] ** 2) / len(known["scores"]))
    wins = gain > 2 * error
    told = [f"{s['mean']:.3f} ± {s['deviation']:.3f}" for s in (known, blank)]
    print(
        f"{name:14}{one.task:12}{one.metric:10}{len(parts.train):6}{len(parts.test):6}  {told[0]:16}{told[1]:16}"
        f"{gain:+.3f} ± {error:.3f}{'  wins' if wins else ''}",
        flush=True,
    )
    return {
        "head": one.task, "metric": one.metric, "train": len(parts.train), "dev": len(parts.dev),
        "test": len(parts.test), "removed": parts.removed, **sides, "difference": round(gain, 4),
        "standard_error": round(error, 4), "wins": wins,
    }  # fmt: skip


def side(rates: dict[float, list[Outcome]]) -> dict[str, Any]:
    """Return the scores of the rate that all seeds were trained with."""
    rate = max(rates, key=lambda rate: len(rates[rate]))
    scores = [outcome.test for outcome in rates[rate]]
    return {
        "rate": rate,
        "scores": [round(score, 4) for score in scores],
        "mean": round(statistics.mean(scores), 4),
        "deviation": round(statistics.stdev(scores), 4),
        "dev_by_rate": {str(one): round(outcomes[0].dev, 4) for one, outcomes in rates.items()},
        "seconds": round(sum(outcome.seconds for outcomes in rates.values() for outcome in outcomes)),
    }


if __name__ == "__main__":
    sys.exit(main())
