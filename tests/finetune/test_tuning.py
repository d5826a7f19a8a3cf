import importlib.util
import json

import pytest

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import Classifier, fitting, tuning
from ernie_pipe.finetune.commands import finetune
from ernie_pipe.finetune.settings import FinetuneSettings
from ernie_pipe.finetune.trainer import DivergedError
from tests.finetune.toys import FAST, opinions

GIVEN = FinetuneSettings(learning_rate=1e-3, epochs=4, batch_size=8, accumulate=4)
needs_optuna = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="needs the extra `search`")


def score(settings):
    """Best at the highest rate and the fewest epochs."""
    return settings.learning_rate * 100 - settings.epochs / 100


@needs_optuna
def test_the_given_settings_come_first_and_the_best_are_found_again():
    found, record = tuning.search(GIVEN, 12, score)
    first = record["trials"][0]
    assert {name: first[name] for name in tuning.NAMES} == {name: getattr(GIVEN, name) for name in tuning.NAMES}
    best = record["trials"][record["best"]]
    assert best["dev"] == max(trial["dev"] for trial in record["trials"]) == score(found) > score(GIVEN)
    for trial in record["trials"]:
        assert 1e-3 / 4 <= trial["learning_rate"] <= 1e-3 * 4
        assert 2 <= trial["epochs"] <= 8
        assert trial["batch_size"] in (4, 8, 16)
        assert 0.75 <= trial["layer_decay"] <= 1
    assert tuning.search(GIVEN, 12, score) == (found, record)
    assert tuning.search(GIVEN.model_copy(update={"seed": 2}), 12, score)[1] != record


@needs_optuna
def test_trials_without_a_score_are_the_worst(said):
    def sometimes(settings):
        if settings.learning_rate > 1e-3:
            raise DivergedError("the loss is nan")
        return float("nan") if settings.epochs > 4 else -0.5

    _, record = tuning.search(GIVEN, 8, sometimes)
    scores = [trial["dev"] for trial in record["trials"]]
    assert scores[record["best"]] == -0.5
    assert None in scores
    assert "no score" in said()
    with pytest.raises(InputError, match="none of 2 trials has a dev score"):
        tuning.search(GIVEN, 2, lambda settings: float("nan"))


def test_a_search_that_cannot_be_is_refused(monkeypatch):
    with pytest.raises(InputError, match="chosen by the dev set: give one"):
        tuning.check(3, dev=False)
    with pytest.raises(InputError, match="search -1"):
        tuning.check(-1, dev=True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "ernie-pipe\[search\]"'):
        tuning.check(1, dev=True)
    tuning.check(0, dev=False)


@needs_optuna
def test_the_command_searches_fits_with_the_best_and_records_all(encoder_folder, write, tmp_path, said):
    rows = "".join(f"{row['text']}\t{row['label']}\n" for row in opinions())
    data, out = str(write("data.tsv", "text\tlabel\n" + rows)), tmp_path / "out"
    argv = ["classifier", "--model", str(encoder_folder), "--train", data, "--dev", data, "--output", str(out)]
    flags = ["--epochs", "2", "--learning-rate", "5e-3", "--batch-size", "8", "--device", "cpu", "--search", "3"]
    assert finetune([*argv, *flags]) == 0
    record = json.loads((out / "ernie_pipe.json").read_text(encoding="utf-8"))
    best = record["search"]["trials"][record["search"]["best"]]
    assert len(record["search"]["trials"]) == 3
    assert {name: record["settings"][name] for name in tuning.NAMES} == {name: best[name] for name in tuning.NAMES}
    # The last fit repeats the best trial.
    assert record["metrics"]["dev"]["macro_f1"] == best["dev"]
    assert "trial 3 of 3: learning_rate" in said()


@needs_optuna
def test_settings_are_as_before_when_a_search_fails(encoder_folder, monkeypatch):
    head = Classifier.from_pretrained(encoder_folder, **FAST)
    before = head.settings

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "train", stop)
    with pytest.raises(KeyboardInterrupt):
        head.fit(opinions(), dev=opinions(), search=2)
    assert head.settings == before
