"""Batches from a loader's processes, and the plain word when one of these is gone."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from ernie_pipe.errors import WorkerLost


def batches_of(loader: DataLoader) -> Iterator[Any]:
    """Yield what `loader` gives; `WorkerLost` when one of its processes has ended.

    What torch raises then depends on the moment: a `RuntimeError` of its own, or the end of a pipe or socket.
    """
    iterator = iter(loader)
    while True:
        try:
            found = next(iterator)
        except StopIteration:
            return
        except (EOFError, OSError, RuntimeError) as error:
            if not any(_ended(worker) for worker in getattr(iterator, "_workers", ())):
                raise
            raise WorkerLost(
                "a process that builds batches ended (killed, perhaps for lack of memory; see batch.loader_workers); "
                "the same command goes on from the newest checkpoint"
            ) from error
        yield found


def _ended(worker: Any) -> bool:
    # A pipe closes a moment before its process is gone.
    worker.join(1)
    return not worker.is_alive()
