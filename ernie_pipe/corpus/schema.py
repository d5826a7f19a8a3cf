"""Arrow schemas of what the stages hand on, and the conversions between rows and columns.

Spans are characters of `text` in segmented documents, tokens in passages.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized

import numpy as np
import pyarrow as pa

from ernie_pipe.text.document import ROLES, Record, Rejected
from ernie_pipe.text.encode import Passage, Segmented
from ernie_pipe.text.units import Entity, Units

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
        ("words", pa.list_(_SPAN)),
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


def _list_array(arrays: Sequence[Sized], values: pa.Array) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays])]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _flat(arrays: Sequence[np.ndarray], kind: pa.DataType) -> pa.ListArray:
    joined = np.concatenate(arrays) if arrays else np.zeros(0)
    return _list_array(arrays, pa.array(joined.astype(kind.to_pandas_dtype()), kind))


def _spans(arrays: Sequence[np.ndarray]) -> pa.ListArray:
    joined = np.concatenate([array.reshape(-1, 2) for array in arrays]).astype(np.int32)
    columns = [pa.array(np.ascontiguousarray(joined[:, column])) for column in (0, 1)]
    return _list_array(arrays, pa.StructArray.from_arrays(columns, fields=list(_SPAN)))


def _entities(lists: Sequence[Sequence[Entity]]) -> pa.ListArray:
    flat = list(itertools.chain.from_iterable(lists))
    columns = [pa.array([entity[i] for entity in flat], field.type) for i, field in enumerate(_ENTITY)]
    return _list_array(lists, pa.StructArray.from_arrays(columns, fields=list(_ENTITY)))


def segmented_batch(rows: Sequence[tuple[Record, Units]]) -> pa.RecordBatch:
    """Columns of segmented documents from records and their units."""
    records = [record for record, _ in rows]
    layers = [units for _, units in rows]
    columns = [
        pa.array([record.doc_id for record in records], pa.string()),
        pa.array([record.source for record in records], pa.string()),
        pa.array([record.title for record in records], pa.string()),
        pa.array([record.label for record in records], pa.string()),
        pa.array([record.text for record in records], pa.string()),
        _spans([np.array(units.sentences, dtype=np.int32).reshape(-1, 2) for units in layers]),
        _spans([units.word_bounds for units in layers]),
        _spans([np.array(units.phrases, dtype=np.int32).reshape(-1, 2) for units in layers]),
        _entities([units.entities for units in layers]),
        pa.array(
            [[{"start": start, "role": role} for start, role in record.segments] for record in records],
            SEGMENTED.field("segments").type,
        ),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SEGMENTED)


def segmented_rows(batch: pa.RecordBatch) -> Iterator[Segmented]:
    """The documents of a batch; span columns become int arrays of shape (n, 2)."""
    spans = {name: _span_arrays(batch.column(name)) for name in ("sentences", "words", "phrases", "entities")}
    kinds = _list_slices(batch.column("entities"), batch.column("entities").values.field("type"))
    plain = batch.select(["doc_id", "source", "label", "text", "segments"]).to_pylist()
    for i, row in enumerate(plain):
        yield Segmented(
            doc_id=row["doc_id"],
            source=row["source"],
            text=row["text"],
            label=row["label"],
            segments=[(segment["start"], segment["role"]) for segment in row["segments"]],
            entity_types=kinds[i].to_pylist(),
            **{name: arrays[i] for name, arrays in spans.items()},
        )


def _span_arrays(column: pa.ListArray) -> list[np.ndarray]:
    bounds = [column.values.field(name).to_numpy(zero_copy_only=False) for name in ("start", "end")]
    both = np.stack(bounds, axis=1)
    offsets = column.offsets.to_numpy()
    return [both[start:end] for start, end in itertools.pairwise(offsets)]


def _list_slices(column: pa.ListArray, values: pa.Array) -> list[pa.Array]:
    offsets = column.offsets.to_pylist()
    return [values.slice(start, end - start) for start, end in itertools.pairwise(offsets)]


def rejected_batch(rows: Iterable[Rejected]) -> pa.RecordBatch:
    """Columns of rejected records."""
    names = REJECTED.names
    return pa.RecordBatch.from_pylist([{name: getattr(row, name) for name in names} for row in rows], REJECTED)


def passages_batch(rows: Sequence[tuple[Segmented, Passage]], schema: pa.Schema, *, offsets: bool) -> pa.RecordBatch:
    """Columns of passages; `offsets` keeps the start and end characters of each token (start, end, start, …)."""
    passages = [passage for _, passage in rows]
    columns = [
        pa.array([document.doc_id for document, _ in rows], pa.string()),
        pa.array([passage.index for passage in passages], pa.int32()),
        pa.array([document.source for document, _ in rows], pa.string()),
        _flat([passage.input_ids for passage in passages], schema.field("input_ids").type.value_type),
        _flat([passage.unit_bits for passage in passages], pa.uint8()),
        _flat([passage.entity_types for passage in passages], pa.uint8()),
        _flat([passage.sentence_starts for passage in passages], pa.uint16()),
        pa.array(
            [[{"start": start, "role": ROLES.index(role)} for start, role in passage.segments] for passage in passages],
            schema.field("segments").type,
        ),
        pa.array([document.label for document, _ in rows], pa.string()),
        _flat([np.stack([p.starts, p.ends], axis=1).ravel() for p in passages], pa.uint32())
        if offsets
        else pa.nulls(len(rows), schema.field("offsets").type),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
