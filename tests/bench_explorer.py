"""From a slider to the changed picture, in Chromium, and how long the page takes to the first chart.

Run by ``make bench``. The clock runs in the page: from the slider's input event to the frame after the one in which the
chart that belongs to its new value was drawn.
"""

import statistics
import tempfile
import time
from pathlib import Path

import browsing

MOVES, RAPID = 50, 200
VIEWS = {
    "the default view": {},
    "10,080 points": {"batch_size": list(range(1, 19)), "seq_len": [128 * n for n in range(1, 21)]},
}
WATCH = """() => {
  const root = document.querySelector(".wb-views");
  window.moved = 0;
  window.drawn = [];
  document.addEventListener("input", () => { window.moved = performance.now(); }, true);
  new MutationObserver(() => {
    const value = root.dataset.batchSize;
    requestAnimationFrame(() => setTimeout(() => window.drawn.push([value, performance.now() - window.moved])));
  }).observe(root, { attributeFilter: ["data-batch-size"] });
}"""
BATCHES = "() => document.querySelector('.wb-views').dataset.batchSize"


def slider(page):
    """The upper end of the batch sizes."""
    return page.locator("[data-control='batch_size'] input[type=range] >> nth=1")


def moves(page) -> list[float]:
    """Milliseconds from each of 50 moves of the slider, back and forth, to its picture."""
    page.evaluate(WATCH)
    slider(page).focus()
    taken = []
    for i in range(MOVES):
        before = page.evaluate(BATCHES)
        page.evaluate("window.drawn = []")
        page.keyboard.press("ArrowRight" if i % 2 else "ArrowLeft")
        moved = "before => window.drawn.find(([value]) => value !== before)?.[1]"
        taken.append(page.wait_for_function(moved, arg=before).json_value())
        page.wait_for_timeout(50)
    return sorted(taken)


def rapid(page) -> tuple[int, bool]:
    """Pictures drawn of 200 moves without a pause, and whether the last one is that of the last move."""
    page.evaluate("window.drawn = []")
    for i in range(RAPID):
        page.keyboard.press("ArrowRight" if i % 2 else "ArrowLeft")
    page.wait_for_selector(".wb-views:not([aria-busy])")
    page.wait_for_timeout(200)
    last = page.evaluate(BATCHES).split()[-1]
    said = slider(page).get_attribute("aria-valuetext").split()[0].replace(",", "")
    return len(page.evaluate("window.drawn")), said == last


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, browsing.chromium() as browser:
        start = time.perf_counter()
        with browsing.explorer_page(Path(folder)) as address:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(120_000)
            page.goto(address)
            page.wait_for_selector(".wb-roofline canvas", timeout=60_000)
            print(f"start   first chart after {time.perf_counter() - start:.1f} s, the server's start included")
            start = time.perf_counter()
            page.goto(browsing.link(address, setting={"batch_size": 2}))
            page.wait_for_selector(".wb-roofline canvas", timeout=60_000)
            print(f"page    first chart after {time.perf_counter() - start:.1f} s")
            for name, state in VIEWS.items():
                page.goto(browsing.link(address, **state))
                page.wait_for_selector(".wb-roofline canvas", timeout=60_000)
                page.wait_for_timeout(1000)
                times = moves(page)
                p95 = times[int(0.95 * len(times))]
                middle = statistics.median(times)
                print(f"moves   {name}: median {middle:.0f} ms, p95 {p95:.0f} ms of {len(times)} moves")
                pictures, shown = rapid(page)
                print(f"rapid   {RAPID} moves, {pictures} pictures, the last state {'shown' if shown else 'LOST'}")


if __name__ == "__main__":
    main()
