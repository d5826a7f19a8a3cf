"""A click log → pairs of query and title with the label strong or weak, for `segment` (Parquet and a manifest).

    spark-submit spark_jobs/gather_clicks.py --input LOG… --query 3 --title 6 --rank 4 --output PAIRS

All lines of a pair are counted together. Strong: clicked `--min-clicks` times or more. Weak: clicked less often, or
never although it was seen: it stood above a clicked title in the same session (without ranks: it was shown). What
was never clicked and stood below the last click tells nothing and is left out, counted as `unseen`.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import inputs
import pyarrow as pa
from inputs import InputSettings
from pydantic import Field, model_validator

from ernie_pipe.config import add_arguments, from_arguments
from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus import schema
from ernie_pipe.corpus.storage import prepare_folder
from ernie_pipe.corpus.writer import ShardWriter, rejected_writer
from ernie_pipe.errors import InputError
from ernie_pipe.text import document
from ernie_pipe.text.clicks import ALL, Layout, parse
from ernie_pipe.text.formats import Unusable

BATCH_ROWS = 1 << 14
SHOWN = pa.schema(
    {
        "session": pa.string(), "query": pa.string(), "title": pa.string(), "rank": pa.int64(),
        "clicked": pa.bool_(), "summary": pa.string(),
    }
)  # fmt: skip
PAIRS = pa.schema(
    {
        "id": pa.string(), "query": pa.string(), "title": pa.string(), "label": pa.string(),
        "shown": pa.int64(), "clicks": pa.int64(),
    }
)  # fmt: skip


class ClickSettings(InputSettings):
    """Settings of the job."""

    output: str = Field(description="folder for the pairs")
    query: str = Field("query", min_length=1, description="column of the query: a number from 1 (tabs) or a JSON field")
    title: str = Field(
        "title", min_length=1, description="column of the title, or of the address where --titles is given"
    )
    rank: str = Field("", description="column of the rank from the top; empty: the log has none")
    clicked: str = Field(ALL, description="column of 1 or 0, true or false; all: every line is a click")
    session: str = Field("", description="column of the user or session; empty: all lines of a query are one")
    titles: str = Field("", description="file of address<TAB>title: pairs whose address it lacks are left out")
    min_clicks: int = Field(1, ge=1, description="clicks that make a pair strong")

    @model_validator(mode="after")
    def _layout_is_one(self) -> "ClickSettings":
        if wrong := self.layout().wrong():
            raise ValueError(wrong)
        return self

    def layout(self) -> Layout:
        """Return where a line has what."""
        return Layout(self.query, self.title, self.rank, self.clicked, self.session)


def main(argv: list[str]) -> int:
    """Run the job with command-line arguments; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ernie-pipe clicks", description=__doc__.split("\n")[0])
    add_arguments(parser, ClickSettings)
    parser.add_argument("--overwrite", action="store_true", help="replace a result of another configuration")
    args = parser.parse_args(argv)
    settings = from_arguments(ClickSettings, args)
    counts = gather(settings, overwrite=args.overwrite).counts
    print(
        f"{settings.output}: {counts['pairs']} pairs of {counts['queries']} queries, {counts['strong']} strong, "
        f"{counts['weak']} weak; left out: {counts['unseen']} unseen, {counts['without_title']} without a title; "
        f"{counts['rejected']} of {counts['in']} lines rejected"
        + "".join(f", {number} {reason}" for reason, number in counts["rejected_reasons"].items())
        + (f"; {counts['titles']['rejected']} of {counts['titles']['in']} titles rejected" if settings.titles else "")
    )
    if not counts["weak"]:
        print("note: no weak pair: nothing in this log was shown, seen and not clicked", file=sys.stderr)
    return 0


