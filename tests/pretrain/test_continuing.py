import json
import shutil
import signal

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ernie_pipe.errors import InputError
from ernie_pipe.pretrain import __main__ as commands
from ernie_pipe.pretrain import checkpoint, continuing
from ernie_pipe.pretrain import run as runs
from ernie_pipe.pretrain.export import load_run
from ernie_pipe.pretrain.trainer import Trainer
from tests.pretrain.building import MICRO, sample_texts, settings, write_passages
from tests.pretrain.test_evaluate import evaluations, write_split
from tests.pretrain.test_trainer import metrics, weights

NEW = "sentence_order"
BY_RULE = {"schedule": {"kind": "continual", "task_steps": 6, "masking_share": 0.4}, "stages": []}


@pytest.fixture(autouse=True)
def _no_handlers(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_passages(tmp_path_factory.mktemp("continued") / "passages", sample_texts(), max_tokens=62)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A finished run of two tasks beside masking, by the rule of continual learning."""
    folder = tmp_path_factory.mktemp("continued") / "finished"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signal, "signal", lambda *_: None)
        Trainer(settings(**BY_RULE), data, folder).train()
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def go_on(run, *more):
    assert commands.main(["--continue", str(run), *more]) == 0


def test_the_stages_so_far_stay_and_the_rule_gives_the_next():
    before = settings(**BY_RULE, model=MICRO["model"] | {"task_rows": 5})
    after = continuing.with_task(before, NEW)
    assert after.stages[:-1] == before.stages
    assert after.task_names() == [*before.task_names(), NEW]
    # T = 6 and N = 2: u = 2, so the new one gets (2 + 2)·2 steps, and each of the two older ones 2.
    assert after.stages[-1].steps == 12
    shares = after.stages[-1].tasks
    assert shares == pytest.approx(
        {"knowledge_masking": 0.4, "sentence_reordering": 0.1, "sentence_distance": 0.1, NEW: 0.4}
    )
    again = continuing.with_task(continuing.with_task(after, NEW), "next_sentence")
    assert [stage.steps for stage in again.stages[-2:]] == [12, 16]
    assert continuing.with_task(again, "next_sentence") is again


def test_a_run_without_a_rule_says_what_it_needs():
    with pytest.raises(InputError, match=r"--unit U how many steps each of its 2 tasks .* gets 4 times as many"):
        continuing.with_task(settings(), NEW)
    after = continuing.with_task(settings(), NEW, unit=3)
    assert (after.stages[-1].steps, after.stages[-1].tasks["knowledge_masking"]) == (18, 0.5)
    with pytest.raises(InputError, match="follows from the schedule"):
        continuing.with_task(settings(**BY_RULE), NEW, unit=3)
    with pytest.raises(InputError, match="has a task `sentence_distance` already"):
        continuing.with_task(settings(**BY_RULE), "sentence_distance")
    with pytest.raises(InputError, match=r"unknown task `sentence_odor`.*sentence_order"):
        continuing.with_task(settings(**BY_RULE), "sentence_odor").build_tasks()


def test_the_learning_rate_begins_anew():
    after = continuing.with_task(settings(**BY_RULE), NEW)
    assert [after.curve(step) for step in (0, 11, 12, 23)] == [(0, 12), (0, 12), (12, 12), (12, 12)]
    endless = continuing.with_task(settings(**BY_RULE, optimizer={"schedule": "noam", "warmup_steps": 2}), NEW)
    assert endless.curve(23) == (0, 24)


def test_a_head_may_be_missing_only_before_its_stage(run, data):
    continuing.add_task(run, NEW)
    wanted = runs.read(run).settings
    early = wanted.model_copy(update={"stages": [wanted.stages[-1], *wanted.stages[:-1]]})
    assert wanted.begun(12) == set(MICRO["tasks"])
    model = Trainer(wanted, data, run).model
    with pytest.raises(InputError, match=rf"does not fit the model of this run .*heads\.{NEW}"):
        checkpoint.load_model(run, 12, model, early.begun(12))


def test_a_task_is_added_to_a_finished_run(run, finished):
    logged = metrics(run)
    go_on(run, "--add-task", NEW, "--max-steps", "13")
    assert metrics(run)[:-1] == logged
    line = metrics(run)[-1]
    assert line["step"] == 13
    assert {f"loss/{name}" for name in (*MICRO["tasks"], NEW)} <= set(line)
    # Nothing was started over: the losses of older tasks are where they were, not where fresh weights begin.
    assert line["loss/knowledge_masking"] < metrics(run)[0]["loss/knowledge_masking"] - 0.3
    # The curve of the rate begins anew, with the first step of the warm-up.
    assert line["learning_rate"] == logged[0]["learning_rate"] > logged[-1]["learning_rate"]
    found = runs.read(run)
    assert found.task_names == [*runs.read(finished).task_names, NEW]
    assert load_run(str(run))[0].config.task_names == found.task_names
    go_on(run)
    assert checkpoint.newest(run) == 24
    assert [line["step"] for line in metrics(run)] == list(range(1, 25))


def test_stopping_in_the_new_stage_changes_nothing(run, finished, tmp_path):
    other = shutil.copytree(finished, tmp_path / "other")
    go_on(run, "--add-task", NEW)
    for stop in ("12", "14", "20"):
        go_on(other, "--add-task", NEW, "--max-steps", stop)
    go_on(other, "--add-task", NEW)
    one, two = weights(run, 24), weights(other, 24)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_new_row_is_that_of_masking_and_moments_stay_with_their_weights(run, data):
    continuing.add_task(run, NEW)
    trainer = Trainer(runs.read(run).settings, data, run)
    rows = trainer.model.encoder.embeddings.task_type_embeddings.weight
    assert torch.equal(rows[3], rows[0])
    stored = torch.load(checkpoint.folder(run, 12) / checkpoint.OPTIMIZER, weights_only=True)["state"]
    moments = trainer.optimizer.optimizer.state
    file = load_file(checkpoint.folder(run, 12) / checkpoint.MODEL)
    named = dict(trainer.model.named_parameters())
    had = {name: moments[parameter] for name, parameter in named.items() if name in file}
    assert len(had) == len(stored) == len(named) - 2
    assert not any(moments[named[name]] for name in named if name not in file)
    assert all(state["exp_avg"].shape == named[name].shape for name, state in had.items())
    totals = [sum(float(state["exp_avg"].abs().sum()) for state in group) for group in (had.values(), stored.values())]
    assert totals[0] == pytest.approx(totals[1])


def test_an_unfinished_run_takes_no_task(data, tmp_path, capsys):
    Trainer(settings(**BY_RULE), data, tmp_path / "run").train(4)
    before = (tmp_path / "run" / "run.json").read_bytes()
    assert commands.main(["--continue", str(tmp_path / "run"), "--add-task", NEW]) == 2
    assert "is at step 4 of 12: a task can be added when all its steps are done" in capsys.readouterr().err
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_a_run_that_another_process_holds_takes_no_task(run):
    before = (run / "run.json").read_bytes()
    with runs.lock(run), pytest.raises(InputError, match="another process is training in this folder"):
        continuing.add_task(run, NEW)
    assert (run / "run.json").read_bytes() == before


def test_a_task_that_the_passages_cannot_serve_changes_nothing(run, capsys):
    before = (run / "run.json").read_bytes()
    assert commands.main(["--continue", str(run), "--add-task", "ir_relevance"]) == 2
    assert "ir_relevance needs passages with roles query/title" in capsys.readouterr().err
    assert (run / "run.json").read_bytes() == before


def test_a_stage_of_its_own_passages(run, data, tmp_path):
    texts = sample_texts(60)
    other = write_passages(tmp_path / "other", texts, max_tokens=40, tokenizer=f"{data}/tokenizer")
    go_on(run, "--add-task", NEW, "--data", other, "--max-steps", "14", "--set", f"tasks.{NEW}={{}}")
    found = json.loads((run / "run.json").read_text())
    assert found["settings"]["stages"][-1]["data"] == other
    assert len(set(found["stage_fingerprints"])) == 2
    go_on(run, "--max-steps", "15")


def test_what_does_not_go_together_is_refused(run, capsys, tmp_path):
    path = tmp_path / "micro.yaml"
    path.write_text(yaml.safe_dump(MICRO))
    for arguments, message in (
        (["--continue", str(run), "--config", str(path)], "leave out --config"),
        (["--add-task", NEW], "need --continue RUN"),
        (["--config", str(path)], "required: --data, --output"),
        (["--continue", str(run), "--unit", "3"], "--unit needs --add-task"),
    ):
        with pytest.raises(SystemExit) as stopped:
            commands.main(arguments)
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err


def test_a_best_without_the_new_task_is_forgotten_aloud(tmp_path, caplog):
    split = write_split(tmp_path / "passages")
    evaluated = settings(**BY_RULE, evaluate={"every": 4, "batches": 1, "patience": 9})
    Trainer(evaluated, split, tmp_path / "run").train()
    before = checkpoint.trainer_state(tmp_path / "run", 12)["evaluation"]
    assert before["best"] is not None
    with caplog.at_level("INFO", "ernie_pipe"):
        go_on(tmp_path / "run", "--add-task", NEW, "--max-steps", "16")
    assert "what is evaluated has changed: the best so far is forgotten" in caplog.text
    after = checkpoint.trainer_state(tmp_path / "run", 16)["evaluation"]
    assert after["best_step"] == 16
    assert f"loss/{NEW}" in evaluations(tmp_path / "run")[-1]
