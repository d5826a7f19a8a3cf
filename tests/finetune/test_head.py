import pytest

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import Classifier
from tests.finetune.toys import FAST, opinions

ONE = FAST | {"epochs": 1}


def test_several_seeds_report_their_spread_and_keep_the_best_on_dev(encoder_folder, monkeypatch):
    head = Classifier.from_pretrained(encoder_folder, **FAST | {"seed": 5})

    def scripted(seed, labels, sets):
        head.model = f"model of seed {seed}"
        scores = {"macro_f1": {5: 0.5, 6: 0.9, 7: 0.7}[seed]}
        return {"seed": seed, "epoch": 1, "dev": scores, "test": scores}

    monkeypatch.setattr(head, "_train", scripted)
    result = head.fit(opinions(), dev=opinions(), test=opinions(), seeds=3)
    assert (result["seed"], head.model) == (6, "model of seed 6")
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
    assert "test: 2 of 2 texts stand in the training data too, first at test[0]" in said()


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
