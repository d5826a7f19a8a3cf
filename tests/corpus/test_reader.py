"""Passages: written as Arrow shards, read by any row."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ernie_pipe.corpus import schema
from ernie_pipe.corpus.manifest import Manifest, commit
from ernie_pipe.corpus.reader import NO_LABEL, Passages
from ernie_pipe.corpus.writer import ShardWriter
from ernie_pipe.errors import InputError
from ernie_pipe.text.document import ROLES
from ernie_pipe.text.passages import Documents, PassageBatch
from ernie_pipe.text.spans import Places, Spans

BATCH_ROWS = 3
EMPTY = Spans(np.zeros((0, 2), np.int32), np.zeros(2, np.int32))


def tokens_of(document, index, size):
    """Ids, bits and types of a passage."""
    ids = np.arange(size) + 100 * document + 10 * index
    return ids, (ids % 7).astype(np.uint8), (ids % 3).astype(np.uint8)


def rows(document, source, sizes, label=None):
    """One document with passages of `sizes`, as a batch; a labelled one has segments."""
    ids, bits, types = map(
        np.concatenate, zip(*(tokens_of(document, i, size) for i, size in enumerate(sizes)), strict=True)
    )
    starts = [np.arange(0, size, 2) for size in sizes]
    passages = PassageBatch(
        np.zeros(len(sizes), np.int64), np.arange(len(sizes), dtype=np.int32), np.cumsum([0, *sizes]),
        ids, bits, types, ids, ids + 1, np.concatenate(starts), np.cumsum([0, *map(len, starts)]),
        [[(0, "query"), (2, "title")][: 1 + (size > 2)] for size in sizes] if label else [[] for _ in sizes],
    )  # fmt: skip
    document_row = Documents(
        [str(document)],
        [source],
        [label],
        [""],
        EMPTY,
        Places(np.zeros(0, np.int32), np.zeros(2, np.int32)),
        EMPTY,
        EMPTY,
        np.zeros(0, np.uint8),
        [[]],
    )
    return schema.passages_batch(passages, document_row, schema.passages_schema(1000), offsets=True)


def shard(folder, number, documents, split="train"):
    """Write documents, given as (id, source, sizes of the passages, label or nothing), to one shard."""
    writer = ShardWriter(str(folder), number, "arrow", schema.passages_schema(1000), batch_rows=BATCH_ROWS)
    for document in documents:
        writer.write(rows(*document))
    (entry,) = writer.close()
    return {**entry, "split": split}


@pytest.fixture
def folder(tmp_path):
    shards = [
        shard(tmp_path, 0, [(0, "web", [3, 1, 4, 1]), (1, "news", [5])]),
        shard(tmp_path, 1, [(9, "web", [2, 6])], split="held_out"),
        shard(tmp_path, 2, [(2, "news", [2, 6], "weak"), (3, "book", [1], "strong"), (4, "book", [4], "weak")]),
    ]
    commit(str(tmp_path), Manifest("passages", {}, {}, shards=shards, details={"batch_rows": BATCH_ROWS}))
    return tmp_path


def test_every_row_is_found(folder):
    found = Passages(str(folder))
    expected = [(0, 0, 3), (0, 1, 1), (0, 2, 4), (0, 3, 1), (1, 0, 5), (2, 0, 2), (2, 1, 6), (3, 0, 1), (4, 0, 4)]
    assert len(found) == len(expected)
    for number, (document, index, size) in enumerate(expected):
        for column, expected_column in zip(found.get(number), tokens_of(document, index, size), strict=True):
            assert column.tolist() == expected_column.tolist()
        assert found.sentence_starts(number).tolist() == list(range(0, size, 2))
    assert found.tokens.tolist() == [size for *_, size in expected]
    assert found.sentences.tolist() == [-(-size // 2) for *_, size in expected]


def test_documents_and_sources_are_told(folder):
    found = Passages(str(folder))
    assert found.document.tolist() == [0, 0, 0, 0, 1, 2, 2, 3, 4]
    assert found.documents == 5
    assert [found.first_passage(document) for document in range(4)] == [0, 4, 5, 7]
    assert [found.source_names[code] for code in found.source] == ["web"] * 4 + ["news"] * 3 + ["book"] * 2


def test_labels_and_segments_are_told(folder):
    found = Passages(str(folder))
    assert found.label_names == ["weak", "strong"]
    assert found.labels.tolist() == [NO_LABEL] * 5 + [0, 0, 1, 0]
    assert found.segment_counts.tolist() == [0] * 5 + [1, 2, 1, 2]
    query, title = ROLES.index("query"), ROLES.index("title")
    assert found.roles.tolist() == [0] * 5 + [1 << query, 1 << query | 1 << title] * 2
    segments = [tuple(part.tolist() for part in found.segments(number)) for number in range(len(found))]
    assert segments == [([], [])] * 5 + [([0], [query]), ([0, 2], [query, title])] * 2
    part = found.part(5, 8)
    assert (part.labels.tolist(), part.segment_counts.tolist()) == ([0, 0, 1], [1, 2, 1])
    assert part.roles.tolist() == found.roles[5:8].tolist()


def test_labels_beyond_those_that_can_be_numbered_count_as_none(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("ernie_pipe.corpus.index.NO_LABEL", 2)
    shards = [shard(tmp_path, 0, [(number, "s", [1], f"label {number}") for number in range(4)])]
    commit(str(tmp_path), Manifest("passages", {}, {}, shards=shards, details={"batch_rows": BATCH_ROWS}))
    found = Passages(str(tmp_path))
    assert found.labels.tolist() == [0, 1, 2, 2]
    assert found.label_names == ["label 0", "label 1"]
    assert "4 different labels" in caplog.text


def test_splits_are_apart(folder):
    assert Passages(str(folder), "held_out").tokens.tolist() == [2, 6]
    assert (len(Passages(str(folder), "none")), Passages(str(folder), "none").documents) == (0, 0)


def test_a_pickled_reader_opens_the_folder_again(folder):
    data = pickle.dumps(Passages(str(folder), "held_out"))
    assert len(data) < 500
    assert pickle.loads(data).get(1)[0].tolist() == tokens_of(9, 1, 6)[0].tolist()


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
    assert len(Passages(str(folder))) == 9


@pytest.mark.parametrize("sizes", [[1, 1, 1, 4], [7], [2, 6, 1, 5]])
def test_batches_are_cut_to_their_rows_whatever_comes_in(tmp_path, sizes):
    writer = ShardWriter(str(tmp_path), 0, "arrow", schema.passages_schema(1000), batch_rows=3)
    for number, size in enumerate(sizes):
        writer.write(rows(number, "s", [1 + number] * size))
    (entry,) = writer.close()
    file = pa.ipc.open_file(str(tmp_path / entry["name"]))
    written = [file.get_batch(number).num_rows for number in range(file.num_record_batches)]
    assert written == [3] * (sum(sizes) // 3) + [sum(sizes) % 3] * (sum(sizes) % 3 > 0)
    assert file.read_all().column("doc_id").to_pylist() == [str(i) for i, size in enumerate(sizes) for _ in range(size)]


def test_no_row_no_file(tmp_path):
    assert ShardWriter(str(tmp_path), 0, "parquet", schema.REJECTED).close() == []
    assert list(tmp_path.iterdir()) == []


def test_the_sample_is_read_as_it_was_encoded(prepared):
    found = Passages(prepared.passages)
    counts = found.manifest.counts
    assert len(found) == counts["passages"]
    assert int(found.tokens.sum()) == counts["tokens"]
    assert found.documents == counts["kept"]
    assert found.tokens.max() <= 126
    assert (Path(prepared.passages) / "tokenizer" / "tokenizer.json").is_file()
