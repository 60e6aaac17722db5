"""Server, Frontier and Plan in a real Chromium: what is computed beside the page, and where clicks lead."""

import json
import xml.etree.ElementTree as ET

import pytest
from browsing import ROOT, link
from test_browser import address, browser, open_page, shoot

import workbench as wb
from workbench.serving import estimate

__all__ = ["address", "browser", "open_page"]  # fixtures
pytestmark = pytest.mark.usefixtures("address")
ANSWER = ".wb-answer-section .wb-answer"
MEASURED = ROOT / "workbench" / "data" / "measured" / "llama-7b-unfused-h100.csv"
SMALL = {"gpu": ["l4"], "model": ["llama-3-8b"], "setting": {"batch_size": 2, "seq_len": 256, "output": 64}}


def computed(page):
    """Wait for the end of what is computed beside the page."""
    page.wait_for_selector(".wb-computing", state="hidden")


def state(page):
    return json.loads(page.get_attribute(".wb-views", "data-state"))


def cells(page, part):
    """The rows of a table, as words by column."""
    words = "line => [...line.cells].map(cell => cell.textContent)"
    heads, *rows = page.eval_on_selector_all(f"{part} tr", f"lines => lines.map({words})")
    return [dict(zip(heads, row, strict=True)) for row in rows]


def test_a_point_of_the_frontier_and_a_row_of_all_gpus_lead_to_their_servers(address, open_page):
    page = open_page(link(address, tab="frontier", **SMALL, goal={"tpot": 0.1}))
    computed(page)
    page.wait_for_selector(".wb-frontier-section canvas")
    fastest = max(cells(page, ".wb-points-section"), key=lambda row: float(row["tokens/s per user"]))
    page.focus(".wb-xy")
    page.keyboard.press("ArrowLeft")  # from the last: the fastest for a user
    assert f"tp {fastest['tp']}, batch {fastest['batch']}" in page.text_content(".wb-frontier-section .wb-live")
    page.keyboard.press("Enter")
    page.wait_for_selector(".wb-views[data-tab=server]")
    setting = state(page)["setting"] | {"tp": state(page)["tp"]}
    assert (setting["tp"], setting.get("batch_size", 1)) == (int(fastest["tp"]), int(fastest["batch"]))
    assert page.inner_text(ANSWER).startswith(f"llama-3-8b on {fastest['tp']} x NVIDIA L4 24GB: yes")

    computed(page)
    part = ".wb-every-section"
    assert {row["GPU"] for row in cells(page, part)} == set(wb.gpus())
    page.fill(f"{part} input[type=search]", "h200-sxm TP 2")
    (row,) = cells(page, part)
    ds = estimate("h200-sxm", "llama-3-8b", setting.get("batch_size", 1), 256, 64, 2)
    assert row["largest batch"] == f"{ds.largest_batch.item():,.0f}"
    assert row["goal"] == "met"
    page.focus(f"{part} tbody tr")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{ANSWER} >> text=H200")
    assert (state(page)["gpu"], state(page)["tp"]) == (["h200-sxm"], 2)
    page.fill(f"{part} input[type=search]", "t4 tp 1")
    page.locator(f"{part} tbody tr").first.click()
    page.wait_for_selector(f"{ANSWER} >> text=are missing")
    shoot(page, "server-unfit")


def test_a_plan_is_computed_beside_the_page_and_the_newest_question_wins(address, open_page):
    page = open_page(link(address, tab="plan", **SMALL))
    assert page.inner_text(ANSWER).startswith("Say how many requests")
    rate = "[data-control=rate] input"
    for asked in ("50", "2"):  # the first is not waited for
        page.fill(rate, asked)
        page.press(rate, "Enter")
    page.click("[role=tab][data-tab=frontier]")  # the page is alive meanwhile
    page.wait_for_selector(".wb-views[data-tab=frontier]")
    page.click("[role=tab][data-tab=plan]")
    page.wait_for_selector(f"{ANSWER} >> text=/^Cheapest: /")
    computed(page)
    best = cells(page, ".wb-plans-section")[0]
    table = wb.serving.plan("llama-3-8b", gpu="l4", tp=[1, 2, 4, 8], prompt=256, output=64, request_rate=2)
    assert (best["verdict"], best["GPUs"]) == ("best", f"{table.gpus[0]:.0f}")
    assert "2 requests/s" in page.inner_text(".wb-answer-section .wb-sub")


def test_prices_of_some_gpus_and_a_row_that_cannot_run(address, open_page):
    fields = SMALL | {"gpu": ["l4", "t4"], "server": {"price": {"l4": 0.8}, "max_num_seqs": 2}}
    page = open_page(link(address, tab="frontier", **fields))
    computed(page)
    costs = {(row["GPU"], row["cost of 1M tokens"] == "none") for row in cells(page, ".wb-points-section")}
    assert costs == {("l4", False), ("t4", True)}

    page = open_page(link(address, tab="plan", **fields, goal={"rate": 0.1}))
    computed(page)
    page.wait_for_selector(".wb-plans-section tbody tr")
    assert "T4" not in page.inner_text(ANSWER)
    page.locator(".wb-plans-section tbody tr", has_text="no price").click()
    page.wait_for_selector(".wb-views[data-tab=server]")
    assert (state(page)["gpu"], state(page)["setting"]["batch_size"]) == (["t4"], 2)


def test_a_file_of_a_measured_chart_says_what_was_measured(address, open_page, tmp_path):
    page = open_page(link(address, tab="measured", **SMALL))
    page.set_input_files(".wb-measured-section input[type=file]", MEASURED)
    page.wait_for_selector(".wb-explained-section canvas")
    with page.expect_download() as download:
        page.locator(".wb-explained-section").get_by_role("button", name="SVG").click()
    download.value.save_as(tmp_path / "chart.svg")
    words = " ".join(ET.parse(tmp_path / "chart.svg").getroot().itertext())
    assert "Measured and predicted: llama-7b on h100-sxm" in words
