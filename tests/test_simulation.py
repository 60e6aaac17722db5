"""The simulation against closed forms, against a scheduler that goes step by step, and against recorded load tests."""

from collections import deque
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from workbench import forward_pass, roofline_grid
from workbench.operators import decode
from workbench.published import T4_LOAD_TESTS, T4_SERVER, t4_requests
from workbench.servers.steps import prefill_piece
from workbench.serving import step_time
from workbench.simulation import Server, bursty, closed_loop, poisson, simulate, trace
from workbench.simulation.step_times import StepTimes
from workbench.studies import t4_calibration, t4_comparison, t4_metrics, t4_replay

A100 = {"gpu": "a100-80gb-sxm", "model": "llama-2-7b"}


def server(**changes):
    settings = {"max_num_batched_tokens": 512, "max_model_len": 512, "max_num_seqs": 64, "engine": None}
    return Server(**A100 | settings | changes)


def step_seconds(phase, batch, length):
    """Of one step, or the sum over steps of those lengths [s]."""
    ds = roofline_grid(*A100.values(), phase=phase, batch_size=batch, seq_len=length, time_model="kernel")
    return forward_pass(ds).time.sum().item()


# Closed forms -----------------------------------------------------------------------------------------------------


def test_one_request_takes_the_forward_passes_of_the_grid():
    row = simulate(server(), trace(sent_s=[0], prompt_tokens=[20], output_tokens=[4])).iloc[0]
    assert row.first_token_s == pytest.approx(step_seconds("prefill", 1, 20), rel=1e-9)
    decoding = step_seconds("decode", 1, [21, 22, 23])
    assert row.last_token_s - row.first_token_s == pytest.approx(decoding, rel=1e-9)


@pytest.mark.parametrize("output", [1, 12])
def test_mean_wait_with_one_sequence_is_pollaczek_khinchine(output):
    one = server(max_num_seqs=1)
    service = simulate(one, trace(sent_s=[0], prompt_tokens=[50], output_tokens=[output])).last_token_s[0]
    load = 0.6
    frame = simulate(one, poisson(load / service, requests=40_000, prompt=50, output=output, seed=3))
    wait = (frame.last_token_s - frame.sent_s).mean() - service
    assert wait == pytest.approx(load * service / (2 * (1 - load)), rel=0.05)  # 40,000 requests scatter by 2 %


def test_saturated_throughput_is_that_of_the_full_batch():
    frame = simulate(server(), closed_loop(64, requests=64, prompt=8, output=400))
    steps = step_seconds("decode", 64, list(range(9, 408)))
    decoding = frame.last_token_s.max() - frame.first_token_s.min()
    assert decoding == pytest.approx(steps, rel=1e-4)  # the attention is interpolated
    assert frame.attrs["engine"]["steps"] == 400


def test_more_load_than_capacity_is_served_at_capacity():
    few = server(max_num_seqs=4)
    closed = simulate(few, closed_loop(4, requests=200, prompt=20, output=50))
    flood = simulate(few, poisson(1000, requests=200, prompt=20, output=50))
    rates = [10_000 / frame.last_token_s.max() for frame in (closed, flood)]
    assert rates[1] == pytest.approx(rates[0], rel=0.01)


# Conservation -----------------------------------------------------------------------------------------------------

WORKLOADS = {
    "poisson": (poisson(40, requests=300, prompt=[10, 80, 200], output=[5, 50, 120], seed=1), {}),
    "bursty": (bursty(60, burstiness=0.2, requests=300, prompt=40, output=[1, 2, 200], seed=2), {}),
    "closed": (closed_loop(10, requests=200, prompt=30, output=[10, 60], seed=3), {}),
    "few connections": (poisson(90, requests=200, prompt=30, output=50, seed=4), {"in_flight": 5}),
    "impatient": (poisson(60, requests=300, prompt=100, output=[20, 200], seed=5), {"timeout": 1.0}),
}
#: A cache of 640 tokens holds 5 requests of 80 tokens, but not 10 of 90, nor what arrives by itself.
CROWDED = [("poisson", 2000), ("bursty", 2000), ("poisson", 640), ("bursty", 640), ("closed", 640)]


@pytest.mark.parametrize(("kv_tokens", "tp"), [(None, 1), (2000, 1), (640, 1), (None, 2)])
@pytest.mark.parametrize("name", WORKLOADS)
def test_littles_law_and_tokens(name, kv_tokens, tp):
    workload, client = WORKLOADS[name]
    frame = simulate(server(kv_tokens=kv_tokens, tp=tp), workload, **client)
    engine = frame.attrs["engine"]
    assert engine["generated_tokens"] == frame.output_tokens.sum()
    assert 0 < engine["peak_kv_blocks"] <= engine["kv_blocks"]
    assert len(frame) == len(workload)
    if "timeout" in client:
        assert set(frame.status) == {"finished", "failed"}
        return
    assert (frame.output_tokens == workload.output_tokens).all()
    assert (frame.status == "finished").all()
    sojourn = (frame.last_token_s - frame.sent_s).sum()
    assert engine["mean_in_system"] * engine["duration"] == pytest.approx(sojourn, rel=1e-9)
    assert (engine["preemptions"] > 0) == ((name, kv_tokens) in CROWDED)


