"""The Medusa paper and the transcriptions of its figures: what is said of most points, of shapes and of orders.

Expected values are from closed forms of table 5: intensity of a product of m rows with a matrix h x i is
m h i / (m (h + i) + h i), of qk/pv over s tokens of heads of size d with q rows a sequence q s d / (q d + s d + q s).
"""

import numpy as np
import pytest

from workbench import audit, grid
from workbench.audit.medusa import MEDUSA_OPERATORS
from workbench.audit.recompute import QUANTITIES
from workbench.published import medusa_table5

BATCHES, LENGTHS = 2 ** np.arange(7), 2 ** np.arange(7, 14)
ROWS = np.multiply.outer(BATCHES, LENGTHS)  # of prefill
A100, LLAMA_7B = "a100-80gb-pcie", "llama-7b"


def linear(rows, h, i):
    return rows * h * i / (rows * (h + i) + h * i)


def attention(q, s, d=128):
    return q * s * d / (q * d + s * d + q * s)


@pytest.fixture(scope="module")
def table(audited):
    return audited.set_index("id")


def compute(quantity, **inputs):
    return QUANTITIES[quantity](**inputs).ours


# Most points ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "share", "verdict"),
    [
        ("medusa-fig09-qkv-init-cluster", 10 / 49, "wrong as transcribed"),
        ("medusa-fig09-up-init-cluster", 39 / 49, "reproduces"),
        ("medusa-fig09-qkv-init-compute-bound", 48 / 49, "reproduces"),
        ("medusa-fig09-up-init-compute-bound", 48 / 49, "reproduces"),
        ("medusa-fig09-qkpv-init-compute-bound", 0, "wrong as transcribed"),
        ("medusa-fig09-init-compute-bound", 96 / 147, "reproduces"),
        ("medusa-fig09-ar-memory-bound", 1, "reproduces"),
        ("medusa-fig16-compute-bound-share", 94 / 294, "wrong as transcribed"),
        ("medusa-fig16-qkpv-memory-bound", 1, "reproduces"),
        ("medusa-fig16-lower-left", 1 / 2, "wrong as transcribed"),
    ],
)
def test_most_is_a_share_of_the_settings(table, claim, share, verdict):
    assert table.loc[claim].ours == pytest.approx(share, abs=1e-12)
    assert table.loc[claim].verdict == verdict


def test_shares_by_hand():
    qkv, up = linear(ROWS, 4096, 4096), linear(ROWS, 4096, 11008)
    for operator, intensity, limits in (("qkv", qkv, (100, 1000)), ("up/gate/down", up, (1000, 3000))):
        inside = np.mean((intensity >= limits[0]) & (intensity <= limits[1]))
        series = [(operator, "prefill")]
        assert compute("medusa_share", gpu_id=A100, model_id=LLAMA_7B, series=series, intensity=limits) == inside


def test_502_of_784_matmuls_of_figure_16_are_memory_bound(table):
    given = ("rtx-a6000", "llama-13b", "unfused", ["prefill", "decode"], BATCHES, LENGTHS)
    matmuls = [name for names in MEDUSA_OPERATORS.values() for name in names]
    matmuls += ["k_proj", "v_proj"]  # of the label qkv
    bound = grid.with_roof(grid.roofline_grid(*given), 181).bound.sel(operator=matmuls)
    found = f"{int((bound == 0).sum())} of {bound.size}"
    assert found == "502 of 784"
    assert found in table.loc["medusa-fig16-compute-bound-share"].reason


def test_the_median_of_the_init_points(table):
    operators = {"qkv": "q_proj", "up/gate/down": "up_proj", "qk/pv": "qk"}
    times = {"time_model": "kernel", "launch_latency": 26e-6}
    ds = grid.roofline_grid(A100, LLAMA_7B, list(operators.values()), "prefill", BATCHES, LENGTHS, **times)
    ranked = np.sort(ds.performance.values.ravel())
    assert ranked.size == 147
    assert table.loc["medusa-fig09-init-full-peak"].ours == pytest.approx(ranked[73])


