"""The mask inspector: `ernie-pipe inspect --text TEXT` or `--run RUN --step N`."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ernie_pipe import draws
from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.errors import InputError
from ernie_pipe.masking import LENGTHS, LEVELS, STRATEGIES, MaskingRule, mask_units
from ernie_pipe.pretrain import run as runs
from ernie_pipe.pretrain.prepare import prepare
from ernie_pipe.report.masks import MaskedExample, examples, render
from ernie_pipe.text import lexicon as lexicons
from ernie_pipe.text import lexicon_files
from ernie_pipe.text.encode import Encoding
from ernie_pipe.text.passages import WORD_START, Tally, unit_bits
from ernie_pipe.text.units import Segmenter, Units
from ernie_pipe.text.words import load_engine


def main(argv: list[str]) -> int:
    """Print masked examples; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ernie-pipe inspect", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--text", help="mask this text at every level, or as --strategy says")
    what.add_argument("--run", help="show a step of this run, exactly as it was trained")
    parser.add_argument("--step", type=int, default=0, help="step of the run")
    parser.add_argument("--examples", type=int, default=8, help="sequences to show")
    parser.add_argument("--lexicon", nargs="+", default=[], help="lexicon files for --text")
    parser.add_argument("--engine", default="rjieba", help="word engine for --text")
    parser.add_argument("--seed", type=int, default=1, help="seed for --text")
    parser.add_argument(
        "--strategy", choices=STRATEGIES, default="units", help="mask units of --text, or n-grams or spans of words"
    )
    parser.add_argument("--rate", type=float, default=0.3, help="share of --text to mask (training: 0.15)")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="colour the masks")
    args = parser.parse_args(argv)
    colour = args.color == "always" or (args.color == "auto" and _stdout_is_terminal())
    if not 0 < args.rate < 1:
        raise InputError(f"--rate {args.rate:g}: must lie between 0 and 1")
    if args.text is not None:
        table = lexicon_files.read_lexicons(args.lexicon)
        lexicon = lexicons.from_bytes(lexicons.compile_lexicon(table.entities, table.phrases))
        units = Segmenter(load_engine(args.engine), lexicon).units(args.text)
        print("\n".join(_describe(args.text, units)))
        shown = mask_text(args.text, units, args.seed, args.rate, args.strategy)
    else:
        shown = (example for number, example in zip(range(args.examples), of_step(args.run, args.step), strict=False))
    for example in shown:
        print(f"{example.level:>7} {example.task}: {render(example, colour=colour)}")
    return 0


def _stdout_is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()


def _describe(text: str, units: Units) -> list[str]:
    entities = ", ".join(f"{text[start:end]} {kind} ({source})" for start, end, kind, source in units.entities)
    return [
        "words:    " + " ".join(text[start:end] for start, end in units.word_bounds.tolist()),
        "phrases:  " + (", ".join(text[start:end] for start, end in units.phrases) or "none"),
        "entities: " + (entities or "none"),
    ]


def mask_text(
    text: str, units: Units, seed: int, rate: float = 0.3, strategy: str = "units"
) -> Iterator[MaskedExample]:
    """Yield `text`, character by character, masked once at every level, or four times in n-grams or spans of words."""
    characters = np.array([i for i, character in enumerate(text) if not character.isspace()], dtype=np.int32)
    encoding = Encoding(np.arange(len(characters)), characters, characters + 1)
    spans = {
        "word": units.word_bounds,
        "phrase": np.array(units.phrases, dtype=np.int64).reshape(-1, 2),
        "entity": np.array([entity[:2] for entity in units.entities], dtype=np.int64).reshape(-1, 2),
    }
    tokens_before = np.searchsorted(characters, np.arange(len(text) + 1))
    bits, _ = unit_bits(
        encoding, tokens_before, {level: (bounds[:, 0], bounds[:, 1]) for level, bounds in spans.items()},
        np.ones(len(units.entities), dtype=np.uint8), Tally(),
    )  # fmt: skip
    bits[:1] |= WORD_START
    original = [text[i] for i in characters.tolist()]
    levels = LEVELS if strategy == "units" else ("word",) * 4
    for number, level in enumerate(levels):
        masked = mask_units(
            encoding.ids, bits, np.ones(len(bits), bool), np.zeros(len(bits), int), draws.key(seed, number)[None],
            rule=MaskingRule({level: 1.0}, rate, mask=1.0, random=0.0, lengths=LENGTHS[strategy]), mask_id=-1,
            replacements=np.zeros(1, int),
        )  # fmt: skip
        unit = np.full(len(bits), -1)
        unit[masked.positions] = masked.units
        seen = ["[MASK]" if at >= 0 else token for token, at in zip(original, unit, strict=True)]
        yield MaskedExample("your text", level if strategy == "units" else strategy, seen, original, unit.tolist())


def of_step(folder: str, step: int) -> Iterator[MaskedExample]:
    """Yield the sequences of a run's step: the very batch that was trained."""
    run = runs.read(Path(folder))
    if manifests.read(run.data, "passages").data_fingerprint != run.data_fingerprint:
        raise InputError(f"{run.data}: is no longer the data that {folder} was started on")
    prepared = prepare(run.settings, run.data)
    for number, manifest in enumerate(prepared.manifests if run.stage_fingerprints else ()):
        if manifest.data_fingerprint != run.stage_fingerprints[number]:
            place = run.settings.stages[number].data or run.data
            raise InputError(f"{place}: is no longer the data that stage {number + 1} of {folder} was started on")
    if not 0 <= step < prepared.plan.steps:
        raise InputError(f"--step {step}: this run has the steps 0 to {prepared.plan.steps - 1}")
    tokens = {number: token for token, number in prepared.corpus.vocab.items()}
    builder = prepared.builder
    for built in builder.step(step, range(run.settings.batch.micro_batches)):
        yield from examples(built, builder, tokens)
