"""Raw files → documents with sentence, word, phrase and entity spans (Parquet and a manifest).

    spark-submit spark_jobs/segment_corpus.py --input PATH… --output SEGMENTED [--lexicon TSV…]

In = kept + rejected + duplicate: every record is counted; rejected ones lie in `_rejected/` with their reason.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import inputs
import numpy as np
from inputs import InputSettings
from pydantic import Field, model_validator

from ernie_pipe.config import add_arguments, from_arguments
from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus import schema
from ernie_pipe.corpus.storage import prepare_folder
from ernie_pipe.corpus.writer import ShardWriter, rejected_writer
from ernie_pipe.errors import InputError
from ernie_pipe.stopwatch import Stopwatch
from ernie_pipe.text import document, lexicon_files, user_dictionary
from ernie_pipe.text import lexicon as lexicons
from ernie_pipe.text.batches import counts_of, read_batches
from ernie_pipe.text.lexicon_files import LexiconTable
from ernie_pipe.text.spans import histogram
from ernie_pipe.text.units import SOURCES, Layers, load_segmenter
from ernie_pipe.text.words import NAME_TAGS, WordEngine, load_engine


class SegmentSettings(InputSettings):
    """Settings of the job."""

    output: str = Field(description="folder for the segmented documents")
    engine: str = Field("rjieba", description="word engine: rjieba, jieba or one from an entry point")
    hmm: bool = Field(False, description="let the engine's HMM find new words (many are junk)")
    user_dictionary: list[str] = Field(default=[], description="words for the engine: `word [frequency] [tag]` a line")
    lexicon: list[str] = Field(
        default=[], description="FILE (TSV: surface, type or PHRASE, weight), TYPE=FILE (a list) or conll=FILE"
    )
    entity_types: list[str] = Field(
        default=list(lexicons.ENTITY_TYPES), max_length=255, description="entity types that are known"
    )
    tagged_entities: bool = Field(True, description="take the tagger's nr, ns, nt, nz as entities too")
    rule_phrases: bool = Field(True, description="take numerals with measure words, dates and 《titles》 as phrases")

    short_anywhere: bool = Field(
        False, description="take lexicon matches of two characters also where no words begin and end"
    )

    @model_validator(mode="after")
    def _knows_what_the_tagger_finds(self) -> "SegmentSettings":
        lacking = sorted(set(NAME_TAGS.values()) - set(self.entity_types))
        if self.tagged_entities and lacking:
            raise ValueError(f"entity_types lacks {', '.join(lacking)}, which tagged_entities finds: switch that off")
        return self


def main(argv: list[str]) -> int:
    """Run the job with command-line arguments; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ernie-pipe segment", description=__doc__.split("\n")[0])
    add_arguments(parser, SegmentSettings)
    parser.add_argument("--overwrite", action="store_true", help="replace a result of another configuration")
    args = parser.parse_args(argv)
    settings = from_arguments(SegmentSettings, args)
    made = segment(settings, overwrite=args.overwrite)
    counts = made.counts
    print(
        f"{settings.output}: {counts['kept']} documents, {counts['characters']} characters, "
        f"{counts['units']['word']} words, {counts['units']['phrase']} phrases, "
        f"{counts['units']['entity']} entities; {counts['rejected']} of {counts['in']} records rejected"
        + "".join(f", {number} {reason}" for reason, number in counts["rejected_reasons"].items())
        + (f" (see {settings.output}/{manifests.REJECTED})" if counts["rejected"] else "")
    )
    return 0


def segment(settings: SegmentSettings, *, overwrite: bool = False) -> manifests.Manifest:
    """Segment the sources of `settings` and commit the manifest; a finished equal result is left as it is."""
    began = time.monotonic()
    splits = inputs.plan(settings, settings.output, settings.entity_types)
    table = lexicon_files.read_lexicons(settings.lexicon, settings.entity_types)
    words = user_dictionary.merge(settings.user_dictionary) if settings.user_dictionary else b""
    engine = _engine(settings, words)
    config = _config(settings, splits, table, engine)
    if manifests.is_done(settings.output, "segmented", config, overwrite=overwrite):
        print(f"{settings.output}: already done with this configuration", file=sys.stderr)
        return manifests.read(settings.output, "segmented")
    prepare_folder(settings.output)
    import session

    spark = session.start("segment")
    compiled = lexicons.compile_lexicon(table.entities, table.phrases)
    name = session.ship(spark, f"lexicon-{lexicons.fingerprint(table.entities, table.phrases)}.arrow", compiled)
    tasks = inputs.tasks(session, spark, splits, settings.split_mib)
    words_name = session.ship(spark, f"words-{engine.dictionary_hash}.tsv", words) if words else ""
    options = segmenter_options(settings)
    work = partial(segment_task, output=settings.output, lexicon_name=name, words_name=words_name, options=options)
    summaries = session.run_tasks(spark, tasks, work, "segment")
    counts = manifests.add_up(summary["counts"] for summary in summaries)
    if not counts["kept"]:
        reasons = ", ".join(f"{number} {reason}" for reason, number in counts["rejected_reasons"].items())
        raise InputError(f"nothing to segment: 0 usable records of {counts['in']} in the input ({reasons or 'empty'})")
    return manifests.commit(
        settings.output,
        manifests.Manifest(
            kind="segmented",
            config=config,
            counts=counts,
            shards=[shard for summary in summaries for shard in summary["shards"]],
            rejected_shards=[shard for summary in summaries for shard in summary["rejected_shards"]],
            details={"entity_types": settings.entity_types, "lexicon": table.counts},
            seconds={**counts.pop("seconds"), "wall": round(time.monotonic() - began, 2)},
        ),
    )


