"""Pairs of arguments in Spark: tasks in, frames and shards out, for `mine_relations`.

Tasks find pairs; equal and nearly equal ones meet by hashes in a shuffle and one of them is left; those chosen are
written as records for `segment`. The driver sees summaries and counts.
"""

import hashlib
import json
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus import schema
from ernie_pipe.corpus.storage import digest, resolve
from ernie_pipe.corpus.writer import rejected_writer
from ernie_pipe.errors import InputError
from ernie_pipe.text import connectives, document
from ernie_pipe.text.batches import counts_of, read_batches
from ernie_pipe.text.connectives import Pair

# An argument this long that comes again makes a near duplicate, whatever the other one is.
LONG_ARGUMENT = 12
PAIRS_IN_SHARD = 100_000
PAIRS = pa.schema(
    {
        "relation": pa.string(), "connective": pa.string(), "arg1": pa.string(), "arg2": pa.string(),
        "source": pa.string(), "doc_id": pa.string(), "at": pa.int64(), "rank": pa.int64(), "key1": pa.int64(),
        "key2": pa.int64(), "summary": pa.string(),
    }
)  # fmt: skip
_NOT_HAN = re.compile("[^\u4e00-\u9fff]+")


def find(spark: Any, tasks: list[dict[str, Any]], options: dict[str, Any], inventory: str) -> Any:
    """Return a frame (`PAIRS`) of all pairs, and one row with its summary of each task.

    `options`: output, engine, hmm, min_characters, max_characters, seed; `inventory`: the text of its file.
    """
    import session

    session.carry_code_of(pair_batches)

    def emit(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from pair_batches(tasks[number], options, inventory)

    columns = ", ".join(f"`{field.name}` {'long' if field.type == pa.int64() else 'string'}" for field in PAIRS)
    return spark.range(0, len(tasks), 1, numPartitions=len(tasks)).mapInArrow(emit, columns)


def summaries(found: Any) -> list[dict[str, Any]]:
    """Return the summaries of all tasks; `InputError` when a task had one."""
    rows = found.filter("summary is not null").select("at", "summary").collect()
    listed = [json.loads(row.summary) for row in sorted(rows, key=lambda row: row.at)]
    error = next((summary["error"] for summary in listed if "error" in summary), None)
    if error is not None:
        raise InputError(error)
    return listed


def pair_batches(task: dict[str, Any], options: dict[str, Any], inventory: str) -> Iterator[pa.RecordBatch]:
    """Yield the pairs of a task's splits (`PAIRS`), then its summary; rejected records are written beside."""
    try:
        limits = {"least": options["min_characters"], "most": options["max_characters"]}
        miner = connectives.load_miner(inventory, options["engine"], hmm=options["hmm"], **limits)
        rejected = rejected_writer(options["output"], task["number"])
        counts: list[dict[str, Any]] = []
        skipped: Counter[str] = Counter()
        for records, refused in read_batches(task["splits"]):
            if refused:
                rejected.write(schema.rejected_batch(refused))
            pairs = miner.find([record.text for record in records], skipped) if records else []
            yield _columns([(records[number], pair) for number, pair in pairs], options["seed"])
            counts.append(counts_of(records, refused))
        total = manifests.add_up([*counts, {"skipped": skipped}])
        summary: dict[str, Any] = {"counts": total, "rejected_shards": rejected.close()}
    except InputError as error:
        summary = {"error": str(error)}
    row = dict.fromkeys(PAIRS.names) | {"at": task["number"], "summary": json.dumps(summary)}
    yield pa.RecordBatch.from_pylist([row], PAIRS)


def _columns(found: list[tuple[document.Record, Pair]], seed: int) -> pa.RecordBatch:
    """Return rows of `PAIRS`; `rank` is a draw keyed by the seed and the pair itself, wherever it was found."""
    rows = [
        {
            **pair._asdict(),
            "source": record.source,
            "doc_id": record.doc_id,
            "rank": _hash(f"{seed}\n{pair.arg1}\n{pair.arg2}"),
            "key1": _key(pair.arg1, pair),
            "key2": _key(pair.arg2, pair),
        }
        for record, pair in found
    ]
    return pa.RecordBatch.from_pylist(rows, PAIRS)


def _key(argument: str, pair: Pair) -> int:
    """What near duplicates share: a long argument, else the pair; only Chinese characters count."""
    plain = _NOT_HAN.sub("", argument)
    return _hash(plain if len(plain) >= LONG_ARGUMENT else _NOT_HAN.sub("", f"{pair.arg1}{pair.arg2}"))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def unique(pairs: Any) -> Any:
    """Leave one of all pairs that are equal or share a long argument: that of the lowest rank."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    for key in ("key1", "key2"):
        order = Window.partitionBy(key).orderBy("rank", "source", "doc_id", "at")
        pairs = pairs.withColumn("copy", F.row_number().over(order)).filter("copy = 1").drop("copy")
    return pairs


def write(pairs: Any, kept: int, limit: int, output: str) -> list[dict[str, Any]]:
    """Write the `limit` (0: all) pairs of lowest rank of each relation, `kept` in all; return the shards."""
    import session
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    chosen = pairs
    if limit:
        order = Window.partitionBy("relation").orderBy("rank")
        chosen = pairs.withColumn("place", F.row_number().over(order)).filter(F.col("place") <= limit)
    session.carry_code_of(write_shard)

    def emit(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        shard = write_shard(batches, output, TaskContext.get().partitionId())  # type: ignore[union-attr]
        yield pa.RecordBatch.from_pydict({"shard": [json.dumps(shard)]})

    partitions = -(-kept // PAIRS_IN_SHARD)
    frame = chosen.repartition(partitions, "rank").sortWithinPartitions("rank").mapInArrow(emit, "shard string")
    shards = [json.loads(row.shard) for row in frame.collect()]
    return sorted((shard for shard in shards if shard["rows"]), key=lambda shard: shard["name"])


def write_shard(batches: Iterator[pa.RecordBatch], output: str, number: int) -> dict[str, Any]:
    """Write rows of `PAIRS` as records for `segment`; return the shard's entry for the manifest."""
    name, rows = f"part-{number:05d}-{uuid.uuid4().hex[:8]}.jsonl", 0
    system, inner = resolve(f"{output}/{name}")
    with system.open_output_stream(inner) as stream:
        for batch in batches:
            lines = [json.dumps(_record(row), ensure_ascii=False) for row in batch.to_pylist()]
            stream.write("".join(f"{line}\n" for line in lines).encode())
            rows += len(lines)
    return {
        "name": name,
        "rows": rows,
        "bytes": system.get_file_info(inner).size,
        "digest": digest(f"{output}/{name}"),
    }


def _record(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"{row['doc_id']}#{row['at']}",
        "label": row["relation"],
        "turns": [{"role": name, "text": row[name]} for name in ("arg1", "arg2")],
        "connective": row["connective"],
        "source": row["source"],
    }
