"""Segmented documents → a character and wordpiece vocabulary as a transformers tokenizer folder.

spark-submit spark_jobs/build_vocab.py --input SEGMENTED --output TOKENIZER [--size N]
spark-submit spark_jobs/build_vocab.py --vocab vocab.txt --output TOKENIZER     (a given vocabulary)
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pydantic import Field

from ernie_pipe.config import Settings, add_arguments, from_arguments
from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus.writer import open_shard
from ernie_pipe.errors import InputError
from ernie_pipe.text import vocabulary

# More distinct strings than this never matter for a vocabulary; the driver stays small.
MOST_STRINGS = 2_000_000


class VocabSettings(Settings):
    """Settings of the job."""

    input: str | None = Field(None, description="folder of segmented documents")
    vocab: str | None = Field(None, description="take this vocab.txt (BERT's, or ERNIE's with ids) instead")
    output: str = Field(description="folder for the tokenizer")
    size: int = Field(18_000, ge=100, description="tokens at most")
    coverage: float = Field(0.9999, gt=0, le=1, description="share of the text that characters must cover")
    lowercase: bool = Field(True, description="lower-case and strip accents, as ERNIE and BERT base Chinese do")


def main(argv: list[str]) -> int:
    """Run the job with command-line arguments; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ernie-pipe vocab", description=__doc__.split("\n")[0])
    add_arguments(parser, VocabSettings)
    parser.add_argument("--overwrite", action="store_true", help="replace a result of another configuration")
    args = parser.parse_args(argv)
    settings = from_arguments(VocabSettings, args)
    counts = build(settings, overwrite=args.overwrite).counts
    print(f"{settings.output}: {counts['tokens']} tokens" + _covered(counts))
    return 0


def _covered(counts: dict[str, Any]) -> str:
    if not counts.get("characters"):
        return ""
    share = counts["covered_characters"] / counts["characters"]
    return f", {share:.4%} of {counts['characters']} Chinese characters and punctuation marks covered"


def build(settings: VocabSettings, *, overwrite: bool = False) -> manifests.Manifest:
    """Build or take the vocabulary and commit the folder."""
    if (settings.input is None) == (settings.vocab is None):
        raise InputError("give either --input SEGMENTED or --vocab vocab.txt")
    began = time.monotonic()
    config: dict[str, Any] = {"lowercase": settings.lowercase}
    counts: dict[str, Any] = {}
    if settings.vocab is not None:
        tokens = vocabulary.read_vocab(settings.vocab)
        config |= {"vocab": manifests.content_hash(tokens)}
    else:
        assert settings.input is not None
        corpus = manifests.read(settings.input, "segmented")
        config |= {"input": corpus.data_fingerprint, "size": settings.size, "coverage": settings.coverage}
    if manifests.is_done(settings.output, "tokenizer", config, overwrite=overwrite):
        print(f"{settings.output}: already done with this configuration", file=sys.stderr)
        return manifests.read(settings.output, "tokenizer")
    if settings.input is not None:
        counted = count_corpus(settings.input, corpus)
        tokens = vocabulary.choose(
            counted, size=settings.size, coverage=settings.coverage, lowercase=settings.lowercase
        )
        counts = _coverage(counted, set(tokens), settings.lowercase)
    vocabulary.save(tokens, settings.output, lowercase=settings.lowercase)
    return manifests.commit(
        settings.output,
        manifests.Manifest(
            kind="tokenizer",
            config=config,
            counts={"tokens": len(tokens), **counts},
            seconds={"wall": round(time.monotonic() - began, 2)},
        ),
    )


def _coverage(counted: list[tuple[str, int]], tokens: set[str], lowercase: bool) -> dict[str, Any]:
    characters, _ = vocabulary.normalised(counted, lowercase=lowercase)
    missing = {character: count for character, count in characters.items() if character not in tokens}
    worst = sorted(missing.items(), key=lambda pair: (-pair[1], pair[0]))[:50]
    return {
        "characters": sum(characters.values()),
        "covered_characters": sum(characters.values()) - sum(missing.values()),
        "most_frequent_unknown": dict(worst),
    }


def count_corpus(folder: str, corpus: manifests.Manifest) -> list[tuple[str, int]]:
    """Count characters and runs of other scripts over all shards, most frequent first."""
    import session
    from pyspark.sql import functions as F

    spark = session.start("vocab")
    session.carry_code_of(count_shard)
    paths = [f"{folder}/{shard['name']}" for shard in corpus.shards]

    def partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield count_shard(paths[number])

    with session.watch(spark, "vocab", len(paths)):
        rows = (
            spark.range(0, len(paths), 1, numPartitions=max(1, len(paths)))
            .mapInArrow(partition, "string string, count long")
            .groupBy("string")
            .agg(F.sum("count").alias("count"))
            .select("string", "count")
            .orderBy(F.desc("count"), "string")
            .limit(MOST_STRINGS)
            .collect()
        )
    return [(row["string"], row["count"]) for row in rows]


def count_shard(path: str) -> pa.RecordBatch:
    """Count the strings of one shard: columns `string`, `count`."""
    counts: Counter[str] = Counter()
    for batch in open_shard(path).iter_batches(batch_size=256, columns=["text"]):
        for text in batch.column(0).to_pylist():
            vocabulary.count_text(text, counts)
    return pa.RecordBatch.from_pydict({"string": list(counts), "count": list(counts.values())})


if __name__ == "__main__":
    import session

    sys.exit(session.run_job(main))
