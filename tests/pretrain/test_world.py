import signal

import pytest
import yaml
from accelerate import tracking

from ernie_pipe.errors import InputError, WorkerLost
from ernie_pipe.pretrain import __main__ as command
from ernie_pipe.pretrain.trainer import Trainer
from ernie_pipe.pretrain.world import check_launcher_options, check_trackers
from tests.pretrain.building import MICRO, settings


@pytest.fixture(autouse=True)
def _no_handlers(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def test_trackers_that_are_installed_are_taken_and_a_missing_package_is_named(monkeypatch):
    check_trackers(["tensorboard", "all"])
    monkeypatch.setattr(tracking, "_available_trackers", [tracking.LoggerType.TENSORBOARD])
    with pytest.raises(InputError, match=r"package of `wandb` is not installed \(installed: tensorboard\)"):
        check_trackers(["tensorboard", "wandb"])
    with pytest.raises(InputError, match="unknown tracker `tensorbord`; did you mean `tensorboard`"):
        check_trackers(["tensorbord"])


def test_a_missing_tracker_stops_before_a_run_is_made(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tracking, "_available_trackers", [])
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(MICRO | {"trackers": ["tensorboard"]}))
    code = command.main(["--config", str(config), "--data", data, "--output", str(tmp_path / "run")])
    assert code == 2
    assert "`tensorboard` is not installed (installed: none)" in capsys.readouterr().err
    assert not (tmp_path / "run" / "run.json").exists()


def test_another_tracker_gets_the_figures_by_its_name(data, tmp_path, monkeypatch):
    """Accelerate's DVCLive stands for those whose packages are not here: only its class is ours."""
    stored = []

    class Fake(tracking.GeneralTracker):
        name, requires_logging_directory = "dvclive", False
        tracker = None

        def __init__(self, run_name, **_):
            super().__init__()

        def store_init_configuration(self, values):
            pass

        def log(self, values, step=None, **_):
            stored.append((step, values))

    monkeypatch.setattr(tracking, "_available_trackers", [tracking.LoggerType.DVCLIVE])
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "dvclive", Fake)
    Trainer(settings(trackers=["dvclive"]), data, tmp_path).train(2)
    assert [step for step, _ in stored] == [1, 2]
    assert "loss/knowledge_masking" in stored[0][1]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ACCELERATE_USE_FSDP", "true", r"\(FSDP\) is not supported: every process holds the whole model"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "DeepSpeed is not supported"),
        ("ACCELERATE_USE_MEGATRON_LM", "1", "Megatron-LM is not supported"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", r"4 gradient accumulation steps.*set batch\.micro_batches"),
    ],
)
def test_what_a_launcher_s_options_would_change_unseen_is_refused(name, value, message, data, tmp_path, monkeypatch):
    check_launcher_options({name: "false" if value != "4" else "1"})
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        Trainer(settings(), data, tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(("local", "kind", "told"), [("0", InputError, 1), ("1", InputError, 0), ("1", WorkerLost, 1)])
def test_ranks_tell_a_mistake_once_but_each_its_own_helpers(local, kind, told, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise kind("gone")

    monkeypatch.setenv("LOCAL_RANK", local)
    monkeypatch.setattr(command, "_train", fail)
    assert command.main(["--config", "c", "--data", "d", "--output", str(tmp_path)]) == (2 if kind is InputError else 1)
    assert capsys.readouterr().err.count("error: ") == told


def test_a_launched_run_ends_with_its_launcher(monkeypatch):
    asked = []
    monkeypatch.setattr(command, "die_with_parent", asked.append)
    monkeypatch.setattr(command, "_train", lambda *_: 0)
    given = ["--config", "c", "--data", "d", "--output", "o"]
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    command.main(given)
    monkeypatch.setattr(command, "_has_launcher", lambda: True)
    command.main(given)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    command.main(given)
    assert asked == [signal.SIGTERM, signal.SIGKILL]
