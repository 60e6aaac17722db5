"""What engines do with a full KV cache, by hand; and what holds for every policy, with drafts, windows and prefixes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from workbench.operators import decode
from workbench.servers import draft_model, medusa, mtp, step_time
from workbench.servers.steps import prefill_piece
from workbench.simulation import Server, closed_loop, poisson, simulate, trace
from workbench.simulation.batch import DecodingBatch
from workbench.simulation.cache import Footprint
from workbench.simulation.client import Client, ClientOptions
from workbench.simulation.engine import Engine
from workbench.simulation.policies import SCHEDULERS
from workbench.simulation.requests import Request
from workbench.simulation.step_times import StepTimes


def server(**changes):
    settings = {"max_num_batched_tokens": 512, "max_model_len": 512, "max_num_seqs": 64, "engine": None}
    return Server(**{"gpu": "a100-80gb-sxm", "model": "llama-2-7b"} | settings | changes)


def at_once(prompts, outputs, **hashes):
    return trace(sent_s=[0] * len(prompts), prompt_tokens=prompts, output_tokens=outputs, **hashes)


def test_engines_have_the_policy_and_the_prefix_cache_of_their_defaults():
    found = {engine: server(engine=engine) for engine in ("vllm", "sglang", "trtllm", "pytorch")}
    assert {name: (each.policy, each.prefix_caching) for name, each in found.items()} == {
        "vllm": ("recompute", True), "sglang": ("prefill_first", True), "trtllm": ("guaranteed_no_evict", True),
        "pytorch": ("recompute", False),
    }  # fmt: skip
    with pytest.raises(ValueError, match="unknown policy 'evict'"):
        server(policy="evict")
    with pytest.raises(ValueError, match="unknown prefix_caching 'yes'"):
        server(prefix_caching="yes")


# By hand ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("caching", [True, False])
def test_recompute_finds_again_what_nobody_took(caching):
    # Five blocks of 16. Both want a third at their 33rd token: the later one gives its two up. The other takes the one
    # that was left, and at its 49th token the latter of the two; so that one is found when it has ended.
    five = server(max_num_seqs=2, max_model_len=80, kv_tokens=80, prefix_caching=caching)
    frame = simulate(five, at_once([32, 32], [33, 17]))
    engine = frame.attrs["engine"]
    assert (engine["preemptions"], engine["refound_tokens"], engine["hit_tokens"]) == (1, 16 * caching, 0)
    assert engine["steps"] == 33 + 16
    again = StepTimes(five).alone([(16, 33) if caching else (0, 33)], 0, 0)
    again += sum(step_time(five, decode(1, context)) for context in range(34, 49))
    assert frame.last_token_s[1] - frame.last_token_s[0] == pytest.approx(again, rel=1e-4)


#: Six blocks of 16, 32 tokens a step: 30 of the first prompt, and 2 of the other's 80 if it starts.
TWO = {"max_num_seqs": 2, "max_model_len": 96, "kv_tokens": 96, "max_num_batched_tokens": 32}


@pytest.mark.parametrize(
    ("policy", "steps", "preemptions", "refound"),
    [
        # The other has 2, 33 and 64 tokens in its four blocks when the first wants its third: it gives them up, and
        # has three of them when that one has ended after 18 steps. The last 32 tokens and one of decoding follow.
        ("recompute", 18 + 2, 1, 48),
        # It wants five blocks where four are left: 80 tokens in three steps follow the 18, and one of decoding.
        ("max_utilization", 18 + 4, 0, 0),
        ("guaranteed_no_evict", 18 + 4, 0, 0),
        ("prefill_first", 18 + 4, 0, 0),
    ],
)
def test_a_prompt_starts_where_its_first_part_or_all_of_it_has_room(policy, steps, preemptions, refound):
    engine = simulate(server(policy=policy, **TWO), at_once([30, 80], [18, 2])).attrs["engine"]
    assert (engine["steps"], engine["preemptions"], engine["refound_tokens"]) == (steps, preemptions, refound)


@pytest.mark.parametrize(
    ("policy", "preemptions", "together"), [("max_utilization", 1, True), ("guaranteed_no_evict", 0, False)]
)
def test_a_prompt_that_has_room_may_not_have_it_for_its_output(policy, preemptions, together):
    # The prompt of 60 fills the four blocks that are left, and there is none for its 65th token, nor for the other's
    # 33rd: max-utilization starts and stops it, guaranteed-no-evict waits until 3 + 6 blocks are no more than 6.
    frame = simulate(server(policy=policy, **TWO), at_once([30, 60], [18, 30]))
    assert frame.attrs["engine"]["preemptions"] == preemptions
    assert (frame.first_token_s[1] < frame.last_token_s[0]) == together


@pytest.mark.parametrize(("policy", "steps"), [("recompute", 18), ("prefill_first", 4 + 17)])
def test_prompts_stop_decoding_where_they_go_first(policy, steps):
    # 30 + 2, then 32, 32 and 14 of 80 tokens in steps without decoding; with it, 31, 31 and 16 beside one token.
    engine = simulate(server(policy=policy, **TWO | {"kv_tokens": 960}), at_once([30, 80], [18, 2])).attrs["engine"]
    assert engine["steps"] == steps


@pytest.mark.parametrize(("kv_tokens", "steps"), [(96, 18 + 10), (144, 18 + 10), (160, 18)])
def test_prefill_first_leaves_room_for_what_may_be_generated(kv_tokens, steps):
    # The first has 2 blocks, and 18 tokens and a block are set aside for it. The other takes 2, with 10 and a block:
    # 32 + 26 + 34 = 92 tokens are less than the 8 x 16 left of 160, not than the 4 x 16 of 96; of 144, 112 would do.
    sparse = server(policy="prefill_first", **TWO | {"kv_tokens": kv_tokens, "max_num_batched_tokens": 64})
    engine = simulate(sparse, at_once([30, 17], [18, 10])).attrs["engine"]
    assert engine["steps"] == (18 if kv_tokens - 32 - 92 > 0 else steps)


def test_the_new_token_ratio_falls_and_a_retraction_sets_it():
    scheduler = SCHEDULERS["prefill_first"](server())
    for steps, ratio in ((0, 0.7), (300, 0.7 - 0.301), (600, 0.098), (900, 0.098)):
        scheduler.batch.steps = steps
        assert scheduler.ratio == pytest.approx(ratio)


def test_prefill_first_retracts_the_one_with_the_fewest_tokens():
    # One request of 1,000 tokens; another of 650 comes after 350. 90 blocks hold 1,440 tokens: at 382 + 2 t of them
    # the younger has 529 and starts again when the other has ended; its prompt is a block that may be found again.
    retracts = server(
        policy="prefill_first", max_model_len=1024, kv_tokens=1440, max_num_seqs=2, max_num_batched_tokens=1024
    )
    alone = simulate(retracts, at_once([16], [1000]))
    coming = alone.first_token_s[0] + (alone.last_token_s[0] - alone.first_token_s[0]) * 350 / 1000
    frame = simulate(retracts, trace(sent_s=[0, coming], prompt_tokens=[16, 16], output_tokens=[1000, 650]))
    assert frame.attrs["engine"]["preemptions"] == 1
    assert frame.first_token_s[1] < coming + 0.1
    left = sum(step_time(retracts, decode(1, context)) for context in range(545, 665))
    left += step_time(retracts, prefill_piece(1, 545))
    assert frame.last_token_s[1] - frame.last_token_s[0] == pytest.approx(
        left, rel=0.07
    )  # blocks are whole: t is known within 8


def test_a_full_cache_does_not_thrash():
    """Llama-3.1-8B on an A100, prompts of 20,000 and outputs of 2,000 tokens: 330 tokens a second were measured."""
    full = Server("a100-80gb-sxm", "llama-3-8b", max_model_len=22_016, max_num_seqs=256, kv_tokens="fit")
    frame = simulate(full, closed_loop(1000, requests=200, prompt=20_000, output=2000))
    engine = frame.attrs["engine"]
    assert engine["preemptions"] < 200
    assert frame.output_tokens.sum() / engine["duration"] == pytest.approx(330, rel=0.15)


# Windows ----------------------------------------------------------------------------------------------------------


def test_a_window_is_not_outgrown():
    footprint = Footprint.of(server(model="gemma-3-27b", gpu="h100-sxm"))
    assert (footprint.full, footprint.sliding, footprint.window) == (5, 26, 64)  # 10 and 52 layers, 1,024 tokens
    assert footprint.units(1000) == 5 * 1000 + 26 * 64
    assert Footprint.of(server()) == Footprint(16, 1, 0, 0)


def test_estimates_and_simulation_have_room_for_as_many_long_sequences():
    load = {"max_num_seqs": 64, "max_num_batched_tokens": 8192, "max_model_len": 17_000}
    gemma = Server("h100-sxm", "gemma-3-27b", kv_tokens="fit", **load)
    ds = wb.serving.estimate("h100-sxm", "gemma-3-27b", 1, 16_000, 1000, **load)
    most = int(ds.largest_batch.item())
    assert most > 4
    for users, preempts in ((most, False), (most + 1, True)):
        engine = simulate(gemma, closed_loop(users, requests=2 * users, prompt=16_000, output=1000)).attrs["engine"]
        assert (engine["preemptions"] > 0) == preempts
        assert engine["peak_kv_blocks"] <= engine["kv_blocks"] == ds.kv_capacity / 16


RATES = st.sampled_from([None, (2, 1.0), (3, 2.5), (4, 4.0), (8, 3.14159)])
FOOTPRINTS = st.builds(Footprint, st.integers(1, 20), st.just(2), st.sampled_from([0, 3]), st.integers(1, 4))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), FOOTPRINTS, RATES, st.integers(0, 9), st.integers(0, 19))
def test_a_leap_takes_the_units_of_its_steps(prompts, footprint, rate, before, steps):
    draft = rate and medusa(candidates=rate[0], acceptance=[rate[1]])
    batch, requests = DecodingBatch(footprint, draft), [Request(i, p, 10**4, 0, 1) for i, p in enumerate(prompts)]
    batch.advance(before)
    for request in requests:
        batch.join(request)
    tokens = batch.tokens(steps)
    each = rate[1] if rate else 1
    assert abs(tokens - each * steps) < 1
    ahead = batch.ahead

    def units(request, generated):
        return footprint.units(footprint.blocks(request.prompt + generated + ahead))

    expected = sum(units(r, tokens) - units(r, 0) for r in requests)
    assert batch.units_of(steps) == expected
    batch.advance(steps)
    assert batch.generated(requests[0]) == 1 + tokens
    held = sum(footprint.units(batch.take_out(r)) for r in requests)
    assert held == sum(units(r, tokens) for r in requests)
    assert (batch.size, batch.context, sum(batch._growing), sum(batch._sliding)) == (0, 0, 0, 0)


# Drafts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draft", "model", "gpu", "tp"),
    [
        (draft_model("llama-3-8b", depth=3, alpha=0.8), "llama-3-70b", "h100-sxm", 4),
        (medusa(candidates=16), "llama-2-7b", "a100-80gb-sxm", 1),
        (mtp(alpha=0.85), "deepseek-v3", "h200-sxm", 8),
    ],
)
def test_a_draft_is_as_fast_in_an_estimate(draft, model, gpu, tp):
    load = {"max_num_seqs": 16, "max_num_batched_tokens": 16 * 1024, "max_model_len": 2048, "tp": tp, "engine": None}
    frame = simulate(Server(gpu, model, draft=draft, **load), closed_loop(16, requests=16, prompt=1000, output=400))
    ds = wb.serving.estimate(gpu, model, 16, 1000, 400, draft=draft, **load).squeeze()
    tpot = (frame.last_token_s - frame.first_token_s) / 399
    assert tpot.to_numpy() == pytest.approx(ds.tpot.item(), rel=0.02)
    assert frame.first_token_s.to_numpy() == pytest.approx(ds.ttft.item(), rel=0.02)


@pytest.mark.parametrize(("rate", "output", "steps"), [(2.5, 101, 41), (2.5, 102, 42), (1.0, 9, 9), (4.0, 10, 4)])
def test_a_draft_brings_its_tokens_on_average(rate, output, steps):
    # 100 tokens after the first are 40 steps of 2.5; for 101, 41 steps bring 102; 9 tokens are three steps of 4.
    guessing = server(draft=medusa(candidates=4, acceptance=[rate]))
    engine = simulate(guessing, at_once([20], [output])).attrs["engine"]
    assert (engine["steps"], engine["generated_tokens"]) == (steps, output)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"draft": "mtp"}, "draft = 'mtp': make one with serving.draft_model, medusa or mtp"),
        ({"draft": mtp(alpha=0.8)}, "draft = mtp: llama-2-7b has no layer for multi-token prediction"),
        (
            {"draft": draft_model("llama-3-8b", depth=1, alpha=0.8)},
            "draft = llama-3-8b: its vocabulary, 128,256, cannot",
        ),
        ({"draft": medusa(candidates=16)}, "max_num_seqs = 64: each needs 16 tokens of the step"),
    ],
)
def test_a_server_refuses_a_draft_that_cannot_guess(changes, match):
    with pytest.raises(ValueError, match=match):
        server(**changes)


# Whatever the policy ----------------------------------------------------------------------------------------------


def alike(requests, prompt, output, **options):
    """Poisson arrivals, of which every third prompt begins as the others of its kind."""
    load = poisson(60, requests=requests, prompt=prompt, output=output, **options)
    hashes = [[i % 3, 3 + i % 3, 10 + i][: tokens // 32] for i, tokens in enumerate(load.prompt_tokens.tolist())]
    columns = {name: getattr(load, name) for name in ("sent_s", "prompt_tokens", "output_tokens")}
    return trace(**columns, block_hashes=hashes, block_tokens=32)


LOADS = {
    "closed": closed_loop(40, requests=200, prompt=[10, 80, 200], output=[5, 50, 120], seed=3),
    "open": poisson(60, requests=200, prompt=[10, 80, 200], output=[5, 50, 120], seed=1),
    "alike": alike(200, [10, 80, 200], [5, 50, 120], seed=1),
}
KINDS = {
    "plain": {}, "draft": {"draft": medusa(candidates=4, acceptance=[2.7])}, "alone": {"prefix_caching": False},
    "window": {"gpu": "h100-sxm", "model": "gpt-oss-20b"},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("policy", SCHEDULERS)
def test_littles_law_and_every_token_and_block(policy, load, kind):
    crowded = Server(
        **{"gpu": "a100-80gb-sxm", "model": "llama-2-7b", "max_num_seqs": 32, "max_num_batched_tokens": 128,
           "max_model_len": 512, "kv_tokens": 1000, "policy": policy, "engine": None} | KINDS[kind]
    )  # fmt: skip
    client = Client(LOADS[load], ClientOptions(), Engine(crowded), crowded)
    while client.step():
        cache = client.engine.ranks[0].cache
        assert 0 <= cache._idle_units <= cache.free <= cache.units
    frame, engine = client.table(), client.counts()
    assert (frame.output_tokens == LOADS[load].output_tokens).all()
    assert engine["generated_tokens"] == frame.output_tokens.sum()
    sojourn = (frame.last_token_s - frame.sent_s).sum()
    assert engine["mean_in_system"] * engine["duration"] == pytest.approx(sojourn, rel=1e-9)
    assert (cache.free, cache.claimed, cache.stored) == (cache.units, 0, 0)
    assert cache._idle_units == sum(run.blocks * run.unit for run in cache._idle)
    assert not any(run.users for run in cache._runs.values())
    if policy == "guaranteed_no_evict":
        assert (engine["preemptions"], client.engine.ranks[0].promised) == (0, 0)
    else:
        assert engine["preemptions"] > 0 or policy == "prefill_first"
    pd.testing.assert_frame_equal(frame, simulate(crowded, LOADS[load]))
    assert (engine["hit_tokens"] > 0) == (load == "alike" and kind != "alone")


def test_cancelled_requests_leave_no_blocks():
    busy = server(kv_tokens=1000, max_num_batched_tokens=128)
    client = Client(LOADS["alike"], ClientOptions(timeout=0.6), Engine(busy), busy)
    while client.step():
        pass
    cache = client.engine.ranks[0].cache
    assert (np.array(client.status) == "failed").any()
    assert (cache.free, cache.claimed, cache.stored) == (cache.units, 0, 0)
