import subprocess
import sys

import pytest

from ernie_pipe import __version__, cli
from ernie_pipe.errors import InputError


def run(*arguments):
    """Run `ernie-pipe` as the console script does."""
    script = "from ernie_pipe.cli import main; main()"
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)


def test_help_lists_every_command_in_one_line(capsys):
    assert cli.run(["--help"]) == 0
    text = capsys.readouterr().out
    for name, function in cli.COMMANDS.items():
        assert f"  {name:<15}{function.__doc__.splitlines()[0]}\n" in text + "\n"


def test_help_is_instant_no_heavy_module_is_imported():
    script = (
        "import contextlib, io, sys\n"
        "from ernie_pipe import cli\n"
        "for given in (['--help'], ['pretrain', '--help'], ['inspect', '--help'], ['export', '--help'], "
        "['mine', '--help'], ['segment', '--help'], ['vocab', '--help'], ['encode', '--help'], "
        "['import-ernie1', '--help'], ['relations', '--help']):\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "        cli.run(given)\n"
        "    heavy = {'torch', 'transformers', 'accelerate', 'pyspark.sql'} & set(sys.modules)\n"
        "    assert not heavy, (given, heavy)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.run([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: ernie-pipe {name} ")


def test_no_command_is_a_mistake_and_shows_the_help(capsys):
    assert cli.run([]) == 2
    assert "usage: ernie-pipe COMMAND" in capsys.readouterr().out


def test_version(capsys):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"ernie-pipe {__version__}\n"


def test_an_unknown_command_is_one_line_with_the_nearest_and_exit_code_2():
    result = run("pretrian")
    assert result.returncode == 2
    assert result.stderr == "error: unknown command `pretrian`; did you mean `pretrain`?\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["pretrain", "--config", "nowhere.yaml", "--data", "d", "--output", "o"],
        ["export", "--run", "nowhere", "--output", "o"],
        ["inspect", "--run", "nowhere"],
        ["inspect", "--text", "好", "--lexicon", "nowhere.tsv"],
        ["inspect", "--text", "好", "--engine", "nowhere"],
        ["segment", "--input", "nowhere", "--output", "o"],
        ["vocab", "--input", "nowhere", "--output", "o"],
        ["mine", "--input", "nowhere", "--output", "o"],
        ["relations", "--input", "nowhere", "--output", "o"],
        ["relations", "--input", ".", "--inventory", "nowhere.tsv", "--output", "o"],
        ["encode", "--input", "nowhere", "--tokenizer", "t", "--output", "o"],
        ["import-ernie1", "--input", "i", "--tokenizer", "nowhere", "--output", "o"],
        ["doctor", "nowhere"],
    ],
)
def test_what_is_missing_is_named_in_one_line(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="nowhere") as caught:
        cli.run(arguments)
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_a_missing_file_ends_with_exit_code_2_and_no_traceback():
    result = run("inspect", "--run", "nowhere")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: nowhere: no run.json there")
    assert result.stderr.count("\n") == 1
