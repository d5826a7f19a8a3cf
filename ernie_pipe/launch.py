"""`ernie-pipe pretrain`: the `accelerate launch` line that really starts what was asked for.

With accelerate 1.15 `--num_processes 2 --cpu` starts one process, and one thread a process is the default: this
passes the switches that put N ranks in one group and give each its share of the cores. One process needs no
launcher: started directly, its exit code is ours.
"""

import argparse
import logging
import os
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from ernie_pipe.config import positive
from ernie_pipe.environment import cores, die_with_parent
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain import run as runs
from ernie_pipe.pretrain.__main__ import COMMAND, load_settings, parse, parser
from ernie_pipe.pretrain.prepare import prepare
from ernie_pipe.pretrain.settings import PretrainSettings


def command(processes: int, threads: int, *, arguments: list[str]) -> list[str]:
    """Return the line that starts `processes` ranks on this machine."""
    training = ["-m", "ernie_pipe.pretrain", *arguments, "--set", f"processes={processes}"]
    if processes == 1:
        return [sys.executable, *training]
    options = {
        "num_machines": "1",
        "num_processes": str(processes),
        "mixed_precision": "no",
        "dynamo_backend": "no",
        "num_cpu_threads_per_process": str(threads),
        # Port 0: any free one, so that two runs on one machine do not meet.
        "main_process_port": "0",
    }
    line = [sys.executable, "-m", "ernie_pipe.pretrain.launcher", "--quiet"]
    line += [item for name, value in options.items() for item in (f"--{name}", value)]
    return [*line, "--multi_gpu", *training]


def pretrain(argv: list[str]) -> int:
    """Check the settings here, then launch the training processes; returns their exit code."""
    launcher = parser()
    launcher.add_argument("--num-processes", metavar="N", type=positive, help="processes (default: GPUs, else 1)")
    launcher.add_argument(
        "--num-threads", metavar="N", type=positive, help="CPU threads a process (default: its share)"
    )
    args = parse(launcher, argv)
    settings = load_settings(args)
    gpus = _gpus()
    processes = args.num_processes or settings.processes or max(1, gpus)
    _check(settings, args, processes)
    threads = args.num_threads or max(1, cores() // processes)
    if args.continued is not None:
        # A new task stands in the run by now.
        passed = ["--continue", args.continued, "--data", args.data]
    else:
        passed = [item for name in ("config", "data", "output") for item in (f"--{name}", getattr(args, name))]
    passed += ["--init-from", args.init_from] if args.init_from else []
    passed += ["--max-steps", str(args.max_steps)] if args.max_steps is not None else []
    passed += [item for override in args.set for item in ("--set", override)]
    environment = dict(os.environ)
    if not gpus:
        environment["ACCELERATE_USE_CPU"] = "true"
    environment.setdefault("OMP_NUM_THREADS", str(threads))
    environment[COMMAND] = shlex.join(["ernie-pipe", "pretrain", *argv])
    return _run(command(processes, threads, arguments=passed), environment)


def _run(line: list[str], environment: dict[str, str]) -> int:
    """Run the line and return its exit code; SIGTERM and SIGINT are passed on, so that training saves first."""
    alone = line[2] == "ernie_pipe.pretrain"
    # Training ends at once with this command; a launcher is told, so that it ends its ranks. It gets a group of its
    # own: a Ctrl-C that reached it beside its ranks would make it end them before they have saved.
    number = signal.SIGKILL if alone else signal.SIGTERM
    process = subprocess.Popen(
        line, env=environment, preexec_fn=partial(die_with_parent, number), process_group=None if alone else 0
    )
    asked = False

    def pass_on(number: int, _: object) -> None:
        nonlocal asked
        asked = True
        # The ranks themselves: they end with 0, and so does the launcher, which would give them no time to save.
        for target in (not alone and _ranks(process.pid)) or [process.pid]:
            with suppress(ProcessLookupError):
                os.kill(target, number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    code = code if code >= 0 else 128 - code
    if asked:
        # Whoever asked training to stop wants nothing to follow it.
        sys.exit(code)
    return code


def _ranks(launcher: int) -> list[int]:
    """Return the processes that train: the launcher's own children, not those that build batches for them."""
    import psutil

    try:
        found = psutil.Process(launcher).children()
        return [child.pid for child in found if "ernie_pipe.pretrain" in child.cmdline()]
    except psutil.Error:
        return []


def _check(settings: PretrainSettings, args: argparse.Namespace, processes: int) -> None:
    """Find every mistake here, in one line, before N processes each find it; what is no mistake is left to them."""
    logger = logging.getLogger("ernie_pipe")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        _prepare(settings, args, processes)
    finally:
        logger.setLevel(level)


def _prepare(settings: PretrainSettings, args: argparse.Namespace, processes: int) -> None:
    if settings.processes not in (None, processes):
        raise InputError(f"--num-processes {processes}, but the settings ask for processes: {settings.processes}")
    prepared = prepare(settings, args.data)
    prepared.plan.micro_batches_of(0, processes)
    if settings.evaluate.every:
        from ernie_pipe.pretrain.evaluate import HeldOut

        HeldOut(settings, args.data, prepared.corpus)
    folder = Path(args.output)
    if runs.check(folder, settings, prepared.passages.manifest, prepared.manifests):
        with runs.lock(folder):
            # Free now: whoever trains in it holds it to the end.
            pass


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
