import json
import math
import signal

import pytest
import torch

from ernie_pipe.pretrain.guard import Guard, LossSpike, NonFiniteGradient
from ernie_pipe.pretrain.trainer import Trainer
from tests.pretrain.building import MICRO, settings
from tests.pretrain.test_trainer import farthest, metrics, weights


@pytest.fixture(autouse=True)
def _no_handlers(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def spoil(monkeypatch, *steps):
    """Let the loss of these steps be infinite."""
    right = Trainer._loss

    def loss(self, outputs, counts):
        if self.step in steps:
            outputs.update({name: output._replace(loss=output.loss * math.inf) for name, output in outputs.items()})
        return right(self, outputs, counts)

    monkeypatch.setattr(Trainer, "_loss", loss)


def test_stop_names_the_step():
    with pytest.raises(NonFiniteGradient, match="step 7: the gradient is not finite"):
        Guard("stop", "ignore", 2.0).counts(7, 0, 1.0, math.nan)
    with pytest.raises(NonFiniteGradient, match="step 8: the loss is not finite"):
        Guard("stop", "ignore", 2.0).counts(8, 0, math.inf, 1.0)


def test_skip_counts_and_gives_up_after_25_in_a_row(caplog):
    guard = Guard("skip", "ignore", 2.0)
    assert not guard.counts(3, 0, math.nan, 1.0)
    assert guard.counts(4, 0, 1.0, 1.0)
    assert "step 3: the loss is not finite: skipped (1 so far)" in caplog.text
    assert not any(guard.counts(step, 0, math.nan, 1.0) for step in range(5, 29))
    with pytest.raises(NonFiniteGradient, match="step 29: 25 steps in a row"):
        guard.counts(29, 0, math.nan, 1.0)
    assert guard.state.skipped == 26


@pytest.mark.parametrize(("action", "stage", "skipped"), [("skip", 0, 1), ("ignore", 0, 0), ("skip", 1, 0)])
def test_a_leap_of_the_loss_within_a_stage_is_skipped(action, stage, skipped):
    guard = Guard("stop", action, 2.0)
    for step in range(20):
        assert guard.counts(step, 0, 5.0, 1.0)
    assert guard.counts(20, 0, 9.9, 1.0)
    guard.counts(21, stage, 11.0, 1.0)
    assert guard.state.skipped == skipped


def test_a_leap_can_stop_the_run_by_a_state_that_went_through_a_checkpoint():
    before, guard = Guard("stop", "stop", 2.0), Guard("stop", "stop", 2.0)
    for step in range(20):
        before.counts(step, 0, 5.0, 1.0)
    guard.restore(json.loads(json.dumps(before.to_state())))
    with pytest.raises(LossSpike, match=r"step 20: the loss is 12\.000, 2\.4 × its running mean"):
        guard.counts(20, 0, 12.0, 1.0)


def test_a_skipped_step_changes_no_weight_and_no_figure(data, tmp_path, monkeypatch):
    spoil(monkeypatch, 2)
    stages = [MICRO["stages"][0]]
    trainer = Trainer(settings(on_non_finite="skip", log_every=4, stages=stages, checkpoint={"every": 1, "keep": 9}),
                      data, tmp_path)  # fmt: skip
    trainer.train()
    assert farthest(weights(tmp_path, 2), weights(tmp_path, 3)) == 0
    assert farthest(weights(tmp_path, 3), weights(tmp_path, 4)) > 0
    assert all(math.isfinite(value) for value in metrics(tmp_path)[-1].values())
    assert all(torch.isfinite(tensor).all() for tensor in weights(tmp_path, 4).values())


def test_the_count_of_skipped_steps_goes_on_after_a_resume(data, tmp_path, monkeypatch):
    spoil(monkeypatch, 1, 4)
    for stop in (3, 6):
        trainer = Trainer(settings(on_non_finite="skip"), data, tmp_path)
        trainer.train(stop)
    assert trainer._guard.state.skipped == 2


def test_a_run_that_stopped_goes_on_with_skip(data, tmp_path, monkeypatch):
    spoil(monkeypatch, 4)
    with pytest.raises(NonFiniteGradient, match="step 4"):
        Trainer(settings(), data, tmp_path).train()
    trainer = Trainer(settings(on_non_finite="skip"), data, tmp_path)
    assert trainer.step == 3
    trainer.train()
    assert trainer.step == 10
