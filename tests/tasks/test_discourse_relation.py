"""Pairs with labels, and lengths that by nature tell the relation."""

import json
import logging
from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.tree import DecisionTreeClassifier

from ernie_pipe import draws, resources
from ernie_pipe.corpus.reader import NO_LABEL
from ernie_pipe.errors import InputError
from ernie_pipe.tasks.discourse_relation import DiscourseRelation
from ernie_pipe.text.connective_inventory import RELATIONS, parse, read_text
from ernie_pipe.text.connectives import RelationMiner
from ernie_pipe.text.document import ROLES
from ernie_pipe.text.encode import SpecialIds
from ernie_pipe.text.passages import WORD_START
from ernie_pipe.text.words import load_engine
from tests.tasks.honesty import assert_form_tells_nothing
from tests.tasks.learning import Learner
from tests.tasks.spoken import Spoken

ARG1, ARG2 = ROLES.index("arg1"), ROLES.index("arg2")
NAMES = ["result", "contrast", "example"]


class Pairs:
    """Stands in for `Passages`: passage n has `first[n]` and `second[n]` tokens; ids count from 0 in each argument."""

    folder, split = "toy", "train"

    def __init__(self, first, second, labels, label_names=NAMES, roles=(ARG1, ARG2)):
        self.first, self.second = np.asarray(first), np.asarray(second)
        self.labels, self.label_names = np.asarray(labels, np.uint16), label_names
        self.tokens = (self.first + self.second).astype(np.uint16)
        self.segment_counts = np.full(len(self.first), len(roles), np.uint16)
        self.roles = np.full(len(self.first), sum(1 << role for role in set(roles)), np.uint8)
        self._roles = np.array(roles, np.uint8)

    def __len__(self):
        return len(self.first)

    def get(self, passage):
        ids = np.concatenate([np.arange(self.first[passage]), 1000 + np.arange(self.second[passage])])
        return ids, np.zeros(len(ids), np.uint8), np.zeros(len(ids), np.uint8)

    def segments(self, passage):
        return np.array([0, self.first[passage]], np.uint16), self._roles

    def part(self, start, stop):
        chosen = Pairs(self.first[start:stop], self.second[start:stop], self.labels[start:stop], self.label_names)
        chosen.roles, chosen.segment_counts = self.roles[start:stop], self.segment_counts[start:stop]
        return chosen

    @classmethod
    def telling(cls, count=3000, seed=0):
        """Pairs whose lengths depend on the label, each argument's and both together."""
        rng = np.random.default_rng(seed)
        labels = np.arange(count) % 3
        first = rng.poisson(np.array([9, 16, 12])[labels]) + 3
        second = rng.poisson(np.array([14, 12, 10])[labels] + (first - 12) * np.array([0.0, 0.4, -0.4])[labels]) + 3
        return cls(first, second, labels)


def task(**settings):
    return DiscourseRelation(DiscourseRelation.Settings(**{"relations": NAMES} | settings))


def examples(pairs, wanted):
    keys = draws.key(7, np.arange(len(pairs)))
    return wanted.examples(pairs, np.arange(len(pairs)), keys)


def lengths(listed):
    return np.array([[len(ids) for ids, _ in example.parts] for example in listed])


def accuracy(features, labels):
    """How often a tree that sees `features` names the label, on the half that it did not learn from."""
    half = len(labels) // 2
    tree = DecisionTreeClassifier(min_samples_leaf=20, random_state=0).fit(features[:half], labels[:half])
    return tree.score(features[half:], labels[half:])


def test_labels_are_those_of_the_data_in_the_order_of_the_setting():
    pairs = Pairs([9] * 3, [9] * 3, [0, 1, 2])
    assert [example.label for example in examples(pairs, task(relations=["example", "result", "contrast"]))] == [
        1,
        2,
        0,
    ]
    assert task(relations=["example", "result", "contrast"]).classes == 3
    assert DiscourseRelation(DiscourseRelation.Settings()).classes == len(RELATIONS)


def test_lengths_that_tell_the_relation_no_longer_do():
    pairs = Pairs.telling()
    raw = np.stack([pairs.first, pairs.second], axis=1)
    cut = lengths(examples(pairs, task()))
    deviation = np.sqrt(2 / 9 / (len(pairs) / 2))
    assert accuracy(raw, pairs.labels) > 1 / 3 + 10 * deviation
    assert accuracy(np.concatenate([cut, cut.sum(axis=1, keepdims=True)], axis=1), pairs.labels) < 1 / 3 + 4 * deviation
    means = np.array([cut[pairs.labels == label].mean(axis=0) for label in range(3)])
    assert np.ptp(means, axis=0) == pytest.approx([0, 0], abs=0.5)


def test_no_argument_is_whole_and_none_is_empty():
    pairs = Pairs.telling(600)
    cut = lengths(examples(pairs, task()))
    assert (cut >= 1).all()
    assert (cut[:, 0] < pairs.first).all()
    assert (cut[:, 1] < pairs.second).all()


