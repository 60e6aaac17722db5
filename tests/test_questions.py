"""Three questions of readers, each answered by the explorer in five clicks; a name typed with Enter counts as one."""

import browsing
import pytest
from browsing import chromium, explorer_page

import workbench as wb

START = 120_000  # ms
MOST = 5


class Reader:
    """Somebody at the page, whose clicks are counted; typing and Tab from field to field are none."""

    def __init__(self, page):
        self.page, self.clicks = page, 0

    def click(self, selector):
        self.clicks += 1
        self.page.click(selector)
        self._settled()

    def name(self, control, words):
        """Type a name into a list, and Enter."""
        self.clicks += 1
        self.page.fill(f"[data-control={control}] input", words)
        self.page.keyboard.press("Enter")
        self._settled()

    def choose(self, control, option):
        self.clicks += 1
        self.page.select_option(f"[data-control={control}] select", option)
        self._settled()

    def fields(self, **values):
        """Click into the first field, and write into each, with Tab to the next."""
        self.clicks += 1
        first = next(iter(values))
        self.page.click(f"[data-control={first}] input")
        for control, value in values.items():
            for _ in range(12):  # past units and fields that are as they should be
                if self.page.evaluate("document.activeElement.closest('[data-control]')?.dataset.control") == control:
                    break
                self.page.keyboard.press("Tab")
            self.page.keyboard.press("Control+a")
            self.page.keyboard.type(str(value))
        self.page.keyboard.press("Tab")
        self._settled()

    def _settled(self):
        self.page.wait_for_function("!document.querySelector('.wb-views[aria-busy]')")

    def rows(self, section):
        """The rows of a table, by the words of their heads."""
        table = self.page.locator(f".wb-{section}-section table")
        heads = [head.strip(" ▲▼\n") for head in table.locator("thead th").all_inner_texts()]
        return [
            dict(zip(heads, row.locator("td").all_inner_texts(), strict=True))
            for row in table.locator("tbody tr").all()
        ]  # fmt: skip


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """The page's address, and a browser."""
    browsing.require()
    with explorer_page(tmp_path_factory.mktemp("voila")) as address, chromium() as browser:
        yield address, browser


@pytest.fixture
def reader(started):
    """Somebody who has opened the page, and who leaves it."""
    address, browser = started
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(START)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(".wb-views[data-state]")
    yield Reader(page)
    page.goto("about:blank")
    context.close()


def test_will_it_fit_my_card_and_how_fast(reader):
    """Will Qwen3-30B-A3B at 4 bit fit my RTX 4090, and how fast is it?"""
    reader.click("[role=tab]:has-text('Server')")
    reader.name("gpu", "RTX 4090")
    reader.name("model", "Qwen3-30B-A3B")
    reader.click("summary:has-text('Number formats')")
    reader.choose("weight_dtype", "int4")
    assert reader.clicks <= MOST
    (row,) = (
        row for row in reader.rows("speed") if (row["GPU"], row["model"]) == ("rtx-4090", "qwen3-30b-a3b")
    )  # fmt: skip
    ds = wb.serving.estimate("rtx-4090", "qwen3-30b-a3b", 1, 1024, 128, weight_dtype="int4", engine="vllm").squeeze()
    assert row["fits"] == ("yes" if ds.fits.item() else "no")
    assert row["TPOT"] == f"{1e3 * ds.tpot.item():.4g} ms"
    assert row["largest batch"] == f"{ds.largest_batch.item():,.0f}"


def test_what_to_buy_for_a_rate_and_a_service_level(reader):
    """70B in fp8, 2k in, 512 out, TTFT under 1 s, TPOT under 40 ms, 20 a second: what do I buy?"""
    reader.click("[role=tab]:has-text('Plan')")
    reader.name("model", "Llama 3.1 70B")
    reader.click("summary:has-text('Number formats')")
    reader.choose("weight_dtype", "fp8")
    reader.fields(prompt=2048, output=512, ttft="1 s", tpot="40 ms", rate=20)
    assert reader.clicks <= MOST
    answer = reader.page.locator(".wb-answer p", has_text="Llama-3.1-70b: cheapest: ")
    answer.wait_for()
    words = answer.inner_text()
    (best,) = (row for row in reader.rows("plans") if (row["model"], row["verdict"]) == ("llama-3.1-70b", "best"))
    assert f"cheapest: {best['replicas']} replicas of {best['tp']} x" in words
    assert f"({best['GPUs']} GPUs)" in words
    wanted = {"prompt": 2048, "output": 512, "ttft": 1.0, "tpot": 0.04, "weight_dtype": "fp8", "engine": "vllm"}
    plans = wb.serving.plan("llama-3.1-70b", gpu=["a100-80gb-sxm", "h100-sxm"], **wanted, request_rate=20.0)
    first = plans.iloc[0]  # of plans that take as many GPUs, either may be told
    assert (first.gpu, f"{first.replicas * first.tp:.0f}") == (best["GPU"], best["GPUs"])


def test_which_operators_are_memory_bound_and_what_a_faster_card_changes(reader):
    """Which operators are memory-bound at batch 32, and what would a faster card change?"""
    reader.click("[data-control=at_batch_size] input")
    for _ in range(6):
        reader.page.keyboard.press("ArrowRight")  # to the end, 64
    reader.page.keyboard.press("ArrowLeft")
    reader.page.wait_for_function(
        "JSON.parse(document.querySelector('.wb-views').dataset.state).setting?.batch_size === 32"
    )
    assert reader.clicks <= MOST
    ds = wb.roofline_grid(["a100-80gb-sxm", "h100-sxm"], "llama-3-8b", batch_size=32, seq_len=1024)
    one = ds.sel(gpu="a100-80gb-sxm", phase="prefill").squeeze()
    bound = {str(name) for name in ds.operator.values if one.bound.sel(operator=name) == 0}
    rows = [row for row in reader.rows("operators") if (row["GPU"], row["phase"]) == ("a100-80gb-sxm", "prefill")]
    assert {row["operator"] for row in rows if row["bound"] == "memory"} == bound
    steps = wb.forward_pass(ds).time.sel(phase="prefill").squeeze()
    gain = float(steps.sel(gpu="a100-80gb-sxm") / steps.sel(gpu="h100-sxm"))
    words = reader.page.locator(".wb-operators-section li", has_text="prefill on a100-80gb-sxm").inner_text()
    assert f"{gain:.4g} × as fast" in words
    for name in bound:
        assert name in words.partition("memory-bound:")[2]
