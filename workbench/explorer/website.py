"""The explorer as a web page of this machine, by Voila."""

import os
import socket
from pathlib import Path

from ..common.extras import check_libraries
from ..explanation import own_file
from .own_part import MEASURED_FILE

#: Where Voila finds the page's notebook, and its template, which fetches nothing from elsewhere.
TEMPLATES = Path(__file__).parent / "templates"


def serve(*, port: int = 8866, browser: bool = True, measured: Path | None = None) -> None:
    """Serve the explorer on 127.0.0.1 until Ctrl-C, with a file of measurements in its tab Measured where one is given.

    Raises ValueError where there is no such file or the port is taken.
    """
    check_libraries("ipykernel", "voila")
    check_port(port)
    if measured is not None:
        os.environ[MEASURED_FILE] = str(Path(own_file(measured)).resolve())
    os.environ["JUPYTER_PATH"] = str(TEMPLATES)
    os.environ.pop("JUPYTER_PREFER_ENV_PATH", None)
    from .page_server import SETTINGS, ExplorerServer  # takes half a second

    options = [f"--port={port}", *([] if browser else ["--no-browser"])]
    ExplorerServer.launch_instance([str(TEMPLATES / "page.ipynb"), *options], config=SETTINGS)


def check_port(port: int) -> None:
    """Raise ValueError where a port is taken or not allowed."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ValueError(f"port {port} of 127.0.0.1: {error.strerror}; choose another with --port") from None
