"""Runs that are SIGKILLed at every kind of moment end with the bytes of one that was not.

Small in the suite; `--soak` kills ten times over 200 steps.
"""

import json
import multiprocessing
import os
import random
import signal
import sys
import time

import pytest
import yaml

from ernie_pipe.pretrain import checkpoint
from tests.pretrain.building import MICRO

# Each life of a run is forked from a server that has imported everything, so that a kill costs a second.
LIVES = multiprocessing.get_context("forkserver")
LIVES.set_forkserver_preload(["ernie_pipe.pretrain.trainer"])
EVERY, PARTS = 5, MICRO["batch"]["micro_batches"]
# Moments of a save: the function before which a run dies, and how often a save calls it.
SAVING = {"save_file": 1, "_save_optimizer": 1, "_sync_file": 4, "sync_folder": 2}


def live(arguments, owner, name, after):
    """Train in this process; with a `name`, until SIGKILL comes before its call number `after`."""
    import torch

    from ernie_pipe.pretrain import trainer
    from ernie_pipe.pretrain.__main__ import main

    os.environ["ACCELERATE_USE_CPU"] = "true"
    torch.set_num_threads(1)
    if name:
        place = {"checkpoint": checkpoint, "trainer": trainer.Trainer}[owner]
        function, calls = getattr(place, name), iter(range(1, after + 1))

        def dies(*given, **more):
            if next(calls, None) == after:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*given, **more)

        setattr(place, name, dies)
    sys.exit(main(arguments))


def begin(arguments, owner="", name="", after=0):
    process = LIVES.Process(target=live, args=(arguments, owner, name, after))
    process.start()
    return process


def finish(process):
    process.join(120)
    return process.exitcode


def lines(run):
    path = run / "metrics.jsonl"
    found = path.read_text().splitlines() if path.is_file() else []
    return [{**json.loads(line), "tokens_per_s": 0} for line in found]


def die_from_outside(process, run, step, fraction):
    """Kill a run some part of a step after it has logged `step`."""
    began, limit = time.monotonic(), time.monotonic() + 60
    while len(lines(run)) < step:
        assert process.exitcode is None
        assert time.monotonic() < limit
        time.sleep(0.002)
    time.sleep(fraction * min(0.05, time.monotonic() - began))
    process.kill()


def moments(rng, kills):
    """Yield a kind of moment and its numbers, for every kill."""
    kinds = ["accumulating", "saving", "outside"]
    order = [kinds[number % 3] for number in range(kills)]
    rng.shuffle(order)
    reach = 2 if kills > 2 else 1
    for kind in ["accumulating", "saving"] if kills == 2 else order:
        if kind == "accumulating":
            # Before the loss of the second, third or fourth micro-batch: one gradient at least is summed up.
            yield "trainer", "_loss", rng.randint(6, 13) * reach * PARTS + rng.randint(2, PARTS)
        elif kind == "saving":
            name = rng.choice([*SAVING])
            yield "checkpoint", name, rng.randint(0, 1) * reach * SAVING[name] + rng.randint(1, SAVING[name])
        else:
            yield "outside", rng.randint(3, 15) * reach, rng.random()


@pytest.fixture
def given(data, tmp_path, soak):
    """The arguments of a run by its name; its steps."""
    steps = 200 if soak else 24
    stages = [MICRO["stages"][0] | {"steps": steps // 3}, MICRO["stages"][1] | {"steps": steps - steps // 3}]
    changes = {"stages": stages, "checkpoint": {"every": EVERY, "keep": 2}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(MICRO | changes))
    return steps, lambda name: [
        "--config", f"{tmp_path}/run.yaml", "--data", data, "--output", f"{tmp_path}/{name}"
    ]  # fmt: skip


def test_a_run_killed_at_any_moment_ends_with_the_same_losses_and_bytes(given, tmp_path, soak):
    steps, arguments = given
    assert finish(begin(arguments("whole"))) == 0
    run = tmp_path / "killed"
    for owner, name, after in moments(random.Random(20), 10 if soak else 2):
        if owner == "outside":
            process = begin(arguments("killed"))
            die_from_outside(process, run, min(len(lines(run)) + name, steps - 2), after)
        else:
            process = begin(arguments("killed"), owner, name, after)
        assert finish(process) == -signal.SIGKILL
        left = [path.suffix for path in (run / "checkpoints").iterdir()]
        # All but the second call of a save's last function come before its folder has its name.
        assert owner != "checkpoint" or ".partial" in left or (name, after % 2) == ("sync_folder", 0)
        print(f"{owner} {name} {after}: died after step {lines(run)[-1]['step']}, saved {sorted(left)}")
    assert finish(begin(arguments("killed"))) == 0
    assert [line["step"] for line in lines(run)] == list(range(1, steps + 1))
    assert lines(run) == lines(tmp_path / "whole")
    for name in (checkpoint.MODEL, checkpoint.OPTIMIZER, checkpoint.TRAINER):
        one, two = (checkpoint.folder(tmp_path / which, steps) / name for which in ("whole", "killed"))
        assert one.read_bytes() == two.read_bytes(), name
