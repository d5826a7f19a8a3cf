"""Continual multi-task pretraining: `accelerate launch -m ernie_pipe.pretrain --config YAML --data PASSAGES …`."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ernie_pipe.config import apply_overrides, load_yaml, positive, validate
from ernie_pipe.environment import die_with_parent
from ernie_pipe.errors import InputError, TrainingStopped, WorkerLost, mistake
from ernie_pipe.pretrain.settings import PretrainSettings

if TYPE_CHECKING:
    from ernie_pipe.pretrain.trainer import Trainer

# Where `ernie-pipe pretrain` puts the line that was typed.
COMMAND = "ERNIE_PIPE_COMMAND"
# What gloo and NCCL say when a peer is gone.
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "gloo")


def parser() -> argparse.ArgumentParser:
    """Build the parser; `ernie-pipe pretrain` adds the launcher's flags to it."""
    result = argparse.ArgumentParser(prog="ernie-pipe pretrain", description=__doc__.split(":")[0])
    result.add_argument("--config", metavar="YAML", help="settings of the run (see configs/)")
    result.add_argument("--data", metavar="PASSAGES", help="folder of `ernie-pipe encode`")
    result.add_argument("--output", metavar="RUN", help="folder of the run; an unfinished one goes on")
    result.add_argument("--init-from", metavar="HF", help="transformers BERT / ERNIE folder to start from")
    result.add_argument(
        "--continue", metavar="RUN", dest="continued", help="go on in RUN, with its own settings and data"
    )
    result.add_argument(
        "--add-task", metavar="NAME", help="with --continue: a task more, as the next stage of a finished run"
    )
    result.add_argument(
        "--unit",
        metavar="U",
        type=positive,
        help="with --add-task: steps of each older task, where no schedule says it",
    )
    result.add_argument("--max-steps", metavar="N", type=positive, help="stop (with a checkpoint) at this step")
    result.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="change one setting")
    return result


