"""What the READMEs show is what the demo runs, and what lies in the tree; `test_docs` holds commands and links."""

import re
from pathlib import Path

import pytest

from ernie_pipe import demo

ROOT = Path(__file__).parents[1]
READMES = [ROOT / "README.md", ROOT / "README.zh.md"]


def lines_of(readme: Path) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", readme.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [line for language, block in blocks if not language for line in block.splitlines()]


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_the_demo_runs_the_commands_that_the_readme_shows(readme):
    shown = [line for line in lines_of(readme) if "runs/demo" in line and not line.startswith("ernie-pipe inspect")]
    config = Path("configs/tiny-demo.yaml")
    run = demo.commands(Path("runs/demo"), Path("ernie_pipe/sample"), config)
    assert shown == ["ernie-pipe " + " ".join(command) for command in run]


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_files_that_the_readme_names_exist(readme):
    for name in re.findall(
        r"(?:configs|spark_jobs|ernie_pipe/sample)/[\w./-]+\.\w+", readme.read_text(encoding="utf-8")
    ):
        assert (ROOT / name).is_file(), name


def test_the_tree_in_the_readme_names_every_module():
    text = READMES[0].read_text(encoding="utf-8")
    for path in (ROOT / "ernie_pipe").rglob("*.py"):
        if path.parent.name in ("finetune", "sample") or path.name in ("__init__.py", "__main__.py"):
            continue
        assert path.stem in text, path
