"""The one exception that stands for a user's mistake: commands print it as a line and exit with code 2."""


def describe(error: OSError) -> str:
    """Return an operating system's error as one line: the file and what is wrong with it."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


class InputError(ValueError):
    """Something the user gave is wrong. The message says which file, line or key, and what to do."""
