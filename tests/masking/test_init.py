import dataclasses

import numpy as np
import pytest

from ernie_pipe import draws
from ernie_pipe.masking import LENGTHS, LEVELS, Masked, MaskingRule
from tests.masking.building import MASK, REPLACEMENTS, Batch, batch, chi_square

MILLION = 1_000_000
NGRAMS = MaskingRule({"word": 1.0}, lengths=LENGTHS["ngram"])
SPANS = MaskingRule({"word": 1.0}, lengths=LENGTHS["span"])
RULES = {**{level: MaskingRule({level: 1.0}) for level in LEVELS}, "ngram": NGRAMS, "span": SPANS}
rules = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


@pytest.fixture(scope="module")
def long():
    return batch(510, 600)


@pytest.fixture(scope="module")
def million():
    return batch(510, MILLION // 510)


@rules
@pytest.mark.parametrize("length", [32, 128, 510])
def test_fifteen_percent_of_tokens_are_predicted_at_every_length(length, rule):
    made = batch(length, MILLION // length)
    masked = made.mask(rule)
    assert len(masked.positions) / made.maskable.sum() == pytest.approx(0.15, abs=0.002)


@pytest.mark.parametrize("name", ["entity", "ngram", "span"])
@pytest.mark.parametrize("rate", [0.05, 0.4, 0.9])
def test_another_rate_is_kept_too(long, name, rate):
    masked = long.mask(dataclasses.replace(RULES[name], rate=rate))
    assert len(masked.positions) / long.maskable.sum() == pytest.approx(rate, abs=0.002)


@rules
def test_labels_are_the_original_ids_and_all_else_stays(long, rule):
    masked = long.mask(rule)
    assert np.array_equal(masked.labels, long.ids[masked.positions])
    assert (np.diff(masked.positions) > 0).all()
    others = np.setdiff1d(np.arange(len(long.ids)), masked.positions)
    assert np.array_equal(masked.input_ids[others], long.ids[others])


@rules
def test_special_tokens_are_never_predicted(long, rule):
    assert long.maskable[long.mask(dataclasses.replace(rule, rate=0.9)).positions].all()


def test_random_tokens_come_from_the_replacements_and_spread_over_them(long):
    masked = long.mask(MaskingRule({"basic": 1.0}, mask=0.0, random=1.0))
    drawn = masked.input_ids[masked.positions]
    assert np.array_equal(np.unique(drawn), REPLACEMENTS)
    assert (drawn == masked.labels).mean() < 0.01


@rules
def test_units_are_predicted_whole_or_not_at_all(long, rule):
    masked = long.mask(rule)
    units = long.units("word" if rule.lengths else next(iter(rule.levels)))
    share = np.bincount(units, long.is_predicted(masked)) / np.bincount(units)
    assert set(share.tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("level", ["word", "phrase", "entity"])
def test_the_lengths_of_predicted_units_are_those_of_all_units(million, level):
    masked = million.mask(MaskingRule({level: 1.0}))
    every = np.bincount(np.bincount(million.units(level)))
    taken = np.bincount(np.bincount(masked.units), minlength=len(every))
    seen = every > 0
    # Up to eleven degrees of freedom: above 31 once in a thousand.
    assert chi_square(taken[seen], every[seen] / every.sum()) < 31
    assert (np.arange(len(taken)) @ taken / taken.sum()) == pytest.approx(
        np.arange(len(every)) @ every / every.sum(), rel=0.003
    )


def test_spans_have_the_mean_of_the_geometric_distribution_cut_off_at_ten(million):
    words = million.words(million.mask(SPANS))
    assert words.mean() == pytest.approx(3.797, abs=0.02)
    # Nine degrees of freedom: above 27.9 once in a thousand.
    assert chi_square(np.bincount(words, minlength=11)[1:], LENGTHS["span"]) < 27.9


@pytest.mark.parametrize("length", [128, 510])
def test_ngrams_of_one_to_four_words_are_40_30_20_10_percent(length):
    made = batch(length, MILLION // length)
    counts = np.bincount(made.words(made.mask(NGRAMS)), minlength=5)[1:]
    assert counts / counts.sum() == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=0.005)
    # Three degrees of freedom: above 16.3 once in a thousand.
    assert chi_square(counts, LENGTHS["ngram"]) < 16.3


@rules
def test_no_sequence_is_far_from_its_budget(million, rule):
    masked = million.mask(rule)
    sizes = np.bincount(masked.units)
    owner = million.sequence[masked.positions]
    tokens = np.bincount(owner, minlength=len(million.keys))
    # A word has at most four tokens.
    longest = 4 * len(rule.lengths) if rule.lengths else np.bincount(million.units(next(iter(rule.levels)))).max()
    assert sizes.max() <= longest
    assert np.abs(tokens - 0.15 * 510).max() <= longest


def test_the_ends_of_a_text_are_not_spared():
    made = batch(128, 20_000)
    for rule in (NGRAMS, SPANS):
        at = np.bincount(made.mask(rule).positions % 130, minlength=130)[1:-1] / 20_000
        assert at == pytest.approx(np.full(128, 0.15), abs=0.02)


def actions(made: Batch, masked: Masked) -> np.ndarray:
    """0 `[MASK]`, 1 random, 2 kept, for each predicted token."""
    seen = masked.input_ids[masked.positions]
    return np.where(seen == MASK, 0, np.where(seen != masked.labels, 1, 2))


@pytest.mark.parametrize("name", ["entity", "ngram", "span"])
@pytest.mark.parametrize("scope", ["per_unit", "per_token"])
def test_eighty_ten_ten_of_what_is_predicted(million, scope, name):
    masked = million.mask(dataclasses.replace(RULES[name], scope=scope))
    _, first = np.unique(masked.units, return_index=True)
    independent = first if scope == "per_unit" else slice(None)
    counts = np.bincount(actions(million, masked)[independent], minlength=3)
    # A random token equals the hidden one once in 495 times. Two degrees of freedom: above 13.8 once in a thousand.
    assert chi_square(counts, [0.8, 0.1 * 494 / 495, 0.1 + 0.1 / 495]) < 13.8


@pytest.mark.parametrize("name", ["entity", "ngram", "span"])
@pytest.mark.parametrize(("scope", "mixed"), [("per_unit", False), ("per_token", True)])
def test_a_unit_shares_its_action_only_per_unit(million, scope, mixed, name):
    masked = million.mask(dataclasses.replace(RULES[name], scope=scope))
    is_mask = actions(million, masked) == 0
    sizes, hidden = np.bincount(masked.units), np.bincount(masked.units, is_mask)
    partly = (hidden > 0) & (hidden < sizes)
    assert partly.any() == mixed
    if mixed:
        of_two = sizes == 2
        assert partly[of_two].sum() / of_two.sum() == pytest.approx(2 * 0.8 * 0.2, abs=0.03)


@pytest.mark.parametrize("name", ["entity", "ngram", "span"])
def test_units_of_a_heavy_type_are_predicted_more_often_and_the_budget_stays(million, name):
    # Every word start draws a type for its word: 0 none, 1 and 2 with weights of their own.
    rng = np.random.default_rng(5)
    word = np.cumsum(million.bits & 1)
    types = rng.integers(0, 3, word[-1] + 1)[word]
    rule = dataclasses.replace(RULES[name], levels={"word": 1.0}, type_weights=np.array([1.0, 3.0, 0.5]))
    masked = million.mask(rule, types)
    text = types[million.maskable]
    assert len(masked.positions) / len(text) == pytest.approx(0.15, abs=0.002)
    share = np.bincount(text, million.is_predicted(masked)) / np.bincount(text)
    if name == "entity":
        assert share / share[0] == pytest.approx([1, 3, 0.5], rel=0.02)
    else:
        assert share[1] > share[0] > share[2]


def joined(parts: list[Batch]) -> Batch:
    sequence = np.concatenate([part.sequence + 10_000 * number for number, part in enumerate(parts)])
    sequence = np.unique(sequence, return_inverse=True)[1]
    columns = ("ids", "bits", "maskable", "keys")
    ids, bits, maskable, keys = (np.concatenate([getattr(part, name) for part in parts]) for name in columns)
    return Batch(ids, bits, maskable, sequence, keys)


MIXED = MaskingRule({"basic": 0.3, "word": 0.2, "phrase": 0.2, "entity": 0.3})


@pytest.mark.parametrize("weights", [None, np.array([1.0, 3.0, 0.5])], ids=["alike", "weighted"])
@pytest.mark.parametrize("name", LENGTHS)
def test_a_sequence_is_masked_the_same_wherever_it_stands(name, weights):
    rule = dataclasses.replace(MIXED, lengths=LENGTHS[name], type_weights=weights)
    parts = [batch(length, 1, seed) for seed, length in enumerate([5, 40, 90, 17, 64])]
    alone = [part.mask(rule, part.ids % 3) for part in parts]
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        whole = joined([parts[i] for i in order])
        together = whole.mask(rule, whole.ids % 3)
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
    for rule in RULES.values():
        masked = made.mask(rule)
        assert masked.input_ids.tolist() == [2, 3]
        assert len(masked.positions) == len(masked.units) == 0
