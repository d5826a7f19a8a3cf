import argparse
import json
import sys
from dataclasses import dataclass

import pytest

from ernie_pipe import resources
from ernie_pipe.errors import InputError
from ernie_pipe.finetune.pairs import LabelledPair
from tests.finetune import toys

BENCHMARKS = resources.folder("configs").parent / "benchmarks"


@pytest.fixture(scope="module")
def suite():
    sys.path.insert(0, str(BENCHMARKS))
    import finetune_suite

    yield finetune_suite
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(toys.build_encoder(tmp_path_factory.mktemp("encoder"), max_position_embeddings=128))


def options(model, **changes):
    given = {
        "model": model, "data": None, "sets": None, "seeds": 2, "rates": [1e-3, 1e-2], "examples": 24, "dev": 6,
        "test": 6, "max_tokens": 64, "epochs": 1,
    }  # fmt: skip
    return argparse.Namespace(**{**given, **changes})


def pair(first, second):
    return LabelledPair(first, second, "1", "a:1")


def test_a_pair_goes_as_soon_as_one_of_its_texts_is_known(suite):
    form = suite.FORMS["pair"]
    rows = [pair("好书", "坏菜"), pair("他去过", "她住"), pair("房间", "好 书"), pair("他去过", "她住")]
    assert suite.without(rows, [pair("北京", "好书")], form) == [rows[1]]


def test_questions_of_one_context_stay_on_one_side(suite):
    @dataclass(frozen=True)
    class Question:
        context: str
        text: str

    rows = [Question(f"文{i % 20}", f"{i}") for i in range(100)]
    train, dev = suite.split(rows, suite.FORMS["reader"])
    assert {row.context for row in train}.isdisjoint(row.context for row in dev)
    assert len(dev) == 10
    assert sorted(train + dev, key=rows.index) == rows


@pytest.mark.parametrize("name", ["sentiment", "ner", "pairs", "vectors", "qa", "choice"])
def test_every_head_gets_its_examples_back(suite, model, name):
    one, args = suite.SAMPLE[name], options(model)
    parts = suite.prepared(one, args)
    head = suite.head_class(one.task).from_pretrained(model)
    assert (len(parts.train), len(parts.dev), len(parts.test)) == (24, 6, 6)
    read = head.read(parts.train, "train")
    assert [suite.FORMS[one.task].row(example) for example in read] == parts.train


def test_both_encoders_are_trained_and_differ(suite, model, tmp_path):
    for seed in (1, 2):
        suite.blank_encoder(model, tmp_path / str(seed), seed)
    one, two = ((tmp_path / str(seed) / "model.safetensors").read_bytes() for seed in (1, 2))
    assert one != two
    args, given = options(model), suite.SAMPLE["sentiment"]
    parts = suite.prepared(given, args)
    found = [suite.train_one(suite.Job(kind, 1e-2, 1), given, parts, args, tmp_path) for kind in suite.BOTH]
    assert all(0 <= outcome.test <= 1 and outcome.seconds > 0 for outcome in found)


def outcomes(suite, *scores, dev=0.5):
    return [suite.Outcome(dev, score, 1.0) for score in scores]


def test_the_difference_is_counted_in_standard_errors(suite):
    parts, one = suite.Parts([{}], [{}], [{}], 3), suite.SAMPLE["sentiment"]
    known = {1e-3: outcomes(suite, 0.9, 0.8), 1e-2: outcomes(suite, 0.99)}
    told = suite.compared("sentiment", one, parts, {"pretrained": known, "random": {1e-3: outcomes(suite, 0.6, 0.7)}})
    assert (told["difference"], told["standard_error"], told["wins"]) == (0.2, 0.0707, True)
    assert (told["pretrained"]["rate"], told["pretrained"]["scores"]) == (1e-3, [0.9, 0.8])
    wide = {1e-3: outcomes(suite, 0.9, 0.7)}
    told = suite.compared("sentiment", one, parts, {"pretrained": wide, "random": {1e-3: outcomes(suite, 0.65, 0.65)}})
    assert told["wins"] is False


def test_the_rate_is_chosen_on_dev_and_all_seeds_have_it(suite, model):
    asked = []

    def run(jobs):
        asked.extend(jobs)
        return [suite.Outcome(0.9 if job.rate == 1e-2 else 0.1, 0.5, 1.0) for job in jobs]

    found = suite.trained(options(model, seeds=3), suite.SAMPLE["ner"], run)
    assert len(asked) == 8
    assert {kind: [len(rates[rate]) for rate in (1e-3, 1e-2)] for kind, rates in found.items()} == {
        "pretrained": [1, 3], "random": [1, 3],
    }  # fmt: skip
    assert {job.seed for job in asked if job.rate == 1e-2 and job.kind == "random"} == {1, 2, 3}


def test_the_last_line_is_json_of_all_sets(suite, model, capsys, monkeypatch):
    lines = {"pairs": {"wins": True, "head": "pair"}, "qa": {"wins": False, "head": "reader"}}
    monkeypatch.setattr(suite, "measured", lambda args, sets, parts: lines)
    monkeypatch.setattr(sys, "argv", ["suite", "--model", model, "--sets", "pairs", "qa", "--examples", "8"])
    assert suite.main() == 0
    said, told = capsys.readouterr().out.splitlines()
    assert "pair (pairs)" in said
    assert json.loads(told)["won"] == {"pairs": "pair"}


def test_a_set_that_is_not_there_is_named(suite, model):
    with pytest.raises(InputError, match="no `lcqmc` without --data: sentiment"):
        suite.chosen(options(model, sets=["lcqmc"]))


def test_a_training_that_diverges_scores_the_worst_and_ends_nothing(suite, model, tmp_path):
    args, given = options(model, epochs=4), suite.SAMPLE["sentiment"]
    parts = suite.prepared(given, args)
    found = suite.train_one(suite.Job("pretrained", 1e30, 1), given, parts, args, tmp_path)
    assert (found.dev, found.test) == (-1.0, 0.0)
