"""Work that takes longer than a reader waits: in a thread beside the page, step by step, the newest question alone."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

Section = dict[str, Any]

#: How long a question must stand before it is worked on, as one under a moving slider does not, and between two answers
#: that are shown [s].
PAUSE, BETWEEN = 0.15, 0.3


def unfinished(sections: Section) -> bool:
    """Whether one of a picture's sections says that it is still computed."""
    return any(isinstance(part, dict) and part.get("computing") is not None for part in sections.values())


class Background:
    """Steps of one question at a time, whose answers are told from the loop that asked: nothing else changes the page.

    Parameters
    ----------
    tell : callable
        Takes an answer, each more complete than the one before it.
    fail : callable
        Takes what a step raised; the question is dropped.
    """

    def __init__(self, tell: Callable[[Section], None], fail: Callable[[Exception], None]) -> None:
        """Have no question yet."""
        self._tell, self._fail = tell, fail
        self._stopped = threading.Event()

    def start(self, steps: Iterator[Section]) -> None:
        """Work on a question in place of the one before; where no loop runs, as in a script, until it is answered."""
        self.stop()
        stopped = self._stopped = threading.Event()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            for answer in deque(steps, maxlen=1):
                self._tell(answer)
            return

        def soon(function: Callable[[Any], None], value: object) -> None:
            loop.call_soon_threadsafe(lambda: None if stopped.is_set() else function(value))

        threading.Thread(target=self._work, args=(steps, stopped, soon), daemon=True).start()

    def stop(self) -> None:
        """Drop the question: at its next step, and no answer of it is told any more."""
        self._stopped.set()

    def _work(
        self, steps: Iterator[Section], stopped: threading.Event, soon: Callable[[Callable[..., None], object], None]
    ) -> None:
        if stopped.wait(PAUSE):
            return
        told, answer = time.monotonic(), None
        try:
            for answer in steps:
                if stopped.is_set():
                    return
                if time.monotonic() - told > BETWEEN:
                    told = time.monotonic()
                    soon(self._tell, answer)
                    answer = None
            if answer is not None:
                soon(self._tell, answer)
        except Exception as error:
            soon(self._fail, error)
