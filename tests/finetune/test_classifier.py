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


def several():
    """Texts with one label, two or none."""
    labels = {"good": ["good"], "bad": ["bad", "warn"]}
    rows = [{"text": row["text"], "labels": labels[row["label"]]} for row in opinions()]
    return [*rows, *({"text": f"{who}去过{place}。", "labels": []} for who in "他她" for place in ("北京", "上海"))]


@pytest.fixture(scope="module")
def multi(encoder_folder):
    head = Classifier.from_pretrained(encoder_folder, **FAST | {"epochs": 14})
    head.fit(several(), dev=several())
    return head


def test_several_labels_are_learnt_and_the_pipeline_gives_the_same(multi, tmp_path, said):
    assert multi.metrics["dev"]["micro_f1"] > 0.85
    multi.save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["problem_type"] == "multi_label_classification"
    texts = ["书很坏。", "菜真好。"]
    answers = multi.predict(texts)
    assert [set(answer["labels"]) for answer in answers] == [{"bad", "warn"}, {"good"}]
    stock = pipeline("text-classification", model=str(tmp_path / "out"))(texts, top_k=None)
    for answer, expected in zip(answers, stock, strict=True):
        assert answer["scores"] == pytest.approx({item["label"]: item["score"] for item in expected}, abs=1e-5)
    loaded = Classifier.from_pretrained(tmp_path / "out", threshold=0.999999)
    assert loaded.predict(texts)[0]["scores"] == answers[0]["scores"]
    assert loaded.predict(texts)[0]["labels"] == []
    assert loaded.evaluate([{"text": "书很坏。", "labels": []}])["exact"] == 1.0


def test_the_threshold_is_chosen_on_dev_recorded_and_used(encoder_folder, tmp_path, said):
    settings = FAST | {"epochs": 3, "threshold": "auto"}
    head = Classifier.from_pretrained(encoder_folder, **settings)
    result = head.fit(several(), dev=several(), seeds=2)
    chosen = head.chosen["threshold"]
    assert f"threshold auto: {chosen:.4g}, the best on dev" in said()
    head.settings = head.settings.model_copy(update={"threshold": 0.5})
    assert result["dev"]["micro_f1"] > head.evaluate(several())["micro_f1"]
    head.settings = head.settings.model_copy(update={"threshold": "auto"})
    head.save(tmp_path / "out")
    known = json.loads((tmp_path / "out" / "ernie_pipe.json").read_text(encoding="utf-8"))
    assert (known["chosen"], known["settings"]["threshold"]) == ({"threshold": chosen}, "auto")
    loaded = Classifier.from_pretrained(tmp_path / "out")
    assert loaded.evaluate(several()) == result["dev"]
    texts = [row["text"] for row in several()]
    for answer in loaded.predict(texts):
        assert answer["labels"] == sorted(
            (label for label, share in answer["scores"].items() if share >= chosen),
            key=lambda label: -answer["scores"][label],
        )
    assert Classifier.from_pretrained(tmp_path / "out", threshold=0.999999).predict(texts[:1])[0]["labels"] == []
    loaded.fit(several())
    assert loaded.chosen == {}
    assert loaded.setting("threshold") == 0.5
    assert "threshold auto: no dev data that tells: it is 0.5" in said()


def grades():
    things, words = ["书", "菜", "房间", "服务"], {"糟糕": 0.5, "很坏": 1.5, "真好": 4.0, "好极了": 5.0}
    return [{"text": f"{thing}{word}。", "label": value} for thing in things for word, value in words.items()]


def test_numbers_are_learnt_and_the_pipeline_gives_the_same(encoder_folder, tmp_path, said):
    head = Classifier.from_pretrained(encoder_folder, **FAST | {"epochs": 25})
    result = head.fit(grades(), dev=grades())
    assert "problem: regression (labels are numbers with decimals)" in said()
    assert result["dev"]["pearson"] > 0.9
    head.save(tmp_path / "out")
    texts = [row["text"] for row in grades()]
    stock = pipeline("text-classification", model=str(tmp_path / "out"))(texts)
    answers = Classifier.from_pretrained(tmp_path / "out").predict(texts)
    assert [answer["label"] for answer in answers] == [item["label"] for item in stock] == ["score"] * len(texts)
    assert [answer["score"] for answer in answers] == pytest.approx([item["score"] for item in stock], abs=1e-4)
    worst = head.reports["dev"]["worst"]
    assert worst[0]["loss"] == pytest.approx((worst[0]["gold"] - worst[0]["predicted"]) ** 2, rel=1e-3)