def gather(settings: ClickSettings, *, overwrite: bool = False) -> manifests.Manifest:
    """Add up the logs of `settings` and commit the manifest; a finished equal result is left as it is."""
    began = time.monotonic()
    splits, titles = _plan(settings), _plan_titles(settings)
    config = {
        "input (paths, sizes, times)": inputs.fingerprint(splits),
        "titles (paths, sizes, times)": inputs.fingerprint(titles),
        **settings.model_dump(include={"query", "title", "rank", "clicked", "session", "min_clicks"}),
    }
    if manifests.is_done(settings.output, "clicks", config, overwrite=overwrite):
        print(f"{settings.output}: already done with this configuration", file=sys.stderr)
        return manifests.read(settings.output, "clicks")
    prepare_folder(settings.output)
    import session
    from pyspark import StorageLevel

    spark = session.start("clicks")
    tasks = inputs.tasks(session, spark, splits, settings.split_mib)
    listed = inputs.tasks(session, spark, titles, settings.split_mib) if titles else []
    lines = _lines(spark, tasks, settings.output, settings.layout()).persist(StorageLevel.DISK_ONLY)
    names = _lines(spark, listed, settings.output, Layout("1", "2")).persist(StorageLevel.DISK_ONLY) if titles else None
    try:
        with session.watch(spark, "clicks", len(tasks)):
            counts, rejected = _summed(lines)
        if not counts["kept"]:
            raise InputError(_nothing(settings, counts))
        pairs = _labelled(lines.filter("summary is null"), settings.min_clicks)
        if names is not None:
            counts["titles"], more = _summed(names)
            rejected += more
            pairs = _titled(pairs, names.filter("summary is null").dropDuplicates(["query"]))
        written = _write(spark, pairs, settings.output, max(1, len(tasks)))
    finally:
        lines.unpersist()
        if names is not None:
            names.unpersist()
    counts |= manifests.add_up(part["counts"] for part in written)
    if not counts["pairs"]:
        raise InputError(f"no pair is left: {counts['unseen']} unseen, {counts['without_title']} without a title")
    return manifests.commit(
        settings.output,
        manifests.Manifest(
            kind="clicks",
            config=config,
            counts=counts,
            shards=[shard for part in written for shard in part["shards"]],
            rejected_shards=rejected,
            seconds={"wall": round(time.monotonic() - began, 2)},
        ),
    )


