import numpy as np
import pytest

from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain.plan import Plan
from ernie_pipe.text.encode import SpecialIds
from tests.pretrain.building import batches, settings, write_passages

NAME = "capitalization"
TEXTS = ["他用 iPhone 和 Windows 写 email 给 IBM，没有回信。Apple 的 apple 很甜。", "这里没有字母，只有 2008 年。"]
ALONE = {"tasks": {NAME: {}}, "stages": [{"steps": 3, "tasks": {NAME: 1.0}}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_passages(tmp_path_factory.mktemp("capitals"), TEXTS, max_tokens=64, shards=1)


def asked(builder, step=0):
    names = {number: token for token, number in builder.special.vocab.items()}
    for built in builder.step(step, range(4)):
        target = built.targets[NAME]
        yield from zip([names[n] for n in built.packed.input_ids[target.positions]], target.labels, strict=True)


def test_words_in_letters_are_asked_and_nothing_else(folder):
    # So small a vocabulary has words in pieces; the first of each is asked.
    found = [(token[0], bool(label)) for token, label in asked(batches(folder, **ALONE))]
    assert sorted(set(found)) == [("a", False), ("a", True), ("e", False), ("i", False), ("i", True), ("w", True)]
    assert len(found) % 6 == 0


def test_only_passages_with_a_capital_serve(folder):
    task = settings(**ALONE).build_tasks()[NAME]
    assert task.eligible(Passages(folder)).tolist() == [True, False]


def test_a_corpus_without_capitals_is_told(tmp_path):
    small = write_passages(tmp_path, TEXTS[1:] * 2, max_tokens=64, shards=1)
    with pytest.raises(InputError, match="needs passages with a capital letter: 0 of the 2 passages in"):
        batches(small, **ALONE)


def test_a_vocabulary_that_keeps_capitals_is_refused():
    task = settings(**ALONE).build_tasks()[NAME]
    with pytest.raises(InputError, match="tells A from a"):
        task.prepare(SpecialIds(0, 1, 2, 3, 4, 9, {"A": 5, "a": 6}, cased=True))


def test_hidden_words_are_asked_as_they_were(folder):
    share = {"steps": 3, "tasks": {NAME: 1.0}}
    masked = batches(folder, tasks={"knowledge_masking": {"rate": 0.9}, NAME: {}}, stages=[share])
    (built,) = masked.step(0, [0])
    target = built.targets[NAME]
    assert (built.packed.input_ids[target.positions] == masked.special.mask).any()
    alone = batches(folder, tasks={"knowledge_masking": {"rate": 0.01}, NAME: {}}, stages=[share]).step(0, [0])[0]
    assert np.array_equal(alone.targets[NAME].positions, target.positions)
    assert np.array_equal(alone.targets[NAME].labels, target.labels)


def test_the_plan_is_told_before_anything_is_built(folder):
    assert Plan(settings(**ALONE), Passages(folder), batches(folder, **ALONE).tasks).steps == 3
