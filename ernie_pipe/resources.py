"""Where the files that travel with the package lie: the checkout first, else inside the installed wheel."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """Return the folder `spark_jobs` or `configs`, of the checkout or of the wheel."""
    for base in (_PACKAGE.parent, _PACKAGE / "_checkout"):
        if (base / name).is_dir() and (base is not _PACKAGE.parent or (base / "pyproject.toml").is_file()):
            return base / name
    raise FileNotFoundError(f"the installation of ernie_pipe lacks its folder {name!r}: install it again")


def sample() -> Path:
    """Return the folder of the embedded sample corpus."""
    return _PACKAGE / "sample"


def job(name: str) -> ModuleType:
    """Import the Spark job `name` the way `spark-submit` sees it: with its own folder on the path."""
    jobs = str(folder("spark_jobs"))
    if jobs not in sys.path:
        sys.path.insert(0, jobs)
    return importlib.import_module(name)
