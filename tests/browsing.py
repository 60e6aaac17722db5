"""The explorer in a real browser: what the browser tests and the bench start."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def require() -> None:
    """Skip a test where there is no browser to drive; where CI is set up for one (CI=true), it fails instead."""
    if not shutil.which(CHROMIUM):
        missing = "no Chromium on this machine (Debian: apt install chromium)"
    elif not importlib.util.find_spec("playwright"):
        missing = "no Playwright in this environment"
    else:
        return
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)


def home(folder: Path) -> dict[str, str]:
    """Variables with which programs keep their files in `folder`."""
    own = {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("CACHE", "CONFIG", "DATA", "STATE")}
    return own | {"HOME": str(folder)}


def environment(folder: Path) -> dict[str, str]:
    """The environment for a server: what it and Jupyter keep goes into `folder`, and no other kernel is found."""
    env = {name: value for name, value in os.environ.items() if name not in ("JUPYTER_PATH", "MPLBACKEND")}
    own = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(folder / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    own |= {"TMPDIR": str(folder)}
    return (
        env | home(folder) | own | {"IPYTHONDIR": str(folder / "ipython"), "MPLCONFIGDIR": str(folder / "matplotlib")}
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def server(command: list[str], port: int, folder: Path) -> Iterator[str]:
    """A server of this interpreter's environment as long as the block lasts; its address."""
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment(folder), stdout=output, stderr=output
        )
    try:
        until = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{' '.join(command)} does not listen: {log.read_text()}") from None
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def explorer_page(folder: Path, changed: str = "") -> Iterator[str]:
    """The explorer as `workbench explore` serves it, or after Python that changes `page_server`; its address."""
    port = free_port()
    command = ["-m", "workbench.cli", "explore", f"--port={port}", "--no-browser"]
    if changed:
        serve = f"website.serve(port={port}, browser=False)"
        command = ["-c", f"from workbench.explorer import page_server, website; {changed}; {serve}"]
    with server(command, port, folder) as address:
        yield address


def kernels(folder: Path) -> dict[str, psutil.Process]:
    """The kernels of a server that keeps its files in `folder`, by their ids."""
    named = {process: process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])}
    return {
        Path(word).stem.removeprefix("kernel-"): process
        for process, words in named.items() for word in words
        if word.endswith(".json") and folder in Path(word).parents
    }  # fmt: skip


@contextmanager
def chromium(*flags: str):
    """Debian's Chromium without a window, with a profile and a home of its own."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, sync_playwright() as playwright:
        own = {"args": [*FLAGS, *flags], "env": os.environ | home(Path(folder))}
        browser = playwright.chromium.launch(executable_path=CHROMIUM, timeout=120_000, **own)
        yield browser
        browser.close()


def link(address: str, **state) -> str:
    """The address of a view."""
    return f"{address}?view={quote(json.dumps(state))}"
