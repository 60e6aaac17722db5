"""A dask cluster's workers as an executor: figures and regions of grids are its tasks, on a folder that all see."""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

#: How long to wait for a scheduler [s].
TIMEOUT = 10


@contextmanager
def executor(address: str) -> Iterator[Executor]:
    """Tasks to the workers of the scheduler at `address`, e.g. "tcp://10.0.0.1:8786".

    A task whose worker is lost is run again on another one. Raises ValueError where no scheduler answers.
    """
    from distributed import Client, KilledWorker

    try:
        client = Client(address, timeout=TIMEOUT, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"no dask scheduler at {address!r}: {' '.join(str(error).split())}") from None
    try:
        yield client.get_executor()  # type: ignore[no-untyped-call]
    except KilledWorker as error:
        raise ValueError(f"a task has lost worker after worker: {' '.join(str(error).split())}") from None
    finally:
        client.close()  # type: ignore[no-untyped-call]
