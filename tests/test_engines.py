"""Engines: what the host of each adds to a step, by default in estimates, plans and simulations."""

import numpy as np
import pytest

import workbench as wb
from workbench import serving
from workbench.catalog import DEFAULT_ENGINE, engine, engines
from workbench.catalog.engine_entries import ServingEngine
from workbench.common.yaml_records import validated
from workbench.operators import decode
from workbench.servers.steps import prefill_piece
from workbench.serving import Replica, step, step_time
from workbench.simulation import Server, closed_loop, simulate, trace

MADE_UP = {
    "id": "made-up", "name": "Made up", "step_ms": 2.0, "sequence_us": 500.0, "covers": "all", "families": ["one-shot"],
    "version": "1", "date": "2026-01", "sources": {"step_ms": "none"},
    "memory": {"of": "total", "share": 0.9, "context_gib": 0.0, "peers_gib": 0.0, "logit_copies": 1.5},
    "caps": [{"max_num_batched_tokens": 2048, "max_num_seqs": 256}],
}  # fmt: skip


@pytest.fixture
def made_up(monkeypatch):
    """The default engine with a host of round numbers: 2 ms a step, 0.5 ms a sequence."""

    def host(**changes):
        entry = ServingEngine.model_validate(MADE_UP | {"id": DEFAULT_ENGINE} | changes)
        for module in ("replica", "server"):
            monkeypatch.setattr(f"workbench.servers.{module}.find_engine", lambda _: entry)

    host()
    return host


def replica(**options):
    return Replica("h100-sxm", "llama-3-8b", **options)


def added(*pieces, **options):
    """What a step takes besides its kernels [s]."""
    whole = replica(**options)
    return step_time(whole, *pieces) - sum(work.time for work in step(whole, *pieces).values())


# The catalog ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", engines())
def test_an_engine_prints_itself_with_units_and_sources(name):
    entry, text = engine(name), str(engine(name))
    assert entry.step_ms or entry.sequence_us or entry.layer_us
    for words in (entry.name, f"{entry.step_ms:g} ms", f"{entry.sequence_us:g} us", entry.version, *entry.sources):
        assert words in text
    assert engine(entry) is entry


def test_an_unknown_engine_is_one_line_with_the_nearest():
    message = "^unknown engine 'vlm'. Did you mean 'vllm'"
    with pytest.raises(ValueError, match=message):
        engine("vlm")
    with pytest.raises(ValueError, match=message):
        replica(engine="vlm")
    with pytest.raises(ValueError, match=message):
        serving.estimate("h100-sxm", "llama-3-8b", engine="vlm")
    with pytest.raises(ValueError, match="step_ms = -1.0: "):
        validated(ServingEngine, MADE_UP | {"step_ms": -1.0}, "made-up.yaml")


def test_an_entry_that_was_changed_is_refused_where_its_numbers_would_not_be_used():
    for entry in (engine("vllm").model_copy(update={"step_ms": 9.0}), ServingEngine.model_validate(MADE_UP)):
        with pytest.raises(ValueError, match=f"^engine = a changed {entry.id}: expected the catalog's own"):
            replica(engine=entry)
    assert replica(engine=engine("sglang")).engine == "sglang"


# A step -----------------------------------------------------------------------------------------------------------


def test_a_step_has_the_host_of_its_engine(made_up):
    assert added(decode(8, 64)) == pytest.approx(2e-3 + 8 * 0.5e-3)
    pieces = (prefill_piece(1, 100), prefill_piece(1, 0), decode(8, 64))
    assert added(*pieces) == pytest.approx(2e-3 + 9 * 0.5e-3)
    assert added(decode(8, 64), engine=None) == 0
    assert added(decode(8, 64), time_model="ideal") == 0


def test_a_host_that_is_given_is_all_there_is(made_up):
    assert added(decode(8, 64), step_overhead=0) == added(decode(8, 64), sequence_overhead=0) == 0
    assert added(decode(8, 64), step_overhead=0.01) == pytest.approx(0.01)
    assert added(decode(8, 64), sequence_overhead=0.01) == pytest.approx(0.08)
    assert added(decode(8, 64), sequence_overhead=0.01, time_model="ideal") == pytest.approx(0.08)


def test_launching_hides_kernels_or_is_hidden(made_up):
    """Of 32 layers each takes 1 ms to launch: more than the kernels of a decode, less than those of a long prompt."""
    made_up(step_ms=0.0, sequence_us=0.0, layer_us=1000.0)
    few, many = decode(np.array([1.0, 8]), 64), prefill_piece(1, 8000)
    np.testing.assert_allclose(step_time(replica(), few), 32e-3)
    assert step_time(replica(), many) == step_time(replica(step_overhead=0), many) > 32e-3
    frame = simulate(Server("h100-sxm", "llama-3-8b"), closed_loop(2, requests=2, prompt=10, output=11))
    assert (frame.last_token_s - frame.first_token_s).to_numpy() == pytest.approx(0.32)
    assert frame.first_token_s.to_numpy() == pytest.approx(0.032)
    ds = serving.estimate("h100-sxm", "llama-3-8b", 2, 10, 11).squeeze()
    assert ds.tpot == pytest.approx(0.032)
    assert ds.bound.values.tolist() == [3, 3]  # the host
    assert "vllm: 1000 us launch a layer of kernels" in ds.attrs["assumed"]


def test_drafts_have_the_host_in_each_of_their_passes(made_up):
    made_up(sequence_us=0.0)
    draft = serving.draft_model("llama-3.2-1b", depth=2, alpha=1.0)
    options = {"batch_size": 1, "prompt": 100, "output": 10, "draft": draft}
    times = [serving.estimate("h100-sxm", "llama-3-8b", **options, step_overhead=s).tpot.item() for s in (None, 0)]
    assert times[0] - times[1] == pytest.approx(3 * 2e-3 / 3)  # three passes, three tokens


