"""The explorer's charts in a real Chromium: every point is found, nothing lies over anything, files say what of."""

import re
import xml.etree.ElementTree as ET

import browsing
import numpy as np
import pytest
from browsing import chromium, explorer_page, link
from PIL import Image

from workbench.explorer import View, grid
from workbench.explorer.chart_looks import COLOR_OF
from workbench.explorer.page_files import page_script

START = 120_000  # ms; a kernel and a page on a busy machine
SETTING = {"batch_size": 32, "seq_len": 1024}
#: Of the plot: left, top, and what is left free at the right and below [px].
LEFT, TOP, RIGHT, BELOW = 64, 10, 14, 46


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """One page on the tab Roofline at the default view; it may write no error to its console."""
    browsing.require()
    errors = []
    with explorer_page(tmp_path_factory.mktemp("voila")) as address, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1000}, accept_downloads=True)
        page.set_default_timeout(START)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(link(address, setting=SETTING))
        page.wait_for_selector(".wb-roofline canvas")
        page.address = address
        yield page
        page.goto("about:blank")
    assert errors == []


@pytest.fixture
def chart(page):
    """The roofline chart, all of it, with nothing pinned."""
    chart = page.locator(".wb-roofline-section .wb-roofline")
    chart.scroll_into_view_if_needed()
    chart.focus()
    page.keyboard.press("0")
    yield chart
    for key in ("Escape", "Escape", "0"):
        chart.press(key)


def places(chart, points):
    """Where points (x [FLOP/byte], y [FLOP/s]) are on the chart of the default view [px from its corner]."""
    size = chart.locator(".wb-plot").bounding_box()
    width, height = size["width"] - LEFT - RIGHT, size["height"] - TOP - BELOW
    x, y = np.log10(points).T  # axes from 0.1 to 10^4 FLOP/byte, from 10^12 to 10^16 FLOP/s
    return np.column_stack([LEFT + (x + 1) / 5 * width, TOP + height - (y - 12) / 4 * height])


TIPS = """(chart, places) => {
  const { left, top } = chart.querySelector(".wb-plot").getBoundingClientRect(), tip = chart.querySelector(".wb-tip");
  return places.map(([x, y]) => {
    chart.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: left + x, clientY: top + y }));
    return tip.hidden ? "" : tip.innerText;
  });
}"""


def test_a_tip_names_the_series_of_every_point_in_its_place(page, chart):
    view = View(setting=SETTING)
    points = grid(view)[["intensity", "performance"]].to_dataframe().reset_index()
    tips = chart.evaluate(TIPS, places(chart, points[["intensity", "performance"]].to_numpy()).tolist())
    missed = [
        row.operator
        for row, tip in zip(points.itertuples(), tips, strict=True)
        if f"{row.gpu} · {row.model} · {row.operator} · {row.phase}" not in tip
    ]
    assert len(tips) == 1372
    assert missed == []


def test_a_tip_at_a_ring_is_that_of_the_setting(page, chart):
    ds = grid(View()).sel(**SETTING, gpu="h100-sxm", model="llama-3-8b")
    for operator, phase in (("attention", "decode"), ("o_proj", "prefill"), ("elementwise", "decode")):
        point = ds.sel(operator=operator, phase=phase)
        at = places(chart, [[point.intensity.item(), point.performance.item()]])
        (tip,) = chart.evaluate(TIPS, at.tolist())
        assert "batch 32 · length 1,024" in tip.splitlines()[0]


def test_keys_walk_through_points_and_pin_one_and_say_where_they_are(page, chart):
    live, pins = page.locator(".wb-roofline-section .wb-live"), page.locator(".wb-compare tbody tr")
    chart.press("ArrowRight")
    first = live.inner_text()
    chart.press("ArrowDown")
    assert live.inner_text() != first
    assert re.search(r"FLOP/byte.*FLOP/s.*-bound.*of the roof", live.inner_text())
    chart.press("Enter")
    pins.first.wait_for()
    assert pins.first.inner_text().split("\t")[1] in live.inner_text()
    assert page.locator(".wb-near li").count() >= 2  # what lies on it is listed, each with a button
    page.get_by_role("button", name="Unpin 1").click()
    pins.first.wait_for(state="detached")


