"""Java: found, too old or missing, said in one line."""

import subprocess
import sys

import pytest

from ernie_pipe.environment import check_java, java_command
from ernie_pipe.errors import InputError

CLI = "import sys; from ernie_pipe.cli import main; sys.argv[0] = 'ernie-pipe'; main()"


@pytest.fixture
def java(tmp_path, monkeypatch):
    """Put a `java` that answers `-version` with this line first on PATH, or below JAVA_HOME."""

    def put(line, *, home=False):
        path = tmp_path / "jdk" / "bin" / "java"
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\necho '{line}' >&2\n")
        path.chmod(0o755)
        if home:
            monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
        else:
            monkeypatch.delenv("JAVA_HOME", raising=False)
        monkeypatch.setenv("PATH", f"{path.parent}:/bin:/usr/bin")
        return str(path)

    return put


@pytest.mark.parametrize("home", [True, False])
@pytest.mark.parametrize(
    ("line", "version"), [('openjdk version "17.0.15" 2025-04-15', 17), ('openjdk version "21-ea" 2023', 21)]
)
def test_a_new_java_is_taken(java, line, version, home):
    path = java(line, home=home)
    assert check_java() == version
    assert java_command() == path


@pytest.mark.parametrize(("line", "version"), [('java version "1.8.0_392"', 8), ('openjdk version "11.0.2"', 11)])
def test_an_old_java_is_refused(java, line, version):
    path = java(line)
    with pytest.raises(InputError, match=rf"needs Java 17 or newer, {path} is Java {version}; install a JDK 17"):
        check_java()


def test_no_java_is_said_with_how_to_install_one(monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"no `java` on PATH and JAVA_HOME is not set; .*apt-get install openjdk-17"):
        check_java()


def test_a_wrong_java_home_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(InputError, match=rf"JAVA_HOME={tmp_path} holds no bin/java"):
        check_java()


def test_the_command_ends_with_one_line_and_code_two(java, write):
    java('openjdk version "11.0.2"')
    argv = ["segment", "--input", write("a.txt", "好。"), "--output", write("a.txt", "好。").with_name("out")]
    done = subprocess.run([sys.executable, "-c", CLI, *argv], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: Spark needs Java 17 or newer, ")
