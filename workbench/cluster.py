"""A dask cluster's workers as an executor: figures and regions of grids are its tasks, on a folder that all see."""

import asyncio
import logging
import re
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

from .common.extras import check_libraries

if TYPE_CHECKING:
    from distributed import Client

#: How long to wait for a scheduler, and for its first worker [s].
TIMEOUT = 5
_KEPT = "what is finished is kept, run again to go on"
#: How long to wait for another worker when the last one is lost, and how often to look [s].
WORKERLESS, LOOK = 60.0, 1.0


@contextmanager
def executor(address: str) -> Iterator[Executor]:
    """Tasks to the workers of a scheduler; one whose worker is lost is run again on another.

    When the last worker is lost, a warning says so, and after `WORKERLESS` without another one the run ends.

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
        Where no scheduler answers, where it has no worker or none any more, where a task loses worker after worker, and
        where the scheduler is lost.
    """
    if not re.fullmatch(r"tcp://[^/\s:]+:\d{1,5}|tcp://\[[\da-fA-F:.]+\]:\d{1,5}", address):
        raise ValueError(f"no dask scheduler at {address!r}: expected tcp://HOST:PORT")
    check_libraries("distributed")
    from distributed import Client, KilledWorker
    from distributed.comm.core import CommClosedError
    from distributed.scheduler import NoWorkerError

    loggers = [logging.getLogger(name) for name in ("distributed.client", "tornado.application")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)  # what they have to say is said below, in a line
    try:
        with ThreadPoolExecutor(1) as thread:  # a notebook's own has a loop already
            thread.submit(asyncio.run, _answer(address)).result()
        client = Client(address, timeout=TIMEOUT, set_as_default=False)  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever something else at that port has answered
        raise ValueError(f"no dask scheduler at {address!r}: {_line(error)}") from None
    over, alone = Event(), Event()
    try:
        client.wait_for_workers(1, timeout=TIMEOUT)
        pool: Executor = client.get_executor()  # type: ignore[no-untyped-call]
        Thread(target=_watch, args=(client, pool, address, over, alone), daemon=True).start()
        yield pool
    except KilledWorker as error:
        raise ValueError(f"a task has lost worker after worker: {_line(error)}") from None
    except (CancelledError, CommClosedError, NoWorkerError, RuntimeError) as error:
        if alone.is_set() or isinstance(error, NoWorkerError):
            raise ValueError(f"the dask scheduler at {address!r} has lost its last worker, {_KEPT}") from None
        if isinstance(error, RuntimeError):
            raise
        raise ValueError(f"the dask scheduler at {address!r} is lost, {_KEPT}") from None
    except TimeoutError as error:
        raise ValueError(f"the dask scheduler at {address!r} has no worker: {_line(error)}") from None
    finally:
        over.set()
        client.close()  # type: ignore[no-untyped-call]
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _watch(client: "Client", pool: Executor, address: str, over: Event, alone: Event) -> None:
    """Say when no worker is left, and when there is one again; call off what waits for one longer than `WORKERLESS`."""
    since = None
    logger = logging.getLogger("workbench")
    while not over.wait(LOOK):
        try:
            workers = client.nthreads()  # type: ignore[no-untyped-call]
        except Exception:  # the scheduler is lost, and the client says it
            return
        if workers and since is not None:
            logger.warning("workbench: the dask scheduler at %r has a worker again", address)
            since = None
        elif not workers and since is None:
            since = time.monotonic()
            logger.warning(
                "workbench: the dask scheduler at %r has no worker since %s: waiting %g s for one",
                address, time.strftime("%H:%M:%S"), WORKERLESS,
            )  # fmt: skip
        elif since is not None and time.monotonic() - since >= WORKERLESS:
            alone.set()
            pool.shutdown(wait=False)
            return


async def _answer(address: str) -> None:
    """Wait no longer than `TIMEOUT` for what a dask server says first: a `Client` may wait for ever."""
    from distributed.comm.core import connect

    comm = await asyncio.wait_for(connect(address, timeout=TIMEOUT), TIMEOUT)  # type: ignore[no-untyped-call]
    comm.abort()


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or "what is there does not answer as one"