def test_a_box_or_the_wheel_zooms_and_reset_shows_all(page, chart):
    reset = page.get_by_role("button", name="Reset")
    plot = chart.locator(".wb-plot").bounding_box()
    assert reset.is_disabled()
    page.mouse.move(plot["x"] + 700, plot["y"] + 60)
    page.mouse.down()
    page.mouse.move(plot["x"] + 900, plot["y"] + 200, steps=3)
    page.mouse.up()
    assert reset.is_enabled()
    reset.click()
    assert reset.is_disabled()
    chart.focus()
    page.mouse.move(plot["x"] + 500, plot["y"] + 200)
    page.mouse.wheel(0, -300)
    page.wait_for_function("button => !button.disabled", arg=reset.element_handle())


def test_who_scrolls_past_a_chart_does_not_zoom_it(page, chart):
    page.locator(".wb-heat").first.focus()
    chart.scroll_into_view_if_needed()
    plot = chart.locator(".wb-plot").bounding_box()
    page.mouse.move(plot["x"] + 500, plot["y"] + 200)
    page.mouse.wheel(0, 100)
    chart.locator(".wb-wheel").wait_for()
    assert page.get_by_role("button", name="Reset").is_disabled()


def test_a_legend_hides_series_and_lies_beside_the_plot(page, chart):
    legend, plot = page.locator(".wb-roofline-section .wb-legend"), chart.locator(".wb-plot")
    assert legend.bounding_box()["y"] >= plot.bounding_box()["y"] + plot.bounding_box()["height"]
    decode = legend.get_by_role("button", name="decode")
    elementwise = grid(View()).sel(
        **SETTING, gpu="h100-sxm", model="llama-3-8b", operator="elementwise", phase="decode"
    )
    at = places(chart, [[elementwise.intensity.item(), elementwise.performance.item()]]).tolist()
    assert "decode" in chart.evaluate(TIPS, at)[0]
    decode.click()
    assert decode.get_attribute("aria-pressed") == "false"
    assert "decode" not in chart.evaluate(TIPS, at)[0]
    decode.press("Enter")
    assert "decode" in chart.evaluate(TIPS, at)[0]


def test_a_cell_or_an_arrow_key_sets_the_setting(page):
    heat = page.locator(".wb-heat")
    heat.press("ArrowUp")
    page.wait_for_function("document.querySelector('.wb-heat').getAttribute('aria-label').includes('batch 64')")
    heat.press("ArrowDown")
    page.wait_for_function("document.querySelector('.wb-heat').getAttribute('aria-label').includes('batch 32')")
    state = "document.querySelector('.wb-views').dataset.state"
    size = heat.bounding_box()
    heat.click(position={"x": size["width"] - 20, "y": 20})
    page.wait_for_function(f'{state}.includes(\'"setting":{{"batch_size":64,"seq_len":8192}}\')')
    heat.click(position={"x": 54 + (size["width"] - 62) * 3.5 / 7, "y": 8 + 252 * 1.5 / 7})
    page.wait_for_function(f'{state}.includes(\'"setting":{{"batch_size":32}}\')')


def test_the_table_of_operators_sorts_and_says_what_a_faster_card_changes(page):
    table = page.locator(".wb-operators-section table")
    said = page.locator(".wb-said li", has_text="decode on a100-80gb-sxm").inner_text()
    assert re.search(
        r"memory-bound: qkv_proj, .*\(100 % of the time\)\. h100-sxm takes 5\.868 ms, 1\.643 × as fast", said
    )
    head = table.get_by_role("button", name="time a call")
    head.click()
    head.click()
    assert table.locator("th[aria-sort=descending]").inner_text() == "time a call"
    assert table.locator("tbody tr").first.inner_text().startswith("gate_up_proj\tprefill\ta100-80gb-sxm")


