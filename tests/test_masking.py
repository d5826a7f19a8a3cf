from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from ernie_pipe import draws
from ernie_pipe.masking import LEVELS, Masked, MaskingRule, mask_units, unit_starts
from ernie_pipe.text.passages import ENTITY_START, IN_ENTITY, IN_PHRASE, PHRASE_START, WORD_START

MASK, REPLACEMENTS = 4, np.arange(5, 500)
W, P, E, IN_P, IN_E = WORD_START, PHRASE_START, ENTITY_START, IN_PHRASE, IN_ENTITY


@dataclass
class Batch:
    """Packed `[CLS] … [SEP]` sequences of random units."""

    ids: np.ndarray
    bits: np.ndarray
    maskable: np.ndarray
    sequence: np.ndarray
    keys: np.ndarray

    def mask(self, rule: MaskingRule) -> Masked:
        return mask_units(
            self.ids, self.bits, self.maskable, self.sequence, self.keys,
            rule=rule, mask_id=MASK, replacements=REPLACEMENTS,
        )  # fmt: skip

    def units(self, level: str) -> np.ndarray:
        """The number of its unit for each text token, at one level."""
        starts = unit_starts(self.bits, self.maskable, np.full(len(self.ids), LEVELS.index(level)))
        return (np.cumsum(starts) - 1)[self.maskable]


def random_bits(rng: np.random.Generator, tokens: int) -> np.ndarray:
    """Words of 1 to 4 tokens, a third of them opening phrases or entities of 1 to 3 words."""
    bits, at = np.zeros(tokens, np.uint8), 0
    while at < tokens:
        kind = rng.choice([0, 0, 0, 0, 1, 2])
        first = at
        for _ in range(rng.integers(1, 4) if kind else 1):
            if at < tokens:
                bits[at] |= W
                at += int(rng.choice([1, 1, 2, 2, 3, 4]))
        bits[first:at] |= (0, IN_P, IN_E)[kind]
        bits[first] |= (0, P, E)[kind]
    return bits


