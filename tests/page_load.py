"""How many kernels pages leave: `python tests/page_load.py 100` asks for 100, opens and closes 100, and counts."""

import http.client
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from browsing import chromium, explorer_page, kernels

START, PATIENCE = 120, 40  # s; a page on a busy machine, and what its kernel has to end in


def asked(address: str) -> int:
    """The status of a page that is asked for, read to its end and never opened."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=START)
    connection.request("GET", "/")
    with connection.getresponse() as answer:
        answer.read()
    return answer.status


def opened(browser, address: str) -> int:
    """The status of a page that is opened until it has drawn its chart, where it is one, and closed."""
    page = browser.new_page()
    page.set_default_timeout(1000 * START)
    status = page.goto(address).status
    if status == 200:
        page.wait_for_selector(".wb-views[data-state]")
    page.close(run_before_unload=True)
    return status


def main(count: int) -> None:
    """Print the statuses, and the kernels before and after the patience that the server has."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, explorer_page(Path(name)) as address:
        print("asked for, by status:", dict(Counter(asked(address) for _ in range(count))))
        with chromium() as browser:
            print("opened and closed, by status:", dict(Counter(opened(browser, address) for _ in range(count))))
        print("kernels now:", len(kernels(Path(name))))
        time.sleep(PATIENCE)
        print(f"kernels after {PATIENCE} s:", len(kernels(Path(name))))


if __name__ == "__main__":
    main(int(sys.argv[1]))
