import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe import draws
from ernie_pipe.masking.choose import alike, chances, weighted

sizes_of_sequences = st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=40), min_size=1, max_size=5)


def drawn(sizes: np.ndarray, owner: np.ndarray, chance: float | np.ndarray, seed: int) -> np.ndarray:
    unit_keys, keys = draws.key(seed, np.arange(len(sizes))), draws.key(seed, -1, np.arange(owner[-1] + 1))
    if isinstance(chance, float):
        return alike(sizes, owner, unit_keys, keys, chance)
    return weighted(sizes, owner, unit_keys, keys, chance)


def units(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(lists), np.repeat(np.arange(len(lists)), [len(one) for one in lists])


@given(sizes_of_sequences, st.floats(0.01, 0.99), st.integers(0, 10_000))
def test_no_sequence_differs_from_its_budget_by_more_than_its_longest_unit(lists, rate, seed):
    sizes, owner = units(lists)
    longest = np.array([max(one) for one in lists])
    for chance in (rate, np.full(len(sizes), rate), np.random.default_rng(seed).random(len(sizes))):
        chosen = drawn(sizes, owner, chance, seed)
        assert (np.diff(chosen) > 0).all()
        taken = np.bincount(owner[chosen], sizes[chosen], minlength=len(lists))
        assert (np.abs(taken - np.bincount(owner, sizes * chance)) <= longest + 1e-6).all()


@pytest.mark.parametrize("chance", [0.15, 0.6, "uneven"])
def test_every_unit_has_its_chance_whatever_its_length(chance):
    one = np.array([1, 9, 2, 2, 5, 1, 1, 3, 2, 12])
    wanted = np.linspace(0.05, 0.95, 10) if chance == "uneven" else np.full(10, chance)
    times = 20_000
    sizes, owner = np.tile(one, times), np.repeat(np.arange(times), len(one))
    chosen = drawn(sizes, owner, np.tile(wanted, times) if chance == "uneven" else chance, 1)
    assert np.bincount(chosen % 10, minlength=10) / times == pytest.approx(wanted, abs=0.012)


def test_a_chance_of_one_is_always_taken_and_of_zero_never():
    sizes, owner = np.arange(1, 9), np.zeros(8, int)
    for seed in range(50):
        chosen = drawn(sizes, owner, np.array([1.0, 0, 1, 0, 1, 0.5, 0, 1]), seed).tolist()
        assert {0, 2, 4, 7} <= set(chosen) <= {0, 2, 4, 5, 7}


def test_which_units_of_one_length_are_taken_together_is_open():
    chosen = [tuple(drawn(np.ones(6, int), np.zeros(6, int), 0.34, seed)) for seed in range(3000)]
    pairs = {pair for pair in chosen if len(pair) == 2}
    assert len(pairs) == 15


def test_chances_follow_the_weights_up_to_one_and_keep_the_budget():
    sizes, run = np.array([2, 2, 2, 1, 1, 5]), np.array([0, 0, 0, 1, 1, 1])
    weights = np.array([1.0, 2.0, 100.0, 1.0, 1.0, 1.0])
    found = chances(sizes, weights, run, np.array([3.0, 0.7]))
    assert found == pytest.approx([0.5 / 3, 1.0 / 3, 1.0, 0.1, 0.1, 0.1])


def test_a_budget_beyond_all_units_takes_them_all():
    assert chances(np.array([1, 1]), np.array([1.0, 5.0]), np.zeros(2, int), np.array([9.0])).tolist() == [1, 1]
