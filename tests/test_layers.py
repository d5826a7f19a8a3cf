"""Layers: who may import whom, so that executors need no torch and the model no trainer."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from ernie_pipe import resources

JOBS = resources.folder("spark_jobs")
ROOT = JOBS.parent
PACKAGE = ROOT / "ernie_pipe"


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def modules(folder):
    return [module_name(path) for path in sorted(folder.rglob("*.py"))]


def imported_by(path):
    """Every module that the file imports anywhere, in functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import hides its layer"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def loaded_by(imports, *path):
    """The top-level packages in memory after these imports, in a Python of their own."""
    command = f"import sys; sys.path[:0] = {[str(ROOT), *map(str, path)]!r}\n" + "\n".join(imports)
    command += "\nprint(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_text_needs_nothing_heavy():
    loaded = loaded_by([f"import {name}" for name in modules(PACKAGE / "text")])
    assert "tokenizers" in loaded
    assert not loaded & {"torch", "transformers", "pydantic", "pyspark"}


def test_jobs_never_load_torch():
    names = [path.stem for path in sorted(JOBS.glob("*.py"))]
    assert "session" in names
    loaded = loaded_by([f"import {name}" for name in names], JOBS)
    assert "pyspark" in loaded
    assert not loaded & {"torch", "transformers", "accelerate"}


@pytest.mark.parametrize("path", sorted(JOBS.glob("*.py")), ids=lambda path: path.name)
def test_jobs_never_import_torch(path):
    assert not {name.partition(".")[0] for name in imported_by(path)} & {"torch", "transformers", "accelerate"}


def test_the_package_never_imports_pyspark():
    guilty = [path for path in PACKAGE.rglob("*.py") if any(name.startswith("pyspark") for name in imported_by(path))]
    assert guilty == []


@pytest.mark.parametrize("folder", ["model", "tasks"])
def test_model_and_tasks_never_import_the_trainer(folder):
    guilty = {
        path.name: sorted(name for name in imported_by(path) if name.startswith("ernie_pipe.pretrain"))
        for path in (PACKAGE / folder).rglob("*.py")
    }
    assert {name: found for name, found in guilty.items() if found} == {}


@pytest.mark.parametrize("folder", ["text", "corpus"])
def test_data_never_imports_what_trains(folder):
    above = tuple(f"ernie_pipe.{name}" for name in ("model", "tasks", "pretrain", "finetune", "report", "masking"))
    for path in (PACKAGE / folder).rglob("*.py"):
        assert not [name for name in imported_by(path) if name.startswith(above)], path


def test_help_needs_neither_torch_nor_spark():
    imports = ["from ernie_pipe import cli", "cli.run(['--help'])", "import ernie_pipe.pretrain.settings"]
    assert not loaded_by(imports) & {"torch", "transformers", "pyspark"}


def test_the_checks_see_what_they_forbid(tmp_path):
    path = Path(tmp_path / "a.py")
    path.write_text("def late():\n    from ernie_pipe.pretrain import run\n    import pyspark.sql\n")
    assert imported_by(path) == {"ernie_pipe.pretrain.run", "pyspark.sql"}
