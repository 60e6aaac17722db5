"""The GPU catalog: every file loads, numbers are plausible, and a broken file says what is wrong with it."""

from math import log2
from pathlib import Path

import pandas as pd
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


#: Entries that a rule is not for, and why.
CUT = {"h20-96gb", "h20-141gb"}  # their matrix units run at less than a power of two in a clock, for export
CLOCKED_DOWN = {
    "b200-sxm",
    "b300-sxm",
    "gb10",
    "h100-nvl",
    "h200-nvl",
    "h800-pcie",
}  # peaks printed for an unprinted clock
GEFORCE = {name for name in wb.gpus() if "GeForce" in wb.gpu(name).name}
ODD_FORMATS = {
    ("b300-sxm", "fp4"), ("gb300", "fp4"),  # one and a half times what the format has elsewhere
    ("b300-sxm", "int8"), ("gb300", "int8"),  # cut
    ("trainium3", "fp8"), ("trainium3", "fp4"),  # 3.75 times, as AWS prints them
}  # fmt: skip
#: Memory that programs are to leave to the CPU: Metal's advice.
ADVISED = {"apple-m4-max", "apple-m3-ultra"}


@pytest.mark.parametrize("name", wb.gpus())
def test_rates_of_formats_are_powers_of_two_of_each_other(name):
    """A digit too many, or a sparse rate beside dense ones, is none; GeForce halves fp16 and fp8 alone."""
    rates = wb.gpu(name).dense_tflops
    half = rates.get("fp16", rates.get("bf16"))
    assert rates.get("bf16", half) == half
    for dtype in {"fp8", "fp4", "int8", "int4", "tf32"} & rates.keys():
        if (name, dtype) not in ODD_FORMATS:
            ratio = rates[dtype] / half
            assert 0.47 <= ratio <= 8.05
            assert ratio == pytest.approx(2 ** round(log2(ratio)), rel=0.03), dtype
    limit = 4.05 if name in GEFORCE else 3.8 if name == "trainium3" else 2.05
    assert max(rates.get(dtype, half) for dtype in ("fp8", "int8")) <= limit * half
    accumulated = wb.gpu(name).fp16_accumulate_tflops
    assert (accumulated is not None) == (name in GEFORCE)
    assert accumulated is None or accumulated == pytest.approx(2 * half, rel=0.01)


@pytest.mark.parametrize("name", wb.gpus())
def test_peaks_are_of_the_sms_and_the_clock(name):
    """FLOPs of an SM in a clock: a power of two of its matrix units; 64 or 128 lanes of fp32, twice each."""
    card = wb.gpu(name)
    assert 30 <= card.peak_16_bit / card.bandwidth <= 950  # [FLOP/byte]
    if card.sm_count is None or card.boost_mhz is None:
        return
    a_clock = card.peak_16_bit / (1e6 * card.sm_count * (card.tensor_clock_mhz or card.boost_mhz))
    off = 0.14 if name in CLOCKED_DOWN else 0.07 if name in CUT else 0.035
    assert a_clock == pytest.approx(2 ** round(log2(a_clock)), rel=off)
    lanes = 1e6 * card.dense_tflops["fp32"] / (2 * card.sm_count * card.boost_mhz)
    assert min(abs(lanes / n - 1) for n in (64, 128)) <= (0.12 if name in CUT else 0.03)
    assert 2 <= card.bandwidth / (1e6 * card.sm_count * card.boost_mhz) <= 27  # [byte] of an SM in a clock


@pytest.mark.parametrize("name", wb.gpus())
def test_what_surrounds_the_peaks_is_plausible(name):
    card = wb.gpu(name)
    assert 2017 <= card.year <= 2026
    assert 10 <= card.memory.capacity_gb <= 512
    if card.tdp_w is not None:
        assert 0.4e-12 <= card.tdp_w / card.peak_16_bit <= 7e-12  # [J] a FLOP
    if card.sm_count is not None:
        assert 16 <= card.sm_count <= 304
        assert card.boost_mhz is None or 1100 <= card.boost_mhz <= 2700
        assert card.l2_mb is None or 0.06 <= card.l2_mb / card.sm_count <= 1.7
    if card.link and card.link.gbs_per_direction:
        assert 25 <= card.link.gbs_per_direction <= 1280
        assert card.link.gbs_per_direction < card.memory.bandwidth_gbs


