import json
import shutil
import signal
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock
from safetensors.torch import load_file

from ernie_pipe.errors import InputError
from ernie_pipe.pretrain import checkpoint
from ernie_pipe.pretrain.batch import BatchBuilder
from ernie_pipe.pretrain.guard import NonFiniteGradient
from ernie_pipe.pretrain.optimizer import build_optimizer
from ernie_pipe.pretrain.settings import OptimizerSettings
from ernie_pipe.pretrain.trainer import Trainer
from ernie_pipe.pretrain.world import check_world
from tests.pretrain.building import MICRO, batches, settings

QUIET = MICRO["model"] | {"dropout": 0.0, "attention_dropout": 0.0}


@pytest.fixture(autouse=True)
def _no_handlers(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def train(data, folder, max_steps=None, **changes):
    trainer = Trainer(settings(**changes), data, folder)
    means = trainer.train(max_steps)
    return trainer, means


def weights(folder, step):
    return load_file(checkpoint.folder(folder, step) / checkpoint.MODEL)


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def farthest(one, two):
    assert one.keys() == two.keys()
    return max((one[name] - two[name]).abs().max().item() for name in one)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The folder of an undisturbed micro run."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signal, "signal", lambda *_: None)
        train(data, folder)
    return folder


def test_every_task_is_logged_and_every_step_counted(whole):
    lines = metrics(whole)
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert {"loss/knowledge_masking", "accuracy/knowledge_masking", "tokens_per_s", "learning_rate"} <= lines[0].keys()
    assert "loss/sentence_distance" not in lines[3]
    assert "loss/sentence_distance" in lines[4]


def test_positions_and_the_balance_of_labels_are_logged(whole, builder):
    line = metrics(whole)[7]
    targets = [built.targets["sentence_distance"].labels for built in builder.step(7, range(4))]
    counts = np.bincount(np.concatenate(targets))
    assert line["positions/sentence_distance"] == counts.sum()
    assert line["majority/sentence_distance"] == pytest.approx(counts.max() / counts.sum())
    assert line["positions/knowledge_masking"] > 50
    assert "majority/knowledge_masking" not in line


def test_a_run_stopped_at_any_step_goes_on_to_the_same_weights(whole, data, tmp_path):
    for stop in (2, 5, None):
        trainer, _ = train(data, tmp_path, stop)
    assert trainer.step == 10
    assert farthest(weights(tmp_path, 10), weights(whole, 10)) == 0
    timeless = [[{**line, "tokens_per_s": 0} for line in metrics(folder)] for folder in (tmp_path, whole)]
    assert timeless[0] == timeless[1]


def test_no_data_is_repeated_or_left_out_on_resume(data, tmp_path, monkeypatch):
    asked = []
    build = BatchBuilder.step
    monkeypatch.setattr(BatchBuilder, "step", lambda self, step, parts: asked.append(step) or build(self, step, parts))
    for stop in (4, None):
        train(data, tmp_path, stop)
    assert asked == list(range(10))


def test_loader_workers_change_nothing(whole, data, tmp_path):
    train(data, tmp_path, batch=MICRO["batch"] | {"loader_workers": 2})
    assert farthest(weights(tmp_path, 10), weights(whole, 10)) == 0


def test_activation_checkpointing_changes_nothing_but_memory(whole, data, tmp_path):
    trainer, _ = train(data, tmp_path, activation_checkpointing=True)
    assert trainer.model.encoder.is_activation_checkpointing
    assert farthest(weights(tmp_path, 10), weights(whole, 10)) == 0


def cut_in(data, stages, *parts):
    """The same examples in so many micro-batches: a step's number of tokens at which none is rounded away."""
    for tokens in range(1000, 1400, 10):
        blocks = [{"tokens_per_step": tokens, "micro_batches": number} for number in parts]
        if len({str(batches(data, batch=block, stages=stages).plan.examples) for block in blocks}) == 1:
            return list(zip(parts, blocks, strict=True))
    raise AssertionError


def test_the_loss_is_divided_by_the_global_number_so_accumulation_changes_nothing(data, tmp_path):
    # 1125 tokens are 24 examples, cut into one micro-batch or four.
    runs = []
    for parts in (1, 4):
        folder = tmp_path / str(parts)
        batch = {"tokens_per_step": 1125, "micro_batches": parts}
        stages = [{"steps": 3, "tasks": MICRO["stages"][1]["tasks"]}]
        train(data, folder, model=QUIET, batch=batch, stages=stages, optimizer={"learning_rate": 1e-3, "epsilon": 1e-6})
        runs.append(folder)
    for one, four in zip(*map(metrics, runs), strict=True):
        for name in one:
            if name.startswith(("loss/", "accuracy/")):
                assert one[name] == pytest.approx(four[name], rel=1e-5)
    assert farthest(*(weights(folder, 3) for folder in runs)) < 1e-5


def test_loss_weights_scale_the_gradient_of_their_task(data, tmp_path):
    nothing, _ = train(data, tmp_path / "a", 1, loss_weights={"sentence_distance": 0.0, "sentence_reordering": 0.0},
                       stages=[MICRO["stages"][1]])  # fmt: skip
    some, _ = train(data, tmp_path / "b", 1, stages=[MICRO["stages"][1]])
    moved = {}
    for name, trainer in (("nothing", nothing), ("some", some)):
        state = trainer.optimizer.optimizer.state
        head = dict(trainer.model.named_parameters())["heads.sentence_distance.1.weight"]
        moved[name] = bool(state[head]["exp_avg"].any())
    assert moved == {"nothing": False, "some": True}


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_touched(data, tmp_path):
    trainer = Trainer(settings(), data, tmp_path)
    with torch.no_grad():
        trainer.model.heads["knowledge_masking"].bias[7] = float("inf")
    before = trainer.model.encoder.embeddings.word_embeddings.weight.clone()
    with pytest.raises(NonFiniteGradient, match="step 0"):
        trainer.train()
    assert torch.equal(trainer.model.encoder.embeddings.word_embeddings.weight, before)
    assert checkpoint.newest(tmp_path) is None


def test_changed_settings_are_refused_by_key_and_harmless_ones_go_on(whole, data):
    with pytest.raises(InputError, match=r"optimizer\.learning_rate = 0\.005, now it is 0\.01"):
        Trainer(settings(optimizer=MICRO["optimizer"] | {"learning_rate": 0.01}), data, whole)
    with pytest.raises(InputError, match=r"tasks\.sentence_reordering\.max_segments"):
        Trainer(settings(tasks=MICRO["tasks"] | {"sentence_reordering": {"max_segments": 3}}), data, whole)
    harmless = {"log_every": 5, "checkpoint": {"every": 2}, "processes": 1, "on_non_finite": "skip"}
    assert Trainer(settings(**harmless), data, whole).step == 10


def test_a_default_spelled_out_and_a_key_younger_than_the_run_are_no_change(whole, data, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    content = json.loads(path.read_text())
    del content["settings"]["optimizer"]["decay_steps"], content["settings"]["on_spike"]
    path.write_text(json.dumps(content))
    spelled = MICRO["tasks"] | {"knowledge_masking": {"rate": 0.15}}
    assert Trainer(settings(tasks=spelled), data, tmp_path / "run").step == 10


def test_other_data_is_refused(whole, tmp_path):
    from tests.pretrain.building import sample_texts, write_passages

    other = write_passages(tmp_path / "other", sample_texts(60), max_tokens=64)
    with pytest.raises(InputError, match="was started on other data"):
        Trainer(settings(), other, whole)


def test_a_run_that_never_began_may_be_started_with_other_settings(data, tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        Trainer(settings(init_from=str(tmp_path / "nothing")), data, tmp_path / "run")
    assert Trainer(settings(), data, tmp_path / "run").step == 0


def test_passages_longer_than_the_positions_of_the_source_are_refused(whole, data, tmp_path):
    from ernie_pipe.pretrain.export import export
    from tests.pretrain.building import sample_texts, write_passages

    export(str(whole), str(tmp_path / "hf"))
    long = write_passages(tmp_path / "long", sample_texts(), max_tokens=100)
    # Positions grow where the settings say so themselves; here they are those of the source.
    model = {key: value for key, value in MICRO["model"].items() if key != "max_positions"}
    wanted = settings(init_from=str(tmp_path / "hf"), model=model)
    with pytest.raises(InputError, match="positions"):
        Trainer(wanted, long, tmp_path / "run")


def test_a_finished_run_does_nothing_again(whole, data, caplog):
    def kept():
        files = [path for path in whole.rglob("*") if path.is_file() and path.name not in (".lock", "config.json")]
        return {path: path.stat().st_mtime_ns for path in files}

    before = kept()
    with caplog.at_level("INFO", "ernie_pipe"):
        assert Trainer(settings(), data, whole).train() == metrics(whole)[-1]
    assert kept() == before
    assert "already at step 10" in caplog.text


def test_two_processes_never_train_in_one_folder(data, tmp_path):
    trainer = Trainer(settings(), data, tmp_path / "run")
    with FileLock(tmp_path / "run" / ".lock"), pytest.raises(InputError, match="another process is training"):
        trainer.train()


def test_biases_and_norms_do_not_decay():
    layer = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3))
    decayed, kept = build_optimizer(layer, OptimizerSettings(weight_decay=0.1)).param_groups
    assert (decayed["weight_decay"], [p.ndim for p in decayed["params"]]) == (0.1, [2])
    assert (kept["weight_decay"], [p.ndim for p in kept["params"]]) == (0.0, [1, 1, 1])


def test_a_world_of_another_size_is_refused(monkeypatch):
    with pytest.raises(InputError, match="2 processes were asked for, this run has 1"):
        check_world(2, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="ACCELERATE_USE_CPU"):
        check_world(None, 1)


@pytest.fixture
def command(data, tmp_path, capsys):
    """Run the training command in this process and return (exit code, standard error)."""
    from ernie_pipe.pretrain.__main__ import main

    def run(*arguments, passages=data, **changes):
        config = tmp_path / "micro.yaml"
        config.write_text(yaml.safe_dump(MICRO | changes))
        given = ["--config", str(config), "--data", str(passages), "--output", str(tmp_path / "run"), *arguments]
        return main(given), capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "optimizer.learning_rat=1"], "unknown key `optimizer.learning_rat`; did you mean `learning_rate`"),
        (["--set", "tasks.sentence_distence={}"], "unknown task `sentence_distence`; did you mean `sentence_distance`"),
        (["--set", "model.max_positions=40"], "passages have up to 64 tokens, model.max_positions is 40"),
        (["--set", "processes=2"], "2 processes were asked for, this run has 1"),
        (["--set", "stages.0.steps=0"], "stages.0.steps"),
        (["--set", "model.heads=3"], "heads (3) must divide hidden_size (32)"),
        (["--set", "tasks.knowledge_masking.levels={word: 0.5}"], "sum to 0.5"),
        (["--set", "model.activation=gelluu"], "model.activation: unknown `gelluu`; did you mean `gelu`"),
        (["--set", "trackers=[wandbb]"], "trackers: unknown tracker `wandbb`; did you mean `wandb`"),
        (["--output", "/proc/run"], "/proc/run"),
        (["--data", "nowhere"], "nowhere: no manifest.json there"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such config file"),
        (["--init-from", "nowhere"], "nowhere: no config.json"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(command, tmp_path, arguments, message):
    code, error = command(*arguments)
    assert code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_vocabulary_changed_under_the_passages_is_one_line_too(command, data, tmp_path):
    from tests.pretrain.building import write_tokenizer

    shutil.copytree(data, tmp_path / "passages")
    write_tokenizer(tmp_path / "passages" / "tokenizer", ["别的文字"])
    code, error = command(passages=tmp_path / "passages")
    assert (code, error.count("\n")) == (2, 1)
    assert "does not fit the encoded corpus" in error


def test_a_loss_that_is_not_finite_is_exit_code_1(command):
    code, error = command("--set", "optimizer.learning_rate=1e30")
    assert code == 1
    assert "step 1: the loss is not finite; lower optimizer.learning_rate" in error
    assert error.count("\n") == 1
    assert "Traceback" not in error


@pytest.mark.parametrize(("precision", "device", "refused"), [("bf16", "cuda", True), ("no", "cuda", False)])
def test_attention_dropout_is_refused_where_no_kernel_has_it(precision, device, refused):
    asked = Trainer.__new__(Trainer)
    asked.settings = settings()
    asked.accelerator = SimpleNamespace(mixed_precision=precision, device=torch.device(device))
    with pytest.raises(InputError, match="attention_dropout must be 0") if refused else nullcontext():
        asked._check_dropout()