def test_the_same_seed_gives_the_same_run():
    def run(seed):
        return simulate(server(), poisson(20, requests=50, prompt=[10, 90], output=[5, 50], seed=seed))

    pd.testing.assert_frame_equal(run(7), run(7))
    assert not run(7).equals(run(8))


# The same step, estimated and simulated ---------------------------------------------------------------------------

CALIBRATION = ("gemm_efficiency", "gemm_rows", "dequantize_rows", "sequence_overhead")


@pytest.mark.parametrize("batch", [1, 8, 98])
def test_a_calibrated_server_is_as_fast_in_an_estimate(batch):
    calibrated = {name: T4_SERVER[name] for name in CALIBRATION} | {"step_overhead": 1e-3}
    workload = closed_loop(batch, requests=batch, prompt=20, output=100)
    frame = simulate(Server(**T4_SERVER | calibrated), workload)
    ds = wb.serving.estimate("t4", "llama-2-7b-awq", batch, 20, 100, engine=None, **calibrated).squeeze()
    assert (frame.first_token_s - frame.sent_s).max() == pytest.approx(ds.ttft.item(), rel=0.02)
    tpot = (frame.last_token_s - frame.first_token_s) / 99
    assert tpot.to_numpy() == pytest.approx(ds.tpot.item(), rel=1e-3)
    host = 1e-3 + batch * T4_SERVER["sequence_overhead"]
    assert ds.share.sel(phase="decode", operator="host") == pytest.approx(100 * host / ds.tpot)


@pytest.mark.parametrize("tp", [1, 2, 4])
def test_a_step_has_its_parts(tp):
    engine = server(tp=tp, kv_tokens="fit", launch_latency=1e-5, sequence_overhead=1e-4)
    times = StepTimes(engine)
    length = int(times.contexts[100])
    decoding = times.decode(60, length)
    assert times.linear[60] + times.head[60] + decoding == pytest.approx(step_time(engine, decode(60, length)))
    mixed = times.linear[60 + length] + times.head[61] + decoding + times.prefill([(0, length)])
    assert mixed == pytest.approx(step_time(engine, prefill_piece(1, length), decode(60, length)))


def test_a_cache_that_fits_is_what_the_engine_logged():
    fitting = Server(**T4_SERVER | {"kv_tokens": "fit"})
    assert 16 * fitting.kv_blocks == pytest.approx(T4_SERVER["kv_tokens"], rel=0.05)
    assert 16 * fitting.kv_blocks == wb.serving.estimate("t4", "llama-2-7b-awq").kv_capacity
    frame = simulate(fitting, trace(sent_s=[0], prompt_tokens=[20], output_tokens=[1]))
    assert frame.attrs["engine"]["kv_blocks"] == fitting.kv_blocks


# Step by step -----------------------------------------------------------------------------------------------------


