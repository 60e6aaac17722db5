"""The explorer's frame in a real Chromium: controls, tabs, messages, links, themes, a phone, print, files.

Screenshots go to .cache/screenshots.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import browsing
import pytest
import xarray as xr
from browsing import ROOT, chromium, environment, explorer_page, free_port, link, server

from workbench import explorer

SHOTS = ROOT / ".cache" / "screenshots"
START = 120_000  # ms; a kernel and a page on a busy machine

CONFIG = {
    "model_type": "llama", "_name_or_path": "acme/Tiny-1B", "hidden_size": 2048, "intermediate_size": 5632,
    "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 32000,
    "max_position_embeddings": 2048,
}  # fmt: skip


PIN = {"gpu": "l4", "model": "llama-3-8b", "phase": "decode", "batch_size": 1, "seq_len": 128}


@pytest.fixture(scope="module")
def browser():
    browsing.require()
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    browsing.require()
    with explorer_page(tmp_path_factory.mktemp("voila")) as found:
        yield found


@pytest.fixture
def open_page(browser):
    """A function that opens an address and waits for the first chart; no page may write an error to its console."""
    pages, errors = [], []

    def open_(url, width=1280, height=1000, **wait):
        context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        context.set_default_timeout(START)
        page = context.new_page()
        pages.append(page)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("requestfailed", lambda request: None if "/shutdown/" in request.url else errors.append(request.url))
        page.goto(url)
        if wait.get("chart", True):
            page.wait_for_selector(".wb-views[data-state]")
        return page

    yield open_
    for page in pages:
        page.goto("about:blank")  # as a reader leaves it: its kernel ends
        page.context.close()
    assert errors == []


def shoot(page, name):
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


def shown(page, **expected):
    """Wait until the page has drawn a view with those fields."""
    page.wait_for_function(
        """expected => {
          const state = JSON.parse(document.querySelector(".wb-views").dataset.state);
          const same = ([key, value]) => JSON.stringify(state[key] ?? null) === JSON.stringify(value);
          return Object.entries(expected).every(same);
        }""",
        arg=expected,
    )


def message(page, words):
    page.wait_for_function("words => document.querySelector('.wb-message').textContent.includes(words)", arg=words)


def control(page, name, part="input"):
    return page.locator(f"[data-control={name}] {part}").first


def beside(page, name, words):
    """Wait until a control says that of itself, in sight of the reader."""
    error = page.locator(f"[data-control={name}] > .wb-error")
    page.wait_for_function(
        "([name, words]) => document.querySelector(`[data-control=${name}] > .wb-error`).textContent.includes(words)",
        arg=[name, words],
    )
    page.wait_for_function(
        """name => {
          const { top, bottom } = document.querySelector(`[data-control=${name}] > .wb-error`).getBoundingClientRect();
          return top >= 0 && bottom <= innerHeight;
        }""",
        arg=name,
    )
    assert error.get_attribute("role") == "alert"


def open_group(page, title):
    page.evaluate(
        """title => { [...document.querySelectorAll(".wb-controls details")]
          .find((each) => each.querySelector("summary").textContent === title).open = true; }""",
        title,
    )


@pytest.fixture(scope="module")
def one_page(browser, address):
    """One page for all that leaves it as it was; no error and no warning of our own may reach its console."""
    said = []
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(START)
    page = context.new_page()
    page.on("console", lambda each: said.append(each.text) if each.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    page.wait_for_selector(".wb-views[data-state]")
    yield page
    page.goto("about:blank")
    context.close()
    of_voila = (
        "satisf",
        "Unsatisfied version",
        "Available versions",
    )  # it names older parts of JupyterLab than there are
    assert [line for line in said if not any(words in line for words in of_voila)] == []


@pytest.fixture
def page(one_page, address):
    """That page, at its first view."""
    one_page.set_viewport_size({"width": 1440, "height": 900})
    if one_page.get_attribute(".wb-views", "data-state") != "{}":
        one_page.goto(address)
        one_page.wait_for_selector(".wb-views[data-state='{}']")
    return one_page


# Controls ---------------------------------------------------------------------------------------------------------


def test_names_are_searched_as_people_write_them_and_removed_by_keyboard(page):
    field = control(page, "gpu")
    assert page.locator(f"#{field.get_attribute('list')} option[value=h200-sxm]").count() == 1
    field.fill("4090")
    field.press("Enter")
    shown(page, gpu=["a100-80gb-sxm", "h100-sxm", "rtx-4090"])
    assert field.input_value() == ""
    field.fill("h2000")
    field.press("Enter")
    beside(page, "gpu", "unknown GPU 'h2000'. Did you mean 'h200-sxm'")
    assert field.input_value() == "h2000"  # to be mended
    assert field.get_attribute("aria-invalid") == "true"
    field.fill("h200")
    page.locator("[data-control=gpu]").get_by_role("button", name="Add a GPU").click()
    shown(page, gpu=["a100-80gb-sxm", "h100-sxm", "rtx-4090", "h200-sxm"])
    assert page.locator("[data-control=gpu] > .wb-error").inner_text() == ""
    page.get_by_role("button", name="Remove a100-80gb-sxm").focus()
    page.keyboard.press("Delete")
    shown(page, gpu=["h100-sxm", "rtx-4090", "h200-sxm"])
    page.wait_for_function("document.activeElement.ariaLabel === 'Remove h100-sxm'")
    page.keyboard.press("Enter")
    shown(page, gpu=["rtx-4090", "h200-sxm"])
    field.focus()
    page.keyboard.press("Backspace")
    shown(page, gpu=["rtx-4090"])
    page.get_by_role("button", name="Remove rtx-4090").click()
    beside(page, "gpu", "GPUs: there has to be one at least")
    shown(page, gpu=["rtx-4090"])


def test_of_two_hundred_rapid_moves_the_last_is_shown(page):
    high = control(page, "batch_size", "input >> nth=1")
    high.focus()
    for i in range(200):
        page.keyboard.press("ArrowLeft" if i % 2 else "ArrowRight")
    page.keyboard.press("ArrowLeft")
    shown(page, batch_size=[1, 2, 4, 8, 16, 32])
    page.wait_for_timeout(1000)
    shown(page, batch_size=[1, 2, 4, 8, 16, 32])
    assert high.get_attribute("aria-valuetext") == "32 sequences"


def test_what_is_wrong_is_said_beside_the_control_that_caused_it(page):
    open_group(page, "Number formats")
    control(page, "weight_dtype", "select").select_option("fp8")
    shown(page, weight_dtype="fp8")
    control(page, "activation_dtype", "select").select_option("fp8")
    beside(page, "activation_dtype", "a100-80gb-sxm has no fp8 peak")
    assert page.locator(".wb-views.wb-stale").count() == 1
    assert page.locator(".wb-message").inner_text() == ""
    shoot(page, "explorer-message")
    page.get_by_role("button", name="Remove a100-80gb-sxm").click()
    shown(page, gpu=["h100-sxm"], activation_dtype="fp8")
    assert page.locator(".wb-error:not(:empty)").count() == page.locator(".wb-stale").count() == 0
    open_group(page, "What runs")
    control(page, "candidates").fill("a few")
    page.keyboard.press("Tab")
    beside(page, "candidates", "candidates 'a few': expected whole numbers")
    assert control(page, "candidates").input_value() == "a few"


def test_a_link_that_cannot_be_shown_says_why(address, open_page):
    wrong = open_page(link(address, gpu=["h100-sxn"]))
    message(wrong, "The link cannot be shown: unknown GPU 'h100-sxn'. Did you mean 'h100-sxm'")


def test_controls_stay_in_sight_and_only_those_of_the_tab_are_there(page):
    for tab, there, away in (
        ("roofline", "batch_size", "ttft"), ("server", "batch", "batch_size"), ("plan", "rate", "points"),
    ):  # fmt: skip
        page.locator(f"[role=tab][data-tab={tab}]").click()
        page.wait_for_selector(f".wb-views[data-tab={tab}]")
        assert page.locator(f"[data-control={there}]").is_visible()
        assert page.locator(f"[data-control={away}]").is_hidden()
    page.locator("[role=tab][data-tab=roofline]").click()
    page.wait_for_selector(".wb-views[data-tab=roofline]")
    before = page.locator("[role=tablist]").bounding_box()["y"]
    page.locator(".wb-away-section").scroll_into_view_if_needed()
    assert page.locator("[role=tablist]").bounding_box()["y"] < before - 200  # the page has scrolled
    assert 0 <= control(page, "gpu").bounding_box()["y"] <= 400


# Tabs and what is kept --------------------------------------------------------------------------------------------


def test_tabs_are_walked_by_arrow_keys_and_kept_in_the_link(page, address, open_page):
    tabs = page.get_by_role("tab")
    assert tabs.all_inner_texts() == ["Roofline", "Server", "Frontier", "Plan", "Measured", "Published"]
    tabs.first.focus()
    page.keyboard.press("ArrowRight")
    shown(page, tab="server")
    assert page.evaluate("document.activeElement.dataset.tab") == "server"
    assert page.get_by_role("tab", selected=True).inner_text() == "Server"
    page.wait_for_function("location.search.includes('server')")
    again = open_page(page.url)
    shown(again, tab="server")
    page.keyboard.press("End")
    shown(page, tab="published")
    page.keyboard.press("ArrowRight")
    shown(page, tab=None)  # the first


def test_a_link_of_an_earlier_version_opens(address, open_page):
    old = {"gpu": ["l4"], "setting": {"batch_size": 4, "seq_len": 512}, "server": {"pp": 2, "network_gbs": 50.0},
           "pins": [PIN]}  # fmt: skip
    shown(open_page(link(address, **old)), gpu=["l4"], tab=None)


def test_a_view_that_is_too_long_for_an_address_is_kept_through_a_reload(address, open_page):
    page = open_page(address)
    long = CONFIG | {"note": "x" * 40_000}
    open_group(page, "Your own model")
    page.set_input_files(".wb-own input[type=file] >> nth=-1", {
        "name": "tiny.json", "mimeType": "application/json", "buffer": json.dumps(long).encode(),
    })  # fmt: skip
    shown(page, model=["llama-3-8b", "tiny-1b"])
    page.wait_for_function("location.hash === '#kept'")
    page.reload()
    page.wait_for_selector(".wb-views[data-state]")
    shown(page, model=["llama-3-8b", "tiny-1b"])


def test_code_is_copied_and_gives_the_same_numbers(address, open_page):
    state = {"gpu": ["l4"], "model": ["mistral-7b"], "batch_size": [3, 5], "kv_dtype": "fp8", "time_model": "kernel"}
    page = open_page(link(address, **state))
    page.get_by_text("Code", exact=True).click()
    page.get_by_text("Copy code").click()
    page.get_by_text("Copied").wait_for()
    names: dict[str, xr.Dataset] = {}
    exec(page.evaluate("navigator.clipboard.readText()"), names)
    assert names["ds"].identical(explorer.grid(explorer.View(**state)))
    page.get_by_text("Copy params").click()
    assert "figure_id: my-view" in page.evaluate("navigator.clipboard.readText()")
    page.get_by_text("Copy link").click()
    copied = parse_qs(urlsplit(page.evaluate("navigator.clipboard.readText()")).query)
    assert json.loads(copied["view"][0]) == state  # the page's own address follows at rest


def test_files_are_named_after_the_view(address, open_page, tmp_path):
    page = open_page(link(address, gpu=["t4"], operator=["attention"], batch_size=[1, 2]))
    found = {}
    for name in ("CSV", "NetCDF", "Save view"):
        with page.expect_download() as waiting:
            page.locator(".wb-away-section").get_by_role("button", name=name, exact=True).click()
        found[name] = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(found[name])
    assert [path.name for path in found.values()] == [
        f"t4-llama-3-8b-roofline.{kind}" for kind in ("csv", "nc", "json")
    ]
    ds = explorer.grid(explorer.View(gpu=["t4"], operator=["attention"], batch_size=[1, 2]))
    with xr.open_dataset(found["NetCDF"]) as again:
        xr.testing.assert_allclose(again.load(), ds)
    assert len(found["CSV"].read_text().splitlines()) == 1 + ds.time.size
    assert json.loads(found["Save view"].read_text())["view"]["gpu"] == ["t4"]


# For everybody ----------------------------------------------------------------------------------------------------


AXE = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.filter(({ impact }) => /serious|critical/.test(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" ")}`);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_tab(page, scheme):
    axe = pytest.importorskip("axe_playwright_python", reason="no axe-core in this environment")
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(
        "dark => getComputedStyle(document.querySelector('.wb-views')).getPropertyValue('--wb-dark').trim() === dark",
        arg=str(int(scheme == "dark")),
    )
    if not page.evaluate("typeof axe === 'object'"):
        page.add_script_tag(path=Path(axe.__file__).parent / "axe.min.js")
    page.evaluate("document.querySelectorAll('.wb-views details').forEach((each) => { each.open = true; })")
    found = {}
    for tab in page.get_by_role("tab").all():
        tab.click()
        page.wait_for_selector(f".wb-views[data-tab={tab.get_attribute('data-tab')}]")
        page.wait_for_timeout(300)
        found[tab.inner_text()] = page.evaluate(AXE)
        shoot(page, f"explorer-{tab.get_attribute('data-tab')}-{scheme}")
    page.emulate_media(color_scheme="light")
    assert found == {name: [] for name in found}


def test_every_control_has_a_name_and_a_slider_says_its_value_in_words(page):
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll(".wb-controls input, .wb-controls select, .wb-controls textarea")]
          .filter((each) => !(each.labels?.length || each.ariaLabel)).map((each) => each.outerHTML.slice(0, 120))"""
    )
    assert unnamed == []
    values = page.locator(".wb-controls input[type=range]").evaluate_all("all => all.map((each) => each.ariaValueText)")
    assert [value for value in values if not re.fullmatch(r"[\d,]+ (sequences|tokens)", value)] == []
    assert len(values) == 6


