"""The roofline charts of the Medusa paper (Cai et al. 2024, arXiv 2401.10774v3, figures 9 to 22)."""

import numpy as np
import pytest

from workbench import gpu, roofline_grid
from workbench.published import medusa_acceleration_rate, medusa_table5

BATCH = [1, 2, 4, 8, 16, 32, 64]
SEQ = [128, 256, 512, 1024, 2048, 4096, 8192]
CANDIDATES = [16, 32, 48, 64, 80, 96, 112]
GPUS = {"a100-80gb-pcie": (312e12, 1935e9), "rtx-a6000": (154.8e12, 768e9)}  # datasheets [FLOP/s], [byte/s]
MODELS = {  # h, i, n
    "llama-7b": (4096, 11008, 32),
    "llama-13b": (5120, 13824, 40),
    "llama-33b": (6656, 17920, 52),
}
D = 128
EXACT = 1e-14  # machine precision of a few products and sums


def table5(operator, phase, h, i, n, b, s, q):
    """FLOPs and elements of table 5, typed from the paper's rows."""
    if phase == "prefill":
        return {
            "q_proj": (2 * b * s * h**2, 2 * b * s * h + h**2),
            "qk": (2 * b * s**2 * n * D, 2 * b * s * n * D + b * n * s**2),
            "up_proj": (2 * b * s * h * i, b * s * (h + i) + h * i),
        }[operator]
    return {
        "q_proj": (2 * b * q * h**2, 2 * b * q * h + h**2),
        "qk": (2 * b * q * s * n * D, b * q * n * D + b * s * n * D + b * n * q * s),
        "up_proj": (2 * b * q * h * i, b * q * (h + i) + h * i),
    }[operator]


SAME = {"pv": "qk", "gate_proj": "up_proj", "down_proj": "up_proj", "k_proj": "q_proj", "v_proj": "q_proj"}
LABEL = {"q_proj": "qkv", "qk": "qk/pv", "up_proj": "up/gate/down"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("phase", "candidates"), [("prefill", None), ("decode", None), ("decode", [1, *CANDIDATES])], ids=str
)
def test_grid_is_table_5(model, phase, candidates):
    operators = ["q_proj", "k_proj", "v_proj", "qk", "pv", "up_proj", "gate_proj", "down_proj"]
    ds = roofline_grid(list(GPUS), model, operators, phase, BATCH, SEQ, candidates=candidates)
    h, i, n = MODELS[model]
    b, s = np.array(BATCH, float)[:, None, None], np.array(SEQ, float)[:, None]
    q = np.array(candidates or [1], float)
    for operator in operators:
        row = SAME.get(operator, operator)
        flops, elements = (np.broadcast_to(x, (7, 7, q.size)) for x in table5(row, phase, h, i, n, b, s, q))
        ours = ds.sel(model=model, operator=operator, phase=phase)
        np.testing.assert_allclose(ours.flops.values.reshape(flops.shape), flops, rtol=EXACT)
        np.testing.assert_allclose(ours.bytes.values.reshape(flops.shape), 2 * elements, rtol=EXACT)
        for card, (peak, bandwidth) in GPUS.items():
            roof = np.minimum(peak, flops / (2 * elements) * bandwidth)
            np.testing.assert_allclose(ours.performance.sel(gpu=card).values.reshape(flops.shape), roof, rtol=4 * EXACT)
        printed = medusa_table5(LABEL[row], phase, h=h, i=i, n=n, d=D, b=b, s=s, q=q)
        for ours_printed, expected in zip(printed, (flops, elements), strict=True):
            np.testing.assert_array_equal(np.broadcast_to(ours_printed, expected.shape), expected)


@pytest.mark.parametrize(
    ("operator", "phase", "low", "high"),
    [  # figure 9: table 5 over batch 1..64 and 128..8192 tokens
        ("qk", "prefill", 42.7, 124.1),
        ("q_proj", "prefill", 120.5, 2040),
        ("up_proj", "prefill", 122.7, 2968),
        ("q_proj", "decode", 1.0, 62.1),
        ("up_proj", "decode", 1.0, 62.7),
        ("qk", "decode", 0.985, 0.992),
    ],
)
def test_intensity_of_llama_7b(operator, phase, low, high):
    intensity = roofline_grid("a100-80gb-pcie", "llama-7b", operator, phase, BATCH, SEQ).intensity
    assert float(intensity.min()) == pytest.approx(low, rel=1e-3)
    assert float(intensity.max()) == pytest.approx(high, rel=1e-3)


