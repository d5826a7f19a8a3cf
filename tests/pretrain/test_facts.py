import signal

import numpy as np
import pytest
from pydantic import ValidationError
from transformers import AutoModelForMaskedLM, AutoTokenizer

from ernie_pipe import resources
from ernie_pipe.errors import InputError
from ernie_pipe.model.multitask import MASKING
from ernie_pipe.pretrain import export
from ernie_pipe.pretrain.facts import NAMES, FactCloze
from ernie_pipe.pretrain.trainer import Trainer
from ernie_pipe.report.cloze import cloze, read_facts
from ernie_pipe.text.encode import load_encoder
from ernie_pipe.text.lexicon_files import read_lexicons
from tests.pretrain.building import settings
from tests.pretrain.test_evaluate import evaluations, write_split

SAMPLE = resources.sample()
ASKED = {
    "facts": str(SAMPLE / "facts.tsv"),
    "relations": str(SAMPLE / "relations.tsv"),
    "lexicon": str(SAMPLE / "lexicon.tsv"),
}


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return write_split(tmp_path_factory.mktemp("split"))


@pytest.fixture(scope="module")
def trained(split, tmp_path_factory):
    folder = tmp_path_factory.mktemp("asked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signal, "signal", lambda *_: None)
        wanted = settings(evaluate={"every": 4, "batches": 1, "metric": "cloze/mrr"} | ASKED)
        trainer = Trainer(wanted, split, folder)
        trainer.train()
    return trainer


def test_facts_are_asked_at_every_evaluation_and_choose_the_best(trained):
    lines = evaluations(trained.folder)
    values = [line["cloze/mrr"] for line in lines]
    assert len(values) == 3
    assert all(0 < line[name] < 1 for line in lines for name in ("cloze/mrr",))
    assert all(0 <= line["cloze/first_of_20"] <= 1 for line in lines)
    assert trained.held_out.state.best == max(values)


def test_the_figures_are_those_of_the_exported_model(trained, tmp_path):
    export.export(str(trained.folder), str(tmp_path / "hf"))
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "hf")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    facts = read_facts(ASKED["facts"], ASKED["relations"])
    lexicon = read_lexicons([ASKED["lexicon"]]).entities
    expected = cloze(model, tokenizer, facts, lexicon)
    assert expected.facts == len(trained.held_out.facts)
    last = evaluations(trained.folder)[-1]
    # The best is the one that export leaves behind the last; both are asked with the last weights.
    assert [last[name] for name in NAMES] == pytest.approx([expected.mrr, expected.hits_at_1], rel=1e-3, abs=2e-3)


def test_the_share_of_each_rank_makes_the_whole(trained):
    asked = trained.held_out.facts
    trained.model.eval()
    predict = asked._predictor(trained.model, trained.accelerator.device)
    whole = asked._cloze.ranks(predict)
    parts = [asked._cloze.ranks(predict, range(rank, len(asked), 2)) for rank in (0, 1)]
    for all_of_them, *halves in zip(whole, *parts, strict=True):
        assert np.array_equal(all_of_them[0::2], halves[0])
        assert np.array_equal(all_of_them[1::2], halves[1])


def test_mistakes_are_told_before_training(split, write, tmp_path):
    with pytest.raises(ValidationError, match="go together"):
        settings(evaluate={"every": 2, "facts": "f.tsv"})
    with pytest.raises(ValidationError, match=r"set evaluate\.every"):
        settings(evaluate={"facts": "f.tsv", "relations": "r.tsv"})
    facts = write("facts.tsv", "h\th\th\th\th\nr\t甲\tLOC\t\U0001f600\tLOC\n")
    relations = write("relations.tsv", "relation\tobject_type\ttemplate\nr\tLOC\t{subject}在{object}\n")
    wanted = settings(evaluate={"every": 2, "facts": str(facts), "relations": str(relations)})
    with pytest.raises(InputError, match="none of 1 facts can be asked"):
        FactCloze(wanted, load_encoder(f"{split}/tokenizer"))
    long = "字" * 200
    relations = write("relations.tsv", f"relation\tobject_type\ttemplate\nr\tLOC\t{long}{{subject}}在{{object}}\n")
    facts = write("facts.tsv", "h\th\th\th\th\nr\t中国\tLOC\t北京\tLOC\n")
    wanted = settings(evaluate={"every": 2, "facts": str(facts), "relations": str(relations)})
    with pytest.raises(InputError, match=r"evaluate\.facts: a question has"):
        Trainer(wanted, split, tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()
    with pytest.raises(InputError, match=f"which no stage uses|{MASKING}"):
        Trainer(wanted.model_copy(update={"stages": _without_masking(wanted)}), split, tmp_path / "run")


def _without_masking(wanted):
    return [wanted.stages[0].model_copy(update={"tasks": {"sentence_distance": 1.0}})]