# Shapes and orders ------------------------------------------------------------------------------------------------


def test_what_a_batch_and_a_length_do_to_prefill_attention():
    given = {"gpu_id": A100, "model_id": LLAMA_7B, "operator": "qk/pv", "phase": "prefill"}
    assert compute("medusa_growth", what="intensity", along="batch_size", **given) == 1
    low, high = compute("medusa_growth", what="intensity", along="seq_len", **given)
    steps = attention(LENGTHS, LENGTHS)[1:] / attention(LENGTHS, LENGTHS)[:-1]
    assert (low, high) == pytest.approx((steps.min(), steps.max()))
    gain = [
        compute("medusa_growth", what="performance", along="batch_size", **given, seq_len=[s], whole=True)
        for s in (128, 8192)
    ]
    assert gain == [pytest.approx(11.04, rel=1e-3), pytest.approx(1.003, rel=1e-3)]


def test_growth_of_candidates():
    given = {"gpu_id": A100, "model_id": "llama-33b", "operator": "qk/pv", "phase": "decode", "batch_size": [16]}
    grown = compute(
        "medusa_growth", what="intensity", along="candidates", candidates=[1, 112], seq_len=[8192], whole=True, **given
    )
    assert grown == pytest.approx(attention(112, 8192) / attention(1, 8192))


def test_ratios_of_series():
    given = {"what": "intensity", "gpu_id": "rtx-a6000", "model_id": "llama-13b", "to": ("qkv", "prefill")}
    best = compute("medusa_ratio", of=("qkv", "decode"), best=True, **given)
    assert best == pytest.approx(linear(64, 5120, 5120) / linear(ROWS.max(), 5120, 5120))
    each = linear(BATCHES[:, None], 5120, 5120) / linear(ROWS, 5120, 5120)
    assert compute("medusa_ratio", of=("qkv", "decode"), **given) == pytest.approx((each.min(), each.max()))


def test_the_slope_of_what_grows_in_proportion_is_1():
    for operator in ("qkv", "up/gate/down"):
        slope = compute("medusa_slope", gpu_id=A100, model_id=LLAMA_7B, operator=operator, phase="decode")
        assert slope == pytest.approx(1, abs=0.01)


def test_fractions_of_the_roof_and_of_the_peak():
    given = {"gpu_id": A100, "model_id": LLAMA_7B, "operator": "qkv", "phase": "decode", "batch_size": [64]}
    roof, peak = (compute("medusa_fraction", of=of, **given) for of in ("roof", "peak"))
    assert peak / roof == pytest.approx(linear(64, 4096, 4096) * 1935e9 / 312e12)
    of_181 = compute("medusa_fraction", of="peak", peak_tflops=181, **given | {"gpu_id": "rtx-a6000"})
    assert of_181 / compute("medusa_fraction", of="peak", **given | {"gpu_id": "rtx-a6000"}) == pytest.approx(
        154.8 / 181, rel=1e-3
    )


def test_the_highest_performance_alone():
    given = {"gpu_id": A100, "model_id": LLAMA_7B, "operator": "qkv", "phase": "prefill"}
    assert compute("medusa_performance", best=True, **given) == compute("medusa_performance", **given)[1]


# Figure 18 or 19, table 5, the paper ------------------------------------------------------------------------------


def test_the_table_fits_figure_19_by_intensity_and_figure_18_by_performance(table):
    rows = ["ar", *(f"q{q}" for q in range(16, 113, 16))]
    fits = {
        (figure, what): sum(table.loc[f"medusa-fig{figure}-{row}-{what}"].verdict == "reproduces" for row in rows)
        for figure in (18, 19)
        for what in ("intensity", "performance")
    }
    assert fits == {
        (18, "intensity"): 6, (18, "performance"): 5, (19, "intensity"): 8, (19, "performance"): 1,
    }  # fmt: skip
    for q in range(16, 113, 16):
        assert table.loc[f"medusa-fig19-q{q}-intensity"].ours == pytest.approx(attention(q, 1024))


