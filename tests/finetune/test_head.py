import json

import pytest
import torch
from transformers import AutoModel

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import Classifier, PairClassifier, Tagger, encoder, fitting, inference, record
from tests.finetune.toys import FAST, alike, choices, journeys, opinions, questions, verdicts

ONE = FAST | {"epochs": 1}


def test_several_seeds_report_their_spread_and_keep_the_best_on_dev(encoder_folder, monkeypatch):
    head = Classifier.from_pretrained(encoder_folder, **FAST | {"seed": 5})

    def scripted(head, seed, labels, sets):
        head.model, head.chosen = f"model of seed {seed}", {"threshold": seed / 10}
        scores = {"macro_f1": {5: 0.5, 6: 0.9, 7: 0.7}[seed]}
        return {"seed": seed, "epoch": 1, "dev": scores, "test": scores}, {"dev": f"outputs of seed {seed}"}

    monkeypatch.setattr(fitting, "train", scripted)
    monkeypatch.setattr(head, "report", lambda examples, outputs: {"by": outputs})
    result = head.fit(opinions(), dev=opinions(), test=opinions(), seeds=3)
    assert (result["seed"], head.model, head.chosen) == (6, "model of seed 6", {"threshold": 0.6})
    assert head.reports == {"dev": {"by": "outputs of seed 6"}}
    assert [run["seed"] for run in result["seeds"]["runs"]] == [5, 6, 7]
    assert result["seeds"]["test"]["macro_f1"] == {"mean": pytest.approx(0.7), "std": pytest.approx(0.2)}


def test_a_seed_gives_the_same_alone_and_among_others(encoder_folder):
    few = FAST | {"epochs": 2}
    runs = Classifier.from_pretrained(encoder_folder, **few).fit(opinions(), dev=opinions(), seeds=2)["seeds"]["runs"]
    alone = Classifier.from_pretrained(encoder_folder, **few | {"seed": 2})
    assert alone.fit(opinions(), dev=opinions()) == runs[1]


def test_the_best_epoch_s_weights_are_the_ones_kept(encoder_folder):
    head = Classifier.from_pretrained(encoder_folder, **FAST | {"epochs": 3, "early_stop": 0})
    result = head.fit(opinions(), dev=opinions())
    assert head.evaluate(opinions()) == result["dev"]


def test_fitting_again_starts_anew(encoder_folder):
    head = Classifier.from_pretrained(encoder_folder, **ONE)
    first = head.fit(opinions(), dev=opinions())
    assert head.fit(opinions(), dev=opinions()) == first


def test_all_data_is_checked_before_training(encoder_folder, said):
    head = Classifier.from_pretrained(encoder_folder, **ONE)
    with pytest.raises(InputError, match=r"test\[0\]: unknown label `so-so`"):
        head.fit(opinions(), test=[{"text": "好", "label": "so-so"}])
    assert "seed" not in said()


def test_texts_that_stand_in_two_sets_are_said(encoder_folder, said):
    Classifier.from_pretrained(encoder_folder, **ONE).fit(opinions(), test=opinions()[:2])
    assert "test: 2 of 2 texts also in the training data, first at test[0]" in said()


def test_a_fitted_head_goes_on_with_its_labels_and_gets_a_new_head_for_others(classifier, tmp_path, said):
    classifier.save(tmp_path / "out")
    again = Classifier.from_pretrained(tmp_path / "out", **ONE | {"learning_rate": 1e-9})
    assert again.fit(opinions(), dev=opinions())["dev"]["accuracy"] == 1.0
    assert "new weights" not in said()
    again.fit([{"text": "好", "label": "x"}, {"text": "坏", "label": "y"}])
    assert again.labels == ["x", "y"]
    assert "new weights, to be learnt: classifier" in said()


