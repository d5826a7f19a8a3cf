"""Raw files → documents with sentence, word, phrase and entity spans (Parquet and a manifest).

    spark-submit spark_jobs/segment_corpus.py --input PATH… --output SEGMENTED [--lexicon TSV…]

In = kept + rejected + duplicate: every record is counted; rejected ones lie in `_rejected/` with their reason.
"""

import argparse
import codecs
import sys
import time
from collections import Counter
from dataclasses import astuple, replace
from functools import partial
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from ernie_pipe.config import Settings, add_arguments, from_arguments
from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus import schema
from ernie_pipe.corpus.storage import resolve
from ernie_pipe.corpus.writer import ShardWriter, rejected_writer
from ernie_pipe.errors import InputError
from ernie_pipe.text import document
from ernie_pipe.text import lexicon as lexicons
from ernie_pipe.text.units import load_segmenter
from ernie_pipe.text.words import NAME_TAGS, load_engine


def check_encoding(name: str) -> str:
    """Return `name` when Python knows the encoding (or it is `auto`)."""
    if name != "auto":
        try:
            codecs.lookup(name)
        except LookupError:
            raise ValueError(f"unknown encoding {name!r}; known are for example utf-8, gb18030, big5") from None
    return name


class Source(Settings):
    """One source of raw text; its name goes with every document and can be weighted in training."""

    path: str = Field(description="file, folder or address (hdfs://, s3://, …)")
    name: str = Field("", description="name of the source; empty: the file's or folder's own")
    encoding: Annotated[str, AfterValidator(check_encoding)] = Field(
        "auto", description="text encoding; auto tries UTF-8, then GB18030"
    )
    documents: Literal["file", "blank-line", "line"] = Field(
        "file",
        description="what one document of a .txt file is: the file, a block between blank lines, a line",
    )
    text_field: str = Field("text", description="field or column that holds the text (jsonl, parquet)")


class SegmentSettings(Settings):
    """Settings of the job; a config file may list `sources` in place of `--input`."""

    input: list[str] = Field(default=[], description="files or folders of raw text (jsonl, txt, parquet)")
    sources: list[Source] = Field(default=[], description="sources with options of their own (config file)")
    output: str = Field(description="folder for the segmented documents")
    engine: str = Field("rjieba", description="word engine: rjieba, jieba or one from an entry point")
    hmm: bool = Field(False, description="let the engine's HMM find new words (many are junk)")
    lexicon: list[str] = Field(default=[], description="TSV files: surface, type (or PHRASE), optional weight")
    entity_types: list[str] = Field(
        default=list(lexicons.ENTITY_TYPES), max_length=255, description="entity types that are known"
    )
    tagged_entities: bool = Field(True, description="take the tagger's nr, ns, nt, nz as entities too")
    encoding: Annotated[str, AfterValidator(check_encoding)] = Field(
        "auto", description="text encoding of --input; auto tries UTF-8, then GB18030"
    )
    documents: Literal["file", "blank-line", "line"] = Field(
        "file", description="what one document of a .txt file of --input is"
    )
    text_field: str = Field("text", description="field or column of --input that holds the text")
    split_mib: int = Field(32, ge=1, description="mebibytes of raw text per task")

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
    splits = _plan(settings)
    surfaces = lexicons.read_tsv(settings.lexicon, settings.entity_types)
    engine = load_engine(settings.engine, hmm=settings.hmm)
    config = _config(settings, splits, surfaces, engine)
    if manifests.is_done(settings.output, "segmented", config, overwrite=overwrite):
        print(f"{settings.output}: already done with this configuration", file=sys.stderr)
        return manifests.read(settings.output, "segmented")
    import session

    spark = session.start("segment")
    name = session.ship(spark, f"lexicon-{lexicons.fingerprint(surfaces)}.npz", lexicons.compile_lexicon(surfaces))
    splits = _with_line_numbers(session, spark, splits)
    tasks = [
        {"number": number, "splits": [astuple(split) for split in group]}
        for number, group in enumerate(_group(splits, settings.split_mib << 20))
    ]
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


