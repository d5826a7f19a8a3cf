import copy
import errno
import shutil
import threading

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ernie_pipe.errors import InputError
from ernie_pipe.model.convert import new_config
from ernie_pipe.model.multitask import MultiTaskModel
from ernie_pipe.pretrain import checkpoint
from ernie_pipe.pretrain.export import export
from ernie_pipe.pretrain.optimizer import build_optimizer
from ernie_pipe.pretrain.trainer import Trainer
from tests.pretrain.building import settings


def build(builder, seed=0):
    torch.manual_seed(seed)
    wanted = settings()
    model = MultiTaskModel(new_config(wanted.model, builder.special, list(builder.tasks)), builder.tasks)
    optimizer = build_optimizer(model, wanted.optimizer)
    sum(parameter.pow(2).sum() for parameter in model.parameters()).backward()
    optimizer.step()
    return model, optimizer


def steps(run):
    return sorted(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").iterdir())


@pytest.fixture
def run(builder, tmp_path):
    """A run with checkpoints of the steps 3 and 6."""
    for step in (3, 6):
        checkpoint.save(tmp_path, step, *build(builder, seed=step), keep=3)
    return tmp_path


def test_weights_and_moments_come_back_as_they_were(run, builder):
    model, optimizer = build(builder, seed=6)
    other, other_optimizer = build(builder, seed=1)
    checkpoint.load_model(run, 6, other)
    checkpoint.load_optimizer(run, 6, other_optimizer, other)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    for a, b in zip(optimizer.state.values(), other_optimizer.state.values(), strict=True):
        assert all(torch.equal(a[name], b[name]) for name in ("step", "exp_avg", "exp_avg_sq"))


def test_tied_weights_are_stored_once_and_come_back_tied(run, builder):
    state = load_file(checkpoint.folder(run, 6) / checkpoint.MODEL)
    other, _ = build(builder, seed=1)
    assert sum(tensor.shape == (builder.special.size, 32) for tensor in state.values()) == 1
    checkpoint.load_model(run, 6, other)
    words = other.encoder.embeddings.word_embeddings.weight
    assert other.heads["knowledge_masking"].decoder.weight is words
    assert torch.equal(words, state["encoder.embeddings.word_embeddings.weight"])


def test_the_last_k_are_kept(run, builder):
    for step in (9, 12):
        checkpoint.save(run, step, *build(builder), keep=2)
    assert steps(run) == [9, 12]


def test_the_best_stays_beside_the_last(run, builder):
    for step in (9, 12):
        checkpoint.save(run, step, *build(builder), keep=1, best=3)
    assert steps(run) == [3, 12]
    checkpoint.save(run, 15, *build(builder), keep=1, best=15)
    assert steps(run) == [15]


def test_training_goes_on_while_a_copy_is_written(tmp_path, builder, monkeypatch):
    model, optimizer = build(builder)
    before = {name: tensor.clone() for name, tensor in model.state().items()}
    go, write = threading.Event(), checkpoint.write
    monkeypatch.setattr(checkpoint, "write", lambda *given, **more: go.wait(30) and write(*given, **more))
    writer = checkpoint.Writer()
    writer.save(tmp_path, 1, model, optimizer, keep=1, best=None, trainer={"guard": 7})
    optimizer.step()
    moments = copy.deepcopy(optimizer.state_dict()["state"][0])
    assert not (tmp_path / "checkpoints").exists()
    go.set()
    writer.wait()
    stored = load_file(checkpoint.folder(tmp_path, 1) / checkpoint.MODEL)
    assert all(torch.equal(stored[name], before[name]) for name in before)
    other_model, other = build(builder, seed=1)
    checkpoint.load_optimizer(tmp_path, 1, other, other_model)
    assert other.state_dict()["state"][0]["step"] == moments["step"] - 1
    assert not torch.equal(other.state_dict()["state"][0]["exp_avg"], moments["exp_avg"])
    assert checkpoint.trainer_state(tmp_path, 1) == {"guard": 7}


def test_the_memory_of_a_copy_is_used_again(builder):
    copier = checkpoint.Copier()
    one, two = (copier.snapshot(*build(builder, seed=seed), {}) for seed in (1, 2))
    places = [{name: tensor.data_ptr() for name, tensor in copy.model.items()} for copy in (one, two)]
    assert places[0] == places[1]
    model, optimizer = build(builder, seed=2)
    assert all(torch.equal(two.model[name], tensor) for name, tensor in model.state().items())
    moments = two.optimizer["state"][3]["exp_avg_sq"]
    assert torch.equal(moments, optimizer.state_dict()["state"][3]["exp_avg_sq"])
    assert moments.data_ptr() == one.optimizer["state"][3]["exp_avg_sq"].data_ptr()


def test_a_save_that_is_waited_for_lies_on_the_disk_when_it_returns(tmp_path, builder):
    writer = checkpoint.Writer()
    writer.save(tmp_path, 1, *build(builder), keep=1, best=None, trainer={}, wait=True)
    assert (checkpoint.newest(tmp_path), writer.busy) == (1, False)
    assert writer.waited > 0


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("where", ["save_file", "_sync_file", "sync_folder"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("No space left on device"),
              SafetensorError("No space left on device")],
)  # fmt: skip
def test_a_full_disk_is_told_and_leaves_the_others_as_they_were(run, builder, monkeypatch, where, error, wait):
    def full(*_, **__):
        raise error

    monkeypatch.setattr(checkpoint, where, full)
    writer = checkpoint.Writer()
    writer.save(run, 9, *build(builder), keep=1, best=None, trainer={}, wait=wait)
    writer.wait()
    message = str(writer.look())
    assert "step-00000009: not saved (No space left on device); step 6 is intact, the same command goes on" in message
    assert "\n" not in message
    assert steps(run) == [3, 6]
    monkeypatch.undo()
    assert checkpoint.newest(run) == 6


def test_what_killed_saves_left_behind_is_cleared(run, builder):
    (run / "checkpoints" / "step-00000008.partial").mkdir()
    checkpoint.save(run, 9, *build(builder), keep=3)
    assert steps(run) == [3, 6, 9]


@pytest.mark.parametrize("name", [checkpoint.MODEL, checkpoint.OPTIMIZER, checkpoint.TRAINER, checkpoint.STATE])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_newest_is_named_and_the_one_before_used(run, caplog, name, damage):
    path = checkpoint.folder(run, 6) / name
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else data[:-2] + b"!!")
    assert checkpoint.newest(run) == 3
    assert "step-00000006 is damaged" in caplog.text


