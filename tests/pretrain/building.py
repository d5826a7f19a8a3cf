"""Small passages folders without Spark, by the same functions as `spark_jobs/encode_corpus.py` uses."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ernie_pipe import resources
from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus import schema
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.corpus.writer import ShardWriter
from ernie_pipe.pretrain.batch import BatchBuilder
from ernie_pipe.pretrain.plan import Plan
from ernie_pipe.pretrain.settings import PretrainSettings
from ernie_pipe.text import lexicon as lexicons
from ernie_pipe.text import lexicon_files, vocabulary
from ernie_pipe.text.document import Record
from ernie_pipe.text.encode import SpecialIds, load_encoder
from ernie_pipe.text.passages import Tally, encode_documents
from ernie_pipe.text.units import Segmenter
from ernie_pipe.text.words import load_engine

MICRO = {
    "seed": 3,
    "model": {
        "hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 64, "dropout": 0.1,
        "attention_dropout": 0.1, "max_positions": 64, "task_rows": 4,
    },
    "tasks": {"knowledge_masking": {}, "sentence_reordering": {"max_segments": 2}, "sentence_distance": {}},
    "stages": [
        {"name": "words", "steps": 4, "tasks": {"knowledge_masking": 1.0}, "levels": {"basic": 0.5, "phrase": 0.5}},
        {
            "name": "sentences",
            "steps": 6,
            "tasks": {"knowledge_masking": 0.6, "sentence_reordering": 0.2, "sentence_distance": 0.2},
        },
    ],
    "batch": {"tokens_per_step": 1024, "micro_batches": 4},
    "optimizer": {"learning_rate": 5e-3, "warmup_steps": 2},
    "checkpoint": {"every": 3, "keep": 3},
    "log_every": 1,
    "trackers": [],
}  # fmt: skip


@cache
def sample_passages(base: Path) -> str:
    """A passages folder of the sample corpus, at most 64 tokens a passage, made once for all tests."""
    return write_passages(base / "sample-passages", sample_texts(), max_tokens=64)


def sample_texts(limit: int | None = None) -> list[str]:
    """The texts of the sample corpus that are no dialogues."""
    files = sorted((resources.sample() / "documents").glob("*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [row["text"] for row in rows if "text" in row][:limit]


def write_tokenizer(folder: Path, texts: Sequence[str]) -> Path:
    """A tokenizer folder that covers `texts`."""
    counts: Counter[str] = Counter()
    for text in texts:
        vocabulary.count_text(text, counts)
    tokens = vocabulary.choose(counts.most_common(), size=4000, coverage=1.0, lowercase=True)
    vocabulary.save(tokens, str(folder), lowercase=True)
    return folder


def write_passages(
    folder: Path,
    texts: Sequence[str],
    *,
    max_tokens: int,
    shards: int = 2,
    source: str = "sample",
    tokenizer: str | None = None,
) -> str:
    """Segment and encode `texts`, one document each, into the passages folder `folder`, with a tokenizer of theirs."""
    if tokenizer is None:
        write_tokenizer(folder / "tokenizer", texts)
    else:
        shutil.copytree(tokenizer, folder / "tokenizer")
    encoder = load_encoder(str(folder / "tokenizer"))
    table = lexicon_files.read_lexicons([str(resources.sample() / "lexicon.tsv")])
    segmenter = Segmenter(
        load_engine("rjieba"), lexicons.from_bytes(lexicons.compile_lexicon(table.entities, table.phrases))
    )
    columns = schema.passages_schema(encoder.size)
    type_ids = {kind: number for number, kind in enumerate(segmenter.type_names, start=1)}
    entries: list[dict[str, Any]] = []
    for shard in range(shards):
        writer = ShardWriter(str(folder), shard, "arrow", columns, batch_rows=64)
        records = [Record(f"doc-{number}", source, texts[number]) for number in range(shard, len(texts), shards)]
        layers = segmenter.segment([record.text for record in records])
        batch = schema.segmented_batch(records, layers, segmenter.type_names)
        documents = schema.read_documents(batch, type_ids)
        passages = encode_documents(encoder, documents, max_tokens=max_tokens, tally=Tally())
        writer.write(schema.passages_batch(passages, documents, columns))
        entries += [{**entry, "split": "train"} for entry in writer.close()]
    details = {"tokenizer": encoder.fingerprint, "vocab_size": encoder.size, "batch_rows": 64}
    made = manifests.Manifest(kind="passages", config={}, counts={}, shards=entries, details=details)
    manifests.commit(str(folder), made)
    return str(folder)


def settings(**changes: Any) -> PretrainSettings:
    """The micro run with single blocks replaced."""
    return PretrainSettings.model_validate(MICRO | changes)


def batches(data: str, **changes: Any) -> BatchBuilder:
    """The batch builder of the micro run on `data`."""
    wanted = settings(**changes)
    passages = Passages(data)
    tasks = wanted.build_tasks()
    special = SpecialIds.of(load_encoder(f"{data}/tokenizer"))
    return BatchBuilder(Plan(wanted, passages, tasks), passages, tasks, special)
