"""Rows → columns → rows."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ernie_pipe.corpus import schema
from ernie_pipe.text.document import Record, Rejected
from ernie_pipe.text.lexicon import ENTITY_TYPES, compile_lexicon, from_bytes
from ernie_pipe.text.units import Segmenter
from ernie_pipe.text.words import load_engine

TEXTS = ["哈尔滨是黑龙江的省会。很冷。", "，", "\u200b", "省会", "好吗？\n很好。"] * 3


TYPES = {kind: number for number, kind in enumerate(ENTITY_TYPES, start=1)}


@pytest.fixture(scope="module")
def segmented():
    segmenter = Segmenter(load_engine("rjieba"), from_bytes(compile_lexicon({"黑龙江": "LOC"}, ["省会"])))
    records = [Record(str(i), "s", text, label=str(i) if i % 2 else None) for i, text in enumerate(TEXTS)]
    records[4] = Record("4", "s", TEXTS[4], segments=((0, "query"), (4, "response")))
    layers = segmenter.segment([record.text for record in records])
    return records, layers, schema.segmented_batch(records, layers, segmenter.type_names)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_segmented_documents_survive_parquet(segmented, tmp_path, batch_size):
    records, layers, written = segmented
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_batches([written]), path, row_group_size=6)
    first = 0
    for batch in pq.ParquetFile(path).iter_batches(batch_size=batch_size):
        found = schema.read_documents(batch, TYPES)
        expected = records[first : first + batch.num_rows]
        assert found.ids == [record.doc_id for record in expected]
        assert found.texts == [record.text for record in expected]
        assert found.labels == [record.label for record in expected]
        assert found.segments == [list(record.segments) for record in expected]
        for i in range(len(expected)):
            assert found.words.of(i).tolist() == layers.words.of(first + i)[:, 0].tolist()
            for name in ("sentences", "phrases", "entities"):
                assert getattr(found, name).of(i).tolist() == getattr(layers, name).of(first + i).tolist()
        first += batch.num_rows
    assert first == len(records)


def test_a_slice_of_a_batch_is_read_like_the_batch(segmented):
    _, layers, batch = segmented
    part = schema.read_documents(batch.slice(3, 5), TYPES)
    assert [part.words.of(i).tolist() for i in range(5)] == [layers.words.of(i)[:, 0].tolist() for i in range(3, 8)]
    assert len(part.entity_types) == len(part.entities.bounds)


def test_types_and_sources_of_entities_are_kept_by_name(segmented):
    _, _, batch = segmented
    assert batch.column("entities").to_pylist()[0] == [
        {"start": 0, "end": 3, "type": "LOC", "source": "tagger"},
        {"start": 4, "end": 7, "type": "LOC", "source": "lexicon"},
    ]


def test_rejected_records_keep_every_field():
    bad = Rejected("s", "a.jsonl", 3, "not JSON", "column 1", "{")
    assert schema.rejected_batch([bad]).to_pylist() == [
        {"source": "s", "path": "a.jsonl", "line": 3, "reason": "not JSON", "detail": "column 1", "raw": "{"}
    ]


@pytest.mark.parametrize(("size", "kind"), [(65_536, pa.uint16()), (65_537, pa.uint32())])
def test_ids_are_as_wide_as_the_vocabulary_needs(size, kind):
    assert schema.passages_schema(size).field("input_ids").type.value_type == kind
