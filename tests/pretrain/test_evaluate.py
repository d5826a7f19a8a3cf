import dataclasses
import json
import math
import signal

import pytest
import torch

from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.errors import InputError
from ernie_pipe.model.multitask import MASKING
from ernie_pipe.pretrain import checkpoint
from ernie_pipe.pretrain.batch import to_tensors
from ernie_pipe.pretrain.evaluate import HeldOut
from ernie_pipe.pretrain.trainer import Trainer
from ernie_pipe.text.encode import load_encoder
from tests.pretrain.building import MICRO, sample_texts, settings, write_passages
from tests.pretrain.test_trainer import farthest, metrics, weights

EVALUATE = {"every": 2, "batches": 2}


@pytest.fixture(autouse=True)
def _no_handlers(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return write_split(tmp_path_factory.mktemp("split"))


def write_split(folder):
    """Write passages of the sample corpus of which one shard in three is held out."""
    folder = write_passages(folder, sample_texts(), max_tokens=64, shards=3)
    made = manifests.read(folder, "passages")
    shards = [shard | {"split": "held_out" if number == 2 else "train"} for number, shard in enumerate(made.shards)]
    manifests.commit(folder, dataclasses.replace(made, shards=shards))
    return folder


def evaluations(folder):
    return [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def evaluated(split, tmp_path_factory):
    """The folder of a micro run that was evaluated every second step."""
    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signal, "signal", lambda *_: None)
        Trainer(settings(evaluate=EVALUATE), split, folder).train()
    return folder


def test_every_task_and_level_is_measured(evaluated):
    lines = evaluations(evaluated)
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10]
    rows = [*MICRO["tasks"], *(f"{MASKING}/{level}" for level in ("basic", "phrase", "entity"))]
    assert set(lines[0]) == {"step", f"perplexity/{MASKING}"} | {
        f"{k}/{row}" for k in ("loss", "accuracy") for row in rows
    }
    assert lines[-1][f"perplexity/{MASKING}"] == pytest.approx(math.exp(lines[-1][f"loss/{MASKING}"]))
    assert lines[-1][f"loss/{MASKING}"] < lines[0][f"loss/{MASKING}"]


def test_evaluation_never_changes_the_training(evaluated, split, tmp_path):
    Trainer(settings(), split, tmp_path).train()
    assert farthest(weights(evaluated, 10), weights(tmp_path, 10)) == 0
    timeless = [[{**line, "tokens_per_s": 0} for line in metrics(folder)] for folder in (tmp_path, evaluated)]
    assert timeless[0] == timeless[1]


def test_a_stopped_run_has_the_same_evaluations(evaluated, split, tmp_path):
    for stop in (3, 4, 7, None):
        Trainer(settings(evaluate=EVALUATE), split, tmp_path).train(stop)
    assert evaluations(tmp_path) == evaluations(evaluated)
    states = [checkpoint.trainer_state(folder, 10)["evaluation"] for folder in (tmp_path, evaluated)]
    assert states[0] == states[1]


def test_a_signal_at_a_step_of_evaluation_puts_it_off_to_the_resume(evaluated, split, tmp_path, monkeypatch):
    one_step = Trainer._one_step
    monkeypatch.setattr(Trainer, "_one_step", lambda self, *given: one_step(self, *given) or self.step == 3)
    trainer = Trainer(settings(evaluate=EVALUATE), split, tmp_path)
    trainer.train()
    assert (trainer.step, [line["step"] for line in evaluations(tmp_path)]) == (4, [2])
    Trainer(settings(evaluate=EVALUATE), split, tmp_path).train()
    assert evaluations(tmp_path) == evaluations(evaluated)


def test_the_draws_are_the_same_for_every_seed_and_share_of_ranks(split):
    def arrays(seed, *shares):
        held_out = HeldOut(settings(seed=seed, evaluate=EVALUATE), split, load_encoder(f"{split}/tokenizer"))
        return [to_tensors(built)["input_ids"] for share in shares for built in held_out._builder.step(0, share)]

    one, two = arrays(1, range(4)), arrays(2, range(2), range(2, 4))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_levels_are_parts_of_the_whole(split, tmp_path):
    trainer = Trainer(settings(evaluate=EVALUATE), split, tmp_path)
    sums = torch.zeros(len(trainer.held_out.rows), 3, dtype=torch.float64)
    trainer.model.eval()
    for batch in next(iter(trainer.held_out._loader(range(4)))):
        trainer.held_out._add(sums, trainer.model, batch)
    rows = dict(zip(trainer.held_out.rows, sums.tolist(), strict=True))
    levels = [value for name, value in rows.items() if name.startswith(f"{MASKING}/")]
    assert [sum(column) for column in zip(*levels, strict=True)] == pytest.approx(rows[MASKING], rel=1e-5)


def test_dropout_is_off_and_measuring_twice_gives_the_same(split, tmp_path):
    trainer = Trainer(settings(evaluate=EVALUATE), split, tmp_path)
    first, second = (trainer.held_out.measure(trainer.model, trainer.accelerator, range(4)) for _ in range(2))
    assert first == second


def fake(monkeypatch, metric, *values):
    """Let the evaluations of steps 2, 4, … find these values."""
    monkeypatch.setattr(
        HeldOut, "measure", lambda self, *_: {metric: values[self.state.step // 2 if self.state.step > 0 else 0]}
    )


def test_the_best_stays_beside_the_last(split, tmp_path, monkeypatch):
    fake(monkeypatch, f"accuracy/{MASKING}", 0.1, 0.5, 0.4, 0.3, 0.2)
    wanted = EVALUATE | {"metric": f"accuracy/{MASKING}"}
    Trainer(settings(evaluate=wanted, checkpoint={"every": 1, "keep": 2}), split, tmp_path).train()
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-00000004", "step-00000009", "step-00000010"]
    assert checkpoint.trainer_state(tmp_path, 10)["evaluation"]["best_step"] == 4


def test_patience_ends_the_run_and_the_same_command_does_not_go_on(split, tmp_path, monkeypatch, caplog):
    fake(monkeypatch, f"loss/{MASKING}", 3.0, 2.0, 2.5, 2.0, 1.0)
    wanted = settings(evaluate=EVALUATE | {"patience": 2})
    trainer = Trainer(wanted, split, tmp_path)
    trainer.train()
    assert (trainer.step, trainer.stopped_early) == (8, True)
    with caplog.at_level("INFO", "ernie_pipe"):
        Trainer(wanted, split, tmp_path).train()
    assert "already at step 8: stopped early" in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    again = Trainer(settings(evaluate=EVALUATE | {"patience": 5}), split, tmp_path)
    again.train()
    assert again.step == 10


def test_no_held_out_split_is_a_mistake(data, tmp_path):
    with pytest.raises(InputError, match=r"no held-out passages for evaluate\.every: encode again with --held-out"):
        Trainer(settings(evaluate=EVALUATE), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_metric_is_a_mistake(split, tmp_path):
    with pytest.raises(InputError, match="did you mean `loss/knowledge_masking`"):
        Trainer(settings(evaluate=EVALUATE | {"metric": "loss/knowledge_maskin"}), split, tmp_path / "run")
