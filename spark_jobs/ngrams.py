"""Counting and scoring n-grams in Spark: frames in, frames out, for `mine_lexicon`.

Windows are counted by tasks, shuffled to where all that begin with the same two words meet, sorted, and every
n-gram counted in one pass; then frequent n-grams are joined with the counts of their parts and scored. The driver
sees tasks' summaries and the best phrases, no table of n-grams.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from ernie_pipe.errors import InputError
from ernie_pipe.text import document, mining
from ernie_pipe.text.mining import Limits

# Distinct windows that a task holds (about 100 MB) before it hands their counts on.
MOST_WINDOWS = 1 << 18
BATCH_ROWS = 1 << 14
MOST_EXAMPLES = 5
WINDOWS = pa.schema({"window": pa.string(), "count": pa.int64(), "summary": pa.string()})
GRAMS = pa.schema(
    {
        "gram": pa.string(), "words": pa.int64(), "count": pa.int64(), "left_entropy": pa.float64(),
        "right_entropy": pa.float64(), "left": pa.string(), "right": pa.string(), "summary": pa.string(),
    }
)  # fmt: skip
PARTS = pa.schema({"gram": pa.string(), "part": pa.string()})
INNER = pa.schema({"surface": pa.string(), "inside": pa.int64()})
SCORED = GRAMS.remove(GRAMS.get_field_index("summary")).append(pa.field("pmi", pa.float64()))


def count(spark: Any, tasks: list[dict[str, Any]], limits: Limits, *, engine: str, hmm: bool) -> Any:
    """Return a frame (`GRAMS`) of frequent n-grams, parts of the counts of single words, and tasks' summaries.

    One row a word goes through the shuffle, to where all windows with the same first two words are; there they are
    sorted (on disk where memory is short), and all n-grams counted in one pass.
    """
    import session
    from pyspark.sql import functions as F

    session.carry_code_of(window_batches)

    def emit(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from window_batches(tasks[number], engine=engine, hmm=hmm, max_words=limits.max_words)

    def gather(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return gram_batches(batches, max_words=limits.max_words, min_count=limits.min_count)

    partitions = max(len(tasks), int(spark.conf.get("spark.sql.shuffle.partitions")))
    return (
        spark.range(0, len(tasks), 1, numPartitions=len(tasks))
        .mapInArrow(emit, _ddl(WINDOWS))
        .select(
            F.expr("substring(window, instr(window, ' ') + 1)").alias("window"),
            F.substring_index("window", " ", 1).alias("left"),
            "count",
            "summary",
        )
        .repartition(partitions, F.substring_index("window", " ", 2))
        .sortWithinPartitions("window")
        .mapInArrow(gather, _ddl(GRAMS))
    )


def best(spark: Any, found: Any, positions: list[int], limits: Limits, excluded: list[str]) -> list[dict[str, Any]]:
    """Return the best phrases (`SCORED`, `surface`, `inside`) of each length that are within the limits, in rank order.

    `found` is what `count` returned, `positions[n]` the number of places for n words. A surface that stands more
    often inside single words (斯坦: 巴基斯坦) than as n-gram is left out: a lexicon that matches it would cut them.
    """
    import session
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    session.carry_code_of(part_batches)

    def take_apart(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return part_batches(batches, function_words=limits.function_words)

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return pmi_batches(batches, positions=positions)

    facts = ("words", "left_entropy", "right_entropy", "left", "right")
    # Single words come in parts from many tasks; of n-grams there is one row.
    counted = (
        found.filter("words > 0")
        .groupBy("gram")
        .agg(F.sum("count").alias("count"), *(F.max(name).alias(name) for name in facts))
    )
    scored = (
        found.filter("words > 1")
        .filter(F.least("left_entropy", "right_entropy") >= limits.min_entropy)
        .select("gram")
        .mapInArrow(take_apart, _ddl(PARTS))
        .join(counted.withColumnRenamed("gram", "part"), "part")
        .groupBy("gram")
        .agg(F.collect_list(F.struct("part", "count", *facts)).alias("parts"))
        .mapInArrow(score, _ddl(SCORED))
        .filter(F.col("pmi") >= limits.min_pmi)
        .withColumn("surface", F.translate("gram", " ", ""))
    )
    inside = (
        counted.filter("words = 1")
        .select("gram", "count")
        .mapInArrow(inner_batches, _ddl(INNER))
        .groupBy("surface")
        .agg(F.sum("inside").alias("inside"))
    )
    scored = scored.join(inside, "surface", "left").fillna({"inside": 0}).filter("inside <= count")
    if excluded:
        scored = scored.join(spark.createDataFrame(pa.table({"surface": excluded})), "surface", "left_anti")
    order = Window.partitionBy("words").orderBy(F.desc("pmi"), F.desc("count"), "gram")
    quotas = mining.quotas(limits.size, limits.max_words)
    most = F.create_map(*(F.lit(number) for pair in quotas.items() for number in pair))
    ranked = scored.withColumn("rank", F.row_number().over(order)).filter(F.col("rank") <= most[F.col("words")])
    return ranked.orderBy("words", "rank").drop("rank").toArrow().to_pylist()


def window_batches(task: dict[str, Any], *, engine: str, hmm: bool, max_words: int) -> Iterator[pa.RecordBatch]:
    """Yield the counted windows of the task's splits, and last one row with the task's summary (`WINDOWS`)."""
    cut = mining.worker_engine(engine, hmm=hmm).cut
    windows: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    positions = [0] * (max_words + 1)
    examples: list[str] = []
    kept = characters = 0
    try:
        for split in task["splits"]:
            for item in document.read(document.Split(*split)):
                if isinstance(item, document.Rejected):
                    reasons[item.reason] += 1
                    if len(examples) < MOST_EXAMPLES:
                        examples.append(f"{item.path}, line {item.line}: {item.reason}: {item.detail}")
                    continue
                kept += 1
                characters += len(item.text)
                windows.update(mining.windows(cut(item.text), max_words, positions))
                if len(windows) > MOST_WINDOWS:
                    yield from _window_rows(windows)
                    windows.clear()
    except InputError as error:
        yield _summary_row({"error": str(error)})
        return
    yield from _window_rows(windows)
    rejected = reasons.total()
    counts = {
        "in": kept + rejected, "kept": kept, "rejected": rejected, "duplicate": 0, "characters": characters,
        "rejected_reasons": dict(reasons), "positions": dict(enumerate(positions)),
    }  # fmt: skip
    yield _summary_row({"counts": counts, "examples": examples})


def _window_rows(windows: Counter[str]) -> Iterator[pa.RecordBatch]:
    for items in _blocks(windows.items()):
        names, counts = zip(*items, strict=True)
        yield _batch(WINDOWS, {"window": names, "count": counts, "summary": [None] * len(names)})


def _summary_row(summary: dict[str, Any]) -> pa.RecordBatch:
    return _batch(WINDOWS, {"window": [""], "count": [0], "summary": [json.dumps(summary, ensure_ascii=False)]})


def _blocks(items: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(items)
    while block := list(itertools.islice(rest, BATCH_ROWS)):
        yield block


def _batch(schema: pa.Schema, columns: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns, schema=schema)


def _ddl(schema: pa.Schema) -> str:
    """Return the schema as Spark writes it."""
    names = {pa.string(): "string", pa.int64(): "long", pa.float64(): "double"}
    return ", ".join(f"{field.name} {names[field.type]}" for field in schema)


def gram_batches(batches: Iterable[pa.RecordBatch], *, max_words: int, min_count: int) -> Iterator[pa.RecordBatch]:
    """Count the n-grams (`GRAMS`) of one partition's sorted (window, left, count, summary) rows."""
    summaries: list[str] = []

    def rows() -> Iterator[tuple[str, str, int]]:
        for batch in batches:
            for window, left, count, summary in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if window:
                    yield window, left, count
                else:
                    summaries.append(summary)

    for block in _blocks(mining.frequent(rows(), max_words=max_words, min_count=min_count)):
        columns = [*zip(*block, strict=True), [None] * len(block)]
        yield _batch(GRAMS, dict(zip(GRAMS.names, columns, strict=True)))
    for summary in summaries:
        yield _batch(GRAMS, {**{name: [None] for name in GRAMS.names}, "summary": [summary]})


