"""The GPU catalog: every file loads, numbers are plausible, and a broken file says what is wrong with it."""

import pytest

import workbench as wb
from workbench.catalog import GPU
from workbench.catalog.loading import load_entry

GOOD = """\
name: Test
vendor: Test
architecture: test
dense_tflops: {fp16: 100}
memory: {bandwidth_gbs: 1000}
confidence: unverified
provenance: typed by hand
sources: {document: none}
"""


@pytest.mark.parametrize("name", wb.gpus())
def test_every_gpu_loads_with_a_16_bit_peak_a_bandwidth_and_a_source(name):
    card = wb.gpu(name)
    assert {"fp16", "bf16"} & card.dense_tflops.keys()
    assert card.bandwidth > 1e11
    assert card.sources
    text = str(card)
    for word in ("TFLOP/s", "GB/s", "FLOP/byte", "source", "confidence"):
        assert word in text


@pytest.mark.parametrize("name", wb.gpus())
def test_8_bit_rates_are_no_sparse_rates(name):
    """Dense fp8 and int8 run at one to two times the 16-bit rate; sparse ones would be four times."""
    rates = wb.gpu(name).dense_tflops
    half = rates.get("fp16", rates.get("bf16"))
    limit = 4.05 if name in ("rtx-3090", "rtx-4090", "rtx-5090") else 2.05  # fp32 accumulation halves their 16-bit rate
    for dtype in ("fp8", "int8"):
        assert rates.get(dtype, half) <= limit * half


def test_there_are_50_accelerators_in_51_entries():
    assert len(wb.gpus()) == 51  # the V100 PCIe comes with 16 GB and with 32 GB


@pytest.mark.parametrize(
    "name",
    ["t4", "v100-sxm2-32gb", "a10", "a40", "rtx-a6000", "a100-80gb-pcie", "a100-80gb-sxm", "h100-sxm", "h200-sxm",
     "b200-sxm", "mi300x"],
)  # fmt: skip
def test_ids_that_notebooks_rely_on(name):
    assert wb.gpu(name).id == name


@pytest.mark.parametrize(
    ("alias", "name"), [("h100-sxm5", "h100-sxm"), ("a100-80gb-sxm4", "a100-80gb-sxm"), ("gb200-gpu", "gb200")]
)
def test_aliases(alias, name):
    assert wb.gpu(alias) == wb.gpu(name)
    ds = wb.roofline_grid(alias, "llama-7b")
    assert ds.gpu.values == [name]


def test_no_alias_hides_an_id_or_another_alias():
    names = wb.gpus() + [alias for name in wb.gpus() for alias in wb.gpu(name).aliases]
    assert len(names) == len(set(names))


def test_what_is_unknown_is_absent():
    assert wb.gpu("gaudi3").l2_mb is None
    assert "L2" not in str(wb.gpu("gaudi3"))


@pytest.mark.parametrize(
    ("name", "rate"),
    [("a100-80gb-sxm", 16 * 108 * 1.41e9), ("b200-sxm", 16 * 148 * 1.965e9), ("b300-sxm", 32 * 148 * 2.032e9),
     ("gaudi3", None), ("mi300x", None), ("tpu-v5e", None)],
)  # fmt: skip
def test_exponentials_are_those_of_all_sms(name, rate):
    assert wb.gpu(name).exponential_rate == (rate and pytest.approx(rate, rel=1e-12))
    assert wb.gpu(name).model_copy(update={"boost_mhz": None}).exponential_rate is None
    capital = wb.gpu(name).model_copy(update={"architecture": wb.gpu(name).architecture.title()})
    assert capital.exponential_rate == wb.gpu(name).exponential_rate


def test_an_entry_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        wb.gpu("t4").name = "T5"


def test_a_rate_that_the_vendor_does_not_print():
    with pytest.raises(ValueError, match="t4 has no fp8 peak: its catalog entry lists fp16, fp32, fp64, int4, int8"):
        wb.gpu("t4").peak_flop_rate("fp8")
    with pytest.raises(ValueError, match="unknown dtype 'float16'. Did you mean 'fp16'"):
        wb.gpu("t4").peak_flop_rate("float16")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("bandwidth_gbs: 1000", "bandwidth_gbs: 1e3"), "memory.bandwidth_gbs = '1e3': Input should be a valid number"),
        (("bandwidth_gbs: 1000", "bandwidth_gbs: 0"), "memory.bandwidth_gbs = 0: Input should be greater than 0"),
        (("bandwidth_gbs: 1000", "bandwidth_gbs: -5"), "memory.bandwidth_gbs = -5: Input should be greater than 0"),
        (("bandwidth_gbs: 1000", "bandwidth_gbs: .nan"), "memory.bandwidth_gbs = nan: Input should be a finite number"),
        (("bandwidth_gbs: 1000", "bandwidth_gbs: .inf"), "memory.bandwidth_gbs = inf: "),
        (("{fp16: 100}", "{fp17: 100}"), "unknown dtype 'fp17'. Did you mean 'fp16'"),
        (("{fp16: 100}", "[100]"), r"dense_tflops = \[100\]: Input should be a valid dictionary"),
        (("name: Test\nvendor", "vendor"), "name: Field required"),
        (("confidence: unverified", "confidence: sure"), "confidence = 'sure': Input should be 'datasheet'"),
        (
            ("confidence:", "confidense:"),
            "unknown field 'confidense'. Did you mean 'confidence'|confidence: Field required",
        ),
        (("sources: {document: none}", "sources: {}"), "sources = {}: Dictionary should have at least 1 item"),
        (("name: Test", "name: [unclosed"), "line 2: not valid YAML"),
        ((GOOD, "just text"), "expected a mapping of fields, found str"),
        ((GOOD, ""), "expected a mapping of fields, found NoneType"),
    ],
)
def test_a_broken_file_names_itself_the_field_and_the_value(tmp_path, change, message):
    path = tmp_path / "broken.yaml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(ValueError, match=message) as error:
        load_entry(GPU, path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_good_file_is_good(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    assert load_entry(GPU, path).id == "mine"
    assert wb.roofline_grid(load_entry(GPU, path), "llama-7b").ridge_point.item() == 100


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"peak_tflops": -1}, "peak_tflops = -1"), ({"bandwidth_gbs": 0}, "bandwidth_gbs = 0"),
        ({"peak_tflops": "x"}, "peak_tflops = 'x'"), ({"bandwidth_gbs": [1]}, "bandwidth_gbs = .1."),
        ({"memory_gib": "x"}, "memory_gib = 'x'"), ({"memory_gib": float("nan")}, "memory_gib = nan"),
        ({"memory_gib": True}, "memory_gib = True"),
    ],
)  # fmt: skip
def test_an_override_is_checked_too(override, message):
    with pytest.raises(ValueError, match=f"override of t4: {message}: allowed are positive numbers up to 1e[+]15"):
        wb.gpu("t4").override(**override)
