"""Raw or segmented documents → a lexicon of phrases (TSV, best first) and a report to review it by.

    spark-submit spark_jobs/mine_lexicon.py --input PATH… --output phrases.tsv

N-grams of 2 to 5 words that hold together (PMI) and stand freely (branching entropy), ranked by length as in
PMI-Masking (arXiv 2010.01825). `phrases.tsv` is a lexicon for `segment`; `phrases.review.tsv` beside it says of
every phrase how often, how strongly and between what it was found. Its comment lines are the record of the run.
"""

import argparse
import json
import sys
from collections import Counter
from typing import Any

import inputs
import ngrams
from inputs import InputSettings
from pydantic import Field

from ernie_pipe import __version__
from ernie_pipe.config import add_arguments, from_arguments
from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus.storage import is_compressed, open_stream, prepare_folder, resolve, write_atomic
from ernie_pipe.errors import InputError
from ernie_pipe.text import lexicon_files, mining
from ernie_pipe.text.lexicon import ENTITY_TYPES
from ernie_pipe.text.words import load_engine

TITLE = "# Phrases found by `ernie-pipe mine`, best first: surface, PHRASE, score"
CONFIG = "# config: "
LIMITS = {"max_words", "min_count", "min_pmi", "min_entropy", "function_words", "size"}
REVIEWED = (
    "surface", "score", "words", "count", "inside", "pmi", "left_entropy", "right_entropy", "left", "gram", "right",
)  # fmt: skip


class MineSettings(InputSettings):
    """Settings of the job."""

    output: str = Field(description="the lexicon file to write, for example phrases.tsv")
    engine: str = Field("rjieba", description="word engine: rjieba, jieba or one from an entry point")
    hmm: bool = Field(False, description="let the engine's HMM find new words (many are junk)")
    max_words: int = Field(5, ge=2, le=8, description="words of a phrase at most")
    min_count: int = Field(10, ge=2, description="times that a phrase must occur; more for a larger corpus")
    min_pmi: float = Field(5.0, description="least PMI in nats: how much its words hold together")
    min_entropy: float = Field(1.0, ge=0, description="least entropy in nats of the neighbours on either side")
    function_words: bool = Field(False, description="keep what begins or ends with a function word (的, 了, 是 …)")
    size: int = Field(800_000, ge=8, description="phrases at most: half of them pairs, a quarter of three words, …")
    exclude: list[str] = Field(default=[], description="lexicons whose surfaces are left out")
    entity_types: list[str] = Field(
        default=list(ENTITY_TYPES), max_length=255, description="entity types that documents and --exclude may have"
    )


def main(argv: list[str]) -> int:
    """Run the job with command-line arguments; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ernie-pipe mine", description=__doc__.split("\n")[0])
    add_arguments(parser, MineSettings)
    parser.add_argument("--overwrite", action="store_true", help="replace a result of another configuration")
    args = parser.parse_args(argv)
    settings = from_arguments(MineSettings, args)
    counts = mine(settings, overwrite=args.overwrite)
    if counts is None:
        print(f"{settings.output}: already done with this configuration; left as it is", file=sys.stderr)
        return 0
    for example in counts["examples"]:
        print(f"rejected: {example}", file=sys.stderr)
    print(
        f"{settings.output}: {sum(counts['phrases'].values())} phrases in {counts['kept']} documents, "
        f"{counts['characters']} characters; {counts['rejected']} of {counts['in']} records rejected"
        + "".join(f", {number} {reason}" for reason, number in counts["rejected_reasons"].items())
        + f"; to review: {review_path(settings.output)}"
    )
    return 0


def mine(settings: MineSettings, *, overwrite: bool = False) -> dict[str, Any] | None:
    """Mine the sources of `settings` and write both files; None (nothing done) when they are there already."""
    splits = inputs.plan(settings, settings.output, _entity_types(settings))
    table = lexicon_files.read_lexicons(settings.exclude, settings.entity_types)
    excluded = sorted({*table.entities, *table.phrases})
    engine = load_engine(settings.engine, hmm=settings.hmm)
    config = _config(settings, splits, excluded, engine)
    if is_done(settings.output, config, overwrite=overwrite):
        return None
    prepare_folder(settings.output.rpartition("/")[0] or ".")
    import session
    from pyspark import StorageLevel

    spark = session.start("mine")
    tasks = inputs.tasks(session, spark, splits, settings.split_mib)
    limits = mining.Limits(**settings.model_dump(include=LIMITS))
    found = ngrams.count(spark, tasks, limits, engine=settings.engine, hmm=settings.hmm)
    found = found.persist(StorageLevel.DISK_ONLY)
    try:
        with session.watch(spark, "mine", len(tasks)):
            counts = _add_up(found)
        positions = [counts["positions"][str(words)] for words in range(settings.max_words + 1)]
        phrases = _scored(ngrams.best(spark, found, positions, limits, excluded))
        if not phrases:
            raise InputError(_nothing_found(settings, counts, found.filter("words > 1").count()))
    finally:
        # Left behind, it would answer the next run over the same paths.
        found.unpersist()
    counts["phrases"] = dict(Counter(row["words"] for row in phrases))
    header = _header(config, counts)
    write_atomic(review_path(settings.output), _review(header, phrases).encode())
    lines = (f"{row['surface']}\tPHRASE\t{row['score']:.6f}\n" for row in phrases)
    # Last, in one piece: the lexicon is the commit.
    write_atomic(settings.output, (header + "".join(lines)).encode())
    return counts


def review_path(output: str) -> str:
    """Return where the report on `output` lies: phrases.tsv → phrases.review.tsv."""
    return f"{output.removesuffix('.tsv')}.review.tsv"


def _entity_types(settings: MineSettings) -> list[str]:
    """The settings' entity types and those that segmented input brings along."""
    found = [manifests.find(source) for source in (*settings.input, *(source.path for source in settings.sources))]
    brought = [kind for manifest in found if manifest for kind in manifest.details.get("entity_types", ())]
    return list(dict.fromkeys([*settings.entity_types, *brought]))