def _plan(settings: SegmentSettings) -> list[tuple[document.Split, int]]:
    given = {name: getattr(settings, name) for name in ("encoding", "documents", "text_field")}
    sources = [*settings.sources, *(Source(path=path, **given) for path in settings.input)]
    if not sources:
        raise InputError("no input: give --input PATH, or `sources` in the config file")
    planned: list[tuple[document.Split, int]] = []
    for source in sources:
        if f"{resolve(settings.output)[1]}/".startswith(f"{resolve(source.path)[1].rstrip('/')}/"):
            raise InputError(f"--output {settings.output} lies in the input {source.path}: choose another place")
        name = source.name or PurePath(source.path.rstrip("/")).name.split(".")[0]
        template = document.Split(
            path="", source=name, format="", encoding=source.encoding,
            documents=source.documents, text_field=source.text_field, entity_types=tuple(settings.entity_types),
        )  # fmt: skip
        found = document.plan_splits(source.path, template, split_bytes=settings.split_mib << 20)
        committed = manifests.find(source.path)
        names = {shard["name"] for shard in committed.shards} if committed else None
        found = [pair for pair in found if names is None or PurePath(pair[0].path).name in names]
        twice = {split.path for split, _ in found} & {split.path for split, _ in planned}
        if twice:
            raise InputError(f"{min(twice)}: given twice; every file belongs to one input or source")
        planned += found
    if not planned:
        raise InputError(f"nothing to segment: no file in {', '.join(source.path for source in sources)}")
    return planned


def _config(settings: SegmentSettings, splits: list, surfaces: dict[str, str], engine: Any) -> dict[str, Any]:
    """Everything that determines the result."""
    files: Counter[str] = Counter()
    for split, size in splits:
        files[f"{split.source}\t{split.path}\t{split.encoding}\t{split.documents}\t{split.text_field}"] += size
    modified = {path: _modified(path) for path in {split.path for split, _ in splits}}
    return {
        "input (paths, sizes, times)": manifests.content_hash([sorted(files.items()), sorted(modified.items())]),
        "engine": f"{engine.name} {engine.version}",
        "dictionary": engine.dictionary_hash,
        "hmm": settings.hmm,
        "lexicon": f"{len(surfaces)} entries, {lexicons.fingerprint(surfaces)}",
        "tagged_entities": settings.tagged_entities,
        "entity_types": settings.entity_types,
        "split_mib": settings.split_mib,
    }


def _modified(path: str) -> int:
    system, inner = resolve(path)
    return system.get_file_info(inner).mtime_ns or 0


def _with_line_numbers(session: Any, spark: Any, splits: list) -> list[tuple[document.Split, int]]:
    """Fill `lines_before` of files that were cut: one pass that counts newlines, only for them."""
    cut = [split for split, _ in splits if split.format != "parquet" and split.end >= 0]
    if not cut:
        return splits
    tasks = [{"split": astuple(split)} for split in cut]
    lines = [summary["lines"] for summary in session.run_tasks(spark, tasks, count_task, "count lines")]
    before: dict[tuple[str, int], int] = {}
    total: Counter[str] = Counter()
    for split, number in zip(cut, lines, strict=True):
        before[split.path, split.start] = total[split.path]
        total[split.path] += number
    return [
        (replace(split, lines_before=before.get((split.path, split.start), split.lines_before)), size)
        for split, size in splits
    ]


def _group(splits: list[tuple[document.Split, int]], size: int) -> list[list[document.Split]]:
    """Put neighbouring splits together until a task has about `size` bytes (at most 4,096 files)."""
    groups: list[list[document.Split]] = []
    filled = 0
    for split, length in splits:
        if not groups or filled + length > size or len(groups[-1]) >= 4096:
            groups.append([])
            filled = 0
        groups[-1].append(split)
        filled += length
    return groups


def count_task(task: dict[str, Any]) -> dict[str, Any]:
    """Count the newlines of one split."""
    return {"lines": document.count_lines(document.Split(*task["split"]))}


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