def _engine(settings: SegmentSettings, words: bytes) -> WordEngine:
    """Build the engine on the driver, so that it tells its version and what is wrong before Spark starts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.tsv"
        path.write_bytes(words)
        return load_engine(settings.engine, hmm=settings.hmm, user_dictionary=str(path) if words else None)


def _config(settings: SegmentSettings, splits: list, table: LexiconTable, engine: Any) -> dict[str, Any]:
    """Everything that determines the result."""
    return {
        "input (paths, sizes, times)": inputs.fingerprint(splits),
        "engine": f"{engine.name} {engine.version}",
        "dictionary": engine.dictionary_hash,
        "hmm": settings.hmm,
        "lexicon": f"{len(table.entities)} entities, {len(table.phrases)} phrases, "
        + lexicons.fingerprint(table.entities, table.phrases),
        "tagged_entities": settings.tagged_entities,
        "rule_phrases": settings.rule_phrases,
        "short_anywhere": settings.short_anywhere,
        "entity_types": settings.entity_types,
        "split_mib": settings.split_mib,
    }


def segmenter_options(settings: SegmentSettings) -> dict[str, Any]:
    """Return what `load_segmenter` needs beside the lexicon."""
    options = settings.model_dump(include={"engine", "hmm", "tagged_entities", "rule_phrases", "short_anywhere"})
    return {**options, "entity_types": tuple(settings.entity_types)}


def segment_task(
    task: dict[str, Any], *, output: str, lexicon_name: str, options: dict[str, Any], words_name: str = ""
) -> dict[str, Any]:
    """Segment the task's splits into one shard (and one of rejected records); returns the summary."""
    from pyspark import SparkFiles

    words = SparkFiles.get(words_name) if words_name else None
    segmenter = load_segmenter(SparkFiles.get(lexicon_name), user_dictionary=words, **options)
    watch = Stopwatch()
    kept = ShardWriter(output, task["number"], "parquet", schema.SEGMENTED)
    rejected = rejected_writer(output, task["number"])
    counts: list[dict[str, Any]] = []
    for records, refused in read_batches(task["splits"]):
        watch.lap("read")
        if refused:
            rejected.write(schema.rejected_batch(refused))
        if records:
            layers = segmenter.segment(
                [record.text for record in records], [record.entities for record in records], watch
            )
            kept.write(schema.segmented_batch(records, layers, segmenter.type_names))
        counts.append(_counts(records, refused, layers if records else None, segmenter.type_names))
        watch.lap("write")
    written = {"shards": kept.close(), "rejected_shards": rejected.close()}
    watch.lap("write")
    return {**written, "counts": {**manifests.add_up(counts), "seconds": watch.seconds}}


def _counts(
    records: list[document.Record], rejected: list[document.Rejected], layers: Layers | None, type_names: list[str]
) -> dict[str, Any]:
    """Return what a batch adds to the manifest's counts."""
    counts: dict[str, Any] = {
        **counts_of(records, rejected),
        "repaired_characters": sum(record.repaired for record in records),
        "units": dict.fromkeys(("sentence", "word", "phrase", "entity", "refused", "yielded"), 0),
        "lengths": {level: {} for level in ("word", "phrase", "entity")},
        "entity_types": {},
        "entity_sources": {},
    }
    if layers is not None:
        spans = {
            "sentence": layers.sentences,
            "word": layers.words,
            "phrase": layers.phrases,
            "entity": layers.entities,
        }
        counts["units"] = {level: len(found.bounds) for level, found in spans.items()}
        counts["units"] |= {"refused": layers.refused, "yielded": layers.yielded}
        counts["lengths"] = {level: histogram(spans[level].lengths()) for level in counts["lengths"]}
        counts["entity_types"] = _named(layers.entity_types, type_names)
        counts["entity_sources"] = _named(layers.entity_sources, SOURCES)
    return counts


def _named(codes: np.ndarray, names: Sequence[str]) -> dict[str, int]:
    found = np.bincount(codes, minlength=len(names)).tolist()
    return {name: count for name, count in zip(names, found, strict=True) if count}


if __name__ == "__main__":
    import session

    sys.exit(session.run_job(main))