OVERLAPS = """(svg) => {
  const holder = document.body.appendChild(document.createElement("div"));
  holder.innerHTML = svg;
  const words = [...holder.querySelectorAll("text")].filter((node) => node.textContent.trim());
  const boxes = words.map((node) => [node.textContent, node.getBoundingClientRect()]), over = [];
  for (const [i, [a, p]] of boxes.entries()) for (const [b, q] of boxes.slice(i + 1))
    if (p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 2 && q.top < p.bottom - 2)
      over.push(`${a} | ${b}`);
  holder.remove();
  return over;
}"""


@pytest.mark.parametrize("name", ["roofline", "bars", "heat"])
def test_files_say_what_they_are_of_and_print_nothing_over_anything(page, tmp_path, name):
    section = page.locator(f".wb-{name}-section")
    for kind in ("SVG", "PNG"):
        with page.expect_download() as download:
            section.get_by_role("button", name=kind).click()
        download.value.save_as(tmp_path / f"chart.{kind.lower()}")
    svg = (tmp_path / "chart.svg").read_text()
    words = " ".join(ET.fromstring(svg).itertext())
    title = {"roofline": "Roofline", "bars": "Time by operator", "heat": "Batch size and length"}[name]
    assert f"{title}: llama-3-8b on a100-80gb-sxm, h100-sxm" in words
    assert re.search(r"\d{4}-\d\d-\d\d; Roofline Workbench \d+\.\d+", words)
    assert {
        "roofline": "ringed: batch 32, length 1,024",
        "bars": "batch 32, length 1,024",
        "heat": "whole step, prefill",
    }[name] in words
    upright = re.sub(r"<text[^>]*matrix[^>]*>.*?</text>", "", svg)  # words along a slope have boxes that say nothing
    assert page.evaluate(OVERLAPS, upright) == []
    with Image.open(tmp_path / "chart.png") as image:
        assert image.width >= 1500  # twice as fine as the screen
        assert len(image.convert("RGB").getcolors(2**24)) > 20


def test_the_key_of_the_heat_map_is_not_printed_over_itself(page, tmp_path):
    variable = page.get_by_label("Variable of the heat map")
    for choice in ("performance", "flops", "roof"):
        variable.select_option(choice)
        page.wait_for_function(f"document.querySelector('.wb-views').dataset.state.includes('{choice}')")
        with page.expect_download() as download:
            page.locator(".wb-heat-section").get_by_role("button", name="SVG").click()
        upright = re.sub(r"<text[^>]*matrix\(0[^>]*>.*?</text>", "", download.value.path().read_text())
        assert page.evaluate(OVERLAPS, upright) == []
    variable.select_option("time")


def test_marks_and_words_stand_out_on_light_and_dark_ground(page):
    script = page_script().replace("export default", "const handed =")
    ratios = page.evaluate(
        f"""([colors, grounds]) => {{
        {script}
        const marks = grounds.flatMap((ground) => colors.map((color) => contrast(readable(color, ground), ground)));
        const words = grounds.flatMap((ground) => colors.map((color) => readable(color, ground)))
          .map((color) => contrast(inkOn(color), color));
        const cells = Array.from({{ length: 21 }}, (_, i) => shade(i / 20))
          .map((color) => contrast(inkOn(color), color));
        return [Math.min(...marks), Math.min(...words, ...cells)];
    }}""",
        [[*COLOR_OF], ["#ffffff", "#14171c"]],
    )
    assert ratios[0] >= 3
    assert ratios[1] >= 4.5


def test_the_charts_follow_the_systems_theme_and_a_phones_width(page, chart):
    corner = "canvas => [...canvas.getContext('2d').getImageData(canvas.width - 20, 20, 300, 200).data]"
    canvas = chart.locator("canvas")
    light = canvas.evaluate(corner)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.querySelector('.wb-roofline canvas')")
    page.wait_for_timeout(300)
    dark = canvas.evaluate(corner)
    page.emulate_media(color_scheme="light")
    assert light != dark
    page.set_viewport_size({"width": 400, "height": 900})
    page.wait_for_function("document.querySelector('.wb-roofline canvas').clientWidth < 400")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.set_viewport_size({"width": 1280, "height": 1000})
    page.wait_for_function("document.querySelector('.wb-roofline canvas').clientWidth > 700")
