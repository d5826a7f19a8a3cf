"""Anchors found by counts alone are those that a list of all of them would give."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.corpus.reader import Eligibility
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain import anchors as module
from ernie_pipe.pretrain.anchors import ALL, CYCLE, Mixture, find_anchors, shares_of
from ernie_pipe.tasks.sentence_distance import SentenceDistance
from ernie_pipe.tasks.sentence_reordering import SentenceReordering


@dataclass
class Corpus:
    """What the reader maps, in memory."""

    tokens: np.ndarray
    sentences: np.ndarray
    source: np.ndarray
    first_passages: np.ndarray
    source_names: tuple[str, ...] = ("a", "b", "c")

    def __len__(self):
        return len(self.tokens)

    @property
    def roles(self):
        return np.zeros(len(self), np.uint8)

    @property
    def documents(self):
        return len(self.first_passages) - 1

    def document_of(self, passages):
        return np.searchsorted(self.first_passages, passages, side="right") - 1

    def release(self):
        pass

    def part(self, start, stop):
        return Eligibility(self, start, stop)


def corpus(seed, size):
    rng = np.random.default_rng(seed)
    borders = np.unique(np.r_[0, rng.integers(0, size, size // 3), size])
    tokens, sentences, source = (rng.integers(1, high, size) for high in (40, 6, 4))
    return Corpus(tokens.astype(np.uint16), sentences.astype(np.uint16), (source - 1).astype(np.uint16), borders)


def listed(task, made):
    """The eligible passages by the plain definition, over the whole corpus at once."""
    document = np.repeat(np.arange(made.documents), np.diff(made.first_passages))
    if isinstance(task, SentenceReordering):
        return np.flatnonzero(made.sentences >= 3)
    if made.documents < 2:
        return np.zeros(0, np.int64)
    per_document = np.bincount(document, weights=made.sentences)
    return np.flatnonzero((per_document[document] >= 4) & (made.sentences >= 2) & (made.tokens >= 8))


TASKS = [kind(kind.Settings()) for kind in (SentenceReordering, SentenceDistance)]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 8)
    monkeypatch.setattr(module, "_PAGE", 32)


@given(seed=st.integers(0, 1000), size=st.integers(6, 150), task=st.sampled_from(TASKS))
def test_ranks_find_what_a_list_of_all_would_hold(seed, size, task):
    made = corpus(seed, size)
    expected = listed(task, made)
    # Other tasks are counted in the same pass, and change nothing.
    found = find_anchors({"other": TASKS[0], "mine": task}, made, by_source=False)["mine"]
    ranks = np.random.default_rng(seed).permutation(len(expected))
    assert len(found) == found.size(ALL) == len(expected)
    assert np.array_equal(found.select(ALL, ranks), expected[ranks])
    assert found.per_source.tolist() == np.bincount(made.source[expected], minlength=3).tolist()
    assert found.tokens.sum() == made.tokens[expected].sum()


@given(seed=st.integers(0, 1000), size=st.integers(6, 150), task=st.sampled_from(TASKS))
def test_each_source_has_its_own(seed, size, task):
    made = corpus(seed, size)
    expected = listed(task, made)
    found = find_anchors({"mine": task}, made, by_source=True)["mine"]
    assert np.array_equal(found.select(ALL, np.arange(len(expected))), expected)
    for source in range(3):
        mine = expected[made.source[expected] == source]
        assert np.array_equal(found.select(source, np.arange(len(mine))), mine)


SHARES = st.lists(st.sampled_from([0.0, 0.013, 0.2, 0.333, 1.0, 2.5]), min_size=1, max_size=6).filter(any)


@given(shares=SHARES, first=st.integers(0, 3 * CYCLE), count=st.integers(1, 500))
def test_any_stretch_of_examples_is_mixed_by_weight(shares, first, count):
    mixture = Mixture(np.array(shares))
    source, number = mixture.of(np.arange(first, first + count))
    wanted = np.array(shares) / sum(shares) * count
    served = np.bincount(source, minlength=len(shares))
    assert np.abs(served - wanted).max() <= len(shares) + 0.01 * count
    for one in np.unique(source).tolist():
        mine = number[source == one]
        assert np.array_equal(mine, np.arange(mine[0], mine[0] + len(mine)))
        assert mine[0] == mixture.served(first)[one]
    assert np.array_equal(mixture.served(first) + served, mixture.served(first + count))


def test_a_source_without_a_weight_is_named():
    made = corpus(1, 60)
    found = find_anchors({"mine": TASKS[0]}, made, by_source=True)["mine"]
    with pytest.raises(InputError, match=r"sources: `c` \(\d+ passages\) has no weight; 0 leaves it out"):
        shares_of({"a": 1, "b": 0}, found, made)
