import json
import logging
import shutil
import signal

import pytest
from pydantic import BaseModel

from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain import checkpoint, run
from ernie_pipe.pretrain.export import export
from ernie_pipe.pretrain.settings import PretrainSettings
from ernie_pipe.pretrain.trainer import Trainer
from tests.pretrain.building import MICRO, settings
from tests.pretrain.test_evaluate import write_split

# Every setting is one or the other; what decides a weight is refused.
MAY_DIFFER = {
    "processes", "log_every", "trackers", "checkpoint.every", "checkpoint.keep", "checkpoint.background",
    "batch.loader_workers", "evaluate.every", "evaluate.batches", "evaluate.metric", "evaluate.patience",
    "evaluate.facts", "evaluate.relations", "evaluate.lexicon", "activation_checkpointing", "compile", "on_non_finite",
    "on_spike", "spike_factor",
}  # fmt: skip
DECIDE = {
    "seed", "precision", "init_from", "tasks", "loss_weights", "sources", "stages", "model.hidden_size", "model.layers",
    "model.heads", "model.intermediate_size", "model.activation", "model.dropout", "model.attention_dropout",
    "model.initializer_range", "model.max_positions", "model.segments", "model.task_rows", "batch.tokens_per_step",
    "batch.micro_batches", "optimizer.learning_rate", "optimizer.weight_decay", "optimizer.beta1", "optimizer.beta2",
    "optimizer.epsilon", "optimizer.warmup_steps", "optimizer.schedule", "optimizer.min_learning_rate",
    "optimizer.decay_steps", "optimizer.clip_norm",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_handlers(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def keys(model, prefix=""):
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_setting_is_classified():
    assert {key for key in keys(PretrainSettings) if run.harmless(key)} == MAY_DIFFER
    assert {*keys(PretrainSettings)} >= MAY_DIFFER | DECIDE
    for key in (*DECIDE, "stages.0.steps", "tasks.knowledge_masking.rate", "processes_of_another_kind"):
        assert not run.harmless(key)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return write_split(tmp_path_factory.mktemp("split"))


EVALUATE = {"every": 2, "batches": 1}


@pytest.fixture(scope="module")
def half(split, tmp_path_factory):
    """The folder of a micro run that was stopped after 4 steps."""
    folder = tmp_path_factory.mktemp("half") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signal, "signal", lambda *_: None)
        Trainer(settings(evaluate=EVALUATE), split, folder).train(4)
    return folder


@pytest.fixture
def folder(half, tmp_path):
    return shutil.copytree(half, tmp_path / "run")


def test_a_run_of_other_batches_is_refused(folder, split):
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"batches": run.BATCHES - 1}))
    with pytest.raises(InputError, match="was started by another version of ernie_pipe"):
        Trainer(settings(evaluate=EVALUATE), split, folder)


@pytest.mark.parametrize("name", ["manifest.json", "config.json"])
def test_the_result_of_another_command_is_not_written_over(name, split, tmp_path):
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=rf"holds something else \({name}\), and no run; choose another --output"):
        run.check(tmp_path, settings(), Passages(split).manifest)


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_file_in_the_place_of_the_folder_is_named(place, split, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"/file: is a file; --output is the folder of a run"):
        run.check(tmp_path / place, settings(), Passages(split).manifest)


OTHER = {
    "seed": 4, "precision": "bf16", "init_from": "/hf", "loss_weights": {"sentence_distance": 0.5},
    "sources": {"sample": 2.0}, "model": MICRO["model"] | {"dropout": 0.2},
    "batch": MICRO["batch"] | {"micro_batches": 2}, "optimizer": MICRO["optimizer"] | {"clip_norm": 2.0},
    "stages": [*MICRO["stages"], MICRO["stages"][1]],
    "tasks": MICRO["tasks"] | {"knowledge_masking": {"rate": 0.2}},
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_a_change_that_decides_a_weight_is_refused_by_its_key(name, folder, split):
    with pytest.raises(InputError, match=f"was started with {name}"):
        run.check(folder, settings(evaluate=EVALUATE, **{name: OTHER[name]}), Passages(split).manifest)


def test_a_run_whose_passages_have_moved_goes_on_and_knows_where_they_are(folder, split, tmp_path):
    moved = shutil.copytree(split, tmp_path / "elsewhere")
    trainer = Trainer(settings(evaluate=EVALUATE), str(moved), folder)
    assert trainer.step == 4
    assert run.read(folder).data == str(moved)
    assert json.loads((folder / "run.json").read_text())["data_fingerprint"] == run.read(folder).data_fingerprint


def test_the_source_of_a_run_that_has_begun_may_be_gone(folder, data, tmp_path):
    export(str(folder), str(tmp_path / "hf"))
    wanted = settings(init_from=str(tmp_path / "hf"))
    Trainer(wanted, data, tmp_path / "second").train(3)
    shutil.rmtree(tmp_path / "hf")
    assert Trainer(wanted, data, tmp_path / "second").step == 3


def test_a_best_by_another_measure_is_forgotten_aloud(folder, split, caplog):
    caplog.set_level(logging.INFO, "ernie_pipe")
    before = checkpoint.trainer_state(folder, 4)["evaluation"]
    same = Trainer(settings(evaluate=EVALUATE | {"every": 3, "patience": 9}), split, folder).held_out.state
    assert (same.best, same.best_step) == (before["best"], before["best_step"])
    assert "forgotten" not in caplog.text
    other = Trainer(settings(evaluate=EVALUATE | {"metric": "accuracy/knowledge_masking"}), split, folder)
    assert (other.held_out.state.best, other.held_out.state.step) == (None, 4)
    assert "evaluate.metric has changed: the best so far is forgotten" in caplog.text


def test_a_checkpoint_older_than_what_it_remembers_goes_on(folder, split):
    state = json.loads((checkpoint.folder(folder, 4) / checkpoint.STATE).read_text())
    (checkpoint.folder(folder, 4) / checkpoint.TRAINER).unlink()
    del state["sha256"][checkpoint.TRAINER]
    (checkpoint.folder(folder, 4) / checkpoint.STATE).write_text(json.dumps(state))
    assert Trainer(settings(evaluate=EVALUATE), split, folder).step == 4
