"""One step of an engine: alone it is the grid's forward pass; mixed, weights are read once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import models, servers

import workbench as wb
from workbench.kernels import Formats, send_time
from workbench.operators import decode, prefill
from workbench.servers.steps import model_computing, prefill_piece
from workbench.serving import Replica, step, step_time


def server(model="llama-3-8b", gpu="h100-sxm", **options):
    return Replica(gpu, model, **options)


@pytest.mark.parametrize("model", ["llama-3-8b", "mixtral-8x7b", "deepseek-v3", "gemma-2-9b", "gpt2"])
@pytest.mark.parametrize("time_model", ["ideal", "kernel"])
@pytest.mark.parametrize("tp", [1, 4])
def test_a_step_of_one_piece_is_the_forward_pass_of_the_grid(model, time_model, tp):
    b, s = np.array([[1.0], [64]]), np.array([100.0, 3000])
    for phase, piece in (("prefill", prefill_piece(b, s)), ("decode", decode(b, s))):
        grid = wb.roofline_grid("h100-sxm", model, None, phase, [1, 64], [100, 3000], tp=tp, time_model=time_model)
        ours = step_time(server(model, tp=tp, time_model=time_model, engine=None, expert_spread=0), piece)
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
    assert head(33, gemm_rows=16) == pytest.approx(3 * head(16))  # the last row alone widens everything, too
    assert head(48, 7, gemm_rows=16) == pytest.approx(3 * head(16))
    assert head(48, gemm_rows=48) == head(48)


def test_what_widening_costs_has_no_part_in_collectives():
    plain, slow = (server("llama-2-7b-awq", "t4", tp=2, gemm_efficiency=e) for e in (1, 0.5))
    before, after = step(plain, decode(1, 64)), step(slow, decode(1, 64))
    assert after["all_reduce"].time == before["all_reduce"].time


def test_launches_are_paid_by_every_call():
    eager, graphs = (step_time(server(launch_latency=t), decode(1, 64)) for t in (2e-5, 0))
    assert eager - graphs == pytest.approx(2e-5 * (6 * 32 + 1))  # six operators a layer, and lm_head


def test_what_passes_between_products_has_16_bits_in_every_format():
    def works(activations, **options):
        formats = {"weight_dtype": "bf16", "kv_dtype": "bf16", "activation_dtype": activations}
        return step(server("mixtral-8x7b", "h200-sxm", **formats, **options), decode(8, 500))

    narrow, wide = works("fp8", tp=2), works("bf16", tp=2)
    for name in ("router", "elementwise", "all_reduce"):
        assert (narrow[name].time, narrow[name].bytes) == (wide[name].time, wide[name].bytes), name
    assert narrow["router"].computing == wide["router"].computing
    # two a layer, which read and write a hidden state of every token
    assert narrow["all_reduce"].bytes == 2 * 32 * 2 * 8 * 4096 * 2
    # to the 2 (1 - 1/2 1/2) = 1.5 GPUs of a token's two experts in 1 byte, and back in 2
    assert works("fp8", ep=2)["all_to_all"].bytes == 32 * 2 * 4 * 1.5 * 4096 * (1 + 2)


@pytest.mark.parametrize("activations", ["fp16", "fp8"])
def test_a_pipeline_hands_over_between_its_stages(activations):
    one, four = (step_time(server(pp=pp, activation_dtype=activations), decode(8, 500)) for pp in (1, 4))
    assert four - one == pytest.approx(3 * send_time("h100-sxm", bytes_=8 * 4096 * 2, gpus=4))


def test_experts_are_spread_and_everything_else_is_whole():
    # 64 sequences: 8 on each of 8 GPUs; each has 1/8 of the experts, which see the tokens of all
    spread, alone, own = (
        step(server("mixtral-8x7b", "h200-sxm", ep=ep, expert_spread=0), decode(b, 500))
        for ep, b in ((8, 64), (1, 64), (1, 8))
    )
    # of 128 rows 16 a GPU, with a variance of 16 x 7/8 x 6/7 = 12; the busiest of 8 has sqrt(2) deviations more
    assert spread["moe_down_proj"].flops == pytest.approx(alone["moe_down_proj"].flops / 128 * (16 + np.sqrt(24)))
    assert spread["moe_down_proj"].bytes > alone["moe_down_proj"].bytes / 8
    for name in ("qkv_proj", "attention", "lm_head", "router"):
        assert spread[name].time == own[name].time, name
    exchanged = (
        8 * 8 * (1 - (7 / 8) ** 2) * 4096 * 2
    )  # own tokens x GPUs of their experts x h x fp16, out and back in each of 32 layers
    ideal = step(server("mixtral-8x7b", "h200-sxm", ep=8, time_model="ideal"), decode(64, 500))["all_to_all"]
    assert ideal.time == pytest.approx(64 * 7 / 8 * exchanged / 450e9)
    assert "all_to_all" not in alone
    nine, two = (
        step(server("mixtral-8x7b", "h200-sxm", ep=ep), decode(b, 500))["qkv_proj"].flops for ep, b in ((8, 9), (1, 2))
    )
    assert nine == two  # of 9 sequences one GPU has 2


def test_a_model_computes_the_same_however_it_is_spread():
    one, eight = (model_computing(server(tp=tp), decode(8, 500)) for tp in (1, 8))
    assert one == eight


def test_what_limits_an_operator_by_hand():
    # an H100 computes 295 FLOP in the time it moves a byte. One token reads 2 bytes of weights for 2 FLOP each; 4,096
    # tokens compute 4,096 times as much with the same weights. A collective waits for its link
    for piece, limit in ((decode(1, 500), 0), (prefill(1, 4096), 1)):
        works = step(server(tp=2, time_model="ideal"), piece)
        assert works["down_proj"].bound == limit
        assert works["all_reduce"].bound == 2
    # 64 sequences over 4,000 tokens: each byte of the cache is read for one query alone, the weights for 64
    assert step(server(), decode(64, 4000))["attention"].bound == 0


def test_the_piece_that_takes_longest_limits_the_attention():
    # of a prompt of 8,192 tokens and one token beside it, the prompt; of 16 tokens and 64 sequences, these
    assert step(server(), prefill_piece(1, 8192), decode(1, 500))["attention"].bound == 1
    assert step(server(), decode(1, 500), prefill_piece(1, 8192))["attention"].bound == 1
    assert step(server(), prefill_piece(1, 8192), decode(512, 8000))["attention"].bound == 0


# What must hold everywhere ----------------------------------------------------------------------------------------

#: Floats, as an estimate has them: products of whole numbers could leave 64 bits [1].
BATCHES, LENGTHS, CANDIDATES = (st.integers(1, most).map(float) for most in (600, 50_000, 64))
#: Latent attention chooses its kernel by FLOPs, so that a longer context may take less time.
DENSE = models(latent=False)
PIECES = {
    "prefill": lambda b, s, q: prefill(b, s),
    "decode": lambda b, s, q: decode(b, s),
    "verification": lambda b, s, q: decode(b, s, candidates=q),
}
KINDS = st.sampled_from(list(PIECES))
ROUNDING = 1e-12


@pytest.mark.parametrize("kind", PIECES)
@given(server=servers(), b=BATCHES, s=LENGTHS, q=CANDIDATES)
def test_the_operators_of_a_step_are_those_of_the_grid(kind, server, b, s, q):
    card, model, options = server
    phase, candidates = ("prefill", None) if kind == "prefill" else ("decode", int(q) if kind == "verification" else 1)
    ds = wb.roofline_grid(card, model, None, phase, int(b), int(s), candidates=candidates, **options).squeeze(drop=True)
    works = step(Replica(card, model, engine=None, expert_spread=0, **options), PIECES[kind](b, s, q))
    assert set(works) == set(ds.operator.values)
    for values in ("flops", "bytes", "time"):  # the same sums, if in another order
        expected = dict(zip(ds.operator.values, (ds[values] * ds.calls).values, strict=True))
        assert {name: getattr(work, values) for name, work in works.items()} == pytest.approx(
            expected, rel=ROUNDING, abs=0
        )
    at_the_ridge = abs(ds.intensity / ds.ridge_point - 1) < ROUNDING
    for name, limit, either in zip(ds.operator.values, ds.bound.values, at_the_ridge.values, strict=True):
        assert works[name].bound == limit or either, name


@given(KINDS, servers(), BATCHES, LENGTHS, CANDIDATES)
def test_flops_are_linear_in_the_batch(kind, server, b, s, q):
    card, model, options = server
    one, many = (step(Replica(card, model, **options), PIECES[kind](n, s, q)) for n in (1.0, b))
    for name in one:  # a share of experts is 1 - (1 - p)^T, which few of many round off
        assert many[name].flops == pytest.approx(b * one[name].flops, rel=1e-9), name
        assert one[name].bytes <= many[name].bytes <= b * one[name].bytes * (1 + 1e-9), name


@given(KINDS, servers(DENSE), BATCHES, LENGTHS, CANDIDATES)
def test_a_step_grows_with_its_sequences_tokens_and_contexts(kind, server, b, s, q):
    card, model, options = server
    replica, piece = Replica(card, model, **options), PIECES[kind]
    time = step_time(replica, piece(b, s, q))
    for more in ((b + 1, s, q), (b, s + 1, q), (b, s, q + 1)):
        assert step_time(replica, piece(*more)) >= time * (1 - ROUNDING)
    none = step_time(replica, piece(b, s, q), decode(0.0, s))
    assert none == pytest.approx(time, rel=ROUNDING)


@given(KINDS, servers(), BATCHES, LENGTHS, CANDIDATES)
def test_no_operator_is_faster_than_its_roof(kind, server, b, s, q):
    card, model, options = server
    formats = Formats(*(options[f"{part}_dtype"] for part in ("weight", "activation", "kv", "lm_head"))).of(model)
    for name, work in step(Replica(card, model, **options), PIECES[kind](b, s, q)).items():
        roof = work.flops / card.peak_flop_rate(formats.computes_in(name)), work.bytes / card.bandwidth
        assert work.time >= max(roof) * (1 - ROUNDING), name
        if options["time_model"] == "ideal" and not options["launch_latency"] and name != "all_reduce":
            assert work.time == pytest.approx(max(roof), rel=ROUNDING), name
            assert work.bound == (roof[0] >= roof[1]) or roof[0] == pytest.approx(roof[1], rel=ROUNDING), name


@given(
    servers(time_model="ideal"), st.lists(st.tuples(BATCHES, LENGTHS, LENGTHS, st.booleans()), min_size=2, max_size=4)
)
def test_what_runs_together_computes_the_same_and_moves_no_more(server, sizes):
    card, model, options = server
    pieces = [prefill_piece(b, n, c) if prompt else decode(b, c) for b, n, c, prompt in sizes]
    replica = Replica(card, model, **options)
    alone = [step(replica, piece) for piece in pieces]
    for together in (step(replica, *pieces), step(replica, *pieces[::-1])):
        for name, work in together.items():
            assert work.flops == pytest.approx(sum(works[name].flops for works in alone), rel=1e-9), name
            assert work.bytes <= sum(works[name].bytes for works in alone) * (1 + 1e-9), name
            assert work.time <= sum(works[name].time for works in alone) * (1 + 1e-9), name


@given(servers(DENSE), st.lists(st.integers(1, 5000).map(float), min_size=1, max_size=6), BATCHES)
def test_chunks_compute_what_the_prompt_does(server, lengths, b):
    card, model, options = server
    replica, starts = Replica(card, model, **options), np.cumsum([0.0, *lengths])
    chunks = [step(replica, prefill_piece(b, new, start)) for new, start in zip(lengths, starts, strict=False)]
    for name, work in step(replica, prefill(b, starts[-1])).items():
        if name != "lm_head":  # the last token of each chunk has logits
            assert sum(works[name].flops for works in chunks) == pytest.approx(work.flops, rel=1e-9), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tp": 0}, "tp = 0: allowed are whole numbers from 1"),
        ({"pp": 1.5}, "pp = 1.5: allowed are whole numbers from 1"),
        ({"ep": True}, "ep = True: allowed are whole numbers from 1"),
        ({"pp": 64}, "pp = 64: llama-3-8b has 32 layers"),
        ({"ep": 2}, "ep = 2: llama-3-8b has no experts"),
        ({"model": "mixtral-8x7b", "ep": 3}, "ep = 3 does not divide the experts of mixtral-8x7b, which has 8 experts"),
        ({"model": "mixtral-8x7b", "ep": 2, "dp": 3}, "ep = 2 does not divide tp x dp = 3"),
        ({"time_model": "fast"}, "unknown time_model 'fast'"),
        ({"gpu": "a100"}, "GPU 'a100' can be 'a100"),
        ({"gpu": ["t4"]}, "unknown GPU"),
        ({"model": "lama"}, "unknown model 'lama'"),
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


def test_sizes_may_be_integers():
    """A step of 4 million tokens, whose operands are of 10^11 byte: the square of that is no 64-bit integer."""
    replica, sizes = Replica("h100-sxm", "deepseek-v2-lite"), np.array([1024, 4096])
    as_integers, as_floats = (
        step(replica, prefill(of_kind[:1], of_kind[1:])) for of_kind in (sizes, sizes.astype(float))
    )
    for name, work in as_floats.items():
        assert as_integers[name].time == pytest.approx(work.time, rel=1e-12), name
        assert as_integers[name].flops == pytest.approx(work.flops, rel=1e-12), name
