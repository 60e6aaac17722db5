"""From moving a slider to the changed picture, in Chromium, and how long Voila takes to the first chart.

Run by ``make bench``. The clock runs in the page: from the key press on the slider to the frame after the one in which
the chart that belongs to the slider's new value was drawn.
"""

import statistics
import tempfile
import time
from pathlib import Path

import browsing

MOVES, RAPID = 50, 200
VIEWS = {
    "6 series x 49 points x 2 GPUs": {"operator": ["qkv_proj", "attention", "gate_up_proj"]},
    "a whole step, 14 series x 49 points x 2 GPUs": {"operator": ["fused"], "time_model": "kernel"},
}
WATCH = """() => {
  const root = document.querySelector(".wb-views");
  window.pressed = 0;
  window.drawn = [];
  document.addEventListener("keydown", (event) => { window.pressed = event.timeStamp; }, true);
  new MutationObserver(() => {
    const value = root.dataset.batchSize;
    requestAnimationFrame(() => setTimeout(() => window.drawn.push([value, performance.now() - window.pressed])));
  }).observe(root, { attributeFilter: ["data-batch-size"] });
}"""
HANDLE = ".widget-hslider:has(> label:text-is('Batch size')) .noUi-handle-upper >> nth=0"


def moves(page) -> list[float]:
    """Milliseconds from each of 50 moves of the upper end of the batch sizes, back and forth, to its picture."""
    page.evaluate(WATCH)
    page.locator(HANDLE).focus()
    for i in range(MOVES):
        before = page.evaluate("document.querySelector('.wb-views').dataset.batchSize")
        page.keyboard.press("ArrowLeft" if i % 2 else "ArrowRight")
        page.wait_for_function("before => window.drawn.length && window.drawn.at(-1)[0] !== before", arg=before)
    drawn = page.evaluate("window.drawn")
    assert len(drawn) == MOVES, f"{MOVES} moves, {len(drawn)} pictures"
    return sorted(milliseconds for _, milliseconds in drawn)


def rapid(page) -> tuple[int, bool]:
    """Pictures drawn of 200 moves without a pause, and whether the last one is that of the last move."""
    page.evaluate("window.drawn = []")
    for i in range(RAPID - 1):
        page.keyboard.press("ArrowLeft" if i % 2 else "ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(2000)
    last = page.evaluate("document.querySelector('.wb-views').dataset.batchSize").split()[-1]
    readout = page.locator(".widget-hslider:has(> label:text-is('Batch size')) .widget-readout >> nth=0").inner_text()
    return len(page.evaluate("window.drawn")), readout.replace(",", "").endswith(f"-{last}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, browsing.chromium() as browser:
        start = time.perf_counter()
        with browsing.explorer_page(Path(folder)) as address:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(address)
            page.wait_for_selector(".wb-views[data-state]", timeout=60_000)
            print(f"start   first chart after {time.perf_counter() - start:.1f} s, the server's start included")
            start = time.perf_counter()
            page.reload()
            page.wait_for_selector(".wb-views[data-state]", timeout=60_000)
            print(f"page    first chart after {time.perf_counter() - start:.1f} s, a new kernel for each page")
            for name, state in VIEWS.items():
                page.goto(browsing.link(address, **state))
                page.wait_for_selector(".wb-views[data-state]", timeout=60_000)
                page.wait_for_timeout(1000)
                times = moves(page)
                p95 = times[int(0.95 * len(times))]
                print(
                    f"moves   {name}: median {statistics.median(times):.0f} ms, p95 {p95:.0f} ms of {len(times)} moves"
                )
                pictures, shown = rapid(page)
                print(f"rapid   {RAPID} moves, {pictures} pictures, the last state {'shown' if shown else 'LOST'}")


if __name__ == "__main__":
    main()