def test_the_system_s_dark_scheme_is_the_page_s(page):
    page.emulate_media(color_scheme="dark")
    ground, body, ink = page.evaluate(
        """() => { const style = getComputedStyle(document.querySelector(".wb-views"));
                   return [style.backgroundColor, getComputedStyle(document.body).backgroundColor, style.color]; }"""
    )
    page.emulate_media(color_scheme="light")
    assert max(luminance(ground), luminance(body)) < 60 < 180 < luminance(ink)


@pytest.mark.parametrize("tab", ["roofline", "server", "frontier", "plan", "measured", "published"])
def test_a_phone_has_the_first_answer_on_its_first_screen_and_never_scrolls_sideways(page, tab):
    page.set_viewport_size({"width": 400, "height": 800})
    page.locator(f"[role=tab][data-tab={tab}]").click()
    page.wait_for_selector(f".wb-views[data-tab={tab}]")
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.locator("[role=tabpanel] section").first.bounding_box()["y"] < 400
    assert control(page, "gpu").is_hidden()
    page.locator(".wb-controls > summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.locator(".wb-controls > summary").click()
    shoot(page, f"explorer-{tab}-400")


def test_in_print_the_page_is_its_tab_and_its_setting(page):
    page.emulate_media(media="print")
    try:
        for away in (".wb-controls", "[role=tablist]", ".wb-away-section"):
            assert page.locator(away).first.is_hidden(), away
        assert page.locator(".wb-roofline-section").is_visible()
        words = page.locator(".wb-setting-in-words").inner_text()
        assert words.startswith("llama-3-8b on a100-80gb-sxm, h100-sxm: ")
        pages = re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))
        assert len(pages) == 1
        assert page.locator(".wb-setting-in-words").bounding_box()["y"] > 900  # below all of the table, which is there
    finally:
        page.emulate_media(media="screen")


