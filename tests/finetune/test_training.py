import copy
from types import SimpleNamespace

import pytest
import torch

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import Classifier, Reader, Tagger
from ernie_pipe.finetune.settings import FinetuneSettings
from ernie_pipe.finetune.training import KeepBest, _arguments, train
from tests.finetune.toys import FAST, opinions


def run(scores, patience):
    """Feed a toy model, whose weight is the epoch, through the callback."""
    keep = KeepBest(iter(scores).__next__, patience)
    model, control = torch.nn.Linear(1, 1, bias=False), SimpleNamespace(should_training_stop=False)
    epoch = 0
    while not control.should_training_stop and epoch < len(scores):
        epoch += 1
        torch.nn.init.constant_(model.weight, epoch)
        keep.on_epoch_end(None, SimpleNamespace(epoch=float(epoch)), control, model=model)
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
