"""How good are the units? Words against a gold segmentation, entities against labelled sets.

    python benchmarks/units_quality.py --gold pku_test_gold.utf8 --ner msra/dev.txt --lexicon LOC=THUOCL_diming.txt …

Words: precision, recall and F1 of word spans (as SIGHAN scores them) for each engine, with the HMM off and on; and
what becomes of the words that only the HMM finds. Entities: exact spans, and spans with their type, from the
lexicon, from the engine's part-of-speech names, and from both. Prints tables and, last, one JSON line.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from ernie_pipe.errors import InputError, mistake
from ernie_pipe.finetune.entities import TaggedText, read_tagging
from ernie_pipe.text.labelled import LABELS
from ernie_pipe.text.lexicon import compile_lexicon, from_bytes
from ernie_pipe.text.lexicon_files import read_lexicons
from ernie_pipe.text.units import Segmenter
from ernie_pipe.text.words import load_engine

Spans = set[tuple[int, int]]
# Fields of `Segmenter`: the lexicon, when there is one, and how it is taken.
Options = dict[str, Any]


def main() -> int:
    """Score what the arguments name; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gold", nargs="*", default=[], help="words separated by spaces, one sentence a line, UTF-8")
    parser.add_argument("--ner", nargs="*", default=[], help="labelled sets: two columns (BIO, BIOES or BMES)")
    parser.add_argument("--lexicon", nargs="*", default=[], help="lexicons, in any form that `segment` takes")
    parser.add_argument("--engine", nargs="*", default=["rjieba", "jieba"], help="word engines to score")
    parser.add_argument("--limit", type=int, help="sentences of each file at most")
    parser.add_argument("--short-anywhere", action="store_true", help="as the setting of `segment`")
    args = parser.parse_args()
    try:
        print(json.dumps(score(args), ensure_ascii=False))
    except InputError as error:
        print(mistake(error), file=sys.stderr)
        return 2
    return 0


def score(args: argparse.Namespace) -> dict[str, Any]:
    """Print the tables; return their figures."""
    result: dict[str, Any] = {"benchmark": "units_quality", "words": {}, "entities": {}}
    table = read_lexicons(args.lexicon)
    options: Options = {"short_anywhere": args.short_anywhere}
    if args.lexicon:
        options["lexicon"] = from_bytes(compile_lexicon(table.entities, table.phrases))
    for path in args.gold:
        result["words"][Path(path).name] = score_words(path, args.engine, options, args.limit)
    for path in args.ner:
        result["entities"][Path(path).name] = score_entities(path, args.engine[0], options, args.limit)
    return result


def score_words(path: str, engines: Sequence[str], options: Options, limit: int | None) -> dict[str, Any]:
    """Score engines, and the word layer of whole units, against the gold words of a file."""
    gold = [line.split() for line in Path(path).read_text(encoding="utf-8-sig").splitlines() if line.split()][:limit]
    texts = ["".join(words) for words in gold]
    wanted = [spans_of(words) for words in gold]
    print(f"\n{path}: {len(gold):,} sentences, {sum(map(len, gold)):,} words, {sum(map(len, texts)):,} characters")
    print(f"{'words':<40}{'precision':>10}{'recall':>10}{'F1':>10}")
    found: dict[str, list[Spans]] = {}
    for name in engines:
        for hmm in (False, True):
            engine = load_engine(name, hmm=hmm)
            found[f"{name}, HMM {'on' if hmm else 'off'}"] = [spans_of(engine.cut(text)) for text in texts]
    layers = {"words of all units": Segmenter(load_engine(engines[0]))}
    if "lexicon" in options:
        layers["words of all units, with lexicon"] = Segmenter(load_engine(engines[0]), **options)
    for name, segmenter in layers.items():
        found[f"{engines[0]}: {name}"] = [
            {(start, end) for start, end in segmenter.units(text).word_bounds.tolist()} for text in texts
        ]
    scores = {name: scored(zip(spans, wanted, strict=True)) for name, spans in found.items()}
    for name, score in scores.items():
        print(row(name, score))
    for name in engines:
        scores[f"{name}, HMM"] = hmm_words(found[f"{name}, HMM off"], found[f"{name}, HMM on"], wanted)
        told = scores[f"{name}, HMM"]
        print(
            f"{name}: {told['found']:,} words of two characters or more only with the HMM, {told['right']:.1%} of them "
            f"right; {told['lost']:,} right words lost by it, {told['won']:,} won"
        )
    return scores


