"""Arrow schemas of what the stages hand on, and the conversions between rows and columns.

Spans are characters of `text` in segmented documents, tokens in passages.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from ernie_pipe.text.document import ROLES, Record, Rejected
from ernie_pipe.text.passages import Documents, PassageBatch
from ernie_pipe.text.spans import Places, Spans
from ernie_pipe.text.units import SOURCES, Layers

_SPAN = pa.struct([("start", pa.int32()), ("end", pa.int32())])
_ENTITY = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("type", pa.string()), ("source", pa.string())])

SEGMENTED = pa.schema(
    [
        ("doc_id", pa.string()),
        ("source", pa.string()),
        ("title", pa.string()),
        ("label", pa.string()),
        ("text", pa.string()),
        ("sentences", pa.list_(_SPAN)),
        # Where each word begins: it ends where the next one or white space does.
        ("words", pa.list_(pa.int32())),
        ("phrases", pa.list_(_SPAN)),
        ("entities", pa.list_(_ENTITY)),
        ("segments", pa.list_(pa.struct([("start", pa.int32()), ("role", pa.string())]))),
    ]
)

REJECTED = pa.schema(
    [
        ("source", pa.string()),
        ("path", pa.string()),
        ("line", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("raw", pa.string()),
    ]
)


def passages_schema(vocab_size: int) -> pa.Schema:
    """Schema of passages: one row is a run of whole sentences of one document, without special tokens."""
    ids = pa.uint16() if vocab_size <= 1 << 16 else pa.uint32()
    return pa.schema(
        [
            ("doc_id", pa.string()),
            ("index", pa.int32()),
            ("source", pa.string()),
            ("input_ids", pa.list_(ids)),
            ("unit_bits", pa.list_(pa.uint8())),
            ("entity_types", pa.list_(pa.uint8())),
            ("sentence_starts", pa.list_(pa.uint16())),
            ("segments", pa.list_(pa.struct([("start", pa.uint16()), ("role", pa.uint8())]))),
            ("label", pa.string()),
            ("offsets", pa.list_(pa.uint32())),
        ]
    )


def _lists(offsets: np.ndarray, values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)


def _spans(spans: Spans, fields: pa.StructType, **more: pa.Array) -> pa.ListArray:
    columns = {name: pa.array(np.ascontiguousarray(spans.bounds[:, i])) for i, name in enumerate(("start", "end"))}
    columns |= more
    values = pa.StructArray.from_arrays([columns[field.name] for field in fields], fields=list(fields))
    return _lists(spans.offsets, values)


def segmented_batch(records: Sequence[Record], layers: Layers, type_names: Sequence[str]) -> pa.RecordBatch:
    """Columns of segmented documents from records and their units."""
    kinds = pa.array(type_names, pa.string()).take(pa.array(layers.entity_types))
    sources = pa.array(SOURCES, pa.string()).take(pa.array(layers.entity_sources))
    columns = [
        pa.array([record.doc_id for record in records], pa.string()),
        pa.array([record.source for record in records], pa.string()),
        pa.array([record.title for record in records], pa.string()),
        pa.array([record.label for record in records], pa.string()),
        pa.array([record.text for record in records], pa.string()),
        _spans(layers.sentences, _SPAN),
        _lists(layers.words.offsets, pa.array(np.ascontiguousarray(layers.words.bounds[:, 0]))),
        _spans(layers.phrases, _SPAN),
        _spans(layers.entities, _ENTITY, type=kinds, source=sources),
        pa.array(
            [[{"start": start, "role": role} for start, role in record.segments] for record in records],
            SEGMENTED.field("segments").type,
        ),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SEGMENTED)


def read_documents(batch: pa.RecordBatch, type_ids: Mapping[str, int]) -> Documents:
    """Documents from the columns of a batch; `type_ids` numbers the entity types."""
    spans = {name: _read_spans(batch.column(name)) for name in ("sentences", "phrases", "entities")}
    kinds = batch.column("entities").flatten().field("type").dictionary_encode()
    ids = np.array([type_ids[kind] for kind in kinds.dictionary.to_pylist()], dtype=np.uint8)
    return Documents(
        ids=batch.column("doc_id").to_pylist(),
        sources=batch.column("source").to_pylist(),
        labels=batch.column("label").to_pylist(),
        texts=batch.column("text").to_pylist(),
        words=Places(batch.column("words").flatten().to_numpy(), _offsets(batch.column("words"))),
        entity_types=ids[kinds.indices.to_numpy()],
        segments=[
            [(segment["start"], segment["role"]) for segment in segments]
            for segments in batch.column("segments").to_pylist()
        ],
        **spans,
    )


def _read_spans(column: pa.ListArray) -> Spans:
    values = column.flatten()
    bounds = np.stack([values.field(name).to_numpy() for name in ("start", "end")], axis=1)
    return Spans(bounds, _offsets(column))


def _offsets(column: pa.ListArray) -> np.ndarray:
    offsets = column.offsets.to_numpy()
    return offsets - offsets[0]


def rejected_batch(rows: Iterable[Rejected]) -> pa.RecordBatch:
    """Columns of rejected records."""
    names = REJECTED.names
    return pa.RecordBatch.from_pylist([{name: getattr(row, name) for name in names} for row in rows], REJECTED)


def passages_batch(
    passages: PassageBatch, documents: Documents, schema: pa.Schema, *, offsets: bool = False
) -> pa.RecordBatch:
    """Columns of passages; `offsets` keeps the start and end characters of each token (start, end, start, …)."""
    owners = pa.array(passages.document)
    ids = schema.field("input_ids").type.value_type
    both = np.stack([passages.starts, passages.ends], axis=1).ravel().astype(np.uint32)
    columns = [
        pa.array(documents.ids, pa.string()).take(owners),
        pa.array(passages.index, pa.int32()),
        pa.array(documents.sources, pa.string()).take(owners),
        _lists(passages.offsets, pa.array(passages.ids.astype(ids.to_pandas_dtype()))),
        _lists(passages.offsets, pa.array(passages.bits)),
        _lists(passages.offsets, pa.array(passages.types)),
        _lists(passages.sentence_offsets, pa.array(passages.sentence_starts.astype(np.uint16))),
        pa.array(
            [
                [{"start": start, "role": ROLES.index(role)} for start, role in segments]
                for segments in passages.segments
            ],
            schema.field("segments").type,
        ),
        pa.array(documents.labels, pa.string()).take(owners),
        _lists(passages.offsets * 2, pa.array(both))
        if offsets
        else pa.nulls(len(passages), schema.field("offsets").type),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
