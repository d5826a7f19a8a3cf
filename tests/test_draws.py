import numpy as np
import pytest

from ernie_pipe import draws

KEYS = draws.key(1, np.arange(200_000))


@pytest.mark.parametrize("size", [2, 3, 6, 17, 50, 64])
def test_permute_is_uniform_for_few_positions(size):
    seeds = 200_000 // size
    positions = np.tile(np.arange(size), seeds)
    sent = draws.permute(positions, size, np.repeat(draws.key(np.arange(seeds)), size))
    counts = np.bincount(positions * size + sent, minlength=size * size)
    freedom = (size - 1) ** 2
    expected = seeds / size
    # Six standard deviations of a chi-square.
    assert ((counts - expected) ** 2 / expected).sum() < freedom + 6 * (2 * freedom) ** 0.5


def test_one_key_is_mixed_like_many():
    many = draws.key(3, np.arange(100))
    assert [int(draws.mix(key)) for key in many] == draws.mix(many).tolist()
    assert [float(draws.uniform(key, 2)) for key in many] == draws.uniform(many, 2).tolist()
    assert [int(draws.below(7, key, 2)) for key in many] == draws.below(7, many, 2).tolist()


@pytest.mark.parametrize("size", [*range(1, 201), 1_000, 65_535, 65_536, 65_537, 300_007])
def test_permute_is_a_bijection(size):
    sent = draws.permute(np.arange(size), size, draws.key(size))
    assert np.array_equal(np.sort(sent), np.arange(size))


def test_permute_sends_every_position_everywhere_about_equally_often():
    seeds, size = 10_000, 100
    positions = np.tile(np.arange(size), seeds)
    sent = draws.permute(positions, size, np.repeat(draws.key(np.arange(seeds)), size))
    counts = np.bincount(positions * size + sent, minlength=size * size).reshape(size, size)
    expected = seeds / size
    # Chi-square over its (size − 1)² degrees of freedom: 1 ± 0.014 for a perfect shuffle.
    assert ((counts - expected) ** 2 / expected).sum() / (size - 1) ** 2 < 1.05


def test_permute_answers_single_positions_like_the_whole():
    whole = draws.permute(np.arange(1000), 1000, draws.key(7))
    assert [int(draws.permute(np.array([i]), 1000, draws.key(7))[0]) for i in (0, 1, 999)] == whole[
        [0, 1, 999]
    ].tolist()


def test_permutations_of_different_seeds_do_not_agree():
    first, second = (draws.permute(np.arange(10_000), 10_000, draws.key(seed)) for seed in (1, 2))
    assert (first == second).sum() < 10
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


def test_uniform_has_the_mean_and_variance_of_the_unit_interval():
    values = draws.uniform(KEYS)
    assert values.min() >= 0
    assert values.max() < 1
    assert values.mean() == pytest.approx(1 / 2, abs=0.003)
    assert values.var() == pytest.approx(1 / 12, abs=0.001)


def test_streams_of_the_same_keys_are_independent():
    streams = np.stack([draws.uniform(KEYS, stream) for stream in range(6)])
    assert np.abs(np.corrcoef(streams) - np.eye(6)).max() < 0.01


def test_below_is_uniform_and_never_reaches_its_limit():
    counts = np.bincount(draws.below(7, KEYS), minlength=7)
    assert len(counts) == 7
    assert np.abs(counts / len(KEYS) - 1 / 7).max() < 0.003
    assert (draws.below(np.array([1, 2**40]), KEYS[:2]) < [1, 2**40]).all()


def test_keys_depend_on_every_part_and_on_their_order():
    keys = [draws.key(1, 2), draws.key(2, 1), draws.key(1), draws.key(1, 2, 0), draws.key(-1, 2), draws.key(0, 2)]
    assert len({int(key) for key in keys}) == len(keys)


def test_keys_of_arrays_equal_those_of_their_elements():
    both = draws.key(5, np.array([3, 4], dtype=np.uint16), np.array([8, 9]))
    assert both.tolist() == [int(draws.key(5, 3, 8)), int(draws.key(5, 4, 9))]


def test_draws_stay_what_they_are():
    # Golden values: another value here means that no old run can be resumed or shown again.
    assert int(draws.key(7, 1, 2)) == 13539108457884688163
    assert draws.uniform(draws.key(7))[()] == pytest.approx(0.1226394083034702, abs=1e-15)
    assert draws.permute(np.arange(6), 6, draws.key(7)).tolist() == [4, 2, 0, 3, 5, 1]
    assert draws.permute(np.arange(6), 600, draws.key(7)).tolist() == [147, 521, 56, 592, 274, 339]
