"""What the READMEs show is what the commands take, and what the demo runs."""

import re
import shlex
from pathlib import Path

import pytest

from ernie_pipe import cli, demo

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
def test_every_flag_in_the_readme_exists(readme, capsys):
    jobs = {"segment_corpus.py": "segment", "build_vocab.py": "vocab", "encode_corpus.py": "encode"}
    checked = 0
    for line in lines_of(readme):
        words = shlex.split(line) if line.startswith(("ernie-pipe", "spark-submit")) else []
        if words[:1] == ["ernie-pipe"]:
            command, rest = words[1], words[2:]
        elif words[:1] == ["spark-submit"]:
            command, rest = jobs[Path(words[1]).name], words[2:]
        else:
            continue
        with pytest.raises(SystemExit):
            cli.run([command, *rest[:1], "--help"] if command == "finetune" else [command, "--help"])
        known = re.findall(r"--[a-z-]+", capsys.readouterr().out)
        unknown = [word for word in rest if word.startswith("--") and word not in known]
        assert not unknown, f"{line}: {unknown}"
        checked += 1
    assert checked >= 10


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
