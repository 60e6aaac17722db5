"""One step of an engine: alone it is the grid's forward pass; mixed, weights are read once."""

import numpy as np
import pytest

import workbench as wb
from workbench.kernels import send_time
from workbench.operators import Step, decode
from workbench.serving import Replica, step, step_time
from workbench.serving.steps import model_computing, prefill_piece


def server(model="llama-3-8b", gpu="h100-sxm", **options):
    return Replica(gpu, model, **options)


@pytest.mark.parametrize("model", ["llama-3-8b", "mixtral-8x7b", "deepseek-v3", "gemma-2-9b", "gpt2"])
@pytest.mark.parametrize("time_model", ["ideal", "kernel"])
@pytest.mark.parametrize("tp", [1, 4])
def test_a_step_of_one_piece_is_the_forward_pass_of_the_grid(model, time_model, tp):
    b, s = np.array([[1.0], [64]]), np.array([100.0, 3000])
    for phase, piece in (("prefill", prefill_piece(b, s)), ("decode", decode(b, s))):
        grid = wb.roofline_grid("h100-sxm", model, None, phase, [1, 64], [100, 3000], tp=tp, time_model=time_model)
        ours = step_time(server(model, tp=tp, time_model=time_model), piece)
        np.testing.assert_allclose(ours, wb.forward_pass(grid).time.squeeze(), rtol=1e-12)


def test_a_mixed_step_reads_the_weights_once():
    whole, chunk, decodes = server(time_model="ideal"), prefill_piece(1, 256, 512), decode(32, 1000)
    mixed, alone, beside = (step(whole, *pieces) for pieces in ((chunk, decodes), (chunk,), (decodes,)))
    for name in ("qkv_proj", "down_proj"):
        assert mixed[name].flops == alone[name].flops + beside[name].flops
    h, i, layers = 4096, 14336, 32
    assert alone["down_proj"].bytes + beside["down_proj"].bytes - mixed["down_proj"].bytes == 2 * h * i * layers
    for values in ("flops", "bytes", "time"):
        both = getattr(alone["attention"], values) + getattr(beside["attention"], values)
        assert getattr(mixed["attention"], values) == pytest.approx(both)
    assert mixed["lm_head"].flops == 2 * 33 * h * 128256
    assert step_time(whole, chunk, decodes) < step_time(whole, chunk) + step_time(whole, decodes)


def test_chunks_add_up_to_the_prompt():
    chunks = [prefill_piece(1, 256, start) for start in range(0, 1024, 256)]
    done = sum(step(server(), chunk)["attention"].flops for chunk in chunks)
    assert done == step(server(), prefill_piece(1, 1024))["attention"].flops
    linear = sum(step(server(), chunk)["o_proj"].flops for chunk in chunks)
    assert linear == step(server(), prefill_piece(1, 1024))["o_proj"].flops


def test_pieces_without_work_take_no_time():
    for time_model in ("ideal", "kernel"):
        engine = server(time_model=time_model)
        with_none = step_time(engine, prefill_piece(np.array([1.0, 0]), np.array([128.0, 0])), decode(8, 500))
        assert with_none[0] == step_time(engine, prefill_piece(1, 128), decode(8, 500))
        assert with_none[1] == step_time(engine, decode(8, 500))


def test_a_server_of_ids_is_that_of_the_entries():
    assert server() == Replica(wb.gpu("h100-sxm"), wb.model("llama-3-8b"))


def test_overheads_of_steps_and_sequences():
    def added(*pieces, **options):
        silent = options | {"step_overhead": 0, "sequence_overhead": 0}
        return step_time(server(**options), *pieces) - step_time(server(**silent), *pieces)

    assert added(decode(8, 64), step_overhead=0.01) == pytest.approx(0.01)
    pieces = (prefill_piece(1, 100), prefill_piece(1, 0), decode(8, 64))
    assert added(*pieces, step_overhead=0.01, sequence_overhead=0.001) == pytest.approx(0.01 + 9 * 0.001)
    spread = {"model": "mixtral-8x7b", "ep": 8, "sequence_overhead": 0.001}
    assert added(decode(64, 64), **spread) == pytest.approx(8 * 0.001)  # each GPU has its own


def test_kernels_that_widen_their_weights():
    plain = server("llama-2-7b-awq", "t4")
    slow = server("llama-2-7b-awq", "t4", gemm_efficiency=0.5)
    before, after = step(plain, decode(1, 64)), step(slow, decode(1, 64))
    slower = {name: after[name].time / before[name].time for name in before}
    widened = {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}
    assert {name for name, ratio in slower.items() if ratio == 2} == widened
    assert {name for name, ratio in slower.items() if ratio == 1} == set(slower) - widened
    fp16 = step_time(server("llama-2-7b", "t4", gemm_efficiency=0.5), decode(1, 64))
    assert fp16 == step_time(server("llama-2-7b", "t4"), decode(1, 64))


