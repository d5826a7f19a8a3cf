import copy
import logging
import sys
from types import SimpleNamespace

import pytest
import torch

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import Classifier, Reader, Tagger
from ernie_pipe.finetune.settings import FinetuneSettings
from ernie_pipe.finetune.training import KeepBest, _arguments, train
from tests.finetune.toys import FAST, build_encoder, opinions


def run(scores, patience):
    """Feed a toy model, whose weight is the epoch, through the callback."""
    keep = KeepBest(iter(scores).__next__, patience, "macro_f1")
    model, control = torch.nn.Linear(1, 1, bias=False), SimpleNamespace(should_training_stop=False)
    epoch = 0
    while not control.should_training_stop and epoch < len(scores):
        epoch += 1
        torch.nn.init.constant_(model.weight, epoch)
        state = SimpleNamespace(epoch=float(epoch), num_train_epochs=len(scores))
        keep.on_epoch_end(None, state, control, model=model)
    return keep, epoch


@pytest.mark.parametrize(
    ("scores", "patience", "best", "stopped"),
    [
        ([0.1, 0.3, 0.2, 0.2, 0.9], 2, 2, 4),
        ([0.1, 0.3, 0.2, 0.2, 0.9], 0, 5, 5),
        ([0.0, 0.0, 0.0], 2, 1, 3),
        ([0.1, 0.2, 0.3], 1, 3, 3),
        ([float("nan"), float("nan")], 0, 1, 2),
        ([float("nan"), -0.5], 0, 2, 2),
    ],
)
def test_the_first_best_epoch_is_kept_and_patience_ends(scores, patience, best, stopped):
    keep, epochs = run(scores, patience)
    assert (keep.epoch, epochs) == (best, stopped)
    assert keep.weights["weight"].item() == best


def test_epochs_name_their_score_and_an_early_stop_its_reason(said):
    run([0.1, 0.3, 0.2, 0.2, 0.9], 2)
    assert said().splitlines() == [
        "epoch 1: macro_f1 0.1000 on dev (best)",
        "epoch 2: macro_f1 0.3000 on dev (best)",
        "epoch 3: macro_f1 0.2000 on dev",
        "epoch 4: macro_f1 0.2000 on dev",
        "no better macro_f1 for 2 epochs: stopped after epoch 4 of 5",
    ]


def test_what_ends_with_the_last_epoch_was_not_stopped(said):
    run([0.3, 0.2], 1)
    assert "stopped" not in said()


def on_screen(written):
    """What a terminal shows in the end: a line begins again at each carriage return, and is written over."""
    lines = []
    for line in written.split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("logger", ["ernie_pipe", None])
def test_lines_stand_above_the_bar_which_leaves_nothing_behind(classifier, capsys, monkeypatch, terminal, logger):
    for module in ("finetune.training", "progress"):
        monkeypatch.setattr(f"ernie_pipe.{module}.is_terminal", lambda: terminal)
    monkeypatch.setattr("ernie_pipe.progress._has_width", lambda: True)
    given, handler = logging.getLogger(logger), logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(given, "handlers", [*given.handlers, handler])
    monkeypatch.setattr(logging.getLogger("ernie_pipe"), "level", logging.INFO)
    settings = FinetuneSettings(epochs=2, batch_size=8, device="cpu", learning_rate=1e-9)
    features = classifier.features(classifier.read(opinions(), "train"))
    capsys.readouterr()
    train(
        copy.deepcopy(classifier.model),
        features,
        collator=classifier.collator(),
        settings=settings,
        seed=1,
        score=iter([0.1, 0.2]).__next__,
        metric="f1",
    )
    written = capsys.readouterr().err
    assert on_screen(written) == ["epoch 1: f1 0.1000 on dev (best)", "epoch 2: f1 0.2000 on dev (best)", ""]
    assert ("fine-tune: 100%" in written) == terminal
    assert given.handlers[-1] is handler


def test_the_model_ends_with_the_weights_of_the_best_epoch(classifier):
    seen = []

    def score():
        seen.append(classifier.model.classifier.weight.detach().clone())
        return [0.1, 0.9, 0.2][len(seen) - 1]

    features = classifier.features(classifier.read(opinions(), "train"))
    settings = FinetuneSettings(epochs=3, batch_size=8, device="cpu", learning_rate=1e-4)
    model, before = classifier.model, copy.deepcopy(classifier.model.state_dict())
    assert train(model, features, collator=classifier.collator(), settings=settings, seed=1, score=score) == 2
    assert torch.equal(model.classifier.weight, seen[1])
    assert not torch.equal(seen[1], seen[2])
    model.load_state_dict(before)


def test_cuda_is_refused_where_there_is_none(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(InputError, match="no CUDA device"):
        _arguments(FinetuneSettings(device="cuda"), 1, str(tmp_path), 8)


def test_the_warm_up_is_a_share_of_the_steps(tmp_path):
    arguments = _arguments(FinetuneSettings(warmup_ratio=0.25, device="cpu"), 1, str(tmp_path), 8)
    assert arguments.get_warmup_steps(200) == 50


@pytest.mark.parametrize("bf16", [False, True])
def test_a_trained_model_answers_without_dropout_and_as_it_will_once_loaded(encoder_folder, tmp_path, bf16):
    head = Classifier.from_pretrained(encoder_folder, **FAST | {"epochs": 2}, bf16=bf16)
    result = head.fit(opinions(), dev=opinions())
    assert not head.model.training
    head.save(tmp_path / "out")
    texts, loaded = [row["text"] for row in opinions()], Classifier.from_pretrained(tmp_path / "out")
    assert loaded.predict(texts) == head.predict(texts)
    assert loaded.evaluate(opinions()) == result["dev"]


@pytest.mark.parametrize(
    ("head", "row"),
    [
        (Tagger, {"text": "\ufffd", "entities": [{"start": 0, "end": 1, "type": "LOC"}]}),
        (Reader, {"question": "在", "context": "他\ufffd", "answers": [{"text": "\ufffd", "answer_start": 1}]}),
    ],
)
def test_data_without_a_token_to_learn_by_is_refused(encoder_folder, head, row):
    with pytest.raises(InputError, match="train: nothing to learn from"):
        head.from_pretrained(encoder_folder, **FAST).fit([row])


def test_training_has_the_dropout_that_is_set(tmp_path):
    still = build_encoder(tmp_path / "still", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    with pytest.raises(InputError, match="r_drop: the encoder has no dropout"):
        Classifier.from_pretrained(still, **{**FAST, "r_drop": 1.0}).fit(opinions())
    Classifier.from_pretrained(still, **{**FAST, "r_drop": 1.0, "dropout": 0.1, "max_steps": 1}).fit(opinions())
