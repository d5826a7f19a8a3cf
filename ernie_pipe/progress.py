"""Progress for people: a bar on a terminal, a plain line at an interval elsewhere."""

import os
import sys
import time

from tqdm import tqdm

from ernie_pipe.environment import is_terminal


class Progress:
    """Counts `total` units of work; `note` is the short text that follows the numbers.

    With `leave=False` the bar is gone once closed.
    """

    def __init__(
        self,
        title: str,
        total: int,
        *,
        unit: str = "step",
        initial: int = 0,
        interval: float = 15.0,
        leave: bool = True,
    ) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._interval = interval
        self._done, self._initial = initial, initial
        self._begun = self._last = time.monotonic()
        self._bar = (
            tqdm(desc=title, total=total, unit=unit, initial=initial, file=sys.stderr, dynamic_ncols=True, leave=leave)
            if is_terminal() and _has_width()
            else None
        )

    def advance(self, done: int, note: str = "") -> None:
        """Say that `done` units in all are finished."""
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._done)
        self._done = done
        now = time.monotonic()
        if self._bar is None and (now - self._last >= self._interval or done == self._total):
            self._last = now
            print(self._line(now, note), file=sys.stderr, flush=True)

    def _line(self, now: float, note: str) -> str:
        rate = (self._done - self._initial) / max(now - self._begun, 1e-9)
        text = f"{self._title}: {self._done}/{self._total} {self._unit}s"
        if rate > 0:
            text += f", {rate:.2f}/s, {duration((self._total - self._done) / rate)} left"
        return f"{text}  {note}" if note else text

    def close(self) -> None:
        """Draw no more: the bar stays as it is, or goes."""
        if self._bar is not None:
            self._bar.close()


def _has_width() -> bool:
    # A terminal that does not tell its size (a container's, mostly) is 0 columns wide: a bar would show nothing.
    return os.get_terminal_size(sys.stderr.fileno()).columns > 0


def duration(seconds: float) -> str:
    """Return seconds as people say them: `45 s`, `12:05 min`, `30:00:00 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} h" if hours else f"{minutes}:{rest:02d} min"
