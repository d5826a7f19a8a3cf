"""`ernie-pipe doctor`: is everything there that the stages need?"""

import argparse
import importlib.util
import platform
import sys
from collections.abc import Callable
from importlib import metadata

from ernie_pipe import resources
from ernie_pipe.environment import check_java, cores, java_command
from ernie_pipe.errors import InputError

_ROLES = {
    "spark": ("pyspark", "pyarrow", "rjieba", "jieba", "tokenizers"),
    "train": ("torch", "transformers", "accelerate", "safetensors", "tensorboard"),
    "finetune": ("datasets", "seqeval", "sklearn", "sentence_transformers"),
}
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "sentence_transformers": "sentence-transformers"}


def main(argv: list[str]) -> int:
    """Print one line a check; exit code 0 when all pass, else 2."""
    parser = argparse.ArgumentParser(prog="ernie-pipe doctor", description="Check what the stages need.")
    _, unknown = parser.parse_known_args(argv)
    if unknown:
        raise InputError(f"doctor takes no arguments, found {unknown[0]!r}")
    checks: list[tuple[str, Callable[[], str]]] = [
        ("Python", lambda: f"{platform.python_version()} at {sys.executable}"),
        ("Java", lambda: f"{check_java()} at {java_command()}"),
        ("cores", lambda: str(cores())),
        ("Spark jobs", lambda: str(resources.folder("spark_jobs"))),
        *((f"[{role}]", lambda names=names, role=role: _versions(role, names)) for role, names in _ROLES.items()),
        ("devices", _devices),
    ]
    failed = 0
    for name, check in checks:
        try:
            print(f"  ok    {name:<11} {check()}")
        except (InputError, FileNotFoundError) as error:
            failed += 1
            print(f"  wrong {name:<11} {error}")
    print("everything is there" if not failed else f"{failed} to mend")
    return 2 if failed else 0


def _versions(role: str, names: tuple[str, ...]) -> str:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{', '.join(missing)} missing: pip install 'ernie-pipe[{role}]'")
    return ", ".join(f"{name} {metadata.version(_DISTRIBUTIONS.get(name, name))}" for name in names)


def _devices() -> str:
    if importlib.util.find_spec("torch") is None:
        raise InputError("torch missing: pip install 'ernie-pipe[train]'")
    import torch

    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return ", ".join(names) or "CPU only"
