"""Splits of raw files → records in batches, and what a batch adds to a manifest's counts."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ernie_pipe.text.document import Record, Rejected, Split, read

# Documents that are worked on at once: enough to make one call cheap, few enough for any memory.
BATCH_CHARACTERS, BATCH_RECORDS = 1 << 19, 4096


def read_batches(splits: Sequence[tuple]) -> Iterator[tuple[list[Record], list[Rejected]]]:
    """Read splits (as tuples) in batches of about `BATCH_CHARACTERS`; the last may be empty."""
    records: list[Record] = []
    rejected: list[Rejected] = []
    size = 0
    for split in splits:
        for item in read(Split(*split)):
            if isinstance(item, Rejected):
                rejected.append(item)
            else:
                records.append(item)
                size += len(item.text)
            if size >= BATCH_CHARACTERS or len(records) + len(rejected) >= BATCH_RECORDS:
                yield records, rejected
                records, rejected, size = [], [], 0
    yield records, rejected


def counts_of(records: Sequence[Record], rejected: Sequence[Rejected]) -> dict[str, Any]:
    """Return the counts of a batch: in = kept + rejected + duplicate."""
    return {
        "in": len(records) + len(rejected),
        "kept": len(records),
        "rejected": len(rejected),
        "duplicate": 0,
        "rejected_reasons": Counter(item.reason for item in rejected),
        "characters": sum(len(record.text) for record in records),
    }
