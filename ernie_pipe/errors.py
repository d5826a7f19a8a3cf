"""The one exception that stands for a user's mistake: commands print it as a line and exit with code 2."""


def mistake(error: Exception) -> str | None:
    """Return the line that tells a user's mistake, or None for an error that is ours.

    An operating system's error that names a file (no permission, a folder in the way) is the user's.
    """
    if isinstance(error, OSError):
        return f"error: {error.filename}: {error.strerror}" if error.filename else None
    return f"error: {error}" if isinstance(error, InputError) else None


class InputError(ValueError):
    """Something the user gave is wrong. The message says which file, line or key, and what to do."""
