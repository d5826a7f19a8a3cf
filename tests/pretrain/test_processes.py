"""Runs that are killed, stopped, damaged and spread over processes, each as people start them."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from safetensors.torch import load_file

from ernie_pipe.launch import command as launch_line
from ernie_pipe.pretrain import checkpoint
from ernie_pipe.pretrain.__main__ import main
from ernie_pipe.pretrain.trainer import Trainer
from tests.pretrain.building import MICRO
from tests.pretrain.test_evaluate import evaluations, write_split

ROOT = Path(__file__).parents[2]
STEPS = 24
# Small steps, so that a signal finds the run in the middle; epsilon hides the rounding of gradients near zero.
SETTINGS = MICRO | {
    "stages": [MICRO["stages"][0] | {"steps": 8}, MICRO["stages"][1] | {"steps": STEPS - 8}],
    "optimizer": {"learning_rate": 2e-3, "epsilon": 1e-6},
    "checkpoint": {"every": 5, "keep": 4},
    "evaluate": {"every": 8, "batches": 1},
}
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "micro.yaml").write_text(yaml.safe_dump(SETTINGS))
    return folder


@pytest.fixture(scope="module")
def given(base):
    """The arguments of a run by its name."""
    data = write_split(base / "passages")
    return lambda name, *more: ["--config", f"{base}/micro.yaml", "--data", data, "--output", f"{base}/{name}", *more]


def begin(arguments):
    line = [sys.executable, "-m", "ernie_pipe.pretrain", *arguments]
    return subprocess.Popen(line, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out, err


def lines(run):
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def wait_for(run, step, process):
    """Wait until the run has logged `step`."""
    limit = time.monotonic() + 60
    while not lines(run) or lines(run)[-1]["step"] < step:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.002)


@pytest.fixture
def train(monkeypatch, capsys):
    """Train in this process and return (exit code, standard error)."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")

    def run(arguments):
        code = main(arguments)
        return code, capsys.readouterr().err

    return run


def final(run):
    return (checkpoint.folder(run, STEPS) / checkpoint.MODEL).read_bytes()


@pytest.fixture(scope="module")
def undisturbed(base, given):
    finish(begin(given("undisturbed")))
    return base / "undisturbed"


def test_the_loss_falls(undisturbed):
    losses = [line["loss/knowledge_masking"] for line in lines(undisturbed)]
    assert sum(losses[-4:]) < sum(losses[:4]) - 4 * 0.3


def test_a_run_that_was_stopped_damaged_and_killed_ends_with_the_same_bytes(undisturbed, base, given):
    run = base / "disturbed"
    process = begin(given("disturbed"))
    wait_for(run, 7, process)
    process.send_signal(signal.SIGTERM)
    finish(process)
    saved = checkpoint.newest(run)
    assert saved == lines(run)[-1]["step"]
    assert 7 <= saved < STEPS

    weights = checkpoint.folder(run, saved) / checkpoint.MODEL
    weights.write_bytes(weights.read_bytes()[:-100])
    process = begin(given("disturbed", "--set", "checkpoint.every=6"))
    wait_for(run, random.Random(5).randint(saved + 1, STEPS - 4), process)
    process.kill()
    _, err = process.communicate()
    assert f"step-{saved:08d} is damaged (model.safetensors has changed): using the one before" in err
    assert not checkpoint.folder(run, STEPS).exists()

    out, err = finish(begin(given("disturbed")))
    assert "going on from step" in err
    assert f"step {STEPS} of {STEPS}" in out
    assert final(run) == final(undisturbed)
    assert [line["step"] for line in lines(run)] == list(range(1, STEPS + 1))
    assert evaluations(run) == evaluations(undisturbed)


def test_two_processes_train_the_run_of_one(undisturbed, base, given):
    line = launch_line(2, 1, arguments=given("two"))
    result = subprocess.run(line, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=180, check=False)
    assert result.returncode == 0, result.stderr
    same_within_rounding(undisturbed, base / "two")


def same_within_rounding(one, two):
    for logged in (lines, evaluations):
        for here, there in zip(logged(one), logged(two), strict=True):
            assert here.keys() == there.keys()
            for name in here.keys() - {"tokens_per_s"}:
                assert here[name] == pytest.approx(there[name], rel=1e-4), (here["step"], name)
    here, there = (load_file(checkpoint.folder(run, STEPS) / checkpoint.MODEL) for run in (one, two))
    assert max((here[name] - there[name]).abs().max().item() for name in here) < 1e-5


