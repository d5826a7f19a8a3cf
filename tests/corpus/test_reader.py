"""Passages: written as Arrow shards, read by any row."""

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ernie_pipe.corpus import schema
from ernie_pipe.corpus.manifest import Manifest, commit
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.corpus.writer import ShardWriter
from ernie_pipe.errors import InputError
from ernie_pipe.text.encode import Passage, Segmented

BATCH_ROWS = 3
EMPTY = np.zeros((0, 2), np.int32)


def passage(document, index, size):
    ids = np.arange(size) + 100 * document + 10 * index
    starts = np.arange(0, size, 2)
    return Passage(index, ids, ids % 7, ids % 3, starts, [(0, "query")], ids, ids + 1)


def shard(folder, number, documents, split="train"):
    """Write documents, given as (id, source, sizes of the passages), to one shard."""
    columns = schema.passages_schema(1000)
    to_batch = partial(schema.passages_batch, schema=columns, offsets=True)
    writer = ShardWriter(str(folder), number, "arrow", columns, to_batch, batch_rows=BATCH_ROWS)
    for document, source, sizes in documents:
        row = Segmented(str(document), source, "", EMPTY, EMPTY, EMPTY, EMPTY, [], [])
        for index, size in enumerate(sizes):
            writer.append((row, passage(document, index, size)))
    (entry,) = writer.close()
    return {**entry, "split": split}


@pytest.fixture
def folder(tmp_path):
    shards = [
        shard(tmp_path, 0, [(0, "web", [3, 1, 4, 1]), (1, "news", [5])]),
        shard(tmp_path, 1, [(9, "web", [2, 6])], split="held_out"),
        shard(tmp_path, 2, [(2, "news", [2, 6]), (3, "book", [1])]),
    ]
    commit(str(tmp_path), Manifest("passages", {}, {}, shards=shards, details={"batch_rows": BATCH_ROWS}))
    return tmp_path


def test_every_row_is_found(folder):
    found = Passages(str(folder))
    expected = [(0, 0, 3), (0, 1, 1), (0, 2, 4), (0, 3, 1), (1, 0, 5), (2, 0, 2), (2, 1, 6), (3, 0, 1)]
    assert len(found) == len(expected)
    for number, (document, index, size) in enumerate(expected):
        whole = passage(document, index, size)
        ids, bits, types = found.get(number)
        assert ids.tolist() == whole.input_ids.tolist()
        assert bits.tolist() == whole.unit_bits.tolist()
        assert types.tolist() == whole.entity_types.tolist()
        assert found.sentence_starts(number).tolist() == whole.sentence_starts.tolist()
    assert found.tokens.tolist() == [size for *_, size in expected]
    assert found.sentences.tolist() == [-(-size // 2) for *_, size in expected]


def test_documents_and_sources_are_told(folder):
    found = Passages(str(folder))
    assert found.document.tolist() == [0, 0, 0, 0, 1, 2, 2, 3]
    assert found.documents == 4
    assert [found.first_passage(document) for document in range(4)] == [0, 4, 5, 7]
    assert [found.source_names[code] for code in found.source] == ["web"] * 4 + ["news"] * 3 + ["book"]


def test_splits_are_apart(folder):
    assert Passages(str(folder), "held_out").tokens.tolist() == [2, 6]
    assert (len(Passages(str(folder), "none")), Passages(str(folder), "none").documents) == (0, 0)


def test_a_pickled_reader_opens_the_folder_again(folder):
    data = pickle.dumps(Passages(str(folder), "held_out"))
    assert len(data) < 500
    assert pickle.loads(data).get(1)[0].tolist() == passage(9, 1, 6).input_ids.tolist()


def test_a_missing_shard_is_named(folder):
    (path,) = folder.glob("part-00002-*")
    path.unlink()
    with pytest.raises(InputError, match=rf"{path.name}: named by the manifest but missing: run `ernie-pipe encode`"):
        Passages(str(folder))


@pytest.mark.parametrize("size", [0, 50, -20])
def test_a_cut_shard_is_named(folder, size):
    (path,) = folder.glob("part-00002-*")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=rf"{path.name}: damaged .*--overwrite"):
        Passages(str(folder))


def test_what_the_manifest_does_not_name_is_not_read(folder):
    shard(folder, 3, [(7, "web", [1])])
    assert len(Passages(str(folder))) == 8


def test_batches_are_cut_by_characters_too(tmp_path, monkeypatch):
    monkeypatch.setattr("ernie_pipe.corpus.writer.BATCH_CHARACTERS", 10)
    batches = []

    def to_batch(rows):
        batches.append(len(rows))
        return schema.rejected_batch([])

    writer = ShardWriter(str(tmp_path), 0, "parquet", schema.REJECTED, to_batch, batch_rows=3)
    for size in (1, 1, 1, 12, 5, 5, 1):
        writer.append(None, characters=size)
    (entry,) = writer.close()
    assert batches == [3, 1, 2, 1]
    assert entry["rows"] == 7


def test_no_row_no_file(tmp_path):
    writer = ShardWriter(str(tmp_path), 0, "parquet", schema.REJECTED, schema.rejected_batch, batch_rows=3)
    assert writer.close() == []
    assert list(tmp_path.iterdir()) == []


def test_the_sample_is_read_as_it_was_encoded(prepared):
    found = Passages(prepared.passages)
    counts = found.manifest.counts
    assert len(found) == counts["passages"]
    assert int(found.tokens.sum()) == counts["tokens"]
    assert found.documents == counts["kept"]
    assert found.tokens.max() <= 126
    assert (Path(prepared.passages) / "tokenizer" / "tokenizer.json").is_file()