def test_settings_come_from_the_folder_and_single_ones_change(classifier, tmp_path):
    classifier.save(tmp_path / "out")
    assert Classifier.from_pretrained(tmp_path / "out", batch_size=3).settings.model_dump() == {
        **classifier.settings.model_dump(),
        "batch_size": 3,
    }
    with pytest.raises(InputError, match="did you mean `epochs`"):
        Classifier.from_pretrained(tmp_path / "out", epoch=3)


def test_no_seed_is_refused(encoder_folder):
    with pytest.raises(InputError, match="train at least one"):
        Classifier.from_pretrained(encoder_folder).fit(opinions(), seeds=0)


ROWS = {
    "classifier": opinions(),
    "pair_head": verdicts(),
    "tagger": journeys(),
    "reader": questions(),
    "chooser": choices(),
    "embedder": alike(),
}
FIXTURES = list(ROWS)


@pytest.mark.parametrize("first", FIXTURES)
def test_an_encoder_goes_on_to_another_task_under_a_new_head(first, request, tmp_path, said):
    first = request.getfixturevalue(first)
    first.save(tmp_path / "first")
    # The head may have been fitted just now.
    start = len(said())
    head = Tagger.from_pretrained(tmp_path / "first", **ONE | {"max_steps": 1, "learning_rate": 1e-9})
    head.fit(journeys())
    expected = AutoModel.from_pretrained(tmp_path / "first").state_dict()
    found = head.model.base_model.state_dict()
    common = [name for name in expected if name in found and "pooler" not in name]
    assert len(common) > 10
    for name in common:
        torch.testing.assert_close(found[name].cpu(), expected[name], atol=1e-6, rtol=0)
    head.save(tmp_path / "second")
    known = record.read(tmp_path / "second")
    if first.task == head.task:
        assert "new weights" not in said()[start:]
    else:
        assert f"fine-tuned as {first.task} before: its encoder is carried over, the head is new" in said()[start:]
        assert "new weights, to be learnt: classifier" in said()[start:]
        assert head.model.config.problem_type is None
    (stage,) = known["chain"]
    assert (stage["folder"], stage["task"]) == (str(tmp_path / "first"), first.task)
    assert stage["data"]["train"]["sha256"] == first.data["train"]["sha256"]


def test_a_chain_grows_from_the_oldest_on_and_keeps_the_task_row(encoder_folder, tmp_path):
    one = Classifier.from_pretrained(encoder_folder, **ONE | {"task_id": 2})
    one.fit(opinions())
    one.save(tmp_path / "one")
    two = Tagger.from_pretrained(tmp_path / "one", **ONE)
    two.fit(journeys())
    two.save(tmp_path / "two")
    Tagger.from_pretrained(tmp_path / "two").save(tmp_path / "three")
    known = record.read(tmp_path / "three")
    assert [(stage["task"], stage["task_id"]) for stage in known["chain"]] == [("classifier", 2), ("tagger", 2)]
    assert known["task_id"] == 2
    assert record.read(tmp_path / "one")["chain"] == []
    with pytest.raises(InputError, match="fine-tuned with task_id 2 before"):
        Tagger.from_pretrained(tmp_path / "one", **ONE | {"task_id": 1}).fit(journeys())


def test_two_tasks_with_the_same_labels_do_not_share_a_head(classifier, tmp_path, said):
    classifier.save(tmp_path / "out")
    pair = PairClassifier.from_pretrained(tmp_path / "out", **ONE)
    rows = [{"text_a": row["text"], "text_b": row["text"], "label": row["label"]} for row in opinions()]
    pair.fit(rows)
    assert pair.labels == classifier.labels
    assert "new weights, to be learnt: classifier" in said()


@pytest.mark.parametrize(("name", "rows"), [("classifier", opinions), ("tagger", journeys)])
def test_a_saved_head_answers_to_the_bit(name, rows, request, tmp_path):
    head = request.getfixturevalue(name)
    texts = [row["text"] * n for n, row in enumerate(rows())]
    head.save(tmp_path / "out")
    assert type(head).from_pretrained(tmp_path / "out").predict(texts) == head.predict(texts)


