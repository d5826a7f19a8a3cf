"""Where units begin: the levels of knowledge masking as partitions of a sequence (bits of a token in, bools out)."""

import numpy as np

from ernie_pipe.text.passages import ENTITY_START, IN_ENTITY, IN_PHRASE, PHRASE_START, WORD_START

LEVELS = ("basic", "word", "phrase", "entity")


def unit_starts(bits: np.ndarray, maskable: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return (T, bool) where a unit begins at the level (index into `LEVELS`) of each token.

    A level partitions the whole sequence: `basic` = tokens; `word` = words; `phrase` = phrases, elsewhere
    words; `entity` = entities, elsewhere phrases, elsewhere words (Sun et al. 2019, section 3.2).
    """
    codes = bits & np.uint8(_UNIT_BITS)
    codes[1:] |= (bits[:-1] & np.uint8(IN_ENTITY)) << np.uint8(1)
    codes |= level.astype(np.uint8) << np.uint8(6)
    starts = _STARTS[codes]
    starts[1:] |= ~maskable[:-1]
    starts[:1] = True
    starts &= maskable
    return starts


def _start_table() -> np.ndarray:
    """Return for each code (level, whether the token before is in an entity, unit bits) whether a unit begins."""
    codes = np.arange(256)
    word, phrase, entity = ((codes & bit) > 0 for bit in (WORD_START, PHRASE_START, ENTITY_START))
    in_phrase, in_entity = (codes & IN_PHRASE) > 0, (codes & IN_ENTITY) > 0
    leaves_entity = ((codes & IN_ENTITY << 1) > 0) & ~in_entity
    by_phrase = phrase | (word & ~in_phrase)
    by_entity = entity | (~in_entity & (by_phrase | leaves_entity))
    return np.choose(codes >> 6, [np.ones_like(word), word, by_phrase, by_entity])


_UNIT_BITS = WORD_START | PHRASE_START | ENTITY_START | IN_PHRASE | IN_ENTITY
_STARTS = _start_table()