def part_batches(batches: Iterable[pa.RecordBatch], *, function_words: bool) -> Iterator[pa.RecordBatch]:
    """Take each `gram` into `PARTS`, itself among them; those framed by function words are left out by choice."""
    for batch in batches:
        grams = [gram for gram in batch.column(0).to_pylist() if function_words or not mining.is_framed(gram)]
        pairs = [(gram, part) for gram in grams for part in mining.parts(gram)]
        yield _batch(PARTS, {"gram": [gram for gram, _ in pairs], "part": [part for _, part in pairs]})


def inner_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Count what stands inside single words (`INNER`), from (word, count) rows."""
    for batch in batches:
        found: Counter[str] = Counter()
        for word, times in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            for surface in mining.inner(word):
                found[surface] += times
        yield _batch(INNER, {"surface": list(found), "inside": list(found.values())})


def pmi_batches(batches: Iterable[pa.RecordBatch], *, positions: list[int]) -> Iterator[pa.RecordBatch]:
    """Score n-grams from (gram, list of its parts with their counts) rows; `SCORED`."""
    for batch in batches:
        grams, parts = (column.to_pylist() for column in batch.columns)
        scored = []
        for gram, rows in zip(grams, parts, strict=True):
            counts = {row["part"]: row["count"] for row in rows}
            whole = next(row for row in rows if row["part"] == gram)
            scored.append({**whole, "gram": gram, "pmi": mining.pmi(gram, counts, positions)})
        yield pa.RecordBatch.from_pylist(scored, schema=SCORED)