def test_jupyterlab_with_its_dark_theme(browser, open_page, tmp_path):
    root = tmp_path / "notebooks"
    root.mkdir()
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": None, "outputs": [],
            "source": "import workbench as wb\nwb.explore()"}  # fmt: skip
    kernel = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}}
    (root / "explorer.ipynb").write_text(
        json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})
    )
    themes = Path(environment(tmp_path)["JUPYTERLAB_SETTINGS_DIR"]) / "@jupyterlab" / "apputils-extension"
    themes.mkdir(parents=True)
    (themes / "themes.jupyterlab-settings").write_text('{"theme": "JupyterLab Dark"}')
    (themes / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    port = free_port()
    options = [f"--port={port}", "--no-browser", "--allow-root", "--IdentityProvider.token=", f"--notebook-dir={root}"]
    with server(["-m", "jupyterlab", *options], port, tmp_path) as address:
        page = open_page(f"{address}lab/tree/explorer.ipynb", chart=False)
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        page.locator(".jp-CodeCell .jp-InputArea-editor").first.click()
        page.keyboard.press("Shift+Enter")
        page.wait_for_selector(".wb-views[data-state]")
        ground, ink = page.evaluate(
            """() => { const style = getComputedStyle(document.querySelector(".wb-views"));
                       return [style.backgroundColor, style.color]; }"""
        )
        assert luminance(ground) < 60 < 180 < luminance(ink)
        page.locator(".jp-Notebook .jp-Cell >> nth=1").wait_for()  # the cell that Lab adds, and goes to
        control(page, "batch_size", "input >> nth=1").press("ArrowLeft")
        shown(page, batch_size=[1, 2, 4, 8, 16, 32])
        shoot(page, "explorer-jupyterlab-dark")
        page.goto("about:blank")  # before the server goes


def luminance(color):
    """Of a CSS color, 0 to 255 (ITU-R BT.601)."""
    red, green, blue = map(float, re.findall(r"[\d.]+", color)[:3])
    return 0.299 * red + 0.587 * green + 0.114 * blue


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_chromium_fails_in_ci_and_skips_elsewhere(ci, outcome, monkeypatch):
    monkeypatch.setattr(browsing, "CHROMIUM", "/nowhere/chromium")
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no Chromium on this machine"):
        browsing.require()


def test_the_browser_leaves_nothing_at_home(tmp_path):
    browsing.require()
    script = "import browsing\nwith browsing.chromium() as browser: browser.new_page().goto('about:blank')"
    env = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    env |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "tests")}
    subprocess.run([sys.executable, "-c", script], env=env, check=True, timeout=120)
    assert list(tmp_path.iterdir()) == []
