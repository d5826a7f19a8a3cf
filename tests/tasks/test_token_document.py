import numpy as np
import pytest

from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError
from tests.pretrain.building import batches, settings, write_passages

NAME = "token_document"
LONG = "哈尔滨的冬天很冷。河上结了厚厚的冰。松花江穿过城市。夏天人们来到江边，看船的来去。秋天的山是红的。冬天又来了。"
TEXTS = [LONG, "一个短句。", "城市的夏天。"]
ALONE = {"tasks": {NAME: {}}, "stages": [{"steps": 3, "tasks": {NAME: 1.0}}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_passages(tmp_path_factory.mktemp("tokens"), TEXTS, max_tokens=22, shards=1)


def test_the_label_says_whether_another_passage_of_the_document_has_the_token(folder):
    passages, builder = Passages(folder), batches(folder, **ALONE)
    texts = [set(passages.get(n)[0].tolist()) for n in range(len(passages))]
    seen = set()
    for slots, built in zip(builder.plan.step(0), builder.step(0, range(4)), strict=True):
        packed, target = built.packed, built.targets[NAME]
        for position, label in zip(target.positions.tolist(), target.labels.tolist(), strict=True):
            anchor = slots.passage[packed.sequence[position]]
            siblings = np.flatnonzero(passages.document == passages.document[anchor])
            others = [texts[n] for n in siblings.tolist() if n != anchor]
            assert label == any(packed.input_ids[position] in text for text in others)
            seen.add(label)
    assert seen == {0, 1}


def test_function_words_and_punctuation_are_not_asked_unless_wanted(folder):
    builder = batches(folder, **ALONE)
    names = {number: token for token, number in builder.special.vocab.items()}

    def asked(builder):
        return {
            names[n]
            for built in builder.step(0, range(4))
            for n in built.packed.input_ids[built.targets[NAME].positions].tolist()
        }

    assert {"冬", "江"} <= asked(builder)
    assert not asked(builder) & {"的", "了", "。", "，"}
    everything = batches(folder, **ALONE | {"tasks": {NAME: {"skip": ""}}})
    assert "的" in asked(everything)
    assert "。" not in asked(everything)


def test_documents_of_one_passage_do_not_serve(folder, tmp_path):
    task = settings(**ALONE).build_tasks()[NAME]
    passages = Passages(folder)
    lengths = np.bincount(passages.document)[passages.document]
    assert (lengths[task.eligible(passages)] > 1).all()
    assert task.eligible(passages).any()
    short = write_passages(tmp_path, TEXTS[1:], max_tokens=22, shards=1)
    with pytest.raises(InputError, match=r"needs documents of two or more passages .*: 0 of the 2 passages"):
        batches(short, **ALONE)
