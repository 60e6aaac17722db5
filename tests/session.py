"""A long session at the explorer: `python tests/session.py --minutes 60`, or 2 for a look; it ends with 0 if all holds.

The reader moves controls, changes tabs, reloads, uploads measurements, models, broken files; then the kernel is killed,
and the server is stopped and started again. Printed, and held at the end: errors on the console, whether the page still
answers, how many kernels there are, and the memory of kernel and page over time.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import psutil
from browsing import ROOT, chromium, free_port, kernels, server

START = 120_000  # ms; a kernel and a page on a busy machine
MOVES, RELOADS, UPLOADS = 1000, 100, 20  # of 60 minutes; of fewer as many less
GROWTH = 1.35  # of a kernel's memory from the first tenth of its moves to its last, at most [1]
LEFT = 30  # s in which a kernel without its page has to end
TABS = ("roofline", "server", "frontier", "plan", "measured", "published")
#: What the browser itself says while the server is gone, which is not the page's.
GONE = ("ERR_CONNECTION_REFUSED", "Failed to load resource", "WebSocket connection to", "Failed to fetch", "ERR_EMPTY")
CONFIG = (
    '{"model_type": "llama", "_name_or_path": "acme/Tiny-1B", "hidden_size": 2048, "intermediate_size": 5632,'
    ' "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 32000,'
    ' "max_position_embeddings": 2048}'
)


class Session:
    """A page, and what is seen of it."""

    def __init__(self, browser, address: str, folder: Path, seed: int) -> None:
        self.address, self.folder, self.random = address, folder, random.Random(seed)
        self.errors: list[str] = []
        self.memory: list[tuple[float, float, float]] = []  # s, MB of the kernel, MB of the page's JavaScript
        self.done = {"moves": 0, "reloads": 0, "uploads": 0}
        self.begun, self.outage = time.monotonic(), False
        context = browser.new_context(viewport={"width": 1280, "height": 1000})
        context.set_default_timeout(START)
        self.page = context.new_page()
        self.page.on("console", lambda message: self._heard(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self._heard(str(error)))
        self.open()

    def _heard(self, words: str) -> None:
        if not (self.outage and any(each in words for each in GONE)):
            self.errors.append(words[:300])

    def open(self) -> None:
        self.page.goto(self.address)
        self.settle()

    def settle(self) -> None:
        """Wait until the page has drawn what it was asked for."""
        self.page.wait_for_selector(".wb-views[data-state]")
        self.page.wait_for_function("!document.querySelector('.wb-views[aria-busy]')")

    def tab(self, name: str) -> None:
        self.page.click(f"[role=tab][data-tab={name}]")
        self.page.wait_for_selector(f".wb-views[data-tab={name}]")
        self.settle()

    def move(self) -> None:
        """One change of a control that is there: a slider's step, a number, a choice; now and then another tab."""
        self.done["moves"] += 1
        if self.random.random() < 0.12:
            return self.tab(self.random.choice(TABS))
        seen = self.page.locator(
            ".wb-controls .wb-control input[type=range], .wb-controls .wb-control select,"
            " .wb-controls .wb-control input[type=number]"
        )
        fields = [each for each in seen.all() if each.is_visible()]
        if not fields:
            return self.tab("roofline")
        field = self.random.choice(fields)
        kind = field.evaluate("each => each.type")
        if kind == "range":
            field.press(self.random.choice(["ArrowLeft", "ArrowRight"]))
        elif kind == "number":
            field.fill(str(self.random.choice([1, 2, 4, 8])))
            field.press("Tab")
        else:
            count = field.evaluate("each => each.options.length")
            field.select_option(index=self.random.randrange(count))
        self.settle()

    def reload(self) -> None:
        self.done["reloads"] += 1
        self.page.reload()
        self.settle()

    def upload(self) -> None:
        """A timing file, a broken one, a model, or 20 MB that are neither."""
        n = self.done["uploads"]
        self.done["uploads"] += 1
        if n % 4 == 0:
            return self._measure(ROOT / "workbench" / "data" / "measured" / "llama-7b-unfused-h100.csv", ".wb-about")
        if n % 4 == 1:
            broken = self.folder / "broken.json"
            broken.write_text('{"traceEvents": [')
            return self._measure(broken, ".wb-measured-section .wb-error:not(:empty)")
        if n % 4 == 2:
            large = self.folder / "large.json"
            large.write_text('{"traceEvents": [], "padding": "' + "x" * (20 * 2**20) + '"}')
            return self._measure(large, ".wb-measured-section .wb-error:not(:empty)")
        config = self.folder / "config.json"
        config.write_text(CONFIG)
        self.tab("roofline")
        self.page.set_input_files(".wb-own input[type=file]", str(config))
        self.page.wait_for_function("document.querySelector('.wb-views').dataset.state.includes('tiny-1b')")
        self.settle()

    def _measure(self, file: Path, answer: str) -> None:
        self.tab("measured")
        self.page.set_input_files(".wb-measured-section input[type=file]", str(file))
        self.page.wait_for_selector(answer)
        self.settle()

    def kernel(self) -> psutil.Process:
        """The page's kernel, once it is the only one."""
        until = time.monotonic() + LEFT + 10
        while len(found := kernels(self.folder)) != 1 and time.monotonic() < until:
            time.sleep(0.5)
        if len(found) != 1:
            raise SystemExit(f"{len(found)} kernels for one page after {LEFT} s")
        return next(iter(found.values()))

    def measure(self) -> None:
        """Note the memory of kernel and page."""
        heap = self.page.evaluate("performance.memory?.usedJSHeapSize ?? 0") / 2**20
        now = time.monotonic() - self.begun
        self.memory.append((now, self.kernel().memory_info().rss / 2**20, heap))
        print(f"{now:6.0f} s  kernel {self.memory[-1][1]:.0f} MB  page {heap:.0f} MB  {self.done}", flush=True)

    def killed(self) -> None:
        """Kill the kernel: the page says so, and comes back with its view."""
        self.tab("server")
        before, self.outage = self.page.evaluate("document.querySelector('.wb-views').dataset.state"), True
        self.kernel().kill()
        self._back(before)

    def _back(self, before: str) -> None:
        """Wait for the banner, and for the page as it was."""
        self.page.wait_for_selector(".wb-lost:not(:empty)")
        self.page.wait_for_selector(".wb-lost:empty", state="attached")
        self.settle()
        after = self.page.evaluate("document.querySelector('.wb-views').dataset.state")
        if after != before:
            raise SystemExit(f"the view is {after} after it was {before}")
        self.outage = False


