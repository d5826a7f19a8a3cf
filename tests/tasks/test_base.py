"""Examples built together are those built alone, in every task and whatever stands beside them."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe import draws
from ernie_pipe.tasks import BUILT_IN, Example, Task, find
from ernie_pipe.text.document import ROLES
from tests.tasks.spoken import Spoken
from tests.tasks.toys import SentenceCount, Written

NextSentence = find("next_sentence")


def running():
    """Documents of one to four passages, short and long ones, some of them talks; tokens from a small vocabulary."""
    rng = np.random.default_rng(3)
    made = [
        [
            [rng.integers(10, 40, rng.integers(1, 9)).tolist() for _ in range(rng.integers(1, 6))]
            for _ in range(rng.integers(1, 5) if number else 16)
        ]
        for number in range(24)
    ]
    passages = Written(made, capitals=frozenset(range(10, 20)))
    passages.roles[passages.document % 3 == 0] = 1 << ROLES.index("query") | 1 << ROLES.index("response")
    return passages


def labelled(roles, names):
    """Documents with a segment of each role, and the labels in turn."""
    rng = np.random.default_rng(5)
    return Spoken(
        [
            ([(role, rng.integers(10, 60, rng.integers(2, 9))) for role in roles], names[number % len(names)])
            for number in range(150)
        ]
    )


CORPORA = {
    "ir_relevance": labelled(("query", "title"), ("strong", "weak", "weak")),
    "dialogue": labelled(("query", "response", "response", "query", "response"), (None,)),
    "discourse_relation": labelled(("arg1", "arg2"), ("result", "contrast", "example")),
}
RUNNING = running()


@cache
def served(name):
    """(passages, task, anchors), made once."""
    passages, task = CORPORA.get(name, RUNNING), find(name)(find(name).Settings())
    return passages, task, np.flatnonzero(task.eligible(passages))


def same(one, other):
    """Whether two examples are equal to the last bit."""
    parts = zip(one.parts, other.parts, strict=True)
    return (
        one.label == other.label
        and (one.roles is None) == (other.roles is None)
        and list(one.roles or []) == list(other.roles or [])
        and all((a == b).all() and a.dtype == b.dtype for of in parts for a, b in zip(*of, strict=True))
    )


@pytest.mark.parametrize("name", BUILT_IN)
@given(seed=st.integers(0, 2**60), size=st.integers(1, 9))
def test_an_example_does_not_depend_on_those_beside_it(name, seed, size):
    passages, task, able = served(name)
    keys = draws.key(seed, np.arange(size))
    anchors = able[draws.below(len(able), keys, 99)]
    together = task.examples(passages, anchors, keys)
    alone = [task.example(passages, anchor, key) for anchor, key in zip(anchors.tolist(), keys, strict=True)]
    assert len(together) == len(alone)
    assert all(same(one, other) for one, other in zip(together, alone, strict=True))


class Second(NextSentence):
    """Built on a task that builds batches; changes its examples one by one."""

    def example(self, passages, anchor, key):
        return Example(super().example(passages, anchor, key).parts[1:], 7)


def test_a_subclass_that_changes_single_examples_is_heard_in_batches():
    task, keys = Second(Second.Settings()), draws.key(np.arange(3))
    anchors = np.flatnonzero(task.eligible(RUNNING))[:3]
    plain = NextSentence(NextSentence.Settings()).examples(RUNNING, anchors, keys)
    made = task.examples(RUNNING, anchors, keys)
    assert [example.label for example in made] == [7] * 3
    assert [example.parts[0][0].tolist() for example in made] == [example.parts[1][0].tolist() for example in plain]


def test_a_task_with_single_examples_alone_builds_batches():
    anchors = np.arange(5)
    made = SentenceCount(SentenceCount.Settings()).examples(RUNNING, anchors, draws.key(anchors))
    assert [example.label for example in made] == (np.minimum(RUNNING.sentences[:5], 3) - 1).tolist()


def test_a_task_needs_examples():
    class Nothing(Task):
        classes = 2

        def eligible(self, passages):
            return passages.tokens > 0

    with pytest.raises(TypeError, match=r"abstract method.* example"):
        Nothing(None)
