"""The exceptions that commands print as one line: a user's mistake (exit code 2), training that stopped (1)."""


def mistake(error: Exception) -> str | None:
    """Return the line that tells a user's mistake, or None for an error that is ours.

    An operating system's error that names a file (no permission, a folder in the way) is the user's.
    """
    if isinstance(error, OSError):
        return f"error: {error.filename}: {error.strerror}" if error.filename else None
    return f"error: {error}" if isinstance(error, InputError) else None


class InputError(ValueError):
    """Something the user gave is wrong. The message says which file, line or key, and what to do."""


class TrainingStopped(RuntimeError):
    """Training cannot go on though nothing that was given is wrong: one line, exit code 1, checkpoints intact."""


class WorkerLost(TrainingStopped):
    """A process that builds batches ended (killed, mostly): only the rank that it worked for knows."""