def hmm_words(off: list[Spans], on: list[Spans], gold: list[Spans]) -> dict[str, float]:
    """Tell what the HMM adds: words that only it finds, and right words that it wins and loses."""
    new = right = won = lost = 0
    for without, with_it, wanted in zip(off, on, gold, strict=True):
        added = {(start, end) for start, end in with_it - without if end - start > 1}
        new, right = new + len(added), right + len(added & wanted)
        won, lost = won + len((with_it - without) & wanted), lost + len((without - with_it) & wanted)
    return {"found": new, "right": round(right / max(1, new), 4), "won": won, "lost": lost}


def score_entities(path: str, engine: str, options: Options, limit: int | None) -> dict[str, Any]:
    """Score entities against a labelled set.

    Only types that the set labels are compared: its spans of other labels, and found entities of other types, are
    left out on both sides, and counted.
    """
    examples: list[TaggedText] = read_tagging(path)[:limit]
    labels = {span.type for example in examples for span in example.entities}
    types = {LABELS[label.upper()] for label in labels if label.upper() in LABELS}
    unknown = sorted(label for label in labels if label.upper() not in LABELS)
    gold = [
        {(span.start, span.end, LABELS[span.type.upper()]) for span in example.entities if span.type not in unknown}
        for example in examples
    ]
    print(f"\n{path}: {len(examples):,} sentences, {sum(map(len, gold)):,} entities of {', '.join(sorted(types))}")
    if unknown:
        print(f"left out for want of a type of ours: {', '.join(unknown)}")
    print(f"{'entities':<24}{'exact span':>30}{'span and type':>30}{'other types':>13}")
    # Options, whether tagged, whether with the HMM.
    ways: dict[str, tuple[Options, bool, bool]] = {"tagger, HMM off": ({}, True, False)}
    ways["tagger, HMM on"] = ({}, True, True)
    if "lexicon" in options:
        ways = {"lexicon": (options, False, False), **ways, "lexicon and tagger": (options, True, False)}
    scores: dict[str, Any] = {}
    for name, (given, tagged, hmm) in ways.items():
        segmenter = Segmenter(load_engine(engine, hmm=hmm), tagged_entities=tagged, **given)
        found = [{entity[:3] for entity in segmenter.units(example.text).entities} for example in examples]
        kept = [{entity for entity in entities if entity[2] in types} for entities in found]
        left_out = sum(map(len, found)) - sum(map(len, kept))
        span = scored(zip(map(without_type, kept), map(without_type, gold), strict=True))
        typed = scored(zip(kept, gold, strict=True))
        scores[name] = {"span": span, "span and type": typed, "of other types": left_out}
        print(f"{name:<24}" + "".join(f"{row('', score, 0):>30}" for score in (span, typed)) + f"{left_out:>13,}")
        scores[name] |= {
            kind: scored(zip((of_type(a, kind) for a in kept), (of_type(b, kind) for b in gold), strict=True))
            for kind in sorted(types)
        }
    print(f"\n{'F1 by type':<24}" + "".join(f"{name:>20}" for name in scores))
    for kind in sorted(types):
        print(f"{kind:<24}" + "".join(f"{score[kind]['f1']:>20.4f}" for score in scores.values()))
    return scores


def spans_of(words: Iterable[str]) -> Spans:
    """Return (start, end) of words that follow each other."""
    return set(pairwise(accumulate(map(len, words), initial=0)))


def without_type(entities: set[tuple[int, int, str]]) -> Spans:
    """Return the bare spans."""
    return {entity[:2] for entity in entities}


def of_type(entities: set[tuple[int, int, str]], kind: str) -> set[tuple[int, int, str]]:
    """Return the entities of one type."""
    return {entity for entity in entities if entity[2] == kind}


def scored(pairs: Iterator[tuple[set, set]]) -> dict[str, float]:
    """Return micro precision, recall and F1 of (found, gold) pairs."""
    found = gold = right = 0
    for ours, theirs in pairs:
        found, gold, right = found + len(ours), gold + len(theirs), right + len(ours & theirs)
    precision, recall = right / max(1, found), right / max(1, gold)
    f1 = 2 * precision * recall / max(1e-9, precision + recall)
    return {"precision": round(precision, 4), "recall": round(recall, 4), "f1": round(f1, 4)}


def row(name: str, score: dict[str, float], width: int = 40) -> str:
    """Return a line of a table."""
    return f"{name:<{width}}" + "".join(f"{score[key]:>10.4f}" for key in ("precision", "recall", "f1"))


if __name__ == "__main__":
    sys.exit(main())
