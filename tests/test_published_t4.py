"""The T4 report (kshyp/varcas, profiles/roofline, 2026-02-11): its own records, and ours beside them by hand."""

import pytest

from workbench import forward_pass, roofline_grid
from workbench.published import t4_report

# static_analysis.json: phase, batch, tokens, then intensity [FLOP/byte], TFLOP/s and ms with the digits recorded
RECORDED = [
    ("prefill", 1, 64, "190", "60.8", None),
    ("prefill", 1, 128, "366.55", "65.0", "20.41"),
    ("prefill", 1, 512, "1210.94", "65.0", "82.41"),
    ("prefill", 4, 128, "1199.29", "65.0", "81.62"),
    ("prefill", 4, 512, "2802.84", "65.0", "329.66"),
    ("decode", 1, 512, "3.062", "0.980", "10.678"),
    ("decode", 1, 2048, "3.003", "0.961", "11.308"),
    ("decode", 4, 512, "11.566", "3.701", "11.308"),
    ("decode", 4, 2048, "9.825", "3.144", "13.824"),
]


@pytest.mark.parametrize(("phase", "batch", "tokens", "intensity", "tflops", "ms"), RECORDED)
def test_report_equals_its_records(phase, batch, tokens, intensity, tflops, ms):
    row = t4_report(phase, batch, tokens)
    for value, recorded in (
        (row["intensity"], intensity),
        (row["performance"] / 1e12, tflops),
        (row["time"] * 1e3, ms),
    ):
        if recorded is not None:
            digits = len(recorded.partition(".")[2])
            assert value == pytest.approx(float(recorded), abs=0.51 * 10**-digits)  # half a unit of the last digit


@pytest.mark.parametrize(
    ("phase", "batch", "tokens", "printed"),
    [("prefill", 1, 128, 6273), ("prefill", 1, 512, 6213), ("decode", 1, 512, 94), ("decode", 1, 2048, 88)],
)
def test_report_tokens_per_second(phase, batch, tokens, printed):
    assert t4_report(phase, batch, tokens)["tokens_per_second"] == pytest.approx(printed, abs=0.5)


def test_report_broadcasts_and_its_ridge_splits_prefill():
    row = t4_report("prefill", 1, [64, 128])
    assert (row["performance"] < 64.999e12).tolist() == [True, False]  # 203.125 FLOP/byte lies between
    assert row["intensity"][0] < 65e12 / 320e9 < row["intensity"][1]


# Ours, by hand ----------------------------------------------------------------------------------------------------

H, MLP, L, V, HEADS, D = 4096, 11008, 32, 32000, 32, 128
PEAK, BANDWIDTH = 65e12, 320e9
AWQ = 4 / 8 + (2 + 0.5) / 128  # byte: 4 bits, and an fp16 scale with a 4-bit zero point for 128 weights


def kernels(phase, batch, tokens, weight):
    """FLOPs, bytes and calls of every kernel of a pass, written out for Llama-2-7B."""
    new = tokens if phase == "prefill" else 1
    rows = batch * new
    scores = tokens * (tokens + 1) / 2 if phase == "prefill" else tokens  # of one head and sequence, causal

    def gemm(m, k, n, width):
        return 2 * m * k * n, 2 * m * (k + n) + width * k * n

    kv = 2 * H  # elements that a token adds per layer
    traffic = 8 * H + 2 * 2 * H + kv + 3 * MLP + 6 * H / L
    elementwise = rows * (5 * (2 + 1 / L) * H + 3 * 2 * H + 5 * MLP), rows * (2 * traffic + 2 * kv)
    attention = 4 * batch * HEADS * D * scores, 2 * (2 * rows * H + 2 * batch * tokens * H)
    layer = [gemm(rows, H, 3 * H, weight), gemm(rows, H, H, weight), gemm(rows, H, 2 * MLP, weight)]
    layer += [gemm(rows, MLP, H, weight), attention, elementwise]
    return [(*kernel, L) for kernel in layer] + [(*gemm(batch, H, V, 2), 1)]


@pytest.mark.parametrize(("model", "weight"), [("llama-2-7b", 2), ("llama-2-7b-awq", AWQ)])
@pytest.mark.parametrize(("phase", "batch", "tokens"), [row[:3] for row in RECORDED])
def test_ours(phase, batch, tokens, model, weight):
    ours = forward_pass(roofline_grid("t4", model, phase=phase, batch_size=batch, seq_len=tokens)).squeeze()
    hand = kernels(phase, batch, tokens, weight)
    assert float(ours.flops) == pytest.approx(sum(flops * calls for flops, _, calls in hand), rel=1e-12)
    assert float(ours.bytes) == pytest.approx(sum(moved * calls for _, moved, calls in hand), rel=1e-12)
    time = sum(calls * max(flops / PEAK, moved / BANDWIDTH) for flops, moved, calls in hand)
    assert float(ours.time) == pytest.approx(time, rel=1e-12)


def test_prefill_flops_of_one_prompt():
    linear = 2 * 128 * 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    attention = 4 * 32 * 32 * 128 * (128 * 129 / 2)
    lm_head = 2 * 4096 * 32000  # of the last token
    ours = forward_pass(roofline_grid("t4", "llama-2-7b", phase="prefill", seq_len=128)).squeeze()
    elementwise = 128 * 32 * (5 * (2 + 1 / 32) * 4096 + 3 * 8192 + 5 * 11008)
    assert float(ours.flops) == pytest.approx(linear + attention + lm_head + elementwise, rel=1e-12)
    assert elementwise / float(ours.flops) < 0.001


def test_report_leaves_out_a_fifth_of_the_linear_flops():
    # two MLP matrices for three, and logits for every token of the prompt: 4 h h + 2 h i for 4 h h + 3 h i
    share = (4 * H + 2 * MLP) / (4 * H + 3 * MLP)
    assert share == pytest.approx(0.777, abs=0.001)
    tokens = 1024
    counted = t4_report("prefill", 1, tokens)["flops"] - 2 * tokens * H * (V + L * tokens)
    assert counted == 2 * tokens * L * (4 * H * H + 2 * H * MLP)


def test_report_keeps_the_cache_in_4_bits():
    per_token = t4_report("decode", 1, 513)["bytes"] - t4_report("decode", 1, 512)["bytes"]
    assert per_token == 131_072
    ds = roofline_grid("t4", "llama-2-7b-awq", "attention", "decode", 1, [512, 513])
    assert float((ds.bytes * ds.calls).diff("seq_len").squeeze()) == 524_288  # fp16: 2 x 32 x 4096 x 2 bytes
