"""Segmented documents + tokenizer → passages (Arrow IPC and a manifest) that training maps into memory.

spark-submit spark_jobs/encode_corpus.py --input SEGMENTED --tokenizer TOKENIZER --output PASSAGES
"""

import argparse
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from ernie_pipe.config import Settings, add_arguments, from_arguments
from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus import schema
from ernie_pipe.corpus.storage import prepare_folder, write_atomic
from ernie_pipe.corpus.writer import ShardWriter, open_shard, rejected_writer
from ernie_pipe.errors import InputError
from ernie_pipe.stopwatch import Stopwatch
from ernie_pipe.text import encode as encoding
from ernie_pipe.text.document import ROLES, Rejected
from ernie_pipe.text.passages import UNIT_BITS, Documents, Tally, encode_documents

BATCH_ROWS = 1024
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")


class EncodeSettings(Settings):
    """Settings of the job."""

    input: str = Field(description="folder of segmented documents")
    tokenizer: str = Field(description="transformers tokenizer folder, for example from `ernie-pipe vocab`")
    output: str = Field(description="folder for the passages")
    max_tokens: int = Field(512, ge=8, le=65_536, description="tokens of a passage with [CLS] and [SEP]")
    offsets: bool = Field(False, description="keep the character offsets of every token")
    held_out: float = Field(0.0, ge=0, lt=1, description="share of documents kept aside for evaluation")