def test_a_damaged_checkpoint_is_replaced_when_its_step_is_reached_again(run, builder):
    for name in (checkpoint.MODEL, checkpoint.STATE):
        (checkpoint.folder(run, 6) / name).write_bytes(b"cut")
        checkpoint.save(run, 6, *build(builder, seed=6), keep=3)
        assert checkpoint.newest(run) == 6


def test_a_save_that_was_cut_short_is_no_checkpoint(run, builder):
    shutil.copytree(checkpoint.folder(run, 6), checkpoint.folder(run, 9).with_suffix(".partial"))
    assert checkpoint.newest(run) == 6
    checkpoint.save(run, 9, *build(builder), keep=3)
    assert steps(run) == [3, 6, 9]


def test_no_run_starts_anew_in_silence_when_all_are_damaged(run):
    for step in (3, 6):
        (checkpoint.folder(run, step) / checkpoint.MODEL).unlink()
    with pytest.raises(InputError, match="every checkpoint is damaged"):
        checkpoint.newest(run)


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.newest(tmp_path) is None


def test_weights_of_another_shape_are_refused_by_name(run, builder):
    tasks = {name: task for name, task in builder.tasks.items() if name != "sentence_distance"}
    model = MultiTaskModel(new_config(settings().model, builder.special, list(tasks)), tasks)
    with pytest.raises(InputError, match=r"first: heads\.sentence_distance"):
        checkpoint.load_model(run, 6, model)


def test_the_best_checkpoint_can_be_exported(data, tmp_path):
    trainer = Trainer(settings(), data, tmp_path / "run")
    parts = (trainer.model, trainer.optimizer.optimizer)
    checkpoint.save(tmp_path / "run", 1, *parts, keep=2)
    with pytest.raises(InputError, match=r"no best checkpoint.*evaluate\.every"):
        export(str(tmp_path / "run"), str(tmp_path / "hf"), best=True)
    checkpoint.save(tmp_path / "run", 2, *parts, keep=2, best=1, trainer={"evaluation": {"best_step": 1}})
    assert export(str(tmp_path / "run"), str(tmp_path / "hf")) == 2
    assert export(str(tmp_path / "run"), str(tmp_path / "hf"), best=True) == 1


def test_a_run_is_no_place_for_its_own_export(data, tmp_path):
    trainer = Trainer(settings(), data, tmp_path / "run")
    checkpoint.save(tmp_path / "run", 1, trainer.model, trainer.optimizer.optimizer, keep=1)
    with pytest.raises(InputError, match="is the folder of a run"):
        export(str(tmp_path / "run"), str(tmp_path / "run"))
