"""A passages folder that can serve every task, made without Spark: documents, dialogues, labelled pairs, mined pairs.

By the same functions as the jobs use. Files: whatever `ernie-pipe segment` takes; the pairs of `discourse_relation`
are mined from their running text (`ernie_pipe.text.connectives`). Small corpora alone: all records are held in memory.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ernie_pipe import resources
from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus import schema
from ernie_pipe.corpus.writer import ShardWriter
from ernie_pipe.text import lexicon as lexicons
from ernie_pipe.text import lexicon_files, vocabulary
from ernie_pipe.text.connective_inventory import parse, read_text
from ernie_pipe.text.connectives import RelationMiner
from ernie_pipe.text.document import Record, Split, plan_splits, read
from ernie_pipe.text.encode import load_encoder
from ernie_pipe.text.passages import Tally, encode_documents
from ernie_pipe.text.units import Segmenter
from ernie_pipe.text.words import load_engine

_BATCH_ROWS = 1024
_DOCUMENTS = 512


def write(folder: Path, files: Sequence[str] = (), *, max_tokens: int = 128) -> str:
    """Write the passages of `files` (none: the sample) with a tokenizer of their own; returns the folder."""
    records = read_records(files or sample_files())
    records += mined(records)
    counts: Counter[str] = Counter()
    for record in records:
        vocabulary.count_text(record.text, counts)
    tokens = vocabulary.choose(counts.most_common(), size=18_000, coverage=0.9999, lowercase=True)
    vocabulary.save(tokens, str(folder / "tokenizer"), lowercase=True)
    encoder = load_encoder(str(folder / "tokenizer"))
    table = lexicon_files.read_lexicons([str(resources.sample() / "lexicon.tsv")])
    compiled = lexicons.from_bytes(lexicons.compile_lexicon(table.entities, table.phrases))
    segmenter = Segmenter(load_engine("rjieba"), compiled)
    columns = schema.passages_schema(encoder.size)
    type_ids = {kind: number for number, kind in enumerate(segmenter.type_names, start=1)}
    writer = ShardWriter(str(folder), 0, "arrow", columns, batch_rows=_BATCH_ROWS)
    for first in range(0, len(records), _DOCUMENTS):
        part = records[first : first + _DOCUMENTS]
        layers = segmenter.segment([record.text for record in part])
        documents = schema.read_documents(schema.segmented_batch(part, layers, segmenter.type_names), type_ids)
        passages = encode_documents(encoder, documents, max_tokens=max_tokens, tally=Tally())
        writer.write(schema.passages_batch(passages, documents, columns))
    shards = [{**entry, "split": "train"} for entry in writer.close()]
    details: dict[str, Any] = {
        "tokenizer": encoder.fingerprint, "vocab_size": encoder.size, "batch_rows": _BATCH_ROWS,
        "entity_types": type_ids, "max_tokens": max_tokens,
    }  # fmt: skip
    manifests.commit(
        str(folder), manifests.Manifest(kind="passages", config={}, counts={}, shards=shards, details=details)
    )
    return str(folder)


def sample_files() -> list[str]:
    """The files of the sample that tasks learn from."""
    sample = resources.sample()
    named = [sample / f"{name}.jsonl" for name in ("dialogue", "relevance", "discourse")]
    return [str(path) for path in (*sorted((sample / "documents").glob("*.jsonl")), *named)]


def read_records(files: Sequence[str]) -> list[Record]:
    """The documents of `files`; what cannot be read is left out."""
    splits = [
        split for path in files for split, _ in plan_splits(path, Split("", Path(path).stem, ""), split_bytes=1 << 30)
    ]
    return [item for split in splits for item in read(split) if isinstance(item, Record)]


def mined(records: Sequence[Record]) -> list[Record]:
    """The pairs of clauses with a relation that running text has, each a document of its own."""
    running = [record for record in records if not record.segments]
    miner = RelationMiner(parse(read_text()), load_engine("rjieba"))
    pairs = [pair for _, pair in miner.find([record.text for record in running], Counter())]
    return [
        Record(
            f"mined-{number}", "relations", f"{pair.arg1}\n{pair.arg2}", label=pair.relation,
            segments=((0, "arg1"), (len(pair.arg1) + 1, "arg2")),
        )
        for number, pair in enumerate(pairs)
    ]  # fmt: skip