def test_a_run_of_one_goes_on_with_two_and_a_lost_process_is_told(undisturbed, base, given):
    run = shutil.copytree(undisturbed, base / "grown")
    for path in (run / "checkpoints").iterdir():
        if path.name > checkpoint.folder(run, 15).name:
            shutil.rmtree(path)
    line, options = launch_line(2, 1, arguments=given("grown")), {"cwd": ROOT, "env": ENVIRONMENT, "text": True}
    process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, **options)
    while lines(run)[-1]["step"] != 17:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    ranks = [rank for rank in psutil.Process(process.pid).children() if "ernie_pipe.pretrain" in rank.cmdline()]
    lost = next(rank for rank in ranks if rank.environ()["RANK"] == "1")
    lost.kill()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "going on from step 15" in err
    told = [line for line in err.splitlines() if "error" in line]
    assert told[-1].startswith("error: process 1 was lost (SIGKILL, perhaps for lack of memory); the same command")
    assert "Traceback" not in err
    assert "torch/distributed" not in err
    again = subprocess.run(line, capture_output=True, timeout=180, check=False, **options)
    assert again.returncode == 0, again.stderr
    same_within_rounding(undisturbed, run)


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(undisturbed, base, given, train):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # All but the weights fits.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(final(undisturbed)) - 1, hard))
    try:
        code, err = train(given("full"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 1
    assert "step-00000005: not saved (" in err
    assert "no step was saved before; first make room on the disk" in err.splitlines()[-1]
    assert not list((base / "full" / "checkpoints").iterdir())
    assert train(given("full"))[0] == 0
    assert final(base / "full") == final(undisturbed)


def test_a_dead_loader_worker_is_one_line_and_the_same_command_goes_on(undisturbed, base, given, train, monkeypatch):
    log, arguments = Trainer._log, given("worker", "--set", "batch.loader_workers=1")

    def kill(self, *given):
        if self.step == 12:
            children = psutil.Process().children()
            max(children, key=lambda child: child.create_time()).kill()
        return log(self, *given)

    monkeypatch.setattr(Trainer, "_log", kill)
    code, err = train(arguments)
    assert code == 1
    assert "a process that builds batches ended (killed, perhaps for lack of memory" in err.splitlines()[-1]
    assert "the same command goes on from the newest checkpoint" in err.splitlines()[-1]
    monkeypatch.undo()
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert train(arguments)[0] == 0
    assert [line["step"] for line in lines(base / "worker")] == list(range(1, STEPS + 1))
    assert final(base / "worker") == final(undisturbed)


LAUNCHERS = {"one": "--num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no",
             "two": "--config_file configs/accelerate/cpu-2.yaml"}  # fmt: skip


@pytest.mark.parametrize("ranks", LAUNCHERS)
def test_sigterm_to_the_bare_launcher_lets_its_ranks_save(ranks, undisturbed, base, given, soak):
    """What the launcher itself prints and returns is not ours."""
    if not soak:
        pytest.skip("two more launches: with --soak")
    run, launcher = base / f"bare-{ranks}", Path(sys.executable).with_name("accelerate")
    line = [launcher, "launch", *LAUNCHERS[ranks].split(), "-m", "ernie_pipe.pretrain", *given(run.name)]
    process = subprocess.Popen(line, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(run, 7, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    limit = time.monotonic() + 60
    while checkpoint.newest(run) != lines(run)[-1]["step"]:
        assert time.monotonic() < limit
        time.sleep(0.1)
    assert 7 <= checkpoint.newest(run) < STEPS
    finish(begin(given(run.name)))
    same_within_rounding(undisturbed, run)


def test_two_processes_stop_on_ctrl_c_and_the_line_they_print_goes_on_with_one(undisturbed, base, given):
    code = "import sys; from ernie_pipe.launch import pretrain; sys.exit(pretrain(sys.argv[1:]))"
    arguments = given("changed", "--num-processes", "2", "--max-steps", "20")
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env=ENVIRONMENT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_for(base / "changed", 7, process)
    # As a terminal does: to the command and all that it started.
    os.killpg(process.pid, signal.SIGINT)
    out, err = finish(process)
    assert "Traceback" not in err
    told = out.splitlines()[-1].split()
    assert told[:2] == ["ernie-pipe", "pretrain"]
    assert told[2:] == arguments[:-2]
    saved = checkpoint.newest(base / "changed")
    assert 7 <= saved < 20
    assert f"step {saved} of {STEPS}, saved" in out
    finish(begin(told[2:-2]))
    same_within_rounding(undisturbed, base / "changed")