def _config(settings: MineSettings, splits: list, excluded: list[str], engine: Any) -> dict[str, Any]:
    """Everything that determines the result."""
    words = [sorted(mining.NOT_FIRST), sorted(mining.NOT_LAST)]
    return {
        "input (paths, sizes, times)": inputs.fingerprint(splits),
        "engine": f"{engine.name} {engine.version}",
        "dictionary": engine.dictionary_hash,
        **settings.model_dump(include={*LIMITS, "hmm", "entity_types"}),
        "function_word_list": manifests.content_hash(words),
        "exclude": f"{len(excluded)} entries, {manifests.content_hash(excluded)}",
    }


def is_done(output: str, config: dict[str, Any], *, overwrite: bool) -> bool:
    """Return whether `output` is there, made with `config`, whatever its reviewer took out since.

    Another file there is an `InputError` that names what differs, unless `overwrite`.
    """
    system, inner = resolve(output)
    kind = system.get_file_info(inner).type.name
    if kind == "Directory" or is_compressed(output):
        raise InputError(f"--output {output}: give the name of a plain file, for example phrases.tsv")
    if kind == "NotFound" or overwrite:
        return False
    with open_stream(output) as stream:
        first, second = (stream.readline().decode("utf-8", "replace").strip() for _ in range(2))
    if first != TITLE or not second.startswith(CONFIG):
        raise InputError(f"{output}: exists and was not made by `ernie-pipe mine`; choose another --output")
    found = json.loads(second.removeprefix(CONFIG))
    keys = sorted(key for key in {*config, *found} if config.get(key) != found.get(key))
    if keys:
        raise InputError(
            f"{output}: holds the result of another configuration (differs: {', '.join(keys)}); "
            "choose another --output or add --overwrite"
        )
    return True


def _add_up(found: Any) -> dict[str, Any]:
    """Return the counts of all tasks; `InputError` when a task had one, or when there is no text."""
    summaries = [json.loads(row.summary) for row in found.filter("summary is not null").select("summary").collect()]
    error = min((summary["error"] for summary in summaries if "error" in summary), default=None)
    if error is not None:
        raise InputError(error)
    counts = manifests.add_up(summary["counts"] for summary in summaries)
    if not counts["kept"]:
        reasons = ", ".join(f"{number} {reason}" for reason, number in counts["rejected_reasons"].items())
        raise InputError(f"nothing to mine: 0 usable records of {counts['in']} in the input ({reasons or 'empty'})")
    counts["examples"] = sorted(example for summary in summaries for example in summary["examples"])[
        : ngrams.MOST_EXAMPLES
    ]
    return counts


def _scored(phrases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Score ranked phrases and sort them by it; a surface that several n-grams have is that of the commonest one."""
    commonest: dict[str, dict[str, Any]] = {}
    for row in phrases:
        if row["count"] > commonest.get(row["surface"], {"count": 0})["count"]:
            commonest[row["surface"]] = row
    kept = [row for row in phrases if commonest[row["surface"]] is row]
    sizes = Counter(row["words"] for row in kept)
    scores = {words: iter(mining.rank_scores(number)) for words, number in sizes.items()}
    for row in kept:
        row["score"] = next(scores[row["words"]])
    return sorted(kept, key=lambda row: (-row["score"], row["words"], row["gram"]))


def _nothing_found(settings: MineSettings, counts: dict[str, Any], grams: int) -> str:
    if not grams:
        return (
            f"no phrase found: in {counts['characters']} characters no n-gram occurs {settings.min_count} times; "
            "give more text or a lower --min-count"
        )
    return (
        f"no phrase found: of {grams} n-grams that occur {settings.min_count} times none has --min-pmi "
        f"{settings.min_pmi} and --min-entropy {settings.min_entropy} and is not excluded; lower these"
    )


def _header(config: dict[str, Any], counts: dict[str, Any]) -> str:
    """Return the comment lines that open both files: the record of the run."""
    reasons = "".join(f"; {number} {reason}" for reason, number in counts["rejected_reasons"].items())
    lengths = ", ".join(f"{number} of {words} words" for words, number in sorted(counts["phrases"].items()))
    return (
        f"{TITLE}\n{CONFIG}{json.dumps(config, ensure_ascii=False, sort_keys=True)}\n"
        f"# made by ernie_pipe {__version__}, engine {config['engine']}\n"
        f"# records in {counts['in']} = kept {counts['kept']} + rejected {counts['rejected']} "
        f"+ duplicate {counts['duplicate']}{reasons}\n"
        f"# {counts['characters']} characters, {counts['positions']['1']} Chinese words; {lengths}\n"
    )


def _review(header: str, phrases: list[dict[str, Any]]) -> str:
    """Return the report: what is known of every phrase, in the order of the lexicon."""
    lines = (
        "\t".join(f"{row[name]:.6g}" if isinstance(row[name], float) else str(row[name]) for name in REVIEWED)
        for row in phrases
    )
    return f"{header}# {chr(9).join(REVIEWED)}\n" + "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    import session

    sys.exit(session.run_job(main))