# Answers ----------------------------------------------------------------------------------------------------------


def test_estimates_plans_and_simulations_have_the_same_host_by_default(made_up):
    with_host, without = (
        serving.estimate("h100-sxm", "llama-3-8b", 4, 100, 50, engine=name).squeeze() for name in ("vllm", None)
    )
    kernels = serving.estimate("h100-sxm", "llama-3-8b", 4, 100, 50, step_overhead=0).squeeze()  # those of the engine
    assert serving.estimate("h100-sxm", "llama-3-8b", 4, 100, 50).tpot.item() == with_host.tpot.item()
    assert with_host.tpot - kernels.tpot == pytest.approx(4e-3)
    assert with_host.share.sel(phase="decode", operator="host") == pytest.approx(100 * 4e-3 / with_host.tpot)
    assert (with_host.attrs["engine"], with_host.attrs["step_overhead"]) == ("vllm", 2e-3)
    assert (without.attrs["engine"], without.attrs["step_overhead"]) == ("", 0.0)
    said = "vllm: its host adds 2 ms to a step and 500 us for a sequence"
    assert said in with_host.attrs["assumed"]
    assert "host" not in without.attrs["assumed"]
    frames = [
        simulate(Server("h100-sxm", "llama-3-8b", step_overhead=s), closed_loop(4, requests=4, prompt=100, output=50))
        for s in (None, 0)
    ]
    last = [frame.last_token_s.max() for frame in frames]
    assert last[0] - last[1] == pytest.approx(50 * 4e-3)
    assert said in frames[0].attrs["assumed"]
    server = frames[0].attrs["server"]
    assert (server["engine"], server["step_overhead"], server["sequence_overhead"]) == ("vllm", 2e-3, 5e-4)
    table = serving.plan("llama-3-8b", prompt=100, output=50, gpu="h100-sxm", tp=1, batch_size=4, schedule="static")
    assert table.tpot_s.item() == pytest.approx(with_host.tpot.item())
    assert said in table.attrs["assumed"]


def test_a_request_takes_its_way_to_the_engine(made_up):
    """Exponentially distributed: half of them within ln 2 of the mean, e^-2 beyond twice of it."""
    made_up(step_ms=0.0, sequence_us=0.0, request_ms=100.0)
    load = trace(sent_s=np.arange(200.0), prompt_tokens=[10] * 200, output_tokens=[1] * 200)
    frame, alone, hasty = (
        simulate(Server("h100-sxm", "llama-3-8b", engine=name), load, timeout=limit)
        for name, limit in (("vllm", None), (None, None), ("vllm", 0.05))
    )
    prompt = prefill_piece(1, 10)
    way = (frame.first_token_s - frame.sent_s - step_time(replica(), prompt)).to_numpy()
    assert way.min() >= -1e-9
    assert (way.mean(), np.median(way)) == pytest.approx((0.1, 0.1 * np.log(2)), rel=0.03)
    assert np.mean(way > 0.2) == pytest.approx(np.exp(-2), abs=0.005)
    np.testing.assert_allclose(alone.first_token_s - alone.sent_s, step_time(replica(engine=None), prompt))
    assert (hasty.status == "failed").tolist() == (way > 0.05).tolist()  # and the engine never had them
    assert hasty.attrs["engine"]["generated_tokens"] == (way <= 0.05).sum()


def test_a_host_that_is_given_is_not_assumed(made_up):
    for options in ({"step_overhead": 1e-3}, {"engine": None}, {"time_model": "ideal"}):
        ds = serving.estimate("h100-sxm", "llama-3-8b", **options)
        assert "host" not in ds.attrs["assumed"]


def test_a_grid_has_no_host():
    ds = wb.roofline_grid("h100-sxm", "llama-3-8b", phase="decode", seq_len=64, time_model="kernel")
    kernels = sum(work.time for work in step(replica(engine=None), decode(1, 64)).values())
    assert wb.forward_pass(ds).time.item() == pytest.approx(kernels)


def tokens_a_second(model, **options):
    """Of one sequence on an A100, from a prompt of one token to 2,048 of output."""
    options |= {"activation_dtype": "bf16", "kv_dtype": "bf16"}
    return 1 / serving.estimate("a100-80gb-sxm", model, 1, 1, 2048, **options).tpot.item()


@pytest.mark.parametrize(
    ("model", "measured"), [("qwen2.5-0.5b", 47.40), ("qwen2.5-1.5b", 39.68), ("qwen2.5-14b", 24.74)]
)
def test_one_sequence_on_an_a100_as_published(model, measured):
    """Tokens per second of Qwen2.5's documentation, speed benchmark: transformers 4.46, in bf16."""
    assert tokens_a_second(model, engine="pytorch") == pytest.approx(measured, rel=0.07)


@pytest.mark.parametrize(("model", "measured"), [("qwen2.5-7b", 84.28), ("qwen2.5-14b", 46.30)])
def test_the_host_of_an_old_version_is_what_its_smallest_model_misses(model, measured):
    """The same of vLLM 0.6.3, older than the catalog's: what 0.5B takes beside its kernels, larger models take, too."""
    host = 1 / 311.55 - 1 / tokens_a_second("qwen2.5-0.5b", step_overhead=0)
    assert 2 * engine("vllm").step_overhead < host < 2e-3
    assert tokens_a_second(model, step_overhead=host) == pytest.approx(measured, rel=0.02)