def serve(port: int, folder: Path):
    return server(["-m", "workbench.cli", "explore", f"--port={port}", "--no-browser"], port, folder)


def main(minutes: float, seed: int) -> int:
    """Hold a session; 0 if nothing is wrong with it."""
    share = minutes / 60
    due = {"moves": round(MOVES * share), "reloads": round(RELOADS * share), "uploads": max(4, round(UPLOADS * share))}
    port = free_port()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, chromium() as browser:
        folder = Path(name)
        first = serve(port, folder)
        session = Session(browser, first.__enter__(), folder, seed)
        deeds = [deed for deed, times in due.items() for _ in range(times)]
        session.random.shuffle(deeds)
        pace = 60 * minutes / len(deeds)
        for n, deed in enumerate(deeds):
            {"moves": session.move, "reloads": session.reload, "uploads": session.upload}[deed]()
            if n % max(1, len(deeds) // 20) == 0:
                session.measure()
            time.sleep(max(0.0, session.begun + pace * (n + 1) - time.monotonic()))
        session.killed()
        print("the kernel was killed, and the page came back", flush=True)
        before, session.outage = session.page.evaluate("document.querySelector('.wb-views').dataset.state"), True
        first.__exit__(None, None, None)
        session.page.wait_for_selector(".wb-lost:not(:empty)")
        with serve(port, folder):
            session._back(before)
            print("the server was stopped and started, and the page came back", flush=True)
            session.move()
            session.measure()
            wrong = session.errors[:10]
            early, late = session.memory[min(2, len(session.memory) - 1)][1], session.memory[-3][1]
            if late > GROWTH * early:
                wrong.append(f"a kernel grew from {early:.0f} to {late:.0f} MB")
            session.page.goto("about:blank")
            until = time.monotonic() + LEFT + 10
            while (left := kernels(folder)) and time.monotonic() < until:
                time.sleep(0.5)
            wrong += [f"{len(left)} kernels {LEFT} s after the page was left"] if left else []
    print(*(wrong or ["nothing is wrong"]), sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--minutes", type=float, default=60.0)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    sys.exit(main(given.minutes, given.seed))
