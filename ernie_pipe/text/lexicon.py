"""Millions of typed entities and phrases in one hashed table that is mapped, not loaded.

In: surfaces with their types, compiled once on the driver into one Arrow file. Out: matches in a text. Every
Python worker maps the file: a machine holds its pages once, whatever the number of workers.

How a text is searched: length by length, the hashes of all its substrings that may be an entry are looked up at
once (numpy, over a whole batch of documents). A filter by the first two and three characters leaves few of them,
and every hit is compared character by character, so that no hash can invent a match. An automaton does the same
with more than twice the memory, for each worker anew: `benchmarks/lexicon.py` compares.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

PHRASE = "PHRASE"
ENTITY_TYPES = ("PER", "LOC", "ORG", "WORK", "TIME", "TERM", "MISC")
Span = tuple[int, int]

_MULTIPLIER, _MIX, _SHIFT = (np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 32))
# Bit l of a mask says "an entry of l characters begins like this"; the last bit "one of `_LONG` or more".
_LONG = 31
_PAIR = [np.uint32(value) for value in (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)]


class Matches(NamedTuple):
    """Entries found in a text: (M) starts and ends in characters, and the numbers of the entries."""

    starts: np.ndarray
    ends: np.ndarray
    entries: np.ndarray

    def of(self, chosen: np.ndarray) -> "Matches":
        """Return the matches that a mask or an index chooses."""
        return Matches(self.starts[chosen], self.ends[chosen], self.entries[chosen])


class Lexicon:
    """A compiled table (see `compile_lexicon`).

    `types[entry]` is 0 for no entity, else 1 + the index into `type_names`; `is_phrase[entry]` is a bool.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], type_names: list[str]) -> None:
        self.type_names = type_names
        self.types = arrays["types"]
        self.is_phrase = arrays["is_phrase"]
        self._surfaces, self._offsets = arrays["surfaces"], arrays["offsets"]
        self._buckets, self._marks = arrays["buckets"], arrays["marks"]
        self._pair_masks, self._triple_masks = arrays["pair_masks"], arrays["triple_masks"]
        self._letter = np.zeros(0x110000, dtype=self._surfaces.dtype)
        self._letter[arrays["letters"]] = np.arange(1, len(arrays["letters"]) + 1)
        self._lengths = {int(length) for length in arrays["lengths"]}

    def __len__(self) -> int:
        return len(self.types)

    def find(self, codes: np.ndarray) -> Matches:
        """Return every entry at every place of a text given as code points, by start, then by length."""
        letters = self._letter[codes]
        return self._verified(letters, list(self._search(letters)) if len(self) else [])

    def _verified(self, letters: np.ndarray, found: list[Matches]) -> Matches:
        """Return those whose characters are the entry's, by start, then by length."""
        if not found:
            return Matches(*np.zeros((3, 0), dtype=np.int64))
        matches = Matches(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
        matches = matches.of(self._is_same(letters, matches))
        return matches.of(np.lexsort((matches.ends, matches.starts)))

    def find_spans(self, codes: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> Matches:
        """Return which of the given spans (disjoint, by start) are entries."""
        if not len(self):
            return self._verified(codes, [])
        letters = self._letter[codes]
        lengths = ends - starts
        long = np.flatnonzero(lengths > 1)
        starts, lengths = starts[long], lengths[long]
        masks = self._pair_masks_at(letters[starts], letters[starts + 1])
        may = np.flatnonzero(masks >> np.minimum(lengths, _LONG).astype(np.uint32) & np.uint32(1))
        starts, lengths = starts[may], lengths[may]
        found: list[Matches] = []
        for length in self._lengths:
            at = starts[lengths == length]
            hashes = np.zeros(len(at), dtype=np.uint64)
            for place in range(length):
                hashes += _term(letters[at + place], place)
            found += self._look_up(at, hashes, length)
        return self._verified(letters, found)

    def _pair_masks_at(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return self._pair_masks[_pair_slots(first, second, len(self._pair_masks))]

    def _search(self, letters: np.ndarray) -> Iterator[Matches]:
        # The filter by two characters is asked at every place: in 32 bits, and hashes are made for what it leaves.
        known = letters > 0
        masks = self._pair_masks_at(letters[:-1], letters[1:])
        at = np.flatnonzero(masks != 0)
        masks = masks[at]
        hashes = _term(letters[at], 0) + _term(letters[at + 1], 1)
        for length in range(2, max(self._lengths) + 1):
            if length in self._lengths:
                chosen = np.flatnonzero(masks >> np.uint32(min(length, _LONG)) & np.uint32(1))
                yield from self._look_up(at[chosen], hashes[chosen], length)
            # Go on where a longer entry may begin and one more known character follows.
            on = np.flatnonzero(masks >> np.uint32(min(length + 1, _LONG)) > 0)
            on = on[at[on] < len(letters) - length]
            on = on[known[at[on] + length]]
            if not len(on):
                return
            at, masks = at[on], masks[on]
            hashes = hashes[on] + _term(letters[at + length], length)
            if length == 2:
                masks = masks & self._triple_masks[_top_bits(_mixed(hashes), len(self._triple_masks))]

    def _look_up(self, at: np.ndarray, hashes: np.ndarray, length: int) -> Iterator[Matches]:
        mixed = _mixed(hashes)
        bucket = _top_bits(mixed, len(self._buckets) - 1)
        marks = mixed.astype(np.uint32)
        entries, ends = self._buckets[bucket], self._buckets[bucket + 1]
        while True:
            left = np.flatnonzero(entries < ends)
            if not len(left):
                return
            at, marks, entries, ends = at[left], marks[left], entries[left], ends[left]
            hit = np.flatnonzero(self._marks[entries] == marks)
            yield Matches(at[hit], at[hit] + length, entries[hit])
            entries = entries + 1

    def _is_same(self, letters: np.ndarray, matches: Matches) -> np.ndarray:
        """Return whether each entry really is the text at its place."""
        begin = self._offsets[matches.entries].astype(np.int64)
        lengths = matches.ends - matches.starts
        same = self._offsets[matches.entries + 1] - begin == lengths
        # One array over the characters of all matches; `place` is how manieth of its match each is.
        before = np.cumsum(lengths) - lengths
        place = np.arange(int(lengths.sum())) - np.repeat(before, lengths)
        last = len(self._surfaces) - 1
        theirs = self._surfaces[np.minimum(np.repeat(begin, lengths) + place, last)]
        equal = theirs == letters[np.repeat(matches.starts, lengths) + place]
        return same & np.logical_and.reduceat(equal, before) if len(before) else same


def leftmost_longest(matches: Matches) -> Matches:
    """Return the matches (by start, then by length) that leftmost-longest, non-overlapping search gives."""
    if not len(matches.starts):
        return matches
    longest = matches.of(np.append(matches.starts[1:] != matches.starts[:-1], True))
    starts, ends = longest.starts, longest.ends
    # A match that begins where all before have ended is chosen; only those in between have to be looked at in turn.
    reach = np.maximum.accumulate(ends)
    chosen = np.append(True, starts[1:] >= reach[:-1])
    open_ones = np.flatnonzero(~chosen)
    previous, free = -1, 0
    for number, start, end in zip(
        open_ones.tolist(), starts[open_ones].tolist(), ends[open_ones].tolist(), strict=True
    ):
        if number != previous + 1:
            free = ends.item(number - 1)
        previous = number
        if start >= free:
            chosen[number] = True
            free = end
    return longest.of(chosen)


def _power(exponent: int) -> np.uint64:
    return np.uint64(pow(int(_MULTIPLIER), exponent, 1 << 64))


def _term(letters: np.ndarray, place: int) -> np.ndarray:
    """The part of letters at `place` in the hash of a string: Σ letter · multiplier^place, modulo 2^64."""
    return letters.astype(np.uint64) * _power(place)


def _mixed(hashes: np.ndarray) -> np.ndarray:
    mixed = hashes * _MIX
    mixed ^= mixed >> _SHIFT
    mixed *= _MULTIPLIER
    return mixed


def _top_bits(mixed: np.ndarray, size: int) -> np.ndarray:
    """Return a number below `size`, a power of two, by the highest bits."""
    return (mixed >> np.uint64(65 - size.bit_length())).astype(np.int64) if size > 1 else np.zeros(len(mixed), np.int64)


def compile_lexicon(entities: Mapping[str, str], phrases: Iterable[str] = ()) -> bytes:
    """Serialise entities (surface → type) and phrases for `load`.

    A surface may be both. Those of one character are left out: they match anywhere.
    """
    wanted = set(phrases)
    type_names = sorted(set(entities.values()))
    codes = {name: code for code, name in enumerate(type_names, start=1)}
    surfaces = [surface for surface in {**entities, **dict.fromkeys(wanted)} if len(surface) > 1]
    types = np.fromiter((codes.get(entities.get(surface, ""), 0) for surface in surfaces), np.uint8, len(surfaces))
    is_phrase = np.fromiter((surface in wanted for surface in surfaces), bool, len(surfaces))
    arrays = _arranged(surfaces) if surfaces else dict(_EMPTY)
    order = arrays.pop("order")
    arrays |= {"types": types[order], "is_phrase": is_phrase[order].astype(np.uint8)}
    columns = {name: _one_row(array) for name, array in arrays.items()} | {"type_names": pa.array([type_names])}
    buffer = io.BytesIO()
    batch = pa.RecordBatch.from_pydict(columns)
    with pa.ipc.new_file(buffer, batch.schema) as writer:
        writer.write_batch(batch)
    return buffer.getvalue()


def _one_row(array: np.ndarray) -> pa.Array:
    return pa.LargeListArray.from_arrays(pa.array([0, len(array)], pa.int64()), pa.array(array))


def _arranged(surfaces: list[str]) -> dict[str, np.ndarray]:
    """Return the arrays of the table; `order` is the place of each of its entries in `surfaces`."""
    codes = np.frombuffer("".join(surfaces).encode("utf-32-le"), dtype=np.uint32)
    sizes = np.fromiter(map(len, surfaces), np.int64, len(surfaces))
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    letter = np.zeros(0x110000, dtype=np.uint32)
    letter[codes] = 1
    letters = np.flatnonzero(letter).astype(np.uint32)
    letter[letters] = np.arange(1, len(letters) + 1)
    letter = letter.astype(np.uint16 if len(letters) < 1 << 16 else np.uint32)
    spelled = letter[codes]
    place = np.arange(len(codes), dtype=np.int64) - np.repeat(offsets[:-1], sizes)
    powers = np.array([_power(k) for k in range(int(sizes.max()))])
    terms = spelled.astype(np.uint64) * powers[place]
    mixed = _mixed(np.add.reduceat(terms, offsets[:-1]))
    order = np.argsort(mixed, kind="stable")
    size = 1 << max(0, (len(surfaces) - 1).bit_length())
    bucket = _top_bits(mixed[order], size)
    sizes_in_order = sizes[order]
    starts = np.repeat(offsets[:-1][order], sizes_in_order)
    new_offsets = np.concatenate([[0], np.cumsum(sizes_in_order)])
    within = np.arange(len(codes), dtype=np.int64) - np.repeat(new_offsets[:-1], sizes_in_order)
    return {
        "order": order,
        "letters": letters,
        "lengths": np.unique(sizes).astype(np.int32),
        "surfaces": spelled[starts + within],
        "offsets": new_offsets.astype(np.uint32),
        "buckets": np.searchsorted(bucket, np.arange(size + 1)).astype(np.uint32),
        "marks": mixed[order].astype(np.uint32),
        **_filters(spelled, offsets[:-1], sizes),
    }


def _pair_slots(first: np.ndarray, second: np.ndarray, size: int) -> np.ndarray:
    """Return the slot of pairs of characters in a table of `size`, a power of two of at least 2."""
    slots = first.astype(np.uint32) * _PAIR[0] + second.astype(np.uint32) * _PAIR[1]
    slots ^= slots >> np.uint32(15)
    slots *= _PAIR[2]
    slots >>= np.uint32(33 - size.bit_length())
    return slots


def _length_masks(slots: np.ndarray, sizes: np.ndarray, table_size: int) -> np.ndarray:
    """Return a filter: at the slot of each prefix, the lengths of the entries that begin like it."""
    table = np.zeros(table_size, dtype=np.uint32)
    np.bitwise_or.at(table, slots, np.uint32(1) << np.minimum(sizes, _LONG).astype(np.uint32))
    return table


def _table_size(prefixes: np.ndarray) -> int:
    """Return a power of two, roomy for the prefixes: fewer places of a text pass a filter, at some memory."""
    number = len(np.unique(prefixes))
    return 1 << ((2 if number > 1 << 18 else 8) * number).bit_length()


def _filters(spelled: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Return the filters by the first two and the first three characters of entries."""
    first, second = spelled[starts], spelled[starts + 1]
    pair_size = _table_size(first.astype(np.uint64) << _SHIFT | second)
    pairs = _length_masks(_pair_slots(first, second, pair_size), sizes, pair_size)
    long = sizes > 2
    starts, sizes = starts[long], sizes[long]
    triples = _mixed(_term(spelled[starts], 0) + _term(spelled[starts + 1], 1) + _term(spelled[starts + 2], 2))
    triple_size = _table_size(triples)
    return {
        "pair_masks": pairs,
        "triple_masks": _length_masks(_top_bits(triples, triple_size), sizes, triple_size),
    }


_EMPTY = {
    name: np.zeros(0, kind)
    for name, kind in {
        "order": np.int64, "letters": np.uint32, "lengths": np.int32, "surfaces": np.uint16, "offsets": np.uint32,
        "buckets": np.uint32, "marks": np.uint32, "pair_masks": np.uint32, "triple_masks": np.uint32,
    }.items()
}  # fmt: skip


def _read(source: pa.NativeFile | pa.Buffer) -> Lexicon:
    batch = pa.ipc.open_file(source).get_batch(0)
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    type_names = columns.pop("type_names").to_pylist()[0]
    return Lexicon({name: column.values.to_numpy() for name, column in columns.items()}, type_names)


def from_bytes(data: bytes) -> Lexicon:
    """Read what `compile_lexicon` made."""
    return _read(pa.py_buffer(data))


@lru_cache(maxsize=2)
def load(path: str) -> Lexicon:
    """Map a compiled lexicon once per process."""
    return _read(pa.memory_map(path))


def fingerprint(entities: Mapping[str, str], phrases: Iterable[str] = ()) -> str:
    """Return a hash of the table's content, whatever the order of its files and lines."""
    value = hashlib.blake2b(digest_size=8)
    for surface, kind in sorted(entities.items()):
        value.update(f"{surface}\t{kind}\n".encode())
    for surface in sorted(phrases):
        value.update(f"{surface}\n".encode())
    return value.hexdigest()