def _summed(lines: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the counts of all tasks that read lines, and their shards of rejected ones."""
    summaries = [json.loads(row.summary) for row in lines.filter("summary is not null").collect()]
    counts = manifests.add_up(summary["counts"] for summary in summaries)
    return counts, [shard for summary in summaries for shard in summary["rejected_shards"]]


def _plan(settings: ClickSettings) -> list[tuple[document.Split, int]]:
    """Every file is lines, whatever its name."""
    lines = {"format": "text", "documents": "line"}
    sources = [source.model_copy(update=lines) for source in settings.sources]
    return inputs.plan(settings.model_copy(update={**lines, "sources": sources}), settings.output)


def _plan_titles(settings: ClickSettings) -> list[tuple[document.Split, int]]:
    if not settings.titles:
        return []
    template = document.Split("", "titles", "text", documents="line", encoding=settings.encoding)
    return document.plan_splits(settings.titles, template, split_bytes=settings.split_mib << 20)


def _nothing(settings: ClickSettings, counts: dict[str, Any]) -> str:
    reasons = ", ".join(f"{number} {reason}" for reason, number in counts["rejected_reasons"].items())
    places = ", ".join(f"--{name} {value}" for name, value in vars(settings.layout()).items() if value)
    return f"no usable line of {counts['in']} ({reasons or 'empty'}) with {places}"


def _lines(spark: Any, tasks: list[dict[str, Any]], output: str, layout: Layout) -> Any:
    """Return a frame (`SHOWN`) of the lines of all tasks, and a row with each task's summary."""
    import session

    session.carry_code_of(line_batches)

    def emit(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from line_batches(tasks[number], output=output, layout=layout)

    return spark.range(0, len(tasks), 1, numPartitions=len(tasks)).mapInArrow(emit, _ddl(SHOWN))


def line_batches(task: dict[str, Any], *, output: str, layout: Layout) -> Iterator[pa.RecordBatch]:
    """Yield the lines of a task's splits (`SHOWN`), and last one row with its summary; rejected lines are written."""
    rejected = rejected_writer(output, task["number"])
    reasons: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    kept = 0
    for split in task["splits"]:
        for item in document.read(document.Split(*split)):
            found = _shown(item, document.Split(*split), layout)
            if isinstance(found, document.Rejected):
                rejected.write(schema.rejected_batch([found]))
                reasons[found.reason] += 1
                continue
            rows.append(found)
            kept += 1
            if len(rows) >= BATCH_ROWS:
                yield pa.RecordBatch.from_pylist(rows, SHOWN)
                rows = []
    counts = {"in": kept + reasons.total(), "kept": kept, "rejected": reasons.total(), "duplicate": 0}
    summary = {"counts": {**counts, "rejected_reasons": dict(reasons)}, "rejected_shards": rejected.close()}
    rows.append({"summary": json.dumps(summary, ensure_ascii=False)})
    yield pa.RecordBatch.from_pylist(rows, SHOWN)


def _shown(
    item: document.Record | document.Rejected, split: document.Split, layout: Layout
) -> dict[str, Any] | document.Rejected:
    if isinstance(item, document.Rejected):
        return item
    try:
        return vars(parse(item.text, layout))
    except Unusable as error:
        reason, detail = error.args
        line = int(item.doc_id.rpartition("#")[2])
        return document.Rejected(split.source, split.path, line, reason, detail, item.text[:200])


def _labelled(shown: Any, min_clicks: int) -> Any:
    """Return a frame of pairs: query, title, shown, clicks, label (null: never clicked and not seen)."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    same = Window.partitionBy("session", "query")
    deepest = F.max(F.when(F.col("clicked"), F.col("rank"))).over(same)
    seen = ~F.col("clicked") & ((F.col("rank") == 0) | (F.col("rank") < F.coalesce(deepest, F.lit(0))))
    pairs = shown.withColumn("seen", seen).groupBy("query", "title")
    counted = pairs.agg(
        F.count("*").alias("shown"), F.sum(F.col("clicked").cast("long")).alias("clicks"), F.max("seen").alias("seen")
    )
    strong = F.when(F.col("clicks") >= min_clicks, "strong")
    return counted.withColumn("label", strong.when((F.col("clicks") > 0) | F.col("seen"), "weak"))


def _titled(pairs: Any, names: Any) -> Any:
    """Put titles in the place of addresses: null where there is none; the same title twice is one pair."""
    from pyspark.sql import functions as F

    named = names.select(F.col("query").alias("address"), F.col("title").alias("name"))
    joined = pairs.join(named, pairs["title"] == named["address"], "left")
    # strong < weak: a title behind two addresses is strong when one of them is.
    again = joined.groupBy("query", F.coalesce("name", "title").alias("found"), F.col("name").isNull().alias("bare"))
    merged = again.agg(F.sum("shown").alias("shown"), F.sum("clicks").alias("clicks"), F.min("label").alias("label"))
    title = F.when(~F.col("bare"), F.col("found"))
    return merged.select("query", title.alias("title"), "shown", "clicks", "label")


def _write(spark: Any, pairs: Any, output: str, partitions: int) -> list[dict[str, Any]]:
    """Write labelled pairs, those of a query together; return the tasks' shards and counts."""
    import session
    from pyspark.sql import functions as F

    ordered = pairs.repartition(partitions, "query").sortWithinPartitions("query", "title")
    ordered = ordered.withColumn("number", F.spark_partition_id())
    session.carry_code_of(write_pairs)
    rows = ordered.mapInArrow(partial(write_pairs, output=output), "summary string").collect()
    return [json.loads(row.summary) for row in rows]


def write_pairs(batches: Iterator[pa.RecordBatch], *, output: str) -> Iterator[pa.RecordBatch]:
    """Write the pairs of a partition into a shard (`PAIRS`) and yield its summary."""
    writer: ShardWriter | None = None
    counts = Counter(dict.fromkeys(("pairs", "queries", "strong", "weak", "unseen", "without_title"), 0))
    queries: str | None = None
    for batch in batches:
        rows = batch.to_pylist()
        kept = [row for row in rows if row["label"] and row["title"]]
        counts["unseen"] += sum(row["label"] is None for row in rows)
        counts["without_title"] += sum(bool(row["label"]) and not row["title"] for row in rows)
        for row in kept:
            counts.update({"pairs": 1, row["label"]: 1, "queries": int(row["query"] != queries)})
            queries = row["query"]
            row["id"] = f"{row['query']}\t{row['title']}"
        if kept:
            writer = writer or ShardWriter(output, rows[0]["number"], "parquet", PAIRS)
            writer.write(pa.RecordBatch.from_pylist([{name: row[name] for name in PAIRS.names} for row in kept], PAIRS))
    summary = {"shards": writer.close() if writer else [], "counts": counts}
    yield pa.RecordBatch.from_pydict({"summary": [json.dumps(summary)]})


def _ddl(columns: pa.Schema) -> str:
    kinds = {pa.string(): "string", pa.int64(): "long", pa.bool_(): "boolean"}
    return ", ".join(f"{field.name} {kinds[field.type]}" for field in columns)


if __name__ == "__main__":
    import session

    sys.exit(session.run_job(main))