def test_every_number_of_the_transcription_is_judged_under_both_figures():
    read = audit.sources()["medusa-fig18-transcribed"].sentences
    for line in (36, 40, 41, *range(46, 54)):
        named = {name for sentence in read if line in sentence.numbers for name in sentence.claims}
        as_18 = {name for name in named if name.startswith("medusa-fig18")}
        assert named - as_18 == {name.replace("fig18", "fig19") for name in as_18}, line
    ranges = {figure: audit.printed_ranges(figure) for figure in ("medusa-fig18", "medusa-fig19")}
    assert len(ranges["medusa-fig19"]) == 8
    assert ranges["medusa-fig19"].equals(ranges["medusa-fig18"])


def test_a_plateau_above_128_begins_above_it():
    plateau = next(c for c in audit.sources()["medusa-fig15-transcribed"].claims if c.id == "medusa-fig15-plateau")
    begins = linear(plateau.inputs["batch_size"][0] * plateau.inputs["seq_len"][0], 4096, 4096)
    assert 128 < begins == pytest.approx(228, abs=0.5)


def test_one_number_is_not_judged_by_two_tolerances(table):
    low, end = table.loc["medusa-fig18-q16-performance"], table.loc["medusa-fig18-prose-q16-performance"]
    assert (low.published[0], low.within, low.ours[0]) == (end.published, end.within, end.ours)
    assert low.verdict == end.verdict == "reproduces"


def test_table_5_has_nine_rows_of_two_formulas(table):
    rows = table[table.index.str.startswith("medusa-table5") & (table.quantity == "medusa_table")]
    assert len(rows) == 18
    assert (rows.verdict == "reproduces").all()
    assert (rows.published == 1).all()  # a formula, which the table prints without a number
    assert (rows.ours == 1).all()
    given = {"phase": "decode", "model_id": LLAMA_7B, "batch_size": 16, "seq_len": 1024, "candidates": 64}
    assert medusa_table5("qkv", "decode", h=4096, i=11008, n=32, d=128, b=16, s=1024, q=64) == (34359738368, 25165824)
    assert compute("medusa_table", what="flops", operator="qkv", **given) == 1


def test_where_the_ridge_points_of_the_charts_are_from(table):
    for figure in (10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20):
        row = table.loc[f"medusa-fig{figure}-ridge"]
        assert "bears no number" in row["where"]
        assert "transcri" in row.reason or "printed ceilings" in row.reason
        assert audit.deviation(next_claim(row.name), row.source_formula) == pytest.approx(0, abs=0.0032)


def next_claim(name):
    return next(claim for claim in audit.sources()["medusa"].claims if claim.id == name)


@pytest.mark.parametrize(
    ("quantity", "inputs", "message"),
    [
        ("medusa_fraction", {"of": "floor", "operator": "qkv", "phase": "decode"}, "unknown ceiling 'floor'"),
        ("medusa_ratio", {"what": "speed", "of": ("qkv", "decode"), "to": ("qkv", "prefill")}, "unknown quantity 'spe"),
        ("medusa_growth", {"what": "speed", "along": "seq_len", "operator": "qkv", "phase": "decode"}, "quantity 'spe"),
        ("medusa_growth", {"what": "intensity", "along": "length", "operator": "qkv", "phase": "decode"},
         "unknown dimension 'length'"),
    ],
)  # fmt: skip
def test_bad_inputs(quantity, inputs, message):
    with pytest.raises(ValueError, match=message):
        QUANTITIES[quantity](gpu_id=A100, model_id=LLAMA_7B, **inputs)


def test_an_unknown_column_of_table_5():
    with pytest.raises(ValueError, match=r"unknown column 'flop'\. Did you mean 'flops'"):
        QUANTITIES["medusa_table"]("flop", "qkv", "decode", LLAMA_7B, 1, 128)
