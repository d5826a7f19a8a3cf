"""`accelerate launch` for our ranks: its own traceback left out, their exit code and the lost rank told.

`python -m ernie_pipe.pretrain.launcher OPTIONS -m ernie_pipe.pretrain …`, as `ernie-pipe pretrain` starts it.
"""

import logging
import signal
import sys

from accelerate.commands.launch import main
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def told(codes: dict[int, int]) -> tuple[int, str]:
    """Return the exit code and the line that stand for those of the ranks that failed (rank → code, −n: signal n).

    A rank that ended by itself has told why; its neighbours then fail for want of it.
    """
    killed = {rank: -code for rank, code in codes.items() if code < 0 and code != -signal.SIGTERM}
    if not killed:
        return max((code for code in codes.values() if code > 0), default=1), ""
    rank, number = min(killed.items())
    why = f"{signal.Signals(number).name}{', perhaps for lack of memory' if number == signal.SIGKILL else ''}"
    return 1, f"error: process {rank} was lost ({why}); the same command goes on from the newest checkpoint"


if __name__ == "__main__":
    # Which rank failed, and how, is told below.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    try:
        main()
    except ChildFailedError as error:
        code, line = told({rank: failure.exitcode for rank, failure in error.failures.items()})
        if line:
            print(line, file=sys.stderr)
        sys.exit(code)
