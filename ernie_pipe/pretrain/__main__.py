"""Continual multi-task pretraining: `accelerate launch -m ernie_pipe.pretrain --config YAML --data PASSAGES …`."""

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

from ernie_pipe.config import apply_overrides, load_yaml, positive, validate
from ernie_pipe.environment import die_with_parent
from ernie_pipe.errors import InputError, mistake
from ernie_pipe.pretrain.settings import PretrainSettings


def parser() -> argparse.ArgumentParser:
    """Build the parser; `ernie-pipe pretrain` adds the launcher's flags to it."""
    result = argparse.ArgumentParser(prog="ernie-pipe pretrain", description=__doc__.split(":")[0])
    result.add_argument("--config", metavar="YAML", required=True, help="settings of the run (see configs/)")
    result.add_argument("--data", metavar="PASSAGES", required=True, help="folder of `ernie-pipe encode`")
    result.add_argument("--output", metavar="RUN", required=True, help="folder of the run; an unfinished one goes on")
    result.add_argument("--init-from", metavar="HF", help="transformers BERT / ERNIE folder to start from")
    result.add_argument("--max-steps", metavar="N", type=positive, help="stop (with a checkpoint) at this step")
    result.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="change one setting")
    return result


def load_settings(args: argparse.Namespace) -> PretrainSettings:
    """Read the config file, apply `--init-from` and `--set`."""
    data = load_yaml(args.config)
    if args.init_from:
        data["init_from"] = args.init_from
    data = apply_overrides(data, args.set)
    if isinstance(data.get("init_from"), str):
        # Absolute: the run must find it again from any folder.
        data["init_from"] = str(Path(data["init_from"]).resolve())
    return validate(PretrainSettings, data, where=args.config)


def main(argv: list[str]) -> int:
    """Train in this process (one of those that the launcher started); returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("ernie_pipe").setLevel(logging.INFO)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        die_with_parent(signal.SIGKILL)
    args = parser().parse_args(argv)
    try:
        settings = load_settings(args)
        from transformers.utils import logging as transformers_logging

        from ernie_pipe.pretrain.trainer import NonFiniteGradient, Trainer

        # What is initialised anew we say ourselves, in one line.
        transformers_logging.set_verbosity_error()

        try:
            trainer = Trainer(settings, args.data, Path(args.output))
            means = trainer.train(args.max_steps)
        except NonFiniteGradient as error:
            print(f"error: {error}; what was saved before is intact", file=sys.stderr)
            return 1
    except (InputError, OSError) as error:
        line = mistake(error)
        if line is None:
            raise
        if os.environ.get("RANK", "0") == "0":
            print(line, file=sys.stderr)
        return 2
    if trainer.accelerator.is_main_process:
        _report(args, trainer.step, trainer.plan.steps, means)
    return 0


def _report(args: argparse.Namespace, step: int, steps: int, means: dict[str, float]) -> None:
    tasks = [name.removeprefix("loss/") for name in means if name.startswith("loss/")]
    for name in tasks:
        print(f"{name}: loss {means[f'loss/{name}']:.4f}, accuracy {means[f'accuracy/{name}']:.4f}")
    again = "the same command" if args.max_steps is None else "the same command without --max-steps"
    rest = "" if step == steps else f"; {again} goes on to {steps}"
    print(f"{args.output}: step {step} of {steps}{rest}")


if __name__ == "__main__":
    code = main(sys.argv[1:])
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # All is saved and said. The interpreter's own end may meet a communication thread still running, and abort.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