@cache
def batch(length: int, sequences: int, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    ids, bits = rng.integers(5, 500, (sequences, length + 2)), np.zeros((sequences, length + 2), np.uint8)
    ids[:, 0], ids[:, -1] = 2, 3
    for row in bits:
        row[1:-1] = random_bits(rng, length)
    maskable = np.tile(np.r_[False, np.ones(length, bool), False], sequences)
    sequence = np.repeat(np.arange(sequences), length + 2)
    return Batch(ids.ravel(), bits.ravel(), maskable, sequence, draws.key(seed, np.arange(sequences)))


@pytest.fixture(scope="module")
def long():
    return batch(510, 600)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("length", [32, 128, 510])
def test_fifteen_percent_of_tokens_are_predicted_at_every_length(length, level):
    made = batch(length, 300_000 // length)
    masked = made.mask(MaskingRule({level: 1.0}))
    assert len(masked.positions) / made.maskable.sum() == pytest.approx(0.15, abs=0.002)


def test_another_rate_is_kept_too(long):
    assert len(long.mask(MaskingRule({"entity": 1.0}, rate=0.4)).positions) / long.maskable.sum() == pytest.approx(
        0.4, abs=0.002
    )


def test_labels_are_the_original_ids_and_all_else_stays(long):
    masked = long.mask(MaskingRule({"entity": 1.0}))
    assert np.array_equal(masked.labels, long.ids[masked.positions])
    assert (np.diff(masked.positions) > 0).all()
    others = np.setdiff1d(np.arange(len(long.ids)), masked.positions)
    assert np.array_equal(masked.input_ids[others], long.ids[others])


def test_special_tokens_are_never_predicted(long):
    for level in LEVELS:
        assert long.maskable[long.mask(MaskingRule({level: 1.0}, rate=0.9)).positions].all()


def test_random_tokens_come_from_the_replacements_and_spread_over_them(long):
    masked = long.mask(MaskingRule({"basic": 1.0}, mask=0.0, random=1.0))
    drawn = masked.input_ids[masked.positions]
    assert np.array_equal(np.unique(drawn), REPLACEMENTS)
    assert (drawn == masked.labels).mean() < 0.01


@pytest.mark.parametrize("level", LEVELS)
def test_units_are_predicted_whole_or_not_at_all(long, level):
    masked = long.mask(MaskingRule({level: 1.0}))
    predicted = np.isin(np.flatnonzero(long.maskable), masked.positions)
    units = long.units(level)
    share = np.bincount(units, predicted) / np.bincount(units)
    assert set(share.tolist()) == {0.0, 1.0}


def test_long_units_are_neither_skipped_nor_favoured(long):
    masked = long.mask(MaskingRule({"entity": 1.0}))
    units = long.units("entity")
    sizes = np.bincount(units)
    chosen = np.unique(units[np.isin(np.flatnonzero(long.maskable), masked.positions)])
    every, taken = (np.bincount(sample, minlength=13) / len(sample) for sample in (sizes, sizes[chosen]))
    assert np.abs(every - taken).max() < 0.006
    assert sizes[chosen].mean() == pytest.approx(sizes.mean(), rel=0.02)


def actions(made: Batch, masked: Masked) -> np.ndarray:
    """0 `[MASK]`, 1 random, 2 kept, for each predicted token."""
    seen = masked.input_ids[masked.positions]
    return np.where(seen == MASK, 0, np.where(seen != masked.labels, 1, 2))


def chi_square(counts: np.ndarray, shares: list[float]) -> float:
    expected = counts.sum() * np.array(shares)
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("scope", ["per_unit", "per_token"])
def test_eighty_ten_ten_of_what_is_predicted(long, scope):
    masked = long.mask(MaskingRule({"entity": 1.0}, scope=scope))
    _, first = np.unique(
        long.units("entity")[np.isin(np.flatnonzero(long.maskable), masked.positions)], return_index=True
    )
    independent = first if scope == "per_unit" else slice(None)
    counts = np.bincount(actions(long, masked)[independent], minlength=3)
    # A random token equals the hidden one once in 495 times. Two degrees of freedom: above 13.8 once in a thousand.
    assert chi_square(counts, [0.8, 0.1 * 494 / 495, 0.1 + 0.1 / 495]) < 13.8


@pytest.mark.parametrize(("scope", "mixed"), [("per_unit", False), ("per_token", True)])
def test_a_unit_shares_its_action_only_per_unit(long, scope, mixed):
    masked = long.mask(MaskingRule({"entity": 1.0}, scope=scope))
    units = long.units("entity")[np.isin(np.flatnonzero(long.maskable), masked.positions)]
    is_mask = actions(long, masked) == 0
    sizes, hidden = np.bincount(units), np.bincount(units, is_mask)
    partly = (hidden > 0) & (hidden < sizes)
    assert partly.any() == mixed
    if mixed:
        of_two = sizes == 2
        assert partly[of_two].sum() / of_two.sum() == pytest.approx(2 * 0.8 * 0.2, abs=0.02)


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


def joined(parts: list[Batch]) -> Batch:
    sequence = np.concatenate([part.sequence + 10_000 * number for number, part in enumerate(parts)])
    sequence = np.unique(sequence, return_inverse=True)[1]
    columns = ("ids", "bits", "maskable", "keys")
    ids, bits, maskable, keys = (np.concatenate([getattr(part, name) for part in parts]) for name in columns)
    return Batch(ids, bits, maskable, sequence, keys)


def test_a_sequence_is_masked_the_same_wherever_it_stands():
    rule = MaskingRule({"basic": 0.3, "word": 0.2, "phrase": 0.2, "entity": 0.3})
    parts = [batch(length, 1, seed) for seed, length in enumerate([5, 40, 90, 17, 64])]
    alone = [part.mask(rule) for part in parts]
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        together = joined([parts[i] for i in order]).mask(rule)
        assert np.array_equal(together.input_ids, np.concatenate([alone[i].input_ids for i in order]))
        assert together.levels.tolist() == [int(alone[i].levels[0]) for i in order]


def test_levels_are_mixed_per_sequence_by_their_shares():
    made = batch(4, 20_000)
    levels = made.mask(MaskingRule({"basic": 0.2, "phrase": 0.5, "entity": 0.3})).levels
    assert np.bincount(levels, minlength=4) / len(levels) == pytest.approx([0.2, 0, 0.5, 0.3], abs=0.01)


def test_the_level_says_nothing_about_other_draws_of_the_same_key():
    # A task draws its label from the key of the sequence: the level must not give it away.
    made = batch(4, 20_000)
    levels = made.mask(MaskingRule({"basic": 0.5, "entity": 0.5})).levels
    for stream in range(6):
        label = draws.below(2, made.keys, stream)
        assert abs(np.corrcoef(levels, label)[0, 1]) < 0.03


def test_nothing_to_mask_is_no_error():
    made = Batch(
        np.array([2, 3]), np.zeros(2, np.uint8), np.zeros(2, bool), np.zeros(2, int), draws.key(1, np.arange(1))
    )
    masked = made.mask(MaskingRule({"entity": 1.0}))
    assert masked.input_ids.tolist() == [2, 3]
    assert len(masked.positions) == 0
