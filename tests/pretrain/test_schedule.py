import math

import pytest
import torch
from transformers import get_scheduler

from ernie_pipe.errors import InputError
from ernie_pipe.pretrain.schedule import learning_rate
from ernie_pipe.pretrain.settings import OptimizerSettings, PretrainSettings
from tests.pretrain.building import MICRO, settings


def rates(total, **given):
    wanted = OptimizerSettings(**{"learning_rate": 1.0, "warmup_steps": 4} | given)
    return [learning_rate(step, total, wanted) for step in range(total + 1)]


def test_linear_warms_up_and_falls_to_zero():
    found = rates(12)
    assert found[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert found[4:] == pytest.approx([1 - n / 8 for n in range(9)])


def test_constant_stays():
    assert rates(6, warmup_steps=2, schedule="constant") == [0.5] + [1.0] * 6


def test_cosine_is_half_way_in_the_middle_and_ends_at_the_floor():
    found = rates(12, schedule="cosine", min_learning_rate=0.1)
    assert found[8] == pytest.approx(0.55)
    assert found[6] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert found[12] == pytest.approx(0.1)


def test_noam_falls_with_the_root_of_the_step():
    found = rates(100, schedule="noam")
    assert found[:4] == [0.25, 0.5, 0.75, 1.0]
    assert found[15] == 0.5
    assert found[99] == 0.2


def test_stable_then_decay():
    found = rates(12, schedule="warmup_stable_decay", decay_steps=4, min_learning_rate=0.2)
    assert found == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


@pytest.mark.parametrize(
    "given",
    [{}, {"schedule": "cosine"}, {"schedule": "noam"}, {"schedule": "warmup_stable_decay", "decay_steps": 3}],
)
def test_a_stage_s_peak_scales_the_curve_of_the_whole_run(given):
    wanted = OptimizerSettings(learning_rate=1.0, warmup_steps=4, **given)
    assert [learning_rate(n, 12, wanted, 0.25) for n in range(13)] == [rate / 4 for rate in rates(12, **given)]
    # The end of the decay is the same for all.
    floor = OptimizerSettings(learning_rate=1.0, min_learning_rate=0.1)
    assert learning_rate(6, 12, floor, 0.5) == pytest.approx(0.3)
    assert learning_rate(12, 12, floor, 0.5) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("schedule", "theirs", "ours", "options"),
    [
        ("linear", "linear", {}, {}),
        ("cosine", "cosine", {}, {}),
        ("cosine", "cosine_with_min_lr", {"min_learning_rate": 0.3}, {"min_lr": 0.3}),
        ("noam", "inverse_sqrt", {}, {}),
        ("constant", "constant_with_warmup", {}, {}),
        ("warmup_stable_decay", "warmup_stable_decay", {"decay_steps": 7, "min_learning_rate": 0.1},
         {"num_decay_steps": 7, "decay_type": "linear", "min_lr_ratio": 0.1}),
    ],
)  # fmt: skip
def test_after_the_warm_up_transformers_has_the_same_rates(schedule, theirs, ours, options):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    peer = get_scheduler(theirs, optimizer, 4, 30, scheduler_specific_kwargs=options)
    expected = []
    for _ in range(31):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        peer.step()
    found = rates(30, schedule=schedule, **ours)
    # Ours counts steps from 1 in the warm-up, noam throughout.
    later = 1 if schedule == "noam" else 0
    assert found[4 : 31 - later] == pytest.approx(expected[4 + later :])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"schedule": "noam"}, "noam needs warmup_steps"),
        ({"schedule": "warmup_stable_decay"}, "decay_steps > 0 go together"),
        ({"schedule": "linear", "decay_steps": 3}, "decay_steps > 0 go together"),
        ({"schedule": "constant", "min_learning_rate": 1e-6}, "leave min_learning_rate out"),
        ({"min_learning_rate": 1.0}, "above learning_rate"),
        ({"schedule": "warmup_stable_decay", "warmup_steps": 5, "decay_steps": 6}, "more than the 10 steps"),
    ],
)
def test_what_makes_no_schedule_is_refused(given, message):
    from ernie_pipe.config import validate

    with pytest.raises(InputError, match=message):
        validate(PretrainSettings, MICRO | {"optimizer": given}, where="x.yaml")
    assert settings().optimizer.schedule == "linear"
