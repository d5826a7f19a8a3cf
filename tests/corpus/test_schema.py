"""Rows → columns → rows."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ernie_pipe.corpus import schema
from ernie_pipe.text.document import Record, Rejected
from ernie_pipe.text.lexicon import compile_lexicon, from_bytes
from ernie_pipe.text.units import Segmenter
from ernie_pipe.text.words import load_engine

TEXTS = ["哈尔滨是黑龙江的省会。很冷。", "，", "\u200b", "省会", "好吗？\n很好。"] * 3


@pytest.fixture(scope="module")
def rows():
    segmenter = Segmenter(load_engine("rjieba"), from_bytes(compile_lexicon({"省会": "PHRASE"})))
    records = [Record(str(i), "s", text, label=str(i) if i % 2 else None) for i, text in enumerate(TEXTS)]
    records[4] = Record("4", "s", TEXTS[4], segments=((0, "query"), (4, "response")))
    return [(record, segmenter.units(record.text)) for record in records]


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_segmented_documents_survive_parquet(rows, tmp_path, batch_size):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_batches([schema.segmented_batch(rows)]), path, row_group_size=6)
    batches = pq.ParquetFile(path).iter_batches(batch_size=batch_size)
    found = [document for batch in batches for document in schema.segmented_rows(batch)]
    for (record, units), document in zip(rows, found, strict=True):
        for name in ("doc_id", "source", "text", "label"):
            assert getattr(document, name) == getattr(record, name)
        assert document.segments == list(record.segments)
        for name, spans in (("sentences", units.sentences), ("words", units.word_bounds), ("phrases", units.phrases)):
            assert getattr(document, name).shape[1] == 2
            assert getattr(document, name).tolist() == np.reshape(spans, (-1, 2)).tolist()
        assert document.entities.tolist() == [[start, end] for start, end, *_ in units.entities]
        assert document.entity_types == [kind for _, _, kind, _ in units.entities]


def test_a_slice_of_a_batch_is_read_like_the_batch(rows):
    batch = schema.segmented_batch(rows)
    whole = [document.words.tolist() for document in schema.segmented_rows(batch)]
    assert [document.words.tolist() for document in schema.segmented_rows(batch.slice(3, 5))] == whole[3:8]


def test_rejected_records_keep_every_field():
    bad = Rejected("s", "a.jsonl", 3, "not JSON", "column 1", "{")
    assert schema.rejected_batch([bad]).to_pylist() == [
        {"source": "s", "path": "a.jsonl", "line": 3, "reason": "not JSON", "detail": "column 1", "raw": "{"}
    ]


@pytest.mark.parametrize(("size", "kind"), [(65_536, pa.uint16()), (65_537, pa.uint32())])
def test_ids_are_as_wide_as_the_vocabulary_needs(size, kind):
    assert schema.passages_schema(size).field("input_ids").type.value_type == kind
