"""Where no unit may begin or end: inside a Latin word, a number, or a character made of several code points."""

import itertools
import unicodedata
from functools import lru_cache

import numpy as np

from ernie_pipe.text.spans import code_points

_ZERO_WIDTH_JOINER = 0x200D


@lru_cache(maxsize=1)
def _parts_of_words() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return bools a code point: letter of a script with words or digit; digit; what belongs to the one before."""
    letter, digit, joins = (np.zeros(0x110000, dtype=bool) for _ in range(3))
    for code in itertools.chain(range(0x20000), range(0xE0100, 0xE01F0)):
        category = unicodedata.category(chr(code))
        letter[code] = category in ("Lu", "Ll", "Lt", "Nd", "Mn")
        digit[code] = category == "Nd"
        joins[code] = category == "Mn" or 0x1F3FB <= code <= 0x1F3FF
    return letter, digit, joins


def cut_places(codes: np.ndarray) -> np.ndarray:
    """Return (bool, N + 1) where a border would cut a Latin word, a number (3.5 too) or a joined character."""
    letter, digit, joins = _parts_of_words()
    cuts = np.zeros(len(codes) + 1, dtype=bool)
    letters, joiner = letter[codes], codes == _ZERO_WIDTH_JOINER
    cuts[1:-1] = (letters[1:] & letters[:-1]) | joins[codes[1:]] | joiner[1:] | joiner[:-1]
    point = np.flatnonzero((codes == ord(".")) | (codes == ord(",")))
    point = point[(point > 0) & (point < len(codes) - 1)]
    point = point[digit[codes[point - 1]] & digit[codes[point + 1]]]
    cuts[point] = cuts[point + 1] = True
    return cuts


def cuts_latin(text: str, at: int) -> bool:
    """Return whether a border at character `at` would cut a Latin word, a number or a joined character."""
    return bool(cut_places(code_points(text))[at])
