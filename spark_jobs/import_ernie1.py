"""ERNIE 1.0's released pretraining files + the tokenizer of their vocabulary → passages for training.

spark-submit spark_jobs/import_ernie1.py --input FILE… --tokenizer TOKENIZER --output PASSAGES
"""

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
from encode_corpus import BATCH_ROWS, copy_tokenizer, is_held_out
from pydantic import Field

from ernie_pipe.config import Settings, add_arguments, from_arguments
from ernie_pipe.corpus import ernie1, schema
from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus.storage import list_files, open_stream, prepare_folder, resolve
from ernie_pipe.corpus.writer import ShardWriter, rejected_writer
from ernie_pipe.errors import InputError
from ernie_pipe.stopwatch import Stopwatch
from ernie_pipe.text.document import ROLES, Rejected, Unusable
from ernie_pipe.text.encode import SpecialIds, load_encoder
from ernie_pipe.text.passages import UNIT_BITS, Documents, Tally
from ernie_pipe.text.spans import Places, Spans

# Lines of each file that are looked at before Spark starts: is this the vocabulary that made them?
PROBED = 100


class ImportSettings(Settings):
    """Settings of the job."""

    input: list[str] = Field(description="files (.gz or plain) or folders of lines in ERNIE 1.0's format")
    tokenizer: str = Field(description="tokenizer folder of the vocabulary that made the ids")
    output: str = Field(description="folder for the passages")
    max_tokens: int = Field(512, ge=8, le=65_536, description="tokens of a passage with [CLS] and [SEP]")
    held_out: float = Field(0.0, ge=0, lt=1, description="share of documents kept aside for evaluation")


def main(argv: list[str]) -> int:
    """Run the job with command-line arguments; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ernie-pipe import-ernie1", description=__doc__.split("\n")[0])
    add_arguments(parser, ImportSettings)
    parser.add_argument("--overwrite", action="store_true", help="replace a result of another configuration")
    args = parser.parse_args(argv)
    settings = from_arguments(ImportSettings, args)
    counts = import_files(settings, overwrite=args.overwrite).counts
    reasons = ", ".join(f"{number} {reason}" for reason, number in counts["reasons"].items())
    print(
        f"{settings.output}: {counts['passages']} passages, {counts['tokens']} tokens of {counts['kept']} lines "
        f"({counts['followed']} pairs that follow each other, {counts['random']} random ones cut into two documents), "
        f"{counts['units']['word']} words; {counts['rejected']} of {counts['in']} lines rejected"
        + (f" ({reasons}): see {settings.output}/_rejected" if reasons else "")
    )
    return 0


def import_files(settings: ImportSettings, *, overwrite: bool = False) -> manifests.Manifest:
    """Import the files and commit the manifest; a finished equal result is left as it is."""
    began = time.monotonic()
    encoder = load_encoder(settings.tokenizer)
    special = SpecialIds.of(encoder)
    files = _files(settings.input)
    config = {
        "format": "ernie1",
        "input": manifests.content_hash([[file["path"], file["bytes"], _modified(file["path"])] for file in files]),
        "tokenizer": encoder.fingerprint,
        "max_tokens": settings.max_tokens,
        "held_out": settings.held_out,
    }
    if manifests.is_done(settings.output, "passages", config, overwrite=overwrite):
        print(f"{settings.output}: already done with this configuration", file=sys.stderr)
        return manifests.read(settings.output, "passages")
    _probe_all([file["path"] for file in files], special, settings.tokenizer)
    prepare_folder(settings.output)
    import session

    spark = session.start("import-ernie1")
    session.carry_code_of(is_held_out)
    options = settings.model_dump(include={"output", "max_tokens", "held_out"})
    tasks = [{"number": number, **file} for number, file in enumerate(files)]
    summaries = session.run_tasks(spark, tasks, partial(import_task, special=special, options=options), "import")
    counts = manifests.add_up(summary["counts"] for summary in summaries)
    if not counts["passages"]:
        reasons = ", ".join(f"{number} {reason}" for reason, number in counts["reasons"].items())
        raise InputError(
            f"nothing to import: 0 passages of {counts['in']} lines in {', '.join(settings.input)} "
            f"({reasons or 'empty'})"
        )
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
                "entity_types": {},
                "roles": list(ROLES),
                "most_frequent_unknown": {},
                "segmented": {"format": "ernie1", "units": "words as labelled in the files"},
            },
            seconds={**counts.pop("seconds"), "wall": round(time.monotonic() - began, 2)},
        ),
    )


def _files(inputs: list[str]) -> list[dict[str, Any]]:
    """Return every file with its bytes, its source (the name of the input) and its name, which documents bear."""
    found = [
        {
            "path": path,
            "bytes": size,
            "source": PurePath(given.rstrip("/")).name.split(".")[0],
            "name": path.partition(resolve(given)[1])[2].lstrip("/") or PurePath(path).name,
        }
        for given in inputs
        for path, size in list_files(given)
    ]
    twice = [path for path, number in Counter(file["path"] for file in found).items() if number > 1]
    if twice:
        raise InputError(f"{twice[0]}: given twice; ids of documents and their share would be doubled")
    if not found:
        raise InputError(f"nothing to read: no file in {', '.join(inputs)}")
    return found


def _modified(path: str) -> int:
    system, inner = resolve(path)
    return system.get_file_info(inner).mtime_ns or 0


def _probe_all(paths: list[str], special: SpecialIds, tokenizer: str) -> None:
    """Refuse files that do not fit the vocabulary, and those that hold no line of the format at all."""
    problems = [_probe(path, special, tokenizer) for path in paths]
    if all(problems):
        raise InputError(f"{paths[0]}, line 1: {problems[0]}: not ERNIE 1.0's pretraining format")


def _probe(path: str, special: SpecialIds, tokenizer: str) -> str:
    """Refuse a file most of whose first lines do not fit the vocabulary: its ids would mean other tokens.

    Returns what is wrong with the first line; empty: one of the first lines is well formed.
    """
    problems: list[str] = []
    unusable: list[str] = []
    seen = 0
    for _, line in itertools.islice(lines_of(path), PROBED):
        seen += 1
        try:
            ernie1.parse(line, special)
        except Unusable as error:
            reason, detail = error.args
            unusable.append(f"{reason}: {detail}")
            problems += unusable[-1:] if reason in ernie1.NUMBERING else []
    if len(problems) * 2 > seen:
        raise InputError(
            f"{path}: the ids are not of the vocabulary of {tokenizer} ({problems[0]}): give the tokenizer of the "
            "vocabulary that made them (`ernie-pipe vocab --vocab vocab.txt --output TOKENIZER`)"
        )
    if not seen:
        return "no line there"
    return unusable[0] if len(unusable) == seen else ""


def lines_of(path: str) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) of a file; `InputError` when it cannot be read to its end."""
    number = 0
    try:
        with open_stream(path) as stream:
            for number, line in enumerate(stream, start=1):
                yield number, line.decode("utf-8-sig", "replace").rstrip("\r\n")
    except (OSError, pa.ArrowInvalid) as error:
        found = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read beyond line {number}: {found}") from None