def test_layers_that_are_not_there_are_refused_before_any_data_is_read(encoder_folder):
    with pytest.raises(InputError, match="frozen_layers 2: the encoder has 1 layer"):
        Classifier.from_pretrained(encoder_folder, frozen_layers=2)


@pytest.mark.parametrize(("rate", "warned"), [(1e-4, True), (1.5e-4, False)])
def test_a_rate_of_base_size_is_warned_of_once_for_a_small_encoder(encoder_folder, rate, warned, said):
    head = Classifier.from_pretrained(encoder_folder, **ONE | {"learning_rate": rate, "max_steps": 1})
    head.fit(opinions(), seeds=2)
    line = "suits encoders of base size, this one has 1 layer of width 32: try configs/finetune/tiny-classifier.yaml"
    assert said().count(line) == warned


@pytest.mark.parametrize(
    ("name", "told"), [("classifier", True), ("tagger", True), ("reader", False), ("chooser", False)]
)
def test_labels_are_said_where_they_come_from_the_data(name, told, request, said):
    head = request.getfixturevalue(name)
    start = len(said())
    head.plan({"train": head.read(ROWS[name], "train")})
    assert ("labels: " in said()[start:]) == told


def test_an_early_stop_without_a_dev_set_is_said(encoder_folder, said):
    Classifier.from_pretrained(encoder_folder, **ONE | {"early_stop": 2}).fit(opinions())
    assert "early_stop: without a dev set every epoch is trained" in said()


@pytest.mark.parametrize("name", FIXTURES)
def test_a_set_is_predicted_once_for_its_scores_and_its_report(name, request, monkeypatch):
    head, rows = request.getfixturevalue(name), ROWS[name]
    passes = []
    run = inference.outputs
    monkeypatch.setattr(inference, "outputs", lambda *args, **kw: passes.append(len(args[2])) or run(*args, **kw))
    head.evaluate(rows)
    assert len(passes) == 1
    assert head.reports["data"]["examples"] == len(rows)
    passes.clear()
    again = type(head).from_pretrained(head.folder, **FAST | {"epochs": 2})
    again.fit(rows, dev=rows, test=rows, seeds=2)
    # For each seed: dev after two epochs, then dev and test.
    assert len(passes) == 2 * (2 + 2)
    assert again.reports["test"]["metrics"].items() <= again.metrics["test"].items()


@pytest.mark.parametrize("name", FIXTURES)
def test_many_inputs_are_tokenized_and_computed_in_chunks(name, request, monkeypatch):
    head, rows = request.getfixturevalue(name), ROWS[name]
    sizes = []
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda tok, texts: sizes.append(len(texts)) or encode(tok, texts))
    examples = head.read(rows, "data")
    whole, features = head.evaluate(rows), head.features(examples)
    # An example has four choices, or two sentences, at most.
    assert max(sizes) > 3 * 4
    monkeypatch.setattr(encoder, "CHUNK", 3)
    sizes.clear()
    parts = head.evaluate(rows)
    assert parts.pop("per_type", None) == whole.pop("per_type", None)
    assert parts == pytest.approx(whole, abs=1e-5)
    assert max(sizes) <= 3 * 4
    assert head.features(examples) == features
    assert name == "reader" or max(sizes) <= 3 * 4


@pytest.mark.parametrize("name", FIXTURES)
def test_what_a_folder_records_may_lack_what_is_newer(name, request, tmp_path):
    head = request.getfixturevalue(name)
    head.save(tmp_path / "out")
    path = tmp_path / "out" / record.FILE
    known = json.loads(path.read_text(encoding="utf-8"))
    del known["chosen"], known["chain"], known["search"], known["settings"]["length_window"]
    path.write_text(json.dumps(known), encoding="utf-8")
    assert type(head).from_pretrained(tmp_path / "out").evaluate(ROWS[name]) == head.evaluate(ROWS[name])
