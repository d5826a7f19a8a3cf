import argparse
import logging
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import yaml

from ernie_pipe import launch
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain.launcher import told
from ernie_pipe.pretrain.settings import PretrainSettings
from tests.pretrain.building import MICRO


def test_one_process_needs_no_launcher():
    line = launch.command(1, 4, arguments=["--data", "d"])
    assert line == [sys.executable, "-m", "ernie_pipe.pretrain", "--data", "d", "--set", "processes=1"]


def test_several_processes_get_one_group_a_free_port_and_their_threads():
    line = launch.command(2, 3, arguments=["--data", "d"])
    assert line[1:3] == ["-m", "ernie_pipe.pretrain.launcher"]
    assert "--multi_gpu" in line
    for flag, value in (("--num_processes", "2"), ("--num_cpu_threads_per_process", "3"), ("--main_process_port", "0")):
        assert line[line.index(flag) + 1] == value
    assert line[-6:] == ["-m", "ernie_pipe.pretrain", "--data", "d", "--set", "processes=2"]


@pytest.mark.parametrize(
    ("codes", "code", "words"),
    [
        ({0: 2, 1: 2}, 2, ""),
        ({0: 1, 1: 1}, 1, ""),
        ({0: 1, 1: -9}, 1, "process 1 was lost (SIGKILL, perhaps for lack of memory); the same command goes on"),
        ({0: -15, 1: 2}, 2, ""),
    ],
)
def test_the_exit_code_of_the_ranks_and_who_was_lost_are_told(codes, code, words):
    found, line = told(codes)
    assert found == code
    assert (words in line) if words else not line


@pytest.fixture
def started(monkeypatch):
    """Catch the line and the environment instead of starting them."""
    caught = []
    monkeypatch.setattr(launch, "_run", lambda line, environment: caught.append((line, environment)) or 0)
    monkeypatch.setattr(launch, "_gpus", lambda: 0)
    monkeypatch.setattr(launch, "_check", lambda *_: None)
    monkeypatch.setattr(launch, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return caught


def test_settings_are_passed_on_and_cores_shared(started, write):
    config = str(write("run.yaml", yaml.safe_dump(MICRO)))
    given = [
        "--config",
        config,
        "--data",
        "d",
        "--output",
        "o",
        "--set",
        "seed=9",
        "--max-steps",
        "5",
        "--init-from",
        "hf",
    ]
    assert launch.pretrain([*given, "--num-processes", "2"]) == 0
    ((line, environment),) = started
    passed = line[line.index("ernie_pipe.pretrain") + 1 :]
    assert sorted(passed) == sorted([*given, "--set", "processes=2"])
    assert environment["ACCELERATE_USE_CPU"] == "true"
    assert environment["OMP_NUM_THREADS"] == "4"


def test_mistakes_are_found_before_anything_is_started(write, tmp_path):
    config = str(write("run.yaml", yaml.safe_dump(MICRO)))
    with pytest.raises(InputError, match=r"no manifest\.json"):
        launch.pretrain(["--config", config, "--data", str(tmp_path / "none"), "--output", str(tmp_path / "run")])
    with pytest.raises(InputError, match="--num-processes 3, but the settings ask for processes: 2"):
        launch.pretrain(
            ["--config", config, "--data", "d", "--output", "o", "--num-processes", "3", "--set", "processes=2"]
        )


def test_a_run_in_which_another_process_trains_is_refused_before_anything_is_started(monkeypatch, tmp_path):
    monkeypatch.setattr(launch, "prepare", lambda *_: SimpleNamespace(**dict.fromkeys(("corpus", "manifests")),
        plan=SimpleNamespace(micro_batches_of=lambda *_: None), passages=SimpleNamespace(manifest=None)))  # fmt: skip
    monkeypatch.setattr(launch.runs, "check", lambda *_: True)
    given = argparse.Namespace(data="d", output=str(tmp_path))
    launch._prepare(PretrainSettings(**MICRO), given, 1)
    with launch.runs.lock(tmp_path), pytest.raises(InputError, match="another process is training in this folder"):
        launch._prepare(PretrainSettings(**MICRO), given, 1)


def test_what_is_no_mistake_is_told_once_by_those_that_train(monkeypatch, caplog):
    logger = logging.getLogger("ernie_pipe.tasks")
    monkeypatch.setattr(launch, "_prepare", lambda *_: logger.warning("few pairs"))
    with caplog.at_level("INFO", "ernie_pipe"):
        launch._check(None, None, 1)
        assert not caplog.text
        logger.warning("later")
    assert "later" in caplog.text


def test_the_exit_code_of_training_is_ours_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    assert launch._run([sys.executable, "-c", "raise SystemExit(3)"], {}) == 3
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_reaches_training_and_waits_for_its_end(tmp_path):
    child = (
        "import pathlib, signal, sys, time\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), (folder / 'saved').touch(), sys.exit(0)))\n"
        "(folder / 'ready').touch()\n"
        "time.sleep(60)\n"
    )
    wrapper = (
        f"import sys\nfrom ernie_pipe import launch\nlaunch._run([sys.executable, '-c', {child!r}], {{}})\nsys.exit(9)"
    )
    process = subprocess.Popen([sys.executable, "-c", wrapper])
    for _ in range(600):
        if (tmp_path / "ready").exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert (tmp_path / "saved").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own signal at a parent's end")
def test_a_killed_command_takes_its_training_with_it(tmp_path):
    beat = tmp_path / "beat"
    (tmp_path / "ernie_pipe").mkdir()
    (tmp_path / "child.py").write_text(
        f"import time\nwhile True:\n    open({str(beat)!r}, 'a').write('x')\n    time.sleep(0.02)\n"
    )
    script = (
        f"from ernie_pipe.launch import _run; _run([{sys.executable!r}, '-u', {str(tmp_path / 'child.py')!r}], {{}})"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 30
    while not beat.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    time.sleep(0.3)
    size = beat.stat().st_size
    time.sleep(0.3)
    assert beat.stat().st_size == size > 0


@pytest.mark.parametrize("flag", ["--max-steps", "--num-processes", "--num-threads"])
@pytest.mark.parametrize("value", ["0", "-3", "x"])
def test_counts_must_be_positive(flag, value, capsys):
    with pytest.raises(SystemExit) as stopped:
        launch.pretrain(["--config", "c", "--data", "d", "--output", "o", f"{flag}={value}"])
    assert stopped.value.code == 2
    assert "whole number of 1 or more" in capsys.readouterr().err
