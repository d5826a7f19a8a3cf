"""Raw files → documents with sentence, word, phrase and entity spans (Parquet and a manifest).

    spark-submit spark_jobs/segment_corpus.py --input PATH… --output SEGMENTED [--lexicon TSV…]

In = kept + rejected + duplicate: every record is counted; rejected ones lie in `_rejected/` with their reason.
"""

import argparse
import sys
import time
from collections import Counter
from functools import partial
from typing import Any

import inputs
from inputs import InputSettings
from pydantic import Field, model_validator

from ernie_pipe.config import add_arguments, from_arguments
from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus import schema
from ernie_pipe.corpus.writer import ShardWriter, rejected_writer
from ernie_pipe.errors import InputError
from ernie_pipe.text import document, lexicon_files
from ernie_pipe.text import lexicon as lexicons
from ernie_pipe.text.units import load_segmenter
from ernie_pipe.text.words import NAME_TAGS, load_engine


class SegmentSettings(InputSettings):
    """Settings of the job."""

    output: str = Field(description="folder for the segmented documents")
    engine: str = Field("rjieba", description="word engine: rjieba, jieba or one from an entry point")
    hmm: bool = Field(False, description="let the engine's HMM find new words (many are junk)")
    lexicon: list[str] = Field(default=[], description="TSV files: surface, type (or PHRASE), optional weight")
    entity_types: list[str] = Field(
        default=list(lexicons.ENTITY_TYPES), max_length=255, description="entity types that are known"
    )
    tagged_entities: bool = Field(True, description="take the tagger's nr, ns, nt, nz as entities too")

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
    surfaces = lexicon_files.read_tsv(settings.lexicon, settings.entity_types)
    engine = load_engine(settings.engine, hmm=settings.hmm)
    config = _config(settings, splits, surfaces, engine)
    if manifests.is_done(settings.output, "segmented", config, overwrite=overwrite):
        print(f"{settings.output}: already done with this configuration", file=sys.stderr)
        return manifests.read(settings.output, "segmented")
    import session

    spark = session.start("segment")
    name = session.ship(spark, f"lexicon-{lexicons.fingerprint(surfaces)}.npz", lexicons.compile_lexicon(surfaces))
    tasks = inputs.tasks(session, spark, splits, settings.split_mib)
    options = {"engine": settings.engine, "hmm": settings.hmm, "tagged_entities": settings.tagged_entities}
    work = partial(segment_task, output=settings.output, lexicon_name=name, options=options)
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
            details={"entity_types": settings.entity_types},
            seconds={"tasks": counts.pop("seconds"), "wall": round(time.monotonic() - began, 2)},
        ),
    )


def _config(settings: SegmentSettings, splits: list, surfaces: dict[str, str], engine: Any) -> dict[str, Any]:
    """Everything that determines the result."""
    return {
        "input (paths, sizes, times)": inputs.fingerprint(splits),
        "engine": f"{engine.name} {engine.version}",
        "dictionary": engine.dictionary_hash,
        "hmm": settings.hmm,
        "lexicon": f"{len(surfaces)} entries, {lexicons.fingerprint(surfaces)}",
        "tagged_entities": settings.tagged_entities,
        "entity_types": settings.entity_types,
        "split_mib": settings.split_mib,
    }


def segment_task(task: dict[str, Any], *, output: str, lexicon_name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Segment the task's splits into one shard (and one of rejected records); returns the summary."""
    from pyspark import SparkFiles

    began = time.monotonic()
    segmenter = load_segmenter(SparkFiles.get(lexicon_name), **options)
    kept = ShardWriter(output, task["number"], "parquet", schema.SEGMENTED, schema.segmented_batch, batch_rows=512)
    rejected = rejected_writer(output, task["number"])
    reasons: Counter[str] = Counter()
    units: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for split in task["splits"]:
        for item in document.read(document.Split(*split)):
            if isinstance(item, document.Rejected):
                reasons[item.reason] += 1
                rejected.append(item)
                continue
            layer = segmenter.units(item.text, item.entities)
            kept.append((item, layer), characters=len(item.text))
            units.update(
                sentence=len(layer.sentences), word=len(layer.word_bounds), phrase=len(layer.phrases),
                entity=len(layer.entities), refused=layer.refused, yielded=layer.yielded,
            )  # fmt: skip
            sizes.update(characters=len(item.text), repaired_characters=item.repaired)
    return {
        "shards": kept.close(),
        "rejected_shards": rejected.close(),
        "counts": {
            "in": kept.rows + rejected.rows,
            "kept": kept.rows,
            "rejected": rejected.rows,
            "duplicate": 0,
            "rejected_reasons": dict(reasons),
            "characters": sizes["characters"],
            "repaired_characters": sizes["repaired_characters"],
            "units": {name: units[name] for name in ("sentence", "word", "phrase", "entity", "refused", "yielded")},
            "seconds": round(time.monotonic() - began, 3),
        },
    }


if __name__ == "__main__":
    import session

    sys.exit(session.run_job(main))