def test_no_example_is_longer_than_its_anchor():
    pairs = Pairs.telling(600)
    for wanted in (task(), task(equal_lengths=False)):
        assert (lengths(examples(pairs, wanted)).sum(axis=1) + 3 <= pairs.tokens + 2).all()


def test_arguments_are_cut_at_the_far_ends():
    for example in examples(Pairs.telling(60), task()):
        (first, bits), (second, _) = example.parts
        assert second[0] == 1000
        assert (np.diff(first) == 1).all()
        assert first[-1] < 1000
        # What is left of a word that was cut must not join it to what is gone.
        assert bits[0] & WORD_START


def test_the_first_argument_keeps_the_end_next_to_the_second():
    pairs = Pairs.telling(60)
    for anchor, example in enumerate(examples(pairs, task())):
        assert example.parts[0][0][-1] == pairs.first[anchor] - 1


def test_arguments_in_the_other_order_are_told_by_their_roles():
    pairs = Pairs([8], [9], [0], roles=(ARG2, ARG1))
    (example,) = examples(pairs, task(equal_lengths=False))
    assert example.parts[0][0][0] >= 1000
    assert example.parts[1][0].tolist() == list(range(8))


def test_an_example_is_a_function_of_its_key():
    pairs, wanted = Pairs.telling(300), task()
    once, again = lengths(examples(pairs, wanted)), lengths(examples(pairs, task()))
    assert (once == again).all()


def test_only_labelled_pairs_are_eligible():
    pairs = Pairs([9] * 4, [9] * 4, [0, 1, NO_LABEL, 2])
    pairs.roles[1] = 1 << ROLES.index("query")
    pairs.segment_counts[3] = 3
    assert task().eligible(pairs).tolist() == [True, False, False, False]
    assert not task().eligible(Pairs([9], [9], [0], roles=(0,))).any()


def test_labels_that_the_setting_lacks_are_named_and_those_of_other_passages_are_not_looked_at():
    pairs = Pairs([9] * 3, [9] * 3, [0, 1, 2], ["result", "surprise", "strong"])
    pairs.roles[2] = 1 << ROLES.index("query")
    with pytest.raises(InputError, match="has pairs labelled surprise, which tasks"):
        task().eligible(pairs)


def test_rare_relations_are_counted(caplog):
    with caplog.at_level(logging.WARNING):
        task(rare=10).eligible(Pairs([9] * 24, [9] * 24, [0] * 20 + [1] * 4))
    assert caplog.messages == [
        "discourse_relation: 2 of 3 relations have fewer than 10 pairs in toy: contrast 4, example 0"
    ]


def test_a_relation_given_twice_is_a_mistake():
    with pytest.raises(ValidationError, match="result given twice"):
        DiscourseRelation.Settings(relations=["result", "result", "contrast"])


def mined():
    """The pairs of the sample's texts, a token a character."""
    files = [resources.sample() / "discourse.jsonl", *sorted((resources.sample() / "documents").glob("*.jsonl"))]
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    miner = RelationMiner(parse(read_text()), load_engine("rjieba"))
    found = [pair for _, pair in miner.find([row["text"] for row in rows if "text" in row], Counter())]
    letters = {one: number for number, one in enumerate(sorted({c for p in found for c in p.arg1 + p.arg2}), start=5)}
    documents = [
        ([(role, [letters[one] for one in getattr(pair, role)]) for role in ("arg1", "arg2")], pair.relation)
        for pair in found
    ]
    return Spoken(documents), SpecialIds(0, 1, 2, 3, 4, 5 + len(letters))


def test_the_form_of_mined_pairs_tells_nothing():
    pairs, _ = mined()
    assert len(pairs) > 250
    assert_form_tells_nothing(DiscourseRelation(DiscourseRelation.Settings()), pairs)


def test_mined_pairs_are_learned_by_heart(soak):
    pairs, special = mined()
    learner = Learner(DiscourseRelation(DiscourseRelation.Settings()), special, longest=128)
    anchors = np.arange(512) % len(pairs) if soak else np.arange(32)
    batches = learner.batches(pairs, anchors, 1)
    assert learner.train((batches for _ in range(300)), until=0.95) >= 0.95


def plain(count, seed):
    """Pairs in whose second argument a token of the relation stands, somewhere."""
    rng = np.random.default_rng(seed)
    documents = []
    for number in range(count):
        first, second = rng.integers(20, 200, 8), rng.integers(20, 200, 8)
        second[rng.integers(0, 4)] = 5 + number % 3
        documents.append(([("arg1", first), ("arg2", second)], NAMES[number % 3]))
    return Spoken(documents)


def test_a_plain_signal_is_learned():
    learner = Learner(task(), SpecialIds(0, 1, 2, 3, 4, 200), longest=32)
    train, held_out = plain(600, 1), plain(120, 2)
    asked = learner.batches(held_out, np.arange(120), 1)
    learner.train((learner.batches(train, np.arange(600), seed) for seed in range(60)), until=0.9)
    assert learner.score(asked)[0] > 0.7
