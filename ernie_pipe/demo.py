"""`ernie-pipe demo`: the commands of the README, in order, on the embedded sample, and a short result."""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ernie_pipe import resources

STAGES = ("segmented", "tokenizer", "passages", "run", "hf", "classifier", "tagger")
SHOWN_LEVELS = ("basic", "phrase", "entity")


def commands(output: Path, sample: Path, config: Path) -> list[list[str]]:
    """Return the commands of the whole way, each as it is typed after `ernie-pipe`."""
    out = {name: str(output / name) for name in STAGES}
    sentiment, ner = sample / "sentiment", sample / "ner"
    return [
        ["segment", "--input", f"{sample}/documents", "--lexicon", f"{sample}/lexicon.tsv",
         "--output", out["segmented"]],
        ["vocab", "--input", out["segmented"], "--output", out["tokenizer"]],
        ["encode", "--input", out["segmented"], "--tokenizer", out["tokenizer"], "--output", out["passages"],
         "--max-tokens", "128"],
        ["pretrain", "--config", str(config), "--data", out["passages"], "--output", out["run"]],
        ["export", "--run", out["run"], "--output", out["hf"]],
        ["finetune", "classifier", "--model", out["hf"], "--train", f"{sentiment}/train.tsv",
         "--dev", f"{sentiment}/dev.tsv", "--test", f"{sentiment}/test.tsv", "--output", out["classifier"],
         "--config", str(config.with_name("finetune") / "demo-classifier.yaml")],
        ["finetune", "tagger", "--model", out["hf"], "--train", f"{ner}/train.txt", "--dev", f"{ner}/dev.txt",
         "--test", f"{ner}/test.txt", "--output", out["tagger"],
         "--config", str(config.with_name("finetune") / "demo-tagger.yaml")],
    ]  # fmt: skip


def main(argv: list[str]) -> int:
    """Run the demo; returns the exit code of the first command that fails, else 0."""
    parser = argparse.ArgumentParser(prog="ernie-pipe demo", description="The whole pipeline on the sample.")
    parser.add_argument("--output", default="runs/demo", help="folder for everything (default: runs/demo)")
    parser.add_argument("--fresh", action="store_true", help="start over: delete what an earlier demo left there")
    args = parser.parse_args(argv)
    output = Path(args.output)
    if args.fresh:
        for name in STAGES:
            shutil.rmtree(output / name, ignore_errors=True)
    sample = _short(resources.sample())
    config = _short(resources.folder("configs")) / "tiny-demo.yaml"
    began = time.monotonic()
    listed = commands(output, sample, config)
    for number, command in enumerate(listed, start=1):
        code = _run(number, len(listed), command)
        if code:
            print(f"error: `ernie-pipe {command[0]}` ended with exit code {code}", file=sys.stderr)
            return code
    _result(output, sample)
    print(f"\nThe whole way took {time.monotonic() - began:.0f} s. Everything lies in {output}/:")
    print(f"  {', '.join(STAGES)}; try: ernie-pipe inspect --run {output}/run --step 3")
    return 0


def _short(path: Path) -> Path:
    """Return `path` as a person in this folder would type it."""
    relative = Path(os.path.relpath(path))
    return path if relative.parts[:1] == ("..",) else relative


def _run(number: int, total: int, command: list[str]) -> int:
    from ernie_pipe import cli

    _headline(f"[{number}/{total}] ernie-pipe {' '.join(command)}")
    began = time.monotonic()
    code = cli.run(command)
    print(f"({time.monotonic() - began:.1f} s)", flush=True)
    return code


def _headline(text: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}{text}{plain}", flush=True)


def _result(output: Path, sample: Path) -> None:
    _headline("What was masked (predicted units in brackets: hidden; → replaced; = left as it is)")
    for line in masked_examples(output / "run", colour=sys.stdout.isatty() or "FORCE_COLOR" in os.environ):
        print(f"  {line}")
    _headline("Loss per task (mean of the first and of the last logged steps)")
    for line in losses(output / "run"):
        print(f"  {line}")
    _headline("Facts: the rank of the true entity among all of its type in the lexicon")
    for line in facts(output / "hf", sample):
        print(f"  {line}")
    _headline("Fine-tuning on held-out data")
    for name in ("classifier", "tagger"):
        print(f"  {name:<11}{scores(output / name)}")


def masked_examples(run: Path, *, colour: bool) -> list[str]:
    """Return one real example of training per level: a short one that hides a long unit."""
    from ernie_pipe.report.inspect import of_step
    from ernie_pipe.report.masks import MaskedExample, render

    best: dict[str, MaskedExample] = {}

    def rank(example: MaskedExample) -> tuple[int, int]:
        return -min(example.longest_unit, 4), len(example.seen)

    for step in range(3):
        for example in of_step(str(run), step):
            known = best.get(example.level)
            if len(example.seen) >= 20 and (known is None or rank(example) < rank(known)):
                best[example.level] = example
    return [f"{level:>7}: {render(best[level], colour=colour)}" for level in SHOWN_LEVELS if level in best]


def losses(run: Path) -> list[str]:
    """Return a line per task: loss and accuracy, first and last."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = []
    for name in [key for key in rows[-1] if key.startswith("loss/")]:
        seen = [row for row in rows if name in row]
        accuracy = name.replace("loss/", "accuracy/")
        lines.append(
            f"{name.removeprefix('loss/'):<20} loss {seen[0][name]:.3f} → {seen[-1][name]:.3f}   "
            f"accuracy {seen[0][accuracy]:.1%} → {seen[-1][accuracy]:.1%}"
        )
    return lines


def facts(model: Path, sample: Path) -> list[str]:
    """Return the cloze before (untrained weights) and after, and three prompts with their ranks."""
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer
    from transformers.utils import logging

    from ernie_pipe.report.cloze import cloze, read_facts
    from ernie_pipe.text.lexicon_files import read_lexicons

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    known = read_facts(sample / "facts.tsv", sample / "relations.tsv")
    lexicon = read_lexicons([str(sample / "lexicon.tsv")]).entities
    tokenizer = AutoTokenizer.from_pretrained(model)
    torch.manual_seed(1)
    untrained = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(model))
    before = cloze(untrained, tokenizer, known, lexicon)
    after = cloze(AutoModelForMaskedLM.from_pretrained(model), tokenizer, known, lexicon)
    lines = [f"{'':<22}{'facts':>6}{'MRR before':>12}{'after':>8}{'  first of 20 before':>20}{'after':>8}"]
    rows = [("all", before.facts, before.mrr, before.hits_at_1, after.mrr, after.hits_at_1)]
    rows += [
        (name, *before.per_relation[name], *after.per_relation[name][1:]) for name in after.per_relation
    ]  # fmt: skip
    for name, count, mrr, hits, new_mrr, new_hits in rows:
        lines.append(f"{name:<22}{count:>6}{mrr:>12.3f}{new_mrr:>8.3f}{hits:>20.1%}{new_hits:>8.1%}")
    lines.append(f"(by chance: MRR {before.chance_mrr:.3f}, first of 20 in 5.0%)")
    return lines


def scores(folder: Path) -> str:
    """Return the metrics that fine-tuning recorded, in one line."""
    record = json.loads((folder / "ernie_pipe.json").read_text(encoding="utf-8"))
    return "   ".join(_split_scores(split, values) for split, values in record["metrics"].items())


def _split_scores(split: str, values: dict) -> str:
    named: Sequence[str] = [name for name in ("accuracy", "macro_f1", "precision", "recall", "f1") if name in values]
    return f"{split}: " + ", ".join(f"{name} {values[name]:.3f}" for name in named)
