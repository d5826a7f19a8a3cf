import pickle

import numpy as np
import pytest

from ernie_pipe.config import validate
from ernie_pipe.errors import InputError
from ernie_pipe.tasks.ir_relevance import CLASSES, IRRELEVANT, STRONG, IrRelevance, IrRelevanceSettings
from ernie_pipe.text.encode import SpecialIds
from tests.tasks.honesty import advantage, assert_form_tells_nothing
from tests.tasks.learning import Learner
from tests.tasks.spoken import Spoken, examples, sample


def corpus(count, seed=0, labels=("strong", "weak")):
    """Pairs, two of each label in turn; those of the first are short, the others long; ids tell the pair."""
    rng = np.random.default_rng(seed)
    documents = []
    for number in range(count):
        label = labels[number // 2 % len(labels)]
        sizes = rng.integers(2, 8, 2) if label == labels[0] else rng.integers(4, 14, 2)
        query = 10_000 + np.arange(sizes[0]) + 20 * number
        title = 40_000 + np.arange(sizes[1] + 3) + 20 * number
        documents.append(([("query", query), ("title", title)], label))
    return Spoken(documents)


def pair_of(example):
    """Which pair the query and the title are of."""
    (query, _), (title, _) = example.parts
    return (int(query[0]) - 10_000) // 20, (int(title[0]) - 40_000) // 20


@pytest.fixture
def task():
    return IrRelevance(IrRelevanceSettings())


def test_labels_are_true(task):
    for anchor, example in examples(task, corpus(200), 6):
        query, title = pair_of(example)
        if example.label == IRRELEVANT:
            assert query == anchor != title
        else:
            assert query == title
            assert CLASSES[example.label] == ("strong", "weak")[query // 2 % 2]


@pytest.mark.parametrize("mixture", [{"strong": 1, "weak": 1, "irrelevant": 1}, {"strong": 3, "irrelevant": 1}])
def test_classes_come_as_the_mixture_says(mixture):
    task = IrRelevance(IrRelevanceSettings(mixture=mixture))
    labels = [example.label for _, example in examples(task, corpus(200), 30)]
    shares = np.bincount(labels, minlength=3) / len(labels)
    wanted = np.array([mixture.get(name, 0) for name in CLASSES]) / sum(mixture.values())
    assert shares == pytest.approx(wanted, abs=0.03)


def test_a_classifier_that_sees_only_the_form_stays_at_chance(task):
    passages = corpus(400)
    assert_form_tells_nothing(task, passages)
    # The data's own lengths do tell.
    assert advantage(passages.tokens[:, None], passages.labels, np.arange(400) % 2 > 0) > 8


def test_lengths_are_the_same_whatever_the_class():
    passages, found = corpus(100), []
    for name in CLASSES:
        mixture = {other: 1.0 if other == name else 1e-12 for other in CLASSES}
        listed = examples(IrRelevance(IrRelevanceSettings(mixture=mixture)), passages, 5)
        assert {example.label for _, example in listed} == {CLASSES.index(name)}
        found.append([[len(ids) for ids, _ in example.parts] for _, example in listed])
    assert found[0] == found[1] == found[2]


def test_no_example_is_longer_than_its_anchor_nor_empty(task):
    passages = corpus(60)
    passages = Spoken(
        [*zip(passages._segments, ["strong", "weak"] * 30, strict=True), ([("query", [1, 2]), ("title", [3])], "weak")]
    )
    for anchor, example in examples(task, passages, 20):
        lengths = [len(ids) for ids, _ in example.parts]
        assert min(lengths) > 0
        assert sum(lengths) + 1 <= passages.tokens[anchor]


def test_a_random_title_is_none_of_the_same_query_nor_a_copy(task):
    query, title = list(range(10, 16)), list(range(20, 30))
    same_query = [([("query", query), ("title", [*range(100 + 10 * n, 110 + 10 * n)])], "weak") for n in range(20)]
    copies = [([("query", [900 + n]), ("title", [*title[:9], 800 + n])], "weak") for n in range(20)]
    holding = [([("query", [700 + n]), ("title", [*query, 600, 601, 602, 603 + n])], "weak") for n in range(20)]
    honest = [([("query", [500, 501]), ("title", [*range(300, 310)])], "weak")] * 20
    passages = Spoken([([("query", query), ("title", title)], "strong"), *same_query, *copies, *holding, *honest])
    titles = [
        example.parts[1][0].tolist()
        for anchor, example in examples(task, passages, 60)
        if anchor == 0 and example.label == IRRELEVANT
    ]
    assert len(titles) > 5
    assert all(found[0] == 300 for found in titles)


def test_without_an_honest_title_the_anchor_keeps_its_label(task):
    passages = Spoken([([("query", [1, 2]), ("title", [3 + n, 4, 5])], ("strong", "weak")[n % 2]) for n in range(10)])
    assert {example.label for _, example in examples(task, passages, 30)} == {STRONG, 1}


def test_the_title_may_stand_first(task):
    swapped = Spoken([(segments[::-1], ("strong", "weak")[n % 2]) for n, segments in enumerate(corpus(40)._segments)])
    assert all(example.parts[0][0][0] < 40_000 <= example.parts[1][0][0] for _, example in examples(task, swapped, 5))


def test_labels_of_the_data_are_mapped():
    task = IrRelevance(IrRelevanceSettings(labels={"2": "strong", "1": "weak"}))
    passages = corpus(60, labels=("2", "1", "0"))
    assert task.eligible(passages).tolist() == [number // 2 % 3 < 2 for number in range(60)]


@pytest.mark.parametrize("labels", [("2", "1"), ("strong",)])
def test_a_class_without_pairs_is_named(task, labels):
    with pytest.raises(
        InputError, match=r"query/title in toy \(train\) counts as .*weak; labels there: .*knows only strong, weak"
    ):
        task.eligible(corpus(10, labels=labels))


def test_what_is_no_pair_cannot_serve(task):
    passages = Spoken([([("query", [1, 2]), ("response", [3, 4])], "strong"), ([("text", [1] * 9)], "weak")])
    assert not task.eligible(passages).any()


@pytest.mark.parametrize("mixture", [{"strong": 1}, {"strong": -1, "weak": 2}, {"other": 1, "weak": 1}])
def test_a_wrong_mixture_is_refused(mixture):
    with pytest.raises(InputError, match="mixture"):
        validate(IrRelevanceSettings, {"mixture": mixture}, where="tasks.ir_relevance")


def test_a_copy_of_the_task_draws_the_same(task):
    passages = corpus(50)
    first = examples(task, passages, 2)
    again = examples(pickle.loads(pickle.dumps(task)), passages, 2)
    assert [e.parts[1][0].tolist() for _, e in first] == [e.parts[1][0].tolist() for _, e in again]


def plain(count, seed):
    """Queries have one of four topics; titles say it in one way where they were clicked, in another where not."""
    rng = np.random.default_rng(seed)
    documents = []
    for number in range(count):
        topic, more, rest = number // 2 % 4, rng.integers(30, 60, 2), rng.integers(60, 100, 3)
        title = [10 + topic + 4 * (number % 2), *rest]
        documents.append(([("query", [20 + topic, *more]), ("title", title)], ("weak", "strong")[number % 2]))
    return Spoken(documents)


def test_a_plain_signal_is_learned_far_over_chance(task):
    learner = Learner(task, SpecialIds(0, 1, 2, 3, 4, 100), longest=32)
    train, held_out = plain(600, 1), plain(120, 2)
    asked = learner.batches(held_out, np.resize(np.arange(120), 600), 1)
    _, commonest = learner.score(asked)
    learner.train((learner.batches(train, np.arange(600), seed) for seed in range(60)), rate=1e-3, until=0.7)
    assert learner.score(asked)[0] > commonest + 0.15


def test_the_sample_is_learned_by_heart(task, soak):
    passages, special = sample("relevance.jsonl")
    learner = Learner(task, special, longest=64)
    anchors = np.arange(len(passages)) if soak else np.arange(32)
    batches = learner.batches(passages, np.resize(anchors, 512) if soak else anchors, 1)
    assert learner.train((batches for _ in range(300)), until=0.95) >= 0.95