def main(argv: list[str]) -> int:
    """Run the job with command-line arguments; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ernie-pipe encode", description=__doc__.split("\n")[0])
    add_arguments(parser, EncodeSettings)
    parser.add_argument("--overwrite", action="store_true", help="replace a result of another configuration")
    args = parser.parse_args(argv)
    settings = from_arguments(EncodeSettings, args)
    made = encode(settings, overwrite=args.overwrite)
    counts = made.counts
    share = counts["unknown"] / max(1, counts["tokens"])
    print(
        f"{settings.output}: {counts['passages']} passages, {counts['tokens']} tokens of {counts['kept']} documents, "
        f"{share:.3%} [UNK]; {counts['rejected']} documents without a token" + _labelled(counts)
    )
    if share > 0.02:
        worst = " ".join(list(made.details["most_frequent_unknown"])[:20])
        print(
            f"warning: the vocabulary does not fit this text well; most frequent [UNK]: {worst}",
            file=sys.stderr,
        )
    return 0


def _labelled(counts: dict[str, Any]) -> str:
    """Say what became of labelled documents that are longer than a passage."""
    cut = f"; {counts['trimmed_documents']} labelled pairs cut to fit, by {counts['trimmed_tokens']} tokens"
    parts = f"; {counts['labelled_in_parts']} labelled documents in several passages with the same label"
    return cut * bool(counts["trimmed_documents"]) + parts * bool(counts["labelled_in_parts"])


def encode(settings: EncodeSettings, *, overwrite: bool = False) -> manifests.Manifest:
    """Encode the documents and commit the manifest; a finished equal result is left as it is."""
    began = time.monotonic()
    corpus = manifests.read_whole(settings.input, "segmented")
    encoder = encoding.load_encoder(settings.tokenizer)
    config = {
        "input": corpus.data_fingerprint,
        "entity_types": corpus.details["entity_types"],
        "tokenizer": encoder.fingerprint,
        "max_tokens": settings.max_tokens,
        "offsets": settings.offsets,
        "held_out": settings.held_out,
    }
    if manifests.is_done(settings.output, "passages", config, overwrite=overwrite):
        print(f"{settings.output}: already done with this configuration", file=sys.stderr)
        return manifests.read(settings.output, "passages")
    prepare_folder(settings.output)
    import session

    spark = session.start("encode")
    tokenizer = str(Path(settings.tokenizer).resolve() / "tokenizer.json")
    name = session.ship(spark, f"tokenizer-{encoder.fingerprint}.json", Path(tokenizer).read_bytes())
    tasks = [
        {"number": number, "path": f"{settings.input}/{shard['name']}"} for number, shard in enumerate(corpus.shards)
    ]
    type_ids = {kind: number for number, kind in enumerate(corpus.details["entity_types"], start=1)}
    options = settings.model_dump(include={"max_tokens", "offsets", "held_out"})
    work = partial(encode_task, output=settings.output, tokenizer_name=name, type_ids=type_ids, options=options)
    summaries = session.run_tasks(spark, tasks, work, "encode")
    counts = manifests.add_up(summary["counts"] for summary in summaries)
    if not counts["passages"]:
        raise InputError(f"nothing to encode: 0 passages of {counts['in']} documents in {settings.input}")
    unknown = Counter(manifests.add_up(summary["unknown_texts"] for summary in summaries))
    copy_tokenizer(settings.tokenizer, settings.output)
    return manifests.commit(
        settings.output,
        manifests.Manifest(
            kind="passages",
            config=config,
            counts=counts,
            shards=[shard for summary in summaries for shard in summary["shards"]],
            rejected_shards=[shard for summary in summaries for shard in summary["rejected_shards"]],
            details={
                "tokenizer": encoder.fingerprint,
                "vocab_size": encoder.size,
                "batch_rows": BATCH_ROWS,
                "unit_bits": UNIT_BITS,
                "entity_types": type_ids,
                "roles": list(ROLES),
                "most_frequent_unknown": dict(unknown.most_common(100)),
                "segmented": corpus.config,
            },
            seconds={**counts.pop("seconds"), "wall": round(time.monotonic() - began, 2)},
        ),
    )


def copy_tokenizer(source: str, output: str) -> None:
    """Keep the tokenizer beside the ids it made: training and export need nothing else."""
    for name in TOKENIZER_FILES:
        if (Path(source) / name).is_file():
            write_atomic(f"{output}/tokenizer/{name}", (Path(source) / name).read_bytes())


def is_held_out(doc_id: str, share: float) -> bool:
    """Return whether a document is kept aside: decided by its id alone, so that it never moves."""
    value = int.from_bytes(hashlib.blake2b(doc_id.encode(), digest_size=8).digest(), "big")
    return value < share * 2**64


def encode_task(
    task: dict[str, Any],
    *,
    output: str,
    tokenizer_name: str,
    type_ids: dict[str, int],
    options: dict[str, Any],
) -> dict[str, Any]:
    """Encode one shard of documents into a shard of passages (and one of held-out passages)."""
    from pyspark import SparkFiles

    watch = Stopwatch()
    encoder = encoding.load_encoder_file(SparkFiles.get(tokenizer_name))
    columns = schema.passages_schema(encoder.size)
    writers = {
        split: ShardWriter(output, task["number"], "arrow", columns, batch_rows=BATCH_ROWS)
        for split in ("train", "held_out")
    }
    tally = Tally()
    counts: Counter[str] = Counter(dict.fromkeys(("in", "kept", "rejected", "train_passages", "held_out_passages"), 0))
    rejected = rejected_writer(output, task["number"])
    for batch in _batches(open_shard(task["path"])):
        documents = schema.read_documents(batch, type_ids)
        watch.lap("read")
        passages = encode_documents(encoder, documents, max_tokens=options["max_tokens"], tally=tally)
        watch.lap("encode")
        rows = schema.passages_batch(passages, documents, columns, offsets=options["offsets"])
        held_out = np.array([is_held_out(doc_id, options["held_out"]) for doc_id in documents.ids])[passages.document]
        for split, chosen in (("train", ~held_out), ("held_out", held_out)):
            if chosen.any():
                writers[split].write(rows if chosen.all() else rows.filter(pa.array(chosen)))
            counts[f"{split}_passages"] += int(chosen.sum())
        empty = np.setdiff1d(np.arange(len(documents.ids)), passages.document).tolist()
        if empty:
            rejected.write(schema.rejected_batch(_without_token(documents, empty, task["path"], counts["in"])))
        counts.update({"in": len(documents.ids), "kept": len(documents.ids) - len(empty), "rejected": len(empty)})
        watch.lap("write")
    shards = [{**entry, "split": split} for split, writer in writers.items() for entry in writer.close()]
    written = {"shards": shards, "rejected_shards": rejected.close()}
    watch.lap("write")
    return {
        **written,
        "unknown_texts": dict(tally.unknown_texts.most_common(1000)),
        "counts": {
            **counts,
            "duplicate": 0,
            "passages": sum(shard["rows"] for shard in shards),
            **{name: value for name, value in vars(tally).items() if name != "unknown_texts"},
            "seconds": watch.seconds,
        },
    }


def _batches(shard: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """Read a shard by its row groups, each of which was one batch of documents when it was segmented."""
    for number in range(shard.num_row_groups):
        yield from shard.read_row_group(number).combine_chunks().to_batches()


def _without_token(documents: Documents, empty: list[int], path: str, before: int) -> list[Rejected]:
    return [
        Rejected(
            documents.sources[number], path, before + number + 1, "no token",
            f"document {documents.ids[number]}: no character gives a token", documents.texts[number][:200],
        )
        for number in empty
    ]  # fmt: skip


if __name__ == "__main__":
    import session

    sys.exit(session.run_job(main))
