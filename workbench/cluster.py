"""A dask cluster's workers as an executor: figures and regions of grids are its tasks, on a folder that all see."""

import asyncio
import logging
import re
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, ThreadPoolExecutor
from contextlib import contextmanager

from .common.extras import check_libraries

#: How long to wait for a scheduler, and for its first worker [s].
TIMEOUT = 5


@contextmanager
def executor(address: str) -> Iterator[Executor]:
    """Tasks to the workers of a scheduler; one whose worker is lost is run again on another.

    Parameters
    ----------
    address : str
        Of the scheduler, such as "tcp://10.0.0.1:8786".

    Yields
    ------
    Executor
        One of the kind of `concurrent.futures`; all workers must see the folder that is written to.

    Raises
    ------
    ValueError
        Where no scheduler answers, where it has no worker, where a task loses worker after worker, and where the
        scheduler is lost.
    """
    if not re.fullmatch(r"tcp://[^/\s:]+:\d{1,5}|tcp://\[[\da-fA-F:.]+\]:\d{1,5}", address):
        raise ValueError(f"no dask scheduler at {address!r}: expected tcp://HOST:PORT")
    check_libraries("distributed")
    from distributed import Client, KilledWorker

    logger = logging.getLogger("distributed.client")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # what it has to say is said below, in a line
    try:
        with ThreadPoolExecutor(1) as thread:  # a notebook's own has a loop already
            thread.submit(asyncio.run, _answer(address)).result()
        client = Client(address, timeout=TIMEOUT, set_as_default=False)  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever something else at that port has answered
        raise ValueError(f"no dask scheduler at {address!r}: {_line(error)}") from None
    try:
        client.wait_for_workers(1, timeout=TIMEOUT)
        yield client.get_executor()  # type: ignore[no-untyped-call]
    except KilledWorker as error:
        raise ValueError(f"a task has lost worker after worker: {_line(error)}") from None
    except CancelledError:
        raise ValueError(f"the dask scheduler at {address!r} is lost") from None
    except TimeoutError as error:
        raise ValueError(f"the dask scheduler at {address!r} has no worker: {_line(error)}") from None
    finally:
        client.close()  # type: ignore[no-untyped-call]
        logger.setLevel(level)


async def _answer(address: str) -> None:
    """Wait no longer than `TIMEOUT` for what a dask server says first: a `Client` may wait for ever."""
    from distributed.comm.core import connect

    comm = await asyncio.wait_for(connect(address, timeout=TIMEOUT), TIMEOUT)  # type: ignore[no-untyped-call]
    comm.abort()


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or "what is there does not answer as one"
