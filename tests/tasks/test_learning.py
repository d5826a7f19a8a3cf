"""Every task can be learned: a tiny model gets a corpus by heart, and learns one where the signal is plain."""

from itertools import permutations

import numpy as np
import pytest

from ernie_pipe.corpus.reader import Passages
from ernie_pipe.tasks import find
from ernie_pipe.text.encode import SpecialIds, load_encoder
from tests.tasks.learning import Learner
from tests.tasks.toys import Written

END, NUMBERS, TOPICS, CAPITAL, SMALL, FILLER, SIZE = 5, 10, 40, 60, 70, 80, 200
SEQUENCE_TASKS = ["next_sentence", "sentence_order", "sentence_distance", "sentence_reordering"]
TOKEN_TASKS = ["token_document", "capitalization"]


def plain(documents, seed):
    """Documents that say all that is asked: sentences are numbered, a document has one of two topics, names are few.

    Two passages a document, three sentences a passage: number, topic, a name or a word in small letters, filler, end.
    """
    rng = np.random.default_rng(seed)

    def written(topic, number):
        word = rng.integers(CAPITAL, FILLER)
        filler = rng.choice(np.arange(FILLER, SIZE), 1, replace=False)
        return [NUMBERS + number, TOPICS + topic, int(word), *filler.tolist(), END]

    made = []
    for number in range(documents):
        sentences = [written(number % 2, n) for n in range(6)]
        made.append([sentences[:3], sentences[3:]])
    return Written(made, capitals=frozenset(range(CAPITAL, SMALL)))


def vocabulary():
    names = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, ".": END}
    names |= {chr(0x4E00 + n): n for n in range(NUMBERS, CAPITAL)} | {f"w{n}": n for n in range(CAPITAL, FILLER)}
    return SpecialIds(0, 1, 2, 3, 4, SIZE, names | {chr(0x4E00 + n): n for n in range(FILLER, SIZE)})


def ceiling(m):
    """What can be reached of `sentence_reordering`: one in each kind of orders that read alike."""
    orders = [order for n in range(1, m + 1) for order in permutations(range(n))]
    return len({joined(order) for order in orders}) / len(orders)


def joined(order):
    """An order, with neighbours that stayed together as one."""
    kept = [value for at, value in enumerate(order) if not at or value != order[at - 1] + 1]
    return tuple(np.argsort(np.argsort(kept)).tolist())


@pytest.mark.parametrize(("m", "expected"), [(2, 2 / 3), (3, 5 / 9), (4, 16 / 33)])
def test_the_ceiling_of_reordering(m, expected):
    assert ceiling(m) == pytest.approx(expected)


@pytest.mark.parametrize("name", [*SEQUENCE_TASKS, *TOKEN_TASKS])
def test_a_plain_signal_is_learned_far_over_chance(name):
    settings = {"max_segments": 2} if name == "sentence_reordering" else {}
    learner = Learner(find(name)(find(name).Settings(**settings)), vocabulary(), longest=32)
    train, held_out = plain(600, 1), plain(120, 2)
    reach = ceiling(2) if name == "sentence_reordering" else 1.0
    anchors, others = (np.flatnonzero(learner.task.eligible(passages)) for passages in (train, held_out))
    asked = learner.batches(held_out, others, 1)
    _, commonest = learner.score(asked)
    epochs = (learner.batches(train, anchors, seed) for seed in range(40))
    learner.train(epochs, until=commonest + 0.6 * (reach - commonest))
    share, _ = learner.score(asked)
    assert commonest + 0.4 * (reach - commonest) < share < reach + 0.1


@pytest.mark.parametrize("name", [*SEQUENCE_TASKS, *TOKEN_TASKS, "knowledge_masking"])
def test_real_text_is_learned_by_heart(name, data, soak):
    passages = Passages(data)
    learner = Learner(find(name)(find(name).Settings()), SpecialIds.of(load_encoder(f"{data}/tokenizer")), longest=64)
    anchors = np.flatnonzero(learner.task.eligible(passages))
    # No passage twice where there are enough: the same text with another label is no mistake of the model.
    chosen = np.resize(anchors, 512) if soak else anchors[:32]
    batches = learner.batches(passages, chosen, 1)
    wanted = 0.95 * learner.reach(batches) if name == "sentence_reordering" else 0.95
    assert learner.train((batches for _ in range(300)), until=wanted) >= wanted