def import_task(task: dict[str, Any], *, special: SpecialIds, options: dict[str, Any]) -> dict[str, Any]:
    """Import one file into a shard of passages (and one of held-out passages)."""
    watch = Stopwatch()
    columns = schema.passages_schema(special.size)
    writers = {
        split: ShardWriter(options["output"], task["number"], "arrow", columns, batch_rows=BATCH_ROWS)
        for split in ("train", "held_out")
    }
    rejected = rejected_writer(options["output"], task["number"])
    names = ("in", "kept", "rejected", "followed", "random", "train_passages", "held_out_passages")
    counts: Counter[str] = Counter(dict.fromkeys(names, 0))
    tally, reasons = Tally(), Counter[str]()
    lines = lines_of(task["path"])
    while chunk := list(itertools.islice(lines, BATCH_ROWS)):
        samples, kept, refused = _parse(chunk, task, special)
        watch.lap("read")
        followed = sum(sample.follows for sample in samples)
        sizes = {"in": len(chunk), "kept": len(samples), "rejected": len(refused)}
        counts.update({**sizes, "followed": followed, "random": len(samples) - followed})
        reasons.update(row.reason for row in refused)
        if refused:
            rejected.write(schema.rejected_batch(refused))
        if samples:
            found = ernie1.passages(samples, special, max_tokens=options["max_tokens"], tally=tally)
            documents = _documents(ernie1.doc_ids(samples, kept), task["source"])
            rows = schema.passages_batch(found, documents, columns)
            held_out = np.array([is_held_out(name, options["held_out"]) for name in documents.ids])[found.document]
            for split, chosen in (("train", ~held_out), ("held_out", held_out)):
                if chosen.any():
                    writers[split].write(rows if chosen.all() else rows.filter(pa.array(chosen)))
                counts[f"{split}_passages"] += int(chosen.sum())
        watch.lap("write")
    shards = [{**entry, "split": split} for split, writer in writers.items() for entry in writer.close()]
    written = {"shards": shards, "rejected_shards": rejected.close()}
    watch.lap("write")
    return {
        **written,
        "counts": {
            **counts,
            "reasons": reasons,
            "duplicate": 0,
            "passages": sum(shard["rows"] for shard in shards),
            **{name: value for name, value in vars(tally).items() if name != "unknown_texts"},
            "seconds": watch.seconds,
        },
    }


def _parse(
    chunk: list[tuple[int, str]], task: dict[str, Any], special: SpecialIds
) -> tuple[list[ernie1.Sample], list[str], list[Rejected]]:
    """Return the samples of numbered lines, their names, and what was refused."""
    samples, names, refused = [], [], []
    for number, line in chunk:
        try:
            samples.append(ernie1.parse(line, special))
            names.append(f"{task['name']}#{number}")
        except Unusable as error:
            reason, detail = error.args
            refused.append(Rejected(task["source"], task["path"], number, reason, detail, line[:200]))
    return samples, names, refused


def _documents(ids: list[str], source: str) -> Documents:
    """Return documents of which only ids and source are known."""
    offsets = np.zeros(len(ids) + 1, dtype=np.int32)
    none = Spans(np.zeros((0, 2), dtype=np.int32), offsets)
    return Documents(
        ids=ids, sources=[source] * len(ids), labels=[None] * len(ids), texts=[""] * len(ids), sentences=none,
        words=Places(offsets[:0], offsets), phrases=none, entities=none, entity_types=np.zeros(0, np.uint8),
        segments=[[] for _ in ids],
    )  # fmt: skip


if __name__ == "__main__":
    import session

    sys.exit(session.run_job(main))
