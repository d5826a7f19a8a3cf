"""What the machine offers, checked before work starts: Java, cores, terminal."""

import ctypes
import os
import re
import shutil
import subprocess
import sys

from ernie_pipe.errors import InputError

JAVA_NEEDED = 17
_PR_SET_PDEATHSIG = 1
# Loaded here: between fork and exec nothing must be imported.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_INSTALL = (
    "install a JDK 17 or newer (Debian/Ubuntu: apt-get install openjdk-17-jre-headless; "
    "macOS: brew install openjdk@17; conda: conda install openjdk=17) and set JAVA_HOME"
)


def java_command() -> str | None:
    """Return the `java` that Spark would start: the one of JAVA_HOME, else the first on PATH."""
    home = os.environ.get("JAVA_HOME")
    if home:
        path = os.path.join(home, "bin", "java")
        return path if os.access(path, os.X_OK) else None
    return shutil.which("java")


def java_version() -> int | None:
    """Return Java's major version, or None where no Java can be started."""
    command = java_command()
    if command is None:
        return None
    try:
        result = subprocess.run([command, "-version"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', result.stderr + result.stdout)
    return int(found.group(1)) if found else None


def check_java() -> int:
    """Return Java's major version; `InputError` when Spark could not run on it, with how to install one."""
    version = java_version()
    if version is None:
        home = os.environ.get("JAVA_HOME")
        where = f"JAVA_HOME={home} holds no bin/java" if home else "no `java` on PATH and JAVA_HOME is not set"
        if java_command() is not None:
            where = f"{java_command()} does not run"
        raise InputError(f"Spark needs Java {JAVA_NEEDED} or newer: {where}; {_INSTALL}")
    if version < JAVA_NEEDED:
        raise InputError(f"Spark needs Java {JAVA_NEEDED} or newer, {java_command()} is Java {version}; {_INSTALL}")
    return version


def die_with_parent(number: int) -> None:
    """Ask Linux to send this process signal `number` when its parent ends, however that ends.

    So a training process never outlives the command that started it. Elsewhere nothing happens.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, number)


def cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_terminal() -> bool:
    """Return whether a person watches standard error (then progress is a bar, else plain lines)."""
    return sys.stderr.isatty()
