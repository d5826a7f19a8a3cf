"""Random numbers as a pure function of their keys (SplitMix64): no state, so any draw can be made again.

Every key and result is a uint64 array or number; arithmetic wraps around, as it must.
"""

from functools import cache

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ALL = (1 << 64) - 1
_TINY = 64


def mix(key: np.ndarray | np.uint64) -> np.ndarray:
    """Scramble uint64 keys: SplitMix64's output function (Steele, Lea and Flood 2014)."""
    if not np.shape(key):
        return _mix_one(int(key))  # type: ignore[return-value]
    with np.errstate(over="ignore"):
        z = np.asarray(key, dtype=np.uint64) + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _MIX_1
        z = (z ^ (z >> np.uint64(27))) * _MIX_2
        return z ^ (z >> np.uint64(31))


def _mix_one(key: int) -> np.uint64:
    """Scramble one key: Python's numbers are several times faster than an array of one."""
    z = (key + 0x9E3779B97F4A7C15) & _ALL
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _ALL
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _ALL
    return np.uint64(z ^ (z >> 31))


def key(*parts: int | np.ndarray) -> np.ndarray:
    """Return a key that depends on every part and on their order; array parts broadcast."""
    result = np.array(0x6A09E667F3BCC909, dtype=np.uint64)
    for part in parts:
        result = extend(result, part)
    return result


def extend(key: np.ndarray, part: int | np.ndarray) -> np.ndarray:
    """Return the key of one part more: `key(a, b)` is `extend(key(a), b)`."""
    number = np.asarray(part)
    if number.dtype != np.uint64:
        number = number.astype(np.int64).view(np.uint64)
    return mix(np.bitwise_xor(mix(key), number))


def bits(keys: np.ndarray, stream: int = 0) -> np.ndarray:
    """Return 64 random bits a key; another `stream` gives independent ones of the same keys."""
    return mix(np.bitwise_xor(keys, _stream(stream)))


@cache
def _stream(number: int) -> np.uint64:
    return _mix_one(number + 1)


def uniform(keys: np.ndarray, stream: int = 0) -> np.ndarray:
    """Return floats in [0, 1), one a key, from the 53 highest of its bits."""
    return (bits(keys, stream) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(limit: int | np.ndarray, keys: np.ndarray, stream: int = 0) -> np.ndarray:
    """Return integers in [0, limit)."""
    return np.minimum((uniform(keys, stream) * limit).astype(np.int64), np.asarray(limit) - 1)


def permute(position: np.ndarray, size: int, seed: np.ndarray) -> np.ndarray:
    """Return where a keyed permutation of 0..size−1 sends each position, with no list in memory.

    A four-round Feistel network on the next even power of two, walked until it lands inside the range; up to 64
    positions, where halves of so few bits leave a bias, the rank of each position's own draw.
    """
    if size <= _TINY:
        return _permute_few(np.asarray(position), size, np.asarray(seed))
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    shift = np.uint64(half)

    def once(value: np.ndarray) -> np.ndarray:
        left, right = value >> shift, value & mask
        for round_ in range(4):
            left, right = right, left ^ (mix(key_round(seed, round_) ^ right) & mask)
        return (left << shift) | right

    value = once(np.asarray(position, dtype=np.uint64))
    while (outside := value >= np.uint64(size)).any():
        value = np.where(outside, once(value), value)
    return value.astype(np.int64)


def _permute_few(position: np.ndarray, size: int, seed: np.ndarray) -> np.ndarray:
    drawn = bits(extend(np.atleast_1d(seed)[:, None], np.arange(size)[None, :]))
    mine = drawn[np.arange(len(drawn)) if len(drawn) > 1 else 0, position]
    return (drawn < mine[..., None]).sum(axis=-1, dtype=np.int64)


def key_round(seed: np.ndarray, number: int) -> np.ndarray:
    """Return the key of one Feistel round."""
    return mix(np.bitwise_xor(np.asarray(seed, dtype=np.uint64), np.uint64(number + 1)))
