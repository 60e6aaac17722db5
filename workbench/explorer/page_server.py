"""Voila's server for one page of this machine: who may ask for it, and how many kernels there are for how long."""

import asyncio
import re
import signal
import threading
import webbrowser
from datetime import UTC, datetime, timedelta
from typing import Any

from voila.app import Voila  # isort: skip: the first and the slowest, which Ctrl-C may end
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher, Rule
from tornado.web import HTTPError, RequestHandler
from traitlets.config import Config

from .bounds import MAX_LINK

#: Kernels at a time, one for each open page, and how long a page waits for another to end [s].
MAX_KERNELS, MAX_WAIT = 8, 5.0
#: How long a page may take to be rendered; its kernel, which has no page yet, is none without a page until then [s].
MAX_RENDER = 120.0
#: Request line and headers, and body, of a request; and a message of the page, such as an upload [byte].
MAX_HEADERS, MAX_BODY, MAX_MESSAGE = 2**20, 2**20, 2**26
#: What of JupyterLab the page needs; each more would be loaded, and would warn of versions.
EXTENSIONS = ["anywidget", "@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8"]
#: Errors are told to the terminal, but not that the kernel's messages, on this machine alone, are not encrypted.
QUIET = "--IPKernelApp.log_level=ERROR"
#: The names of this machine, at any port.
OWN_NAMES = r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?"
#: A refusal runs nothing and is shown in no frame, where its link could be clicked unseen.
REFUSED_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


class Kernels(AsyncMappingKernelManager):
    """The pages' kernels: few, and none for long without its page."""

    _starting = 0
    _culled: datetime | None = None

    async def start_kernel(self, **given: Any) -> str:  # type: ignore[override]
        """Start a kernel where there is room, or soon will be: a page that is closed or reloaded leaves some."""
        until = asyncio.get_running_loop().time() + MAX_WAIT
        while len(self) + self._starting >= MAX_KERNELS:
            if asyncio.get_running_loop().time() > until:
                raise HTTPError(503, f"{MAX_KERNELS} pages are open, as many as there may be: close one and reload.")
            await asyncio.sleep(0.05)
        self._starting += 1
        try:
            kernel: str = await super().start_kernel(extra_arguments=[QUIET], **given)
        finally:
            self._starting -= 1
        self._page_within(MAX_RENDER, kernel)
        return kernel

    def notify_connect(self, kernel_id: str) -> None:
        """Know that a kernel has had its page."""
        super().notify_connect(kernel_id)  # type: ignore[no-untyped-call]
        self._page_within(0.0, kernel_id)

    def notify_disconnect(self, kernel_id: str) -> None:
        """Let a kernel be idle from now on: its page may come back."""
        super().notify_disconnect(kernel_id)  # type: ignore[no-untyped-call]
        self._active([kernel_id] if kernel_id in self else [])

    async def cull_kernels(self) -> None:
        """End the kernels without a page, but those of pages that are still rendered.

        After the machine slept, all pages have time to come back.
        """
        before, self._culled = self._culled, datetime.now(UTC)
        slept = before and self._culled - before > timedelta(seconds=3 * self.cull_interval)
        self._active([kernel_id for kernel_id in self.list_kernel_ids() if slept or self._rendering(kernel_id)])
        await asyncio.gather(*map(self.cull_kernel_if_idle, self.list_kernel_ids()), return_exceptions=True)

    def _page_within(self, seconds: float, kernel_id: str) -> None:
        kernel: Any = self.get_kernel(kernel_id)
        kernel.page_by = datetime.now(UTC) + timedelta(seconds=seconds)

    def _rendering(self, kernel_id: str) -> bool:
        kernel: Any = self.get_kernel(kernel_id)
        young = datetime.now(UTC) < getattr(kernel, "page_by", datetime.now(UTC))
        return young and kernel.execution_state in ("starting", "busy")

    def _active(self, kernel_ids: list[str]) -> None:
        for kernel_id in kernel_ids:
            kernel: Any = self.get_kernel(kernel_id)
            kernel.last_activity = datetime.now(UTC)


