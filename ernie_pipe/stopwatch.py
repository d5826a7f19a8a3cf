"""Where the time of a stage goes: seconds by name."""

import time
from collections import Counter


class Stopwatch:
    """`lap(name)` adds the time since the lap before (or the start) to `seconds[name]`."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a lap."""
        now = time.perf_counter()
        self.seconds[name] += now - self._last  # type: ignore[assignment]
        self._last = now