def parse(given: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """Read the arguments; what does not go together ends with exit code 2."""
    args = given.parse_args(argv)
    if args.continued is None:
        missing = [f"--{name}" for name in ("config", "data", "output") if getattr(args, name) is None]
        if args.add_task or args.unit:
            given.error("--add-task and --unit need --continue RUN")
        if missing:
            given.error(f"the following arguments are required: {', '.join(missing)} (or --continue RUN)")
    elif args.config or args.output or args.init_from:
        given.error(
            "--continue goes on in RUN: leave out --config, --output and --init-from (--set changes one setting)"
        )
    elif args.unit and not args.add_task:
        given.error("--unit needs --add-task NAME")
    return args


def load_settings(args: argparse.Namespace) -> PretrainSettings:
    """Read the config file, apply `--init-from` and `--set`; with `--continue`, the run's own settings and data.

    `args.data` and `args.output` are set then; a task of `--add-task` is added to the run first.
    """
    if args.continued is not None:
        return _continued(args)
    data = load_yaml(args.config)
    if args.init_from:
        data["init_from"] = args.init_from
    data = apply_overrides(data, args.set)
    if isinstance(data.get("init_from"), str):
        # Absolute: the run must find it again from any folder.
        data["init_from"] = str(Path(data["init_from"]).resolve())
    for stage in data["stages"] if isinstance(data.get("stages"), list) else ():
        if isinstance(stage, dict) and isinstance(stage.get("data"), str):
            stage["data"] = str(Path(stage["data"]).resolve())
    return validate(PretrainSettings, data, where=args.config)


def _continued(args: argparse.Namespace) -> PretrainSettings:
    from ernie_pipe.pretrain import continuing
    from ernie_pipe.pretrain import run as runs

    folder = Path(args.continued)
    if args.add_task:
        # Passages that come with a new task are those of its stage.
        continuing.add_task(folder, args.add_task, unit=args.unit, data=args.data, changes=args.set)
        args.data = None
    found = runs.read(folder)
    args.output, args.data = args.continued, args.data or found.data
    return continuing.changed(found.settings, args.set)


def main(argv: list[str]) -> int:
    """Train in this process (one of those that the launcher started); returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    # What all ranks do is told by one.
    logging.getLogger("ernie_pipe").setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.ERROR)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        die_with_parent(signal.SIGKILL)
    elif "ACCELERATE_MIXED_PRECISION" in os.environ and _has_launcher():
        # `accelerate launch` of one process does not pass SIGTERM on: its end is the signal, and training saves.
        die_with_parent(signal.SIGTERM)
    args = parse(parser(), argv)
    try:
        return _train(args, argv)
    except (InputError, OSError, RuntimeError) as error:
        line = _line(error, Path(args.output or args.continued))
        if line is None:
            raise
        # Once on each machine; a process that lost its own helpers is the only one to know.
        if os.environ.get("LOCAL_RANK", "0") == "0" or isinstance(error, WorkerLost):
            print(line, file=sys.stderr)
        return 1 if isinstance(error, RuntimeError) else 2


def _has_launcher() -> bool:
    """Return whether the parent of this process is `accelerate launch`, not a shell that only has its environment."""
    import psutil

    try:
        return any("accelerate" in word for word in psutil.Process(os.getppid()).cmdline())
    except psutil.Error:
        return False


def _train(args: argparse.Namespace, argv: list[str]) -> int:
    settings = load_settings(args)
    from transformers.utils import logging as transformers_logging

    from ernie_pipe.pretrain.trainer import Trainer
    from ernie_pipe.pretrain.world import peak_memory

    # What is initialised anew we say ourselves, in one line.
    transformers_logging.set_verbosity_error()
    trainer = Trainer(settings, args.data, Path(args.output))
    means = trainer.train(args.max_steps)
    if trainer.accelerator.is_main_process:
        for name in (name.removeprefix("loss/") for name in means if name.startswith("loss/")):
            print(f"{name}: loss {means[f'loss/{name}']:.4f}, accuracy {means[f'accuracy/{name}']:.4f}")
        device = trainer.accelerator.device
        print(f"memory: at most {peak_memory(device):,} MiB a process ({device.type}); {_waited(trainer)}")
        print(_end(args.output, trainer, argv))
    return 0


def _waited(trainer: Trainer) -> str:
    waited = f"{trainer.data_seconds:.1f} s into waiting for batches"
    return f"{trainer.writer.waited:.1f} s of {trainer.seconds:.0f} s went into checkpoints, {waited}"


def _end(output: str, trainer: Trainer, argv: list[str]) -> str:
    """Return where the run stands and, where steps are left, the line that goes on with it."""
    steps = trainer.plan.steps
    early, unfinished = trainer.stopped_early, trainer.step < steps
    text = f"{output}: step {trainer.step} of {steps}{', saved' * (unfinished and not early)}"
    if trainer.held_out is not None and trainer.held_out.state.best_step >= 0:
        state = trainer.held_out.state
        text += f"; best {trainer.held_out.metric} {state.best:.4f} at step {state.best_step}"
    if early:
        return f"{text}; stopped early: evaluate.patience ({trainer.settings.evaluate.patience}) evaluations passed"
    return f"{text}; go on with:\n  {resume_line(argv)}" if unfinished else text


def resume_line(argv: list[str]) -> str:
    """Return the command that goes on to the end: as it was typed, without `--max-steps`."""
    typed = os.environ.get(COMMAND)
    words = shlex.split(typed) if typed else ["python", "-m", "ernie_pipe.pretrain", *argv]
    if not typed and "TORCHELASTIC_RUN_ID" in os.environ:
        # The launcher's own options are not known here.
        words[:2] = ["accelerate", "launch", "-m"]
    kept = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if before != "--max-steps" and word != "--max-steps" and not word.startswith("--max-steps=")
    ]
    return shlex.join(kept)


def _line(error: Exception, output: Path) -> str | None:
    """Return what to tell a user, or None for an error that is ours."""
    if not isinstance(error, RuntimeError):
        return mistake(error)
    text = " ".join(str(error).split())
    if isinstance(error, TrainingStopped):
        return f"error: {text}"
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and any(sign in text for sign in _LOST):
        why = "another process of this run was lost"
        return f"error: {output}: {why}; the same command goes on from the newest checkpoint ({text[:200]})"
    return None


if __name__ == "__main__":
    code = main(sys.argv[1:])
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # All is saved and said. The interpreter's own end may meet a communication thread still running, and abort.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