def test_a_new_regression_starts_at_the_mean(encoder_folder):
    head = Classifier.from_pretrained(encoder_folder, **FAST | {"epochs": 1, "learning_rate": 1e-9})
    head.fit([{"text": row["text"], "label": row["label"] + 100} for row in grades()])
    assert head.predict(["书真好。"])[0]["score"] == pytest.approx(102.75, abs=1)


def test_the_problem_may_be_set(encoder_folder, said):
    stars = [{"text": row["text"], "label": str(int(row["label"]))} for row in grades()]
    head = Classifier.from_pretrained(encoder_folder, **FAST | {"epochs": 1, "problem": "regression"})
    head.fit(stars)
    assert (head.labels, head.problem) == (["score"], "regression")
    assert "problem: regression (as set)" in said()
    cells = [{"text": row["text"], "label": "|".join(row["labels"])} for row in several() if row["labels"]]
    head = Classifier.from_pretrained(encoder_folder, **FAST | {"epochs": 1, "problem": "multi"})
    head.fit(cells)
    assert head.labels == ["bad", "good", "warn"]


@pytest.mark.parametrize(
    ("changes", "label", "message"),
    [
        ({"problem": "regression"}, "高", r"dev\[0\]: label `高` is no number"),
        ({"problem": "single"}, ["x", "y"], r"dev\[0\]: several labels"),
        ({}, "x", r"dev\[0\]: unknown label `x`: the training data has 1, 2"),
    ],
)
def test_a_label_of_another_kind_is_named_with_its_place(encoder_folder, changes, label, message):
    head = Classifier.from_pretrained(encoder_folder, **FAST | changes)
    train = [{"text": "好", "label": 1}, {"text": "坏", "label": 2}]
    with pytest.raises(InputError, match=message):
        head.fit(train, dev=[{"text": "好", "label": label}])


def test_another_problem_gets_a_new_head(multi, tmp_path, said):
    multi.save(tmp_path / "out")
    again = Classifier.from_pretrained(tmp_path / "out", **FAST | {"epochs": 1})
    again.fit([{"text": "好", "label": "good"}, {"text": "坏", "label": "bad"}])
    assert again.model.config.problem_type == "single_label_classification"
    assert "new weights, to be learnt: classifier" in said()


def test_a_new_model_says_its_problem_before_it_is_trained(encoder_folder):
    head = Classifier.from_pretrained(encoder_folder)
    labels = head.labels_of(head.read(several(), "train"))
    assert head.start(labels).config.problem_type == "multi_label_classification"


def test_a_report_lies_beside_the_model(classifier, tmp_path):
    head = Classifier.from_pretrained(classifier.folder, **FAST | {"epochs": 1, "learning_rate": 1e-9})
    result = head.fit(opinions(), dev=opinions())
    head.save(tmp_path / "out")
    found = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["dev"]
    low, high = found["intervals"]["accuracy"]
    assert low <= result["dev"]["accuracy"] <= high
    wrong = round((1 - result["dev"]["accuracy"]) * len(opinions()))
    assert sum(sum(row) for row in found["confusion"]["counts"]) == found["examples"] == len(opinions())
    assert len(found["worst"]) == wrong > 0
    assert all(item["gold"] != item["predicted"] and item["loss"] > 0.69 for item in found["worst"])
    assert found["worst"][0].keys() == {"where", "gold", "predicted", "loss", "text"}


def test_one_class_is_nothing_to_learn(encoder_folder):
    with pytest.raises(InputError, match=r"train\[0\]: every label is `1`"):
        Classifier.from_pretrained(encoder_folder).fit([{"text": "好", "label": 1}])
    with pytest.raises(InputError, match=r"every score is 0\.5"):
        Classifier.from_pretrained(encoder_folder).fit([{"text": "好", "label": 0.5}])


def test_predict_takes_a_list_and_a_fitted_head(classifier, encoder_folder):
    with pytest.raises(InputError, match="a list of strings"):
        classifier.predict("书很坏。")
    with pytest.raises(InputError, match="not fine-tuned as classifier yet: call fit"):
        Classifier.from_pretrained(encoder_folder).predict(["好"])
