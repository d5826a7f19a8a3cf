import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.finetune.ordering import LengthOrder, order

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=200)


def padded(lengths, indices, step):
    """The tokens that the steps of an epoch compute, padding among them."""
    rows = np.asarray(lengths)[indices]
    return sum(int(rows[i : i + step].max()) * len(rows[i : i + step]) for i in range(0, len(rows), step))


@given(LENGTHS, st.integers(1, 9), st.integers(0, 12), st.integers(0, 3))
def test_every_example_comes_once_whatever_the_window(lengths, step, window, epoch):
    found = order(lengths, step, window=window, seed=1, epoch=epoch)
    assert sorted(found) == list(range(len(lengths)))
    assert found.tolist() == order(lengths, step, window=window, seed=1, epoch=epoch).tolist()


def test_steps_hold_like_lengths_and_other_ones_in_each_epoch():
    lengths = np.random.default_rng(0).integers(5, 120, 2000).tolist()
    plain, *grouped = (
        order(lengths, 8, window=window, seed=1, epoch=epoch) for window, epoch in [(0, 0), (9, 0), (9, 1)]
    )
    assert padded(lengths, plain, 8) > 1.6 * sum(lengths)
    assert all(padded(lengths, found, 8) < 1.15 * sum(lengths) for found in grouped)
    steps = [{frozenset(found[i : i + 8].tolist()) for i in range(0, 2000, 8)} for found in grouped]
    assert not steps[0] & steps[1]
    # Short and long steps are mixed: neighbours are no more alike than steps are.
    means = np.asarray(lengths)[grouped[0]].reshape(-1, 8).mean(axis=1)
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2


def test_few_steps_stay_random_and_the_rest_comes_last():
    lengths = list(range(1, 28))
    assert (
        order(lengths, 4, window=50, seed=3, epoch=0).tolist() == order(lengths, 4, window=0, seed=3, epoch=0).tolist()
    )
    many = list(range(1, 103))
    assert sorted(order(many, 4, window=50, seed=3, epoch=0)[-2:]) == sorted(
        np.random.default_rng([3, 0]).permutation(102)[-2:]
    )


def test_the_sampler_follows_the_epoch():
    sampler = LengthOrder(list(range(1, 100)), 4, window=5, seed=2)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert len(sampler) == 99
