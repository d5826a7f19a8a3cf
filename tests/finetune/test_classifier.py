import json

import pytest
import torch
from transformers import pipeline

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import Classifier
from tests.finetune.toys import FAST, opinions


def test_it_learns_and_answers_in_order(classifier):
    assert classifier.metrics["dev"]["accuracy"] == 1.0
    answers = classifier.predict(["书很坏。", "菜真好。"])
    assert [answer["label"] for answer in answers] == ["bad", "good"]
    assert all(0.5 < answer["score"] <= 1 for answer in answers)
    assert classifier.predict([]) == []


def test_the_stock_pipeline_gives_the_same_answers(classifier, tmp_path):
    classifier.save(tmp_path / "out")
    stock = pipeline("text-classification", model=str(tmp_path / "out"))
    texts = ["书很坏。", "菜真好。", "[MASK]好极了"]
    for expected, answer in zip(stock(texts), classifier.predict(texts), strict=True):
        assert answer["label"] == expected["label"]
        assert answer["score"] == pytest.approx(expected["score"], abs=1e-5)


def test_a_saved_head_answers_as_before(classifier, tmp_path):
    classifier.save(tmp_path / "out", command="ernie-pipe finetune")
    loaded = Classifier.from_pretrained(tmp_path / "out")
    assert loaded.predict(["书很坏。"]) == classifier.predict(["书很坏。"])
    assert loaded.settings == classifier.settings
    data = json.loads((tmp_path / "out" / "ernie_pipe.json").read_text(encoding="utf-8"))
    assert data["labels"] == ["bad", "good"]
    assert data["metrics"]["dev"]["examples"] == data["data"]["train"]["examples"] == len(opinions())
    assert data["command"] == "ernie-pipe finetune"


def test_long_texts_are_cut_counted_and_said(classifier, said):
    text = "书很坏。" * 20
    classifier.predict([text, "好"])
    assert "1 of 2 texts are cut to 32 tokens" in said()
    assert classifier.evaluate([{"text": text, "label": "bad"}])["cut"] == 1


def test_the_task_row_is_the_same_in_training_prediction_and_pipeline(encoder_folder, tmp_path):
    head = Classifier.from_pretrained(encoder_folder, **FAST | {"epochs": 1, "task_id": 3})
    head.fit(opinions())
    head.save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "ernie_pipe.json").read_text())["task_id"] == 3
    assert json.loads((tmp_path / "out" / "config.json").read_text())["finetune_task_id"] == 3
    (expected,) = pipeline("text-classification", model=str(tmp_path / "out"))(["书很坏。"])
    (answer,) = Classifier.from_pretrained(tmp_path / "out").predict(["书很坏。"])
    assert answer["score"] == pytest.approx(expected["score"], abs=1e-5)
    assert answer == head.predict(["书很坏。"])[0]


def test_training_is_deterministic_for_a_seed(encoder_folder):
    def weights(seed):
        head = Classifier.from_pretrained(encoder_folder, **FAST | {"epochs": 1, "seed": seed})
        head.fit(opinions())
        return head.model.classifier.weight.detach()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_one_class_is_nothing_to_learn(encoder_folder):
    with pytest.raises(InputError, match=r"train\[0\]: every label is `1`"):
        Classifier.from_pretrained(encoder_folder).fit([{"text": "好", "label": 1}])


def test_predict_takes_a_list_and_a_fitted_head(classifier, encoder_folder):
    with pytest.raises(InputError, match="a list of strings"):
        classifier.predict("书很坏。")
    with pytest.raises(InputError, match="not fine-tuned as classifier yet: call fit"):
        Classifier.from_pretrained(encoder_folder).predict(["好"])