def test_rows_of_lm_head_are_its_logits():
    def head(sequences, tokens=1, **options):
        narrow = server("llama-2-7b", "t4", lm_head_dtype="int8", **options)
        return float(step(narrow, prefill_piece(sequences, tokens))["lm_head"].time)

    assert head(48, gemm_rows=16) == pytest.approx(3 * head(16))
    assert head(48, 7, gemm_rows=16) == pytest.approx(3 * head(16))
    assert head(48, gemm_rows=48) == head(48)


def test_what_widening_costs_has_no_part_in_collectives():
    plain, slow = (server("llama-2-7b-awq", "t4", tp=2, gemm_efficiency=e) for e in (1, 0.5))
    before, after = step(plain, decode(1, 64)), step(slow, decode(1, 64))
    assert after["all_reduce"].time == before["all_reduce"].time


def test_launches_are_paid_by_every_call():
    eager, graphs = (step_time(server(launch_latency=t), decode(1, 64)) for t in (2e-5, 0))
    assert eager - graphs == pytest.approx(2e-5 * (6 * 32 + 1))  # six operators a layer, and lm_head


def test_a_pipeline_hands_over_between_its_stages():
    one, four = (step_time(server(pp=pp), decode(8, 500)) for pp in (1, 4))
    assert four - one == pytest.approx(3 * send_time("h100-sxm", bytes_=8 * 4096 * 2, gpus=4))


def test_experts_are_spread_and_everything_else_is_whole():
    # 64 sequences: 8 on each of 8 GPUs; each has 1/8 of the experts, which see the tokens of all
    spread, alone, own = (
        step(server("mixtral-8x7b", "h200-sxm", ep=ep), decode(b, 500)) for ep, b in ((8, 64), (1, 64), (1, 8))
    )
    assert spread["moe_down_proj"].flops == pytest.approx(alone["moe_down_proj"].flops / 8)
    assert spread["moe_down_proj"].bytes == pytest.approx(alone["moe_down_proj"].bytes / 8)
    for name in ("qkv_proj", "attention", "lm_head", "router"):
        assert spread[name].time == own[name].time, name
    exchanged = 8 * 2 * 4096 * 2  # own tokens x experts a token x h x fp16, out and back in each of 32 layers
    ideal = step(server("mixtral-8x7b", "h200-sxm", ep=8, time_model="ideal"), decode(64, 500))["all_to_all"]
    assert ideal.time == pytest.approx(64 * 7 / 8 * exchanged / 450e9)
    assert "all_to_all" not in alone


def test_a_model_computes_the_same_however_it_is_spread():
    one, eight = (model_computing(server(tp=tp), decode(8, 500)) for tp in (1, 8))
    assert one == eight


def test_a_step_grows_with_its_tokens_and_contexts():
    sizes = np.arange(1, 300)
    for pieces in (
        [decode(sizes, 500)],
        [decode(16, 100 * sizes)],
        [Step(1, sizes, 1000, 1000 - sizes), decode(4, 50)],
    ):
        assert (np.diff(step_time(server(time_model="ideal"), *pieces)) >= 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tp": 0}, "tp = 0: allowed are whole numbers from 1"),
        ({"pp": 1.5}, "pp = 1.5: allowed are whole numbers from 1"),
        ({"ep": True}, "ep = True: allowed are whole numbers from 1"),
        ({"pp": 64}, "pp = 64: llama-3-8b has 32 layers"),
        ({"ep": 2}, "ep = 2 does not divide the experts of llama-3-8b, which has no experts"),
        ({"model": "mixtral-8x7b", "ep": 3}, "ep = 3 does not divide the experts of mixtral-8x7b, which has 8 experts"),
        ({"model": "mixtral-8x7b", "ep": 2, "tp": 2}, "ep = 2 goes with tp = pp = 1"),
        ({"time_model": "fast"}, "unknown time_model 'fast'"),
        ({"gpu": "a100"}, "unknown GPU 'a100'"),
        ({"gpu": ["t4"]}, "unknown GPU"),
        ({"model": "llama"}, "unknown model 'llama'"),
        ({"step_overhead": -1}, "step_overhead = -1: allowed are seconds from 0 to 10"),
        ({"sequence_overhead": True}, "sequence_overhead = True: allowed are seconds from 0 to 10"),
        ({"launch_latency": float("nan")}, "launch_latency = nan: allowed are seconds from 0 to 1"),
        ({"gemm_efficiency": 0}, "gemm_efficiency = 0: allowed are numbers from 0.001 to 10"),
        ({"gemm_efficiency": "1"}, "gemm_efficiency = '1': allowed are numbers from 0.001 to 10"),
        ({"gemm_rows": 0}, "gemm_rows = 0: allowed are whole numbers from 1"),
        ({"gemm_rows": [16]}, r"gemm_rows = \[16\]: allowed are whole numbers from 1"),
        ({"dequantize_rows": 2.5}, "dequantize_rows = 2.5: allowed are whole numbers from 1"),
        ({"tp": None}, "tp = None: allowed are whole numbers from 1"),
        ({"gpu": "t4", "activation_dtype": "bf16"}, "t4 has no bf16 peak"),
        ({"kv_dtype": "awq"}, "unknown kv_dtype 'awq'"),
    ],
)
def test_a_careless_server_is_one_clear_line(options, message):
    with pytest.raises(ValueError, match=message):
        server(**options)