@pytest.mark.parametrize(
    ("candidates", "low", "high"),
    [(16, 12.8, 14.2), (32, 21.3, 25.5), (48, 27.4, 34.8), (64, 32.0, 42.4), (80, 35.6, 48.9), (96, 38.4, 54.5),
     (112, 40.7, 59.3)],
)  # fmt: skip
def test_medusa_intensity_of_llama_33b(candidates, low, high):
    # figure 19, batch 16: q s d / (q d + s d + q s) at 128 and 8,192 tokens
    ds = roofline_grid("a100-80gb-pcie", "llama-33b", ["qk", "pv"], "decode", 16, SEQ, candidates=candidates)
    assert float(ds.intensity.min()) == pytest.approx(low, abs=0.05)
    assert float(ds.intensity.max()) == pytest.approx(high, abs=0.05)
    ends = [candidates * s * D / (candidates * D + s * D + candidates * s) for s in (128, 8192)]
    assert [float(ds.intensity.min()), float(ds.intensity.max())] == pytest.approx(ends, rel=EXACT)


def test_intensity_gain_of_64_candidates():
    # batch 16, 1,024 tokens: 64 x 1024 x 128 / (64 x 128 + 1024 x 128 + 64 x 1024) = 40.96 over 0.991
    ds = roofline_grid("a100-80gb-pcie", "llama-33b", "qk", "decode", 16, 1024, candidates=[1, 64])
    plain, medusa = ds.intensity.values.ravel()
    assert medusa == pytest.approx(40.96, rel=1e-12)
    assert plain == pytest.approx(1024 * 128 / (128 + 1024 * 128 + 1024), rel=1e-12)
    assert medusa / plain == pytest.approx(41.3, abs=0.05)
    assert round(medusa / plain) == 41  # the paper's text


def test_attention_of_decoding_never_passes_its_limit():
    # for endless sequences q d / (q + d): 59.7 FLOP/byte with 112 candidates
    ds = roofline_grid("a100-80gb-pcie", "llama-33b", "qk", "decode", BATCH, [*SEQ, 10**9], candidates=[1, *CANDIDATES])
    limit = ds.candidates * D / (ds.candidates + D)
    assert (ds.intensity <= limit).all()
    assert float(ds.intensity.max()) == pytest.approx(112 * 128 / 240, rel=1e-6)
    assert not ds.bound.any()


@pytest.mark.parametrize("operator", ["up_proj", "gate_proj", "down_proj"])
def test_rows_at_the_ridge(operator):
    # figure 20: memory-bound at 128 rows, compute-bound at 256
    ds = roofline_grid("a100-80gb-pcie", "llama-33b", operator, "decode", [1, 2, 4, 8], 1024, candidates=[16, 32, 64])
    rows = (ds.batch_size * ds.candidates).broadcast_like(ds.bound)
    assert set(ds.bound.values[rows.values <= 128]) == {0}
    assert set(ds.bound.values[rows.values >= 256]) == {1}
    # r h i / (r (h + i) + h i) = ridge, solved for r
    h, i, _ = MODELS["llama-33b"]
    ridge = 312e12 / 1935e9
    crossing = ridge * h * i / (h * i - ridge * (h + i))
    below, above = int(crossing), int(crossing) + 1
    ends = roofline_grid("a100-80gb-pcie", "llama-33b", operator, "decode", [below, above], 1024)
    assert ends.bound.values.ravel().tolist() == [0, 1]


@pytest.mark.parametrize(("card", "ridge"), [("a100-80gb-pcie", 161), ("a40", 215)])
def test_ridge_points_of_the_charts(card, ridge):
    assert gpu(card).ridge_point() == pytest.approx(ridge, abs=0.5)


def test_ridge_point_of_the_a6000():
    assert gpu("rtx-a6000").ridge_point() == pytest.approx(154.8e12 / 768e9)
    assert gpu("rtx-a6000").override(peak_tflops=181).ridge_point() == pytest.approx(235.7, abs=0.05)


@pytest.mark.parametrize(
    ("candidates", "read_off"),
    [(1, 1.0), (16, 2.4), (32, 2.7), (48, 2.9), (64, 3.05), (80, 3.15), (96, 3.25), (112, 3.3)],
)
def test_acceleration_rate_of_figure_21(candidates, read_off):
    assert medusa_acceleration_rate(candidates) == pytest.approx(read_off, rel=0.05)  # read off a linear axis