@pytest.mark.parametrize("name", wb.gpus())
def test_a_driver_reports_no_more_than_is_there(name):
    """Vendors' GB are 10^9 bytes or 2^30; drivers keep up to 2 %, ECC and Metal more. 95 GB of TPU v5p are rounded."""
    memory = wb.gpu(name).memory
    if memory.reported_gib is not None:
        share = 2**30 * memory.reported_gib / (1e9 * memory.capacity_gb)
        assert (0.9 if name in ADVISED else 0.98) < share < (1.083 if name == "tpu-v5p" else 1.075)


def test_a_wrong_digit_would_be_seen():
    """Of each number that the rules are for: ten times as much, a tenth, and twice as much for sparse peaks."""
    card = wb.gpu("rtx-5080")
    spoiled = {
        test_rates_of_formats_are_powers_of_two_of_each_other: {"dense_tflops": {**card.dense_tflops, "fp8": 652.1}},
        test_peaks_are_of_the_sms_and_the_clock: {"sm_count": 48},
        test_what_surrounds_the_peaks_is_plausible: {"tdp_w": 36.0},
        test_a_driver_reports_no_more_than_is_there: {"memory": card.memory.model_copy(update={"reported_gib": 17.2})},
    }
    for rule, change in spoiled.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wb, "gpu", lambda _, change=change: card.model_copy(update=change))
            with pytest.raises(AssertionError):
                rule("rtx-5080")


def test_there_are_69_accelerators_in_70_entries():
    assert len(wb.gpus()) == 70  # the V100 PCIe comes with 16 GB and with 32 GB
    text = (Path(__file__).parents[1] / "README.md").read_text()
    assert f"The catalog has {len(wb.gpus())} accelerators" in text


def test_the_table_that_one_chooses_by():
    table = wb.tables.gpu_numbers()
    assert table.index.tolist() == wb.gpus()
    row = table.loc["rtx-pro-6000-server"]
    assert row["name"] == "NVIDIA RTX PRO 6000 Blackwell Server Edition 96GB"
    assert (row["16 bit [TFLOP/s]"], row["fp8 [TFLOP/s]"], row["fp4 [TFLOP/s]"], row["int8 [TFLOP/s]"]) == (
        *(480, 960, 1920, 960),
    )  # fmt: skip
    assert (row["bandwidth [GB/s]"], row["memory [GB]"], row["reported [GiB]"], row["power [W]"]) == (
        *(1597, 96, 94.97, 600),
    )  # fmt: skip
    assert (table["link [GB/s]"]["gb300"], table["joins [1]"]["gb300"]) == (900, 72)
    assert table.loc["tpu-v5e", ["fp8 [TFLOP/s]", "power [W]"]].isna().all()
    assert table["16 bit [TFLOP/s]"]["tpu-v5e"] == 197  # bf16
    units = [name for name in table if name.endswith("]")]
    assert all(pd.api.types.is_float_dtype(table[name]) for name in units)


@pytest.mark.parametrize(
    ("name", "fp16", "bandwidth", "memory"),  # printed by the sources that the entries name
    [("rtx-5080", 112.6, 960, 16), ("rtx-4080", 97.5, 716.8, 16), ("rtx-3080", 59.5, 760, 10), ("l20", 119.5, 864, 48),
     ("rtx-3060", 25.5, 360, 12), ("mi350x", 2306.9, 8000, 288), ("arc-pro-b60", 98.3, 456, 24),
     ("dgx-spark", 125, 273, 128), ("jetson-thor", 258.75, 273, 128), ("tpu7x", 2307, 7380, 192),
     ("trn2", 667, 2900, 96), ("trn3", 671, 4900, 144), ("m4-max", 18.03, 546, 128), ("m3-ultra", 28.4, 819, 512),
     ("mi308x", 204, 5300, 192),
     ("rtx-5070-ti", 87.9, 896, 16), ("rtx-3090-ti", 80, 1008, 24), ("rtx-pro-6000-maxq", 438.9, 1792, 96),
     ("rx-7900-xtx", 122.8, 960, 24)],
)  # fmt: skip
def test_cards_that_people_serve_on(name, fp16, bandwidth, memory):
    card = wb.gpu(name)
    assert (card.peak_16_bit, card.bandwidth) == (pytest.approx(1e12 * fp16), pytest.approx(1e9 * bandwidth))
    assert card.memory.capacity_gb == memory


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
     ("gb10", 16 * 48 * 2.418e9), ("jetson-agx-thor", 16 * 20 * 1.575e9), ("gaudi3", None), ("mi300x", None),
     ("tpu-v5e", None), ("apple-m4-max", None), ("arc-pro-b60", None), ("trainium3", None)],
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
