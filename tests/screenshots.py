"""Every tab of the explorer at four widths, light and dark, into .cache/screenshots; chosen ones into docs/screenshots.

Run by ``make screenshots``, to be looked at; ``python tests/screenshots.py roofline plan`` takes those tabs alone.
"""

import sys
import tempfile
from itertools import product
from pathlib import Path

from browsing import ROOT, chromium, explorer_page, link
from PIL import Image

from workbench import loadtest
from workbench.simulation import Server, poisson, simulate

SHOTS, CHOSEN = ROOT / ".cache" / "screenshots", ROOT / "docs" / "screenshots"
#: Widths that one page takes one after the other; a phone's is a page of its own, whose settings begin closed.
WIDTHS, SCHEMES = ((1440, 1024, 768), (400,)), ("light", "dark")
#: Nothing is asked for or computed any more.
STILL = """() => !document.querySelector(".wb-views[aria-busy], .wb-views .wb-busy")
  && ![...document.querySelectorAll(".wb-views progress")].some((each) => each.checkVisibility())"""
START = 120_000  # ms
TALLEST, HIGHEST = 4000, 1400  # px, of a screenshot, and of one that is shown

PIN = {"gpu": "h100-sxm", "model": "llama-3-8b", "operator": "attention", "phase": "decode", "seq_len": 8192}
SETTING = {"batch_size": 32, "seq_len": 2048, "output": 512}
GOAL = {"ttft": 1.0, "tpot": 0.04, "rate": 20.0}
SERVED = {"model": ["llama-3.1-70b"], "weight_dtype": "fp8", "setting": SETTING, "goal": GOAL}
#: By name: the view, what it has drawn when it is there, and the file that its reader brings.
TABS = {
    "roofline": ({"setting": SETTING, "time_model": "kernel"}, ".wb-roofline canvas", ""),
    "compare": (
        {"gpu": ["h100-sxm"], "time_model": "kernel", "pins": [
            PIN | {"batch_size": 16, "time_model": kind} for kind in ("kernel", "ideal")
        ]}, ".wb-compare tbody tr:nth-child(2)", "",
    ),
    "server": (SERVED | {"gpu": ["h100-sxm", "l40s"], "tp": 2}, ".wb-table tbody tr", ""),
    "frontier": (SERVED | {"gpu": ["h100-sxm", "h200-sxm"]}, "canvas", ""),
    "plan": (SERVED | {"gpu": ["h100-sxm", "h200-sxm", "b200-sxm"]}, ".wb-table tbody tr", ""),
    "measured": ({"gpu": ["h100-sxm"], "model": ["llama-7b"]}, ".wb-operators-section tbody tr", "timings"),
    "loadtest": ({"gpu": ["l4"], "model": ["llama-3.2-1b"]}, ".wb-times canvas", "load test"),
    "published": (None, ".wb-claims-section tbody tr", ""),
}  # fmt: skip
#: Screenshots that the documentation and README show.
SHOWN = {
    "roofline-1440-light": "explorer-first", "compare-1440-light": "explorer-compare",
    "published-1440-light": "explorer-published", "server-1440-light": "explorer-server",
    "frontier-1440-light": "explorer-frontier", "plan-1440-light": "explorer-plan",
    "measured-1440-light": "explorer-measured", "loadtest-1440-light": "explorer-loadtest",
    "roofline-1440-dark": "explorer-dark", "server-400-light": "explorer-phone",
}  # fmt: skip


def files(folder: Path) -> dict[str, Path]:
    """A file of timings, and a load test of a server that lets too few requests in."""
    server = Server("l4", "llama-3.2-1b", max_num_seqs=8, kv_tokens="fit", max_model_len=1024)
    table = simulate(server, poisson(8, requests=160, prompt=300, output=list(range(40, 160, 3))))
    counted = table.output_tokens.astype("Int64").where(table.status == "finished")
    loadtest.write(table.assign(output_tokens=counted), folder / "load-test.csv")
    timings = ROOT / "workbench" / "data" / "measured" / "llama-7b-unfused-h100.csv"
    return {"timings": timings, "load test": folder / "load-test.csv"}


def opened(browser, address: str, name: str, width: int, scheme: str, brought: dict[str, Path]):
    """A tab in a page of that width, as it is when nothing moves any more."""
    state, drawn, file = TABS[name]
    tab = {"compare": "roofline", "loadtest": "measured"}.get(name, name)
    context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme)
    context.set_default_timeout(START)
    page = context.new_page()
    page.goto(link(address, **(state or {}), tab=tab))
    page.wait_for_selector(".wb-views[data-state]")
    if file:
        page.set_input_files(".wb-measured-section input[type=file]", brought[file])
    if name == "published":
        page.click("button[data-figure=medusa-fig09]")
    page.wait_for_selector(drawn)
    page.wait_for_function(STILL)
    return page


def shoot(page, shot: str, width: int) -> None:
    """All of a page at a width, as high as it is then."""
    for _ in range(2):  # what is above changes with the width
        page.set_viewport_size({"width": width, "height": 1000})
        page.wait_for_timeout(300)  # charts take a new width in the next frames
        tall = page.evaluate("Math.ceil(document.querySelector('.wb-views').scrollHeight) + 60")
        page.set_viewport_size({"width": width, "height": min(max(tall, 700), TALLEST)})
    page.wait_for_timeout(500)
    page.screenshot(path=SHOTS / f"{shot}.png")
    if shot in SHOWN:
        small(SHOTS / f"{shot}.png", CHOSEN / f"{SHOWN[shot]}.png")
    print(shot, flush=True)


def small(path: Path, to: Path) -> None:
    """The upper part of a picture in 256 colours, which these have hardly more of."""
    whole = Image.open(path).convert("RGB")
    upper = whole.crop((0, 0, whole.width, min(whole.height, HIGHEST)))
    upper.quantize(256, dither=Image.Dither.NONE).save(to, optimize=True)


def main(names: list[str]) -> None:
    """Take the tabs of those names, all unless some are given."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    CHOSEN.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, explorer_page(Path(folder)) as address,
        chromium() as browser,
    ):  # fmt: skip
        brought = files(Path(folder))
        for name in names or TABS:
            for widths, scheme in product(WIDTHS, SCHEMES):
                page = opened(browser, address, name, widths[0], scheme, brought)
                for width in widths:
                    shoot(page, f"{name}-{width}-{scheme}", width)
                page.goto("about:blank")  # as a reader leaves it: its kernel ends
                page.context.close()


if __name__ == "__main__":
    main(sys.argv[1:])
