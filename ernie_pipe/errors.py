"""The one exception that stands for a user's mistake: commands print it as a line and exit with code 2."""


class InputError(ValueError):
    """Something the user gave is wrong. The message says which file, line or key, and what to do."""