class Blocks:
    """The blocks of a KV cache, each with its users and what is in it, the free ones in the order of their release."""

    def __init__(self, server):
        self.free = list(range(server.kv_tokens // server.block_size))
        self.users, self.key, self.holder = [0] * len(self.free), {}, {}

    def use(self, key):
        """The block with that in it, or another one."""
        if (block := self.holder.get(key)) is None:
            block = self.free.pop(0)
            self.holder.pop(self.key.pop(block, None), None)
        elif not self.users[block]:
            self.free.remove(block)
        self.users[block] += 1
        return block

    def name(self, block, key):
        """Say what is in a full block; returns the one that has it."""
        if self.holder.setdefault(key, block) == block:
            self.key[block] = key
            return block
        self.release([block])
        return self.use(key)

    def release(self, blocks):
        for block in reversed(blocks):
            self.users[block] -= 1
            if not self.users[block]:
                self.free.append(block)


def step_by_step(server, workload):
    """The scheduler written plainly: one step after another, every sequence and every block by itself.

    Its times, preemptions, and the tokens that were found in the cache.
    """
    times, block, pool = StepTimes(server), server.block_size, Blocks(server)
    n = len(workload)
    prompt, output, cached, sent = (
        list(map(float, v))
        for v in (workload.prompt_tokens, workload.output_tokens, workload.cached_tokens, workload.sent_s)
    )
    generated, computed, held, target = [0] * n, [0] * n, [[] for _ in range(n)], [0] * n
    first, last = [np.nan] * n, [np.nan] * n
    waiting, running, now, coming, preemptions, hits, seen = deque(), [], 0.0, 0, 0, 0, set()

    def what(i, k):
        """What is in block k of a request."""
        runs = workload.block_hashes[i] if workload.block_hashes else ()
        j = (k + 1) * block - 1
        return (
            (runs[j // workload.block_tokens], k) if runs and j // workload.block_tokens < len(runs) else ("own", i, k)
        )

    def give(i, tokens):
        """Give a request blocks for more of its tokens, and name those that become full."""
        upto = computed[i] + tokens
        for k in range(int(upto // block)):
            if k == len(held[i]):
                held[i].append(pool.use(what(i, k) if server.prefix_caching else None))
            if server.prefix_caching and pool.key.get(held[i][k]) != what(i, k):
                held[i][k] = pool.name(held[i][k], what(i, k))
        if len(held[i]) * block < upto:
            held[i].append(pool.use(None))

    while coming < n or waiting or running:
        if not waiting and not running:
            now = max(now, sent[coming])
        while coming < n and sent[coming] <= now:
            waiting.append(coming)
            coming += 1
        budget, plan, before = server.max_num_batched_tokens, {}, preemptions

        def blocks_for(i, tokens):
            return int(np.ceil((computed[i] + tokens) / block)) - len(held[i])

        queue = list(running)
        while queue:
            i = queue.pop(0)
            tokens = min(prompt[i] + generated[i] - computed[i], budget)
            while i in running and blocks_for(i, tokens) > len(pool.free):
                victim = running.pop()
                queue = [j for j in queue if j != victim]
                pool.release(held[victim])
                computed[victim], held[victim] = 0, []
                waiting.appendleft(victim)
                preemptions += 1
            if i in running and tokens:
                give(i, tokens)
                plan[i] = tokens
                budget -= tokens
        while preemptions == before and waiting and budget and len(running) < server.max_num_seqs:
            i, found = waiting[0], []
            target[i] = prompt[i] + generated[i]
            while server.prefix_caching and what(i, len(found)) in pool.holder and len(found) < target[i] // block:
                found.append(pool.holder[what(i, len(found))])
            computed[i] = max(cached[i], min(len(found) * block, (target[i] - 1) // block * block))
            tokens = min(target[i] - computed[i], budget)
            short = computed[i] + tokens < target[i]
            idle = sum(not pool.users[each] for each in found)
            room = blocks_for(i, tokens) - len(found) + idle <= len(pool.free)
            if not room or (short and not server.chunked_prefill):
                break
            if i not in seen:
                hits += min(len(found) * block, target[i] - 1)
            seen.add(i)
            running.append(waiting.popleft())
            held[i] = [pool.use(what(i, k)) for k in range(len(found))]
            give(i, tokens)
            plan[i] = tokens
            budget -= tokens
        decoding = [i for i in plan if computed[i] >= target[i]]
        chunks = [(computed[i], computed[i] + plan[i]) for i in plan if i not in decoding]
        now += times.linear[int(sum(plan.values()))] + times.head[len(plan)]
        if decoding:
            now += times.decode(len(decoding), np.mean([computed[i] + 1 for i in decoding]))
        if chunks:
            now += times.prefill(chunks)
        for i, tokens in plan.items():
            computed[i] += tokens
            if computed[i] == prompt[i] + generated[i]:
                first[i] = first[i] if generated[i] else now
                generated[i] += 1
            if generated[i] == output[i]:
                last[i] = now
                pool.release(held[i])
                running.remove(i)
    return first, last, preemptions, hits


@st.composite
def small_servers(draw, **fixed):
    """Servers of few sequences and little cache, in which requests of up to 64 + 64 tokens wait and give way."""
    chunked = draw(st.sampled_from([True, True, True, False]))
    return server(
        max_num_seqs=draw(st.integers(1, 12)), max_model_len=128, block_size=8, chunked_prefill=chunked,
        max_num_batched_tokens=draw(st.sampled_from([16, 32])) if chunked else 128,
        kv_tokens=draw(st.sampled_from([128, 160, 400, 5000])), prefix_caching=draw(st.booleans()), **fixed,
    )  # fmt: skip


@st.composite
def traces(draw):
    """Up to forty requests, at once or within two seconds."""
    columns = {
        "sent_s": st.floats(0, draw(st.sampled_from([0, 0.1, 2]))), "prompt_tokens": st.integers(1, 64),
        "output_tokens": st.integers(1, 64), "cached_tokens": st.sampled_from([0, 0, 9, 40]),
    }  # fmt: skip
    count = draw(st.integers(1, 40))
    lists = {name: draw(st.lists(values, min_size=count, max_size=count)) for name, values in columns.items()}
    if draw(st.booleans()):
        alike = draw(st.lists(st.sampled_from([0, 1, 2, 4]), min_size=count, max_size=count))
        lists["block_hashes"] = [
            [j if j < same else 100 * i + j for j in range(prompt // 16)]
            for i, (same, prompt) in enumerate(zip(alike, lists["prompt_tokens"], strict=True), 1)
        ]
        lists["block_tokens"] = 16
    return trace(**lists)


@st.composite
def closed_loops(draw):
    """One, two or twelve users with up to forty requests, with or without a prefix in the cache."""
    count, lengths = draw(st.integers(1, 40)), np.arange(1, 65)
    return closed_loop(
        draw(st.sampled_from([1, 1, 2, 12])), requests=count, prompt=lengths, output=lengths,
        cached=draw(st.sampled_from([0, 9])), seed=draw(st.integers(0, 10**6)),
    )  # fmt: skip


@given(small_servers(), traces())
def test_leaps_are_what_single_steps_add_up_to(small, workload):
    frame = simulate(small, workload)
    first, last, preemptions, hits = step_by_step(small, workload)
    np.testing.assert_allclose(frame.first_token_s, first, rtol=1e-9)
    np.testing.assert_allclose(frame.last_token_s, last, rtol=1e-9)
    engine = frame.attrs["engine"]
    assert (engine["preemptions"], engine["hit_tokens"]) == (preemptions, hits)


CLIENTS = st.fixed_dictionaries(
    {
        "in_flight": st.none() | st.integers(1, 8), "timeout": st.none() | st.floats(0.01, 2),
        "horizon": st.none() | st.floats(0.01, 4),
    }
)  # fmt: skip


def at_once(begins, ends):
    """The most intervals that are open at a time; one that begins when another ends comes after it."""
    events = sorted([(time, -1) for time in ends] + [(time, 1) for time in begins])
    return max(np.cumsum([0, *(change for _, change in events)]))


@given(small_servers(), traces() | closed_loops(), CLIENTS)
def test_every_run_keeps_its_order_its_tokens_and_its_blocks(small, workload, client):
    frame = simulate(small, workload, **client)
    again, engine = simulate(small, workload, **client), frame.attrs["engine"]
    pd.testing.assert_frame_equal(frame, again)
    assert frame.attrs == again.attrs

    asked, done = workload.output_tokens[: len(frame)], frame.status == "finished"
    assert engine["generated_tokens"] == frame.output_tokens.sum()
    assert (frame.output_tokens == asked)[done].all()
    assert (frame.output_tokens < asked)[~done].all()
    assert len(frame) + engine["requests_not_sent"] == len(workload)
    assert engine["busy"] <= engine["duration"] * (1 + 1e-9)
    if workload.concurrency:  # there is always a request
        assert engine["busy"] == pytest.approx(engine["duration"], rel=1e-9)
        assert engine["mean_in_system"] <= workload.concurrency * (1 + 1e-9)
    if client["timeout"] is client["horizon"] is None:
        assert done.all()
    assert done.equals(frame.last_token_s.notna())
    assert frame.first_token_s.notna().equals(frame.output_tokens > 0)

    assert (frame.sent_s <= frame.first_token_s.fillna(np.inf)).all()
    assert (frame.first_token_s <= frame.last_token_s)[done].all()
    assert frame.sent_s.is_monotonic_increasing
    assert frame.first_token_s.dropna().is_monotonic_increasing  # first come, first served
    if client["horizon"]:
        assert engine["duration"] <= client["horizon"]
    if client["timeout"]:
        step = 0.05  # and more than one of this server takes: the client gives up between two of them
        assert (frame.last_token_s - frame.sent_s)[done].le(client["timeout"] + step).all()

    assert engine["peak_kv_blocks"] <= engine["kv_blocks"] == small.kv_blocks
    assert engine["mean_running"] <= small.max_num_seqs
    if done.all() and not engine["preemptions"]:
        most = min(small.max_num_seqs, client["in_flight"] or len(frame), workload.concurrency or len(frame))
        decoding = frame[asked > 1]  # from the first token on in the batch
        assert at_once(decoding.first_token_s, decoding.last_token_s) <= most


def test_a_step_that_the_end_of_the_test_breaks_off_brings_no_token():
    # the second step would complete the longer prompt and three more, and ends after the horizon
    four = server(max_num_seqs=4, max_num_batched_tokens=16)
    load = trace(sent_s=[0] * 5, prompt_tokens=[1, 1, 20, 1, 1], output_tokens=[1] * 5)
    whole = simulate(four, load)
    cut = simulate(four, load, horizon=0.99 * whole.last_token_s.max())
    assert cut.attrs["engine"]["steps"] == 1
    assert cut.output_tokens.tolist() == [1, 1, 0, 0, 0]


@given(small_servers(), st.integers(1, 10), st.integers(0, 10**6), st.sampled_from([0, 9]))
def test_a_closed_loop_never_has_more_requests_than_users(small, users, seed, cached):
    lengths = np.arange(1, 65)
    workload = closed_loop(users, requests=30, prompt=lengths, output=lengths, cached=cached, seed=seed)
    frame = simulate(small, workload)
    assert (frame.status == "finished").all()
    assert at_once(frame.sent_s, frame.last_token_s) == min(users, 30)
    assert set(frame.sent_s) <= {0.0, *frame.last_token_s}  # the next when one ends
    assert frame.attrs["engine"]["mean_in_system"] <= users * (1 + 1e-12)


def test_a_closed_loop_goes_on_after_timeouts():
    frame = simulate(server(max_model_len=2048), closed_loop(1, requests=4, prompt=100, output=1000), timeout=1)
    engine, step = frame.attrs["engine"], 0.02  # more than one takes; a request is given up at the end of one
    assert (frame.status == "failed").all()
    for i in range(1, 4):
        assert frame.sent_s[i - 1] + 1 <= frame.sent_s[i] < frame.sent_s[i - 1] + 1 + step
    assert engine["busy"] == pytest.approx(engine["duration"], rel=1e-12)  # a request is there all the time
    assert engine["mean_in_system"] == pytest.approx(1, rel=1e-12)


@given(small_servers(time_model="ideal"), traces())
def test_no_request_is_faster_than_on_an_empty_server(small, workload):
    """By the kernel model as well, but for the mean context that the attention of a step is timed at: 1e-5."""
    small = replace(small, prefix_caching=False)  # blocks of another's prompt would make it faster
    frame = simulate(small, workload)
    for i, row in frame.head(8).iterrows():
        prompt, output, cached = (
            getattr(workload, f"{name}_tokens")[i : i + 1] for name in ("prompt", "output", "cached")
        )
        lone = trace(sent_s=[0], prompt_tokens=prompt, output_tokens=output, cached_tokens=cached)
        alone = simulate(small, lone).iloc[0]
        assert row.first_token_s - row.sent_s >= alone.first_token_s * (1 - 1e-9)
        assert row.last_token_s - row.sent_s >= alone.last_token_s * (1 - 1e-9)


def test_preemption_by_hand():
    # Four blocks of 16. Two prompts of one block take a second one at their 17th token and want a third at their 33rd:
    # the later one gives way, and starts again when the other has ended, with the 17 tokens it had.
    tiny = server(max_num_seqs=2, max_model_len=64, kv_tokens=64)
    frame = simulate(tiny, trace(sent_s=[0, 0], prompt_tokens=[16, 16], output_tokens=[48, 48]))
    engine = frame.attrs["engine"]
    assert (engine["preemptions"], engine["peak_kv_blocks"]) == (1, 4)
    assert engine["steps"] == 48 + (48 - 17)
    assert frame.last_token_s[1] > frame.last_token_s[0]
    again = step_seconds("prefill", 1, 33) + step_seconds("decode", 1, list(range(34, 64)))
    assert frame.last_token_s[1] - frame.last_token_s[0] == pytest.approx(again, rel=1e-4)


def test_a_long_prompt_is_spread_over_steps_and_others_decode_meanwhile():
    chunky = server(max_num_batched_tokens=64)
    frame = simulate(chunky, trace(sent_s=[0, 1e-9], prompt_tokens=[4, 400], output_tokens=[200, 2]))
    assert frame.attrs["engine"]["steps"] == 1 + 199  # 63 tokens of the prompt a step, seven steps
    whole = simulate(server(), trace(sent_s=[0, 1e-9], prompt_tokens=[4, 400], output_tokens=[200, 2]))
    assert frame.first_token_s[1] > whole.first_token_s[1]


def test_cached_tokens_are_not_computed():
    plain, cached = (
        simulate(server(), trace(sent_s=[0], prompt_tokens=[400], output_tokens=[1], cached_tokens=c)).last_token_s[0]
        for c in (0, 384)
    )
    assert cached < plain / 3


# Client -----------------------------------------------------------------------------------------------------------


def test_connections_horizon_and_timeout():
    one = server(max_num_seqs=1)
    service = simulate(one, trace(sent_s=[0], prompt_tokens=[20], output_tokens=[50])).last_token_s[0]
    five = trace(sent_s=[0, 0, 0, 0, 100 * service], prompt_tokens=[20] * 5, output_tokens=[50] * 5)

    held = simulate(server(), five, in_flight=1)
    assert held.last_token_s[:4].to_numpy() == pytest.approx(service * np.arange(1, 5))

    cut = simulate(one, five, horizon=2.5 * service)
    assert cut.status.tolist() == ["finished", "finished", "unfinished", "unfinished"]
    assert cut.attrs["engine"]["requests_not_sent"] == 1
    assert cut.attrs["engine"]["duration"] == pytest.approx(2.5 * service)
    assert cut.output_tokens.tolist()[:2] == [50, 50]
    assert 20 < cut.output_tokens[2] < 30
    assert cut.last_token_s.isna().tolist() == [False, False, True, True]

    gone = simulate(one, five, timeout=2.5 * service)
    assert gone.status.tolist() == ["finished", "finished", "failed", "failed", "finished"]
    assert set(gone.error) == {"", f"timed out after {2.5 * service:g} s"}
    assert gone.first_token_s.isna().tolist() == [False, False, False, True, False]

    idle = simulate(one, five, horizon=50 * service)
    assert (len(idle), idle.attrs["engine"]["duration"]) == (4, pytest.approx(50 * service))


def test_a_prompt_too_long_fails_and_an_output_too_long_is_cut():
    load = trace(sent_s=[0, 0, 0], prompt_tokens=[512, 500, 500], output_tokens=[5, 50, 12])
    what = "max_model_len = 512 cuts 1 of 3 outputs short: a larger one would not"
    with pytest.warns(UserWarning, match=what) as caught:
        frame = simulate(server(), load)
    assert caught[0].filename == __file__
    assert frame.attrs["warnings"] == [what]
    assert simulate(server(max_model_len=550, max_num_batched_tokens=550), load).attrs["warnings"] == []
    assert frame.status.tolist() == ["failed", "finished", "finished"]
    assert frame.error[0] == "prompt of 512 tokens: max_model_len is too short"
    assert frame.output_tokens.tolist() == [0, 12, 12]


def test_the_table_and_its_settings():
    frame = wb.simulation.simulate(server(), poisson(5, requests=3, prompt=10, output=2), timeout=9)
    columns = "sent_s first_token_s last_token_s prompt_tokens output_tokens status error"
    assert list(frame) == columns.split()
    assert frame.attrs["server"]["gpu"] == "a100-80gb-sxm"
    assert frame.attrs["workload"] == {"arrivals": "poisson", "rate": 5, "seed": 0}
    assert frame.attrs["client"] == {"in_flight": None, "timeout": 9, "horizon": None}


def test_a_progress_bar_and_an_interrupt(monkeypatch, capsys):
    workload = poisson(5, requests=300, prompt=10, output=2)
    pd.testing.assert_frame_equal(simulate(server(), workload, progress=True), simulate(server(), workload))

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.simulation.engine.Engine._leap", interrupt)
    with pytest.raises(KeyboardInterrupt):
        simulate(server(), workload, progress=True)
    assert capsys.readouterr().out == ""


# Workloads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_intervals_have_the_rate_and_the_variation(burstiness):
    intervals = np.diff(bursty(20, burstiness=burstiness, requests=50_000, prompt=1, output=1).sent_s)
    assert intervals.mean() == pytest.approx(1 / 20, rel=0.03)
    assert intervals.std() / intervals.mean() == pytest.approx(burstiness**-0.5, rel=0.03)


def test_poisson_until_a_time():
    workload = poisson(100, duration=50, prompt=[1, 2, 3], output=7, seed=1)
    assert len(workload) == pytest.approx(5000, abs=4 * 5000**0.5)
    assert workload.sent_s[0] == 0
    assert (np.diff(workload.sent_s) >= 0).all()
    assert workload.sent_s[-1] < 50
    assert set(workload.prompt_tokens) == {1, 2, 3}
    assert len(poisson(1e-3, duration=1, prompt=1, output=1)) == 1  # at least one


def test_a_table_is_a_trace():
    frame = simulate(server(), poisson(20, requests=20, prompt=10, output=5))
    shuffled = frame.sample(frac=1, random_state=1)
    again = simulate(server(), trace(shuffled))
    assert again.last_token_s.to_numpy() == pytest.approx(frame.last_token_s.to_numpy())


# Weight-only kernels ----------------------------------------------------------------------------------------------


def linear(**changes):
    return np.array(StepTimes(Server(**{"gpu": "t4", "model": "llama-2-7b-awq", "engine": None} | changes)).linear)


def test_a_kernel_of_16_rows_unpacks_the_weights_for_each_16():
    free, rows, half = linear(), linear(gemm_rows=16), linear(gemm_efficiency=0.5)
    elementwise = roofline_grid("t4", "llama-2-7b-awq", "elementwise", "decode", [16, 32, 48], 1, time_model="kernel")
    rest = (elementwise.time * elementwise.calls).values.ravel()
    assert rows[5:17] == pytest.approx(free[5:17])
    assert (rows[1:5] >= free[1:5]).all()  # a tile of 16 rows for any, where a GEMV takes few
    assert rows[2] > free[2]
    assert rows[[16, 32, 48]] - rest == pytest.approx((free[16] - rest[0]) * np.array([1, 2, 3]))
    assert half[[16, 32, 48]] - rest == pytest.approx(2 * (free[[16, 32, 48]] - rest))
    assert linear(weight_dtype="fp16", gemm_rows=16, gemm_efficiency=0.1) == pytest.approx(linear(weight_dtype="fp16"))


def test_weights_unpacked_to_memory_first():
    way_out = linear(gemm_rows=16, gemm_efficiency=0.5, dequantize_rows=256)
    assert way_out[255] == linear(gemm_rows=16, gemm_efficiency=0.5)[255]
    weights = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    unpack = weights * (2 + 4 / 8 + 2.5 / 128) / 320e9
    assert way_out[256] - linear(weight_dtype="fp16")[256] == pytest.approx(unpack)


def test_without_that_the_recorded_batch_of_98_stays_unexplained():
    free = Server(**T4_SERVER | {"gemm_rows": None})
    tpot = t4_metrics(t4_replay("default", free))["tpot_p50"]
    assert tpot < 0.8 * T4_LOAD_TESTS["default"]["tpot_p50"]


def test_overheads_add_to_a_step():
    one = trace(sent_s=[0], prompt_tokens=[20], output_tokens=[11])
    plain = simulate(server(), one).last_token_s[0]
    assert simulate(server(step_overhead=0.01), one).last_token_s[0] - plain == pytest.approx(0.11)
    assert simulate(server(sequence_overhead=0.01), one).last_token_s[0] - plain == pytest.approx(0.11)


@pytest.mark.parametrize(("model", "tp"), [("mixtral-8x7b", 2), ("deepseek-v3", 8), ("gpt-oss-20b", 1)])
def test_other_models(model, tp):
    frame = simulate(server(gpu="h200-sxm", model=model, tp=tp), poisson(1, requests=5, prompt=100, output=20))
    assert (frame.status == "finished").all()


# Recorded load tests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", T4_LOAD_TESTS)
def test_t4_requests_are_as_many_as_were_sent(run):
    test = T4_LOAD_TESTS[run]
    requests = t4_requests(test["rate"], test["duration"])
    assert len(requests["sent_s"]) == pytest.approx(test["sent"], rel=0.02)  # its sleeps overrun by 1 ms a request


def test_t4_requests_begin_as_recorded():
    # the first answers that ran to their limit, in tokens of four characters: 279, 88, 81, 145, 402, 289
    limits = t4_requests(20, 1)["output_tokens"][:6]
    assert np.array([279, 88, 81, 145, 402, 289]) / limits == pytest.approx(1.108, rel=0.17)


def test_t4_calibration_is_what_it_says():
    efficiency, overhead = t4_calibration()
    assert efficiency == pytest.approx(T4_SERVER["gemm_efficiency"], rel=0.02)
    assert overhead == pytest.approx(T4_SERVER["sequence_overhead"], rel=0.03)


def test_t4_load_tests():
    ratio = t4_comparison().pivot(index="run", columns="quantity", values="ratio")
    assert ratio.tpot_p50["max_num_seqs=1"] == pytest.approx(1, abs=0.02)  # calibrated
    eight = ratio.tpot_p50[["max_num_seqs=8", "max_num_seqs=8, 50/s"]]
    assert eight.to_numpy() == pytest.approx(1, abs=0.06)  # calibrated on both, which differ by 7 %
    # predicted: two clients share the host with the engine; of the default run a quarter of the answers end early
    assert 0.85 < ratio.tpot_p50["max_num_seqs=8, two clients"] < 1
    assert ratio.tpot_p50["default"] == pytest.approx(1, abs=0.12)
    assert ratio.ttft_p99.to_numpy() == pytest.approx(1, abs=0.07)
    assert ratio.finished.to_numpy() == pytest.approx(1, abs=0.25)


# Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"gpu": "a100"}, "GPU 'a100' can be 'a100"),
        ({"model": "lama"}, "unknown model 'lama'"),
        ({"time_model": "real"}, "unknown time_model 'real'"),
        ({"kv_dtype": "fp17"}, "unknown kv_dtype 'fp17'"),
        ({"gpu": ["t4"]}, "unknown GPU"),
        ({"gemm_rows": 0}, "gemm_rows = 0: allowed are whole numbers from 1"),
        ({"tp": 3}, "tp = 3 does not divide n_heads = 32 of llama-2-7b"),
        ({"max_num_seqs": 0}, "max_num_seqs = 0: allowed are whole numbers from 1"),
        ({"block_size": "16"}, "block_size = '16': allowed are whole numbers"),
        ({"max_model_len": 2.5}, "max_model_len = 2.5: allowed are whole numbers"),
        ({"kv_tokens": True}, "kv_tokens = True: allowed are whole numbers from 1 to 1,000,000,000,000, 'fit', None"),
        ({"kv_tokens": "all"}, "kv_tokens = 'all': allowed are whole numbers"),
        ({"gpu_memory_utilization": 90}, "gpu_memory_utilization = 90: allowed are shares from 0 to 1"),
        ({"step_overhead": -1}, "step_overhead = -1: allowed are seconds from 0 to 10"),
        ({"sequence_overhead": float("nan")}, "sequence_overhead = nan: allowed are seconds"),
        ({"gemm_efficiency": 0}, "gemm_efficiency = 0: allowed are numbers from 0.001 to 10"),
        ({"max_num_seqs": 1024}, "max_num_batched_tokens = 512 is less than max_num_seqs = 1024"),
        ({"max_model_len": 1024, "chunked_prefill": False}, "without chunked_prefill a prompt must fit in one step"),
        ({"kv_tokens": 511}, "kv_tokens = 511 makes 31 blocks of 16, fewer than max_model_len = 512 needs"),
        (
            {"gpu": "t4", "model": "llama-2-70b", "kv_tokens": "fit"},
            "llama-2-70b does not fit on t4 at tp 1: weights of 138.0 GB .* leave 0 tokens of 15.8 GB",
        ),
    ],
)
def test_server_refuses(changes, match):
    with pytest.raises(ValueError, match=match):
        simulate(server(**changes), poisson(1, requests=1, prompt=1, output=1))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: poisson(0, requests=1, prompt=1, output=1), "rate = 0: allowed are positive numbers"),
        (
            lambda: poisson(1e300, requests=1, prompt=1, output=1),
            "rate = 1e[+]300: allowed are positive numbers",
        ),
        (
            lambda: poisson(1e9, duration=1, prompt=1, output=1),
            "rate x duration = 1e[+]09: allowed are up to 10,000,000",
        ),
        (lambda: trace([]), "a list: expected a DataFrame, or arrays by name"),
        (lambda: trace(pd.DataFrame()), "the trace has no column 'sent_s': it has none"),
        (lambda: poisson("20", requests=1, prompt=1, output=1), "rate = '20': allowed are positive numbers"),
        (lambda: poisson(1, prompt=1, output=1), "give either requests"),
        (lambda: poisson(1, requests=1, duration=1, prompt=1, output=1), "give either requests"),
        (lambda: poisson(1, requests=0, prompt=1, output=1), "requests = 0: allowed are whole numbers from 1"),
        (lambda: poisson(1, duration=-1, prompt=1, output=1), "duration = -1: allowed are positive seconds"),
        (lambda: poisson(1, requests=1, prompt=[], output=1), r"prompt = \[\]: expected whole numbers of tokens, at"),
        (lambda: poisson(1, requests=1, prompt=1, output=0), "output = 0: allowed are whole numbers of tokens from 1"),
        (lambda: poisson(1, requests=1, prompt=1.5, output=1), "prompt = 1.5: allowed are whole numbers of tokens"),
        (
            lambda: poisson(1, requests=1, prompt="many", output=1),
            "prompt = 'many': allowed are whole numbers of tokens",
        ),
        (lambda: poisson(1, requests=1, prompt=1, output=1, cached=-1), "cached tokens = -1: expected whole numbers"),
        (lambda: poisson(1, requests=2, prompt=9, output=1, cached=[1, 2, 3]), "expected a whole number, or one a req"),
        (
            lambda: bursty(1, burstiness=0, requests=1, prompt=1, output=1),
            "burstiness = 0: allowed are numbers from 0.001",
        ),
        (lambda: closed_loop(0, requests=1, prompt=1, output=1), "concurrency = 0: allowed are whole numbers from 1"),
        (lambda: trace(pd.DataFrame({"sent_s": [0]})), "the trace has no column 'prompt_tokens': it has sent_s"),
        (lambda: trace(sent_s=[], prompt_tokens=[], output_tokens=[]), "sent_s: expected a list of finite times"),
        (lambda: trace(sent_s=[np.nan], prompt_tokens=[1], output_tokens=[1]), "sent_s = nan: expected finite times"),
        (
            lambda: trace(sent_s="now", prompt_tokens=[1], output_tokens=[1]),
            "sent_s = 'now': expected finite times in sec",
        ),
        (lambda: trace(sent_s=[0, 1], prompt_tokens=[1], output_tokens=[1, 1]), "prompt_tokens has 1 values for 2 of"),
        (lambda: poisson(1, requests=1, prompt=1, output=1, seed=-1), "seed = -1: allowed are whole numbers from 0"),
        (lambda: simulate("t4", None), "server = 't4': expected a simulation.Server"),
        (lambda: simulate(server(), None), "workload = None: expected one of poisson"),
        (
            lambda: simulate(server(), closed_loop(1, requests=1, prompt=1, output=1), timeout=0),
            "timeout = 0: allowed are positive seconds",
        ),
        (lambda: simulate(server(), closed_loop(1, requests=1, prompt=1, output=1), horizon="1"), "horizon = '1': all"),
        (lambda: simulate(server(), closed_loop(1, requests=1, prompt=1, output=1), in_flight=0), "in_flight = 0: all"),
    ],
)
def test_calls_refuse(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_a_model_that_does_not_fit_is_refused():
    server = Server("l4", "llama-3-70b", kv_tokens=8192)
    with pytest.raises(ValueError, match=r"^llama-3-70b does not fit: 141\.\d GB of weights on each l4 of 23\.7 GB$"):
        simulate(server, poisson(4, requests=2, prompt=100, output=20))
