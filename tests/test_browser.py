"""The explorer as its readers meet it: Voila's page and JupyterLab in a real Chromium, the numbers held to the package.

Screenshots go to .cache/screenshots; `make screenshots` takes those that README shows from there.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import browsing
import pytest
import xarray as xr
from browsing import ROOT, chromium, environment, explorer_page, free_port, link, server

import workbench as wb
from workbench import audit, explorer
from workbench.tables.looks import SERIES_COLORS

SHOTS = ROOT / ".cache" / "screenshots"
START = 120_000  # ms; a kernel and a page on a busy machine

CONFIG = {
    "model_type": "llama", "_name_or_path": "acme/Tiny-1B", "hidden_size": 2048, "intermediate_size": 5632,
    "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 32000,
    "max_position_embeddings": 2048,
}  # fmt: skip


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
        page.on("requestfailed", lambda request: errors.append(f"{request.url} failed"))
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


def rows(page, section):
    cells = f".wb-{section}-section tbody tr"
    return [row.locator("td").all_inner_texts() for row in page.locator(cells).all()]


def number(text):
    """The SI value of a number as the page writes it: "50.13 ms" is 0.05013."""
    value, unit = re.match(r"([\d.,]+) (\S*)", text).groups()
    prefix = re.match(r"[PTGMkmµn](?=s|B|FLOP)", unit)
    scale = dict(zip("PTGMkmµn", (1e15, 1e12, 1e9, 1e6, 1e3, 1e-3, 1e-6, 1e-9), strict=True))
    return float(value.replace(",", "")) * (scale[prefix[0]] if prefix else 1)


def four(value):
    """The page writes four significant digits."""
    return pytest.approx(value, rel=6e-4)


def tip(page):
    return page.locator(".wb-tip").inner_text().split("\n")


def slider(page, label, handle="upper", nth=0):
    return page.locator(f".widget-hslider:has(> label:text-is('{label}'))").nth(nth).locator(f".noUi-handle-{handle}")


def choose(page, label, option):
    page.locator(f".widget-dropdown:has(> label:text-is('{label}')) select").select_option(label=option)


def test_the_page_opens_with_the_package_s_numbers(address, open_page):
    page = open_page(address)
    step = wb.forward_pass(wb.roofline_grid(["a100-80gb-sxm", "h100-sxm"], "llama-3-8b", seq_len=[1024]))
    table = rows(page, "summary")
    assert [row[:3] for row in table] == [
        [gpu, "llama-3-8b", phase] for gpu in ("a100-80gb-sxm", "h100-sxm") for phase in ("prefill", "decode")
    ]
    for gpu, model, phase, *values in table:
        one = step.sel(gpu=gpu, model=model, phase=phase)
        for text, name in zip(values, ("time", "flops", "bytes", "intensity", "performance"), strict=True):
            assert number(text) == four(one[name].item()), (gpu, phase, name)
    shoot(page, "explorer-first")


def test_moving_a_slider_moves_the_points(address, open_page):
    page = open_page(address)
    chart = page.locator("svg.wb-roofline")
    before = chart.locator(".wb-groups path").first.get_attribute("d")
    slider(page, "Batch size", "lower").focus()
    page.keyboard.press("ArrowRight")
    shown(page, batch_size=[2, 4, 8, 16, 32, 64])
    assert chart.locator(".wb-groups path").first.get_attribute("d") != before
    chart.focus()
    page.keyboard.press("ArrowRight")
    ds = wb.roofline_grid("a100-80gb-sxm", "llama-3-8b", "qkv_proj", "prefill", 2, 128)
    setting, work, time, roof = tip(page)
    assert setting == "a100-80gb-sxm · llama-3-8b · qkv_proj · prefill · batch 2 · length 128"
    assert [number(text) for text in work.split(", ")] == [four(ds.intensity.item()), four(ds.performance.item())]
    assert number(time) == four(ds.time.item())
    assert time.endswith("compute-bound")
    assert roof.startswith("100 % of the roof")
    slider(page, "Length", "lower", nth=1).focus()  # the one setting of bars and summary
    page.keyboard.press("ArrowRight")
    shown(page, setting={"seq_len": 2048})
    assert "length 2,048" in page.locator(".wb-bars-section .wb-sub").inner_text()


def test_of_two_hundred_rapid_moves_the_last_is_shown(address, open_page):
    page = open_page(address)
    slider(page, "Batch size").focus()
    for i in range(199):
        page.keyboard.press("ArrowLeft" if i % 2 else "ArrowRight")
    page.keyboard.press("ArrowLeft")  # 100 to the right, 100 to the left
    page.keyboard.press("ArrowLeft")
    shown(page, batch_size=[1, 2, 4, 8, 16, 32])
    page.wait_for_timeout(1000)
    shown(page, batch_size=[1, 2, 4, 8, 16, 32])
    assert slider(page, "Batch size").get_attribute("aria-valuenow") == "5.0"


def test_gpus_are_searched_and_switched(address, open_page):
    page = open_page(address)
    field = page.get_by_placeholder("add a GPU")
    field.fill("l40s")
    field.press("Enter")
    shown(page, gpu=["a100-80gb-sxm", "h100-sxm", "l40s"])
    field.fill("l41s")
    field.press("Enter")  # there is none: refused by the field
    page.locator(".jupyter-widget-tag", has_text="a100-80gb-sxm").locator("i, .fa").first.click()
    shown(page, gpu=["h100-sxm", "l40s"])
    assert {row[0] for row in rows(page, "summary")} == {"h100-sxm", "l40s"}


def test_the_reader_s_own_model(address, open_page, tmp_path):
    page = open_page(address)
    page.get_by_text("Your own model").click()

    def upload(name, content):
        (tmp_path / name).write_text(content)
        with page.expect_file_chooser() as waiting:
            page.get_by_role("button", name="config.json or saved view").click()
        waiting.value.set_files(tmp_path / name)

    upload("config.json", '{"model_type": "llama", ')
    message(page, "config.json, line 1: not valid JSON")
    upload("other.json", json.dumps(CONFIG | {"hidden_size": "wide"}))
    message(page, "hidden_size = 'wide'")
    upload("tiny.json", json.dumps(CONFIG))
    page.locator(".wb-summary-section td", has_text="tiny-1b").first.wait_for()
    step = wb.forward_pass(wb.roofline_grid("h100-sxm", wb.from_hf_config(CONFIG), phase="decode"))
    row = next(row for row in rows(page, "summary") if row[:3] == ["h100-sxm", "tiny-1b", "decode"])
    assert number(row[3]) == four(step.time.item())
    page.get_by_placeholder("or paste").fill(json.dumps(CONFIG | {"_name_or_path": "pasted", "num_hidden_layers": 11}))
    page.get_by_text("Add as a model").click()
    page.locator(".wb-summary-section td", has_text="pasted").first.wait_for()
    shoot(page, "explorer-own-model")


def test_points_are_hovered_pinned_and_compared(address, open_page):
    page = open_page(link(address, operator=["attention"], phase=["decode"], time_model="kernel"), height=1350)
    chart = page.locator("svg.wb-roofline")
    box = chart.bounding_box()
    d = chart.locator(".wb-groups path").first.get_attribute("d")
    x, y = map(float, re.match(r"M(\S+) ([\d.]+)a", d).groups())
    page.mouse.move(box["x"] + x + 4, box["y"] + y)
    ds = wb.roofline_grid("a100-80gb-sxm", "llama-3-8b", "attention", "decode", 1, 128, time_model="kernel")
    assert "attention · decode" in tip(page)[0]
    assert tip(page)[3].startswith(f"{100 * (ds.performance / ds.attainable).item():.1f} % of the roof")
    page.mouse.click(box["x"] + x + 4, box["y"] + y)
    page.locator(".wb-compare tbody tr").wait_for()
    choose(page, "Time", "ideal: on the roof")
    shown(page, time_model=None)
    row = rows(page, "compare")[0]
    assert row[2] == "time_model kernel"
    assert number(row[6]) == four(ds.time.item())
    chart.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.locator(".wb-compare tbody tr").nth(1).wait_for()
    shoot(page, "explorer-compare")
    page.locator("[data-unpin='0']").click()
    page.wait_for_function("document.querySelectorAll('.wb-compare tbody tr').length === 1")


def test_a_published_chart_with_its_ranges_and_audit(address, open_page):
    page = open_page(address)
    choose(page, "Published", "Medusa figure 9")
    shown(page, figure="medusa-fig09")
    claims = audit.run("medusa-fig09")
    ranges = audit.printed_ranges("medusa-fig09")
    assert page.locator(".wb-roofline path.wb-range title").count() == len(ranges)
    drawn = page.locator(".wb-groups path").evaluate_all("all => all.map(path => path.getAttribute('stroke'))")
    assert list(dict.fromkeys(drawn)) == SERIES_COLORS[:6]  # the chart's, in its order
    assert page.locator(".wb-arrow").count() == 2
    shoot(page, "explorer-published")
    page.get_by_role("button", name="Audit rows").click()
    rows = page.locator(".wb-audit tbody tr:has(td)")
    rows.first.wait_for()
    assert rows.count() == len(claims)
    assert page.locator(".wb-audit h3").all_inner_texts() == list(claims.source.unique())
    addresses = page.locator(".wb-published a").evaluate_all("all => all.map(link => link.href)")
    assert addresses == ["https://arxiv.org/abs/2401.10774v3"] * 2
    misread = page.locator(".wb-audit tbody", has_text="wrong as transcribed").locator("tr:has(td)")
    assert misread.count() == (claims.verdict == "wrong as transcribed").sum() > 0
    shoot(page, "explorer-audit")


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
    again = open_page(page.evaluate("navigator.clipboard.readText()"))
    shown(again, **state)


def test_files_are_downloaded(address, open_page, tmp_path):
    page = open_page(link(address, gpu=["t4"], operator=["attention"], batch_size=[1, 2]))

    def download(section, name):
        with page.expect_download() as waiting:
            page.locator(f".wb-{section}-section").get_by_role("button", name=name, exact=True).click()
        path = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path

    svg = download("roofline", "SVG").read_text()
    assert "Operational intensity" in svg
    assert "var(" not in svg
    assert download("roofline", "PNG").read_bytes()[:4] == b"\x89PNG"
    assert download("heat", "SVG").stat().st_size > 1000
    ds = explorer.grid(explorer.View(gpu=["t4"], operator=["attention"], batch_size=[1, 2]))
    with xr.open_dataset(download("away", "NetCDF")) as found:
        xr.testing.assert_allclose(found.load(), ds)
    assert len(download("away", "CSV").read_text().splitlines()) == 1 + ds.time.size
    assert json.loads(download("away", "Save view").read_text())["view"]["gpu"] == ["t4"]


def test_what_cannot_be_is_said_in_place(address, open_page):
    page = open_page(address)
    choose(page, "Weights", "fp8")
    shown(page, weight_dtype="fp8")
    choose(page, "Activations", "fp8")
    message(page, "a100-80gb-sxm has no fp8 peak")
    shoot(page, "explorer-message")
    page.locator(".jupyter-widget-tag", has_text="a100-80gb-sxm").locator("i, .fa").first.click()
    shown(page, gpu=["h100-sxm"], activation_dtype="fp8")
    assert page.locator(".wb-message").inner_text() == ""
    page.get_by_placeholder("none; e.g.").fill("a few")
    page.keyboard.press("Tab")
    message(page, "candidates 'a few': expected whole numbers")
    wrong = open_page(link(address, gpu=["h100-sxn"]))
    message(wrong, "The link cannot be shown: unknown GPU 'h100-sxn'. Did you mean 'h100-sxm'")


def test_tensor_parallel(address, open_page):
    page = open_page(address)
    field = page.locator(".widget-text:has(> label:text-is('tp')) input")
    field.fill("2")
    field.press("Enter")
    shown(page, tp=2)
    step = wb.forward_pass(wb.roofline_grid(["a100-80gb-sxm", "h100-sxm"], "llama-3-8b", seq_len=[1024], tp=2))
    for gpu, model, phase, time, *_ in rows(page, "summary"):
        assert number(time) == four(step.time.sel(gpu=gpu, model=model, phase=phase).item())
    server = wb.serving.estimate(["a100-80gb-sxm", "h100-sxm"], "llama-3-8b", 1, 1024, tp=2, time_model="ideal")
    for gpu, _, fits, *values, largest, ttft, tpot, rate in rows(page, "serving"):
        one = server.sel(gpu=gpu).squeeze()
        assert (fits, largest) == ("yes", f"{one.largest_batch.item():,.0f}")
        assert number(values[0]) == four(one.weights.item())
        assert [number(ttft), number(tpot)] == [four(one.ttft.item()), four(one.tpot.item())]
        assert float(rate) == four(one.tokens_per_second.item())
    page.get_by_label("Operator of the heat map").select_option("all_reduce")
    page.locator(".wb-heat text", has_text="all link-bound").wait_for()
    shoot(page, "explorer-tp")
    field.fill("3")
    field.press("Enter")
    message(page, "tp = 3 does not divide n_heads = 32 of llama-3-8b")


def test_a_server_s_parallelism_and_engine(address, open_page):
    page = open_page(
        link(address, gpu=["h100-sxm", "h200-sxm"], model=["mixtral-8x7b"], tp=2, time_model="kernel"), height=1700
    )
    ep = page.locator(".widget-text:has(> label:text-is('ep')) input")
    ep.click()
    ep.fill("4")
    ep.press("Enter")
    page.locator(".widget-dropdown:has(> label:text-is('Engine')) select").select_option("sglang")
    shown(page, tp=2, server={"ep": 4, "engine": "sglang"})
    said = page.locator(".wb-serving-section").inner_text()
    assert "tp 2, ep 4, engine sglang, batch 1, prompt 1,024, output 128 tokens; kernel times" in said
    given = {"tp": 2, "ep": 4, "engine": "sglang", "time_model": "kernel"}
    server = wb.serving.estimate(["h100-sxm", "h200-sxm"], "mixtral-8x7b", 1, 1024, **given)
    for gpu, _, fits, *values, largest, ttft, tpot, _ in rows(page, "serving"):
        one = server.sel(gpu=gpu).squeeze()
        assert (fits, largest) == ("yes", f"{one.largest_batch.item():,.0f}")
        assert [number(values[0]), number(ttft), number(tpot)] == [
            four(one.weights.item()), four(one.ttft.item()), four(one.tpot.item()),
        ]  # fmt: skip
    shoot(page, "explorer-server")
    ep.fill("3")
    ep.press("Enter")
    page.locator("td", has_text="ep = 3 does not divide tp x dp = 2").first.wait_for()


def test_what_does_not_fit_in_memory(address, open_page):
    page = open_page(link(address, gpu=["l4", "h200-sxm"], model=["llama-3-70b"]), height=1700)
    small, _ = rows(page, "serving")
    # 141.1 GB of weights, 1.26 of activations and 0.28 of workspace, of 0.9 x 22.03 GiB = 21.29 GB
    assert small[2] == "no: weights and activations 121.36 GB over 21.3 GB, 90% of the memory"
    assert small[6:] == ["0", "none", "none", "none"]
    assert "Memory is too small at batch 1" in page.locator(".wb-notes").inner_text()
    shoot(page, "explorer-does-not-fit")


def test_a_narrow_window_holds_everything(address, open_page):
    page = open_page(link(address, time_model="kernel"), width=768)
    assert page.evaluate("document.documentElement.scrollWidth") <= 768
    for svg in ("wb-roofline", "wb-bars", "wb-heat"):
        box = page.locator(f"svg.{svg}").bounding_box()
        assert box["x"] + box["width"] <= 768
        assert box["width"] >= 400
    shoot(page, "explorer-768")


def test_jupyterlab_with_its_dark_theme(browser, open_page, tmp_path):
    root = tmp_path / "notebooks"
    root.mkdir()
    shutil.copy(ROOT / "notebooks" / "explorer.ipynb", root)
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
        slider(page, "Batch size").focus()
        page.keyboard.press("ArrowLeft")
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
