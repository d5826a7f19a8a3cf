import numpy as np

from ernie_pipe.masking.units import LEVELS, unit_starts
from ernie_pipe.text.passages import ENTITY_START, IN_ENTITY, IN_PHRASE, PHRASE_START, WORD_START

W, P, E, IN_P, IN_E = WORD_START, PHRASE_START, ENTITY_START, IN_PHRASE, IN_ENTITY


def test_levels_partition_the_whole_sequence():
    # [CLS] 他 | 住 在 | 哈 尔 滨 市 | 道 里 区 ‖ 的 [SEP]: a phrase of two words is half covered by an entity.
    bits = np.array([0, W, W, 0, W | P | E | IN_P | IN_E, *[IN_P | IN_E] * 3, W | IN_P, IN_P, IN_P, W, 0], np.uint8)
    maskable = np.r_[False, np.ones(11, bool), False]
    starts = {
        level: (np.flatnonzero(unit_starts(bits, maskable, np.full(13, number)))).tolist()
        for number, level in enumerate(LEVELS)
    }
    assert starts == {
        "basic": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        "word": [1, 2, 4, 8, 11],
        "phrase": [1, 2, 4, 11],
        "entity": [1, 2, 4, 8, 11],
    }


def test_an_entity_inside_a_phrase_cuts_it_in_three():
    bits = np.array([W | P | IN_P, IN_P, W | E | IN_P | IN_E, IN_P | IN_E, W | IN_P, IN_P], np.uint8)
    starts = unit_starts(bits, np.ones(6, bool), np.full(6, LEVELS.index("entity")))
    assert np.flatnonzero(starts).tolist() == [0, 2, 4]


def test_a_unit_never_reaches_over_a_special_token():
    bits = np.array([0, W | E | IN_E, IN_E, 0, IN_E, IN_E, 0], np.uint8)
    maskable = np.array([0, 1, 1, 0, 1, 1, 0], bool)
    assert np.flatnonzero(unit_starts(bits, maskable, np.full(7, 3))).tolist() == [1, 4]