class Foreign(Matcher):
    """What this page's reader did not ask for: another name of the server, another page, a part of one."""

    def __init__(self, port: int) -> None:
        """Know where the server answers; a tunnel may lead there from any port of the reader's machine."""
        self.home = f"http://127.0.0.1:{port}/"

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Arguments of `Refused` for a request that is to be refused."""
        refused = self._refused(request)
        return refused and {"target_kwargs": refused}

    def _refused(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        headers, length = request.headers, len(request.uri or "")
        host = headers.get("Host", "")
        if not re.fullmatch(OWN_NAMES, host):
            return {"status": 403, "message": f"The explorer answers at {self.home}, not under this name."}
        if length > MAX_LINK:
            message = f"The link has {length:,} characters, and may have {MAX_LINK:,}: upload a saved view instead."
            return {"status": 414, "message": message}
        asking = [headers[name].removeprefix("http://") for name in ("Origin", "Referer") if name in headers]
        if any(address.partition("/")[0] != host for address in asking) or (
            headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        ):
            message = "Another page asks for the explorer: it does not open by itself."
            return {"status": 403, "message": message, "link": f"/?{request.query}" if request.path == "/" else ""}
        if request.path == "/" and headers.get("Sec-Fetch-Dest", "document") != "document":
            return {"status": 403, "message": "The explorer is a page of its own, not a part of another."}
        return None


class Refused(RequestHandler):
    """One line in place of the page, and the link for its reader to follow, where there was one."""

    def initialize(self, status: int, message: str, link: str = "") -> None:
        """Take what `Foreign` found."""
        self.status, self.message, self.link = status, message, link

    def prepare(self) -> None:
        """Answer, whatever the method."""
        self.set_status(self.status)
        self.set_header("Content-Security-Policy", REFUSED_POLICY)
        page = self.settings["voila_jinja2_env"].get_template("error.html")
        self.finish(page.render(message=self.message, link=self.link))


class ExplorerServer(Voila):  # type: ignore[misc]
    """Voila, as far as it has no setting for what the page needs."""

    def init_handlers(self) -> list[Any]:
        """Refuse what is foreign before anything else."""
        return [Rule(Foreign(self.port), Refused), *super().init_handlers()]

    def listen(self) -> None:
        """Listen, with bounds on what a request holds."""
        HTTPServer.configure(HTTPServer, max_header_size=MAX_HEADERS, max_body_size=MAX_BODY)
        super().listen()

    def _handle_signal_stop(self, number: int, frame: object) -> None:
        """End by SIGTERM, also while the server starts: there is no loop yet that could be stopped."""
        if hasattr(self, "ioloop"):
            super()._handle_signal_stop(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def launch_browser(self) -> None:
        """Open the address itself: a file that leads there would be another page."""
        threading.Thread(target=webbrowser.open, args=[self.connection_url], daemon=True).start()


def _set_cookie(handler: Any, **_: Any) -> None:
    """Hand out the token with which the page may end its kernel when it is closed."""
    handler.xsrf_token  # noqa: B018


#: This machine only, whose sockets need no pings to be known as closed, at one port or not at all; one notebook and its
#: template, no file beside them and no traceback; a kernel that has been without its page for 20 to 25 s ends.
SETTINGS = Config(
    Voila={
        "ip": "127.0.0.1", "port_retries": 0, "config_file_paths": [],
        "tornado_settings": {
            "allow_remote_access": False, "websocket_max_message_size": MAX_MESSAGE,
            "xsrf_cookie_kwargs": {"samesite": "Strict"}, "ws_ping_interval": 0,
        },
    },
    VoilaConfiguration={
        "template": "workbench", "allow_template_override": "NO", "allow_theme_override": "NO", "file_allowlist": [],
        "show_tracebacks": False, "extension_allowlist": EXTENSIONS, "multi_kernel_manager_class": Kernels,
        "prelaunch_hook": _set_cookie,
    },
    VoilaExecutor={"cell_error_instruction": "Reload the page."},
    MappingKernelManager={
        "cull_idle_timeout": 20, "cull_interval": 5, "cull_busy": True, "cull_connected": False,
        "allow_tracebacks": False,
    },
)  # fmt: skip
