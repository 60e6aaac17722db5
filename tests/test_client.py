"""The simulation's parts by themselves: a client without a server, an engine without a client, a scheduler's policy."""

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.simulation import Server, closed_loop, simulate, trace
from workbench.simulation.batch import DecodingBatch
from workbench.simulation.cache import Footprint
from workbench.simulation.client import Client, ClientOptions
from workbench.simulation.engine import Engine, StepOutcome
from workbench.simulation.policies import SCHEDULERS
from workbench.simulation.requests import Request
from workbench.simulation.scheduler import Scheduler


def server(**changes):
    settings = {"max_num_batched_tokens": 512, "max_model_len": 512, "max_num_seqs": 64, "engine": None} | changes
    return Server("a100-80gb-sxm", "llama-2-7b", **settings)


# A client, and an engine that takes a second for each request, one after the other --------------------------------


class OneASecond:
    """All that a client needs of an engine: the first token after half of a request's second, the last at its end."""

    def __init__(self):
        self.now, self.queue = 0.0, []

    @property
    def idle(self):
        return not self.queue

    def add(self, request):
        self.queue.append(request)

    def cancel(self, request):
        self.queue.remove(request)

    def generated(self, request):
        return request.generated

    def wait_until(self, time):
        self.now = time

    def cut_at(self, time):
        seconds, self.now = time - self.now, time
        return seconds

    def step(self, arrival, deadline, horizon):
        if self.now + 0.5 > horizon:
            return None
        self.now += 0.5
        request = self.queue[0]
        request.generated = request.output if request.generated else 1
        done = [self.queue.pop(0)] if request.generated == request.output else []
        return StepOutcome(0.5, [] if done else [request], done)


def sent_by(workload, max_model_len=100, **options):
    client = Client(workload, ClientOptions(**options), OneASecond(), server(max_model_len=max_model_len))
    while client.step():
        pass
    return client, client.table()


FOUR = trace(sent_s=[0, 0.25, 0.25, 9], prompt_tokens=[5] * 4, output_tokens=[7] * 4)


def test_an_open_loop_sends_at_its_times():
    client, table = sent_by(FOUR)
    assert table.sent_s.tolist() == [0, 0.25, 0.25, 9]
    assert table.first_token_s.tolist() == [0.5, 1.5, 2.5, 9.5]
    assert table.last_token_s.tolist() == [1, 2, 3, 10]
    assert table.output_tokens.tolist() == [7] * 4
    assert set(table.status) == {"finished"}
    assert client.in_system_area == pytest.approx(1 + 1.75 + 2.75 + 1)  # what each was there for


def test_a_closed_loop_sends_when_one_ends():
    _, table = sent_by(closed_loop(2, requests=4, prompt=5, output=7))
    assert table.sent_s.tolist() == [0, 0, 1, 2]
    assert table.last_token_s.tolist() == [1, 2, 3, 4]


def test_without_a_connection_a_request_waits_at_the_client():
    client = Client(FOUR, ClientOptions(in_flight=1), OneASecond(), server(max_model_len=100))
    client.step()
    client.step()
    assert (client.next, client.ended, len(client.open)) == (3, 1, 1)  # a third is not handed over yet
    assert sent_by(FOUR, in_flight=1)[1].last_token_s.tolist() == [1, 2, 3, 10]


@pytest.mark.parametrize("in_flight", [None, 1])  # it times out at the engine, or at the client
def test_a_request_that_times_out_is_cancelled(in_flight):
    client, table = sent_by(FOUR, timeout=1.75, in_flight=in_flight)
    assert table.status.tolist() == ["finished", "finished", "failed", "finished"]
    assert table.error[2] == "timed out after 1.75 s"
    assert np.isnan(table.first_token_s[2])
    assert table.output_tokens.tolist() == [7, 7, 0, 7]
    assert client.engine.now == 10  # the engine did not work for it


def test_a_closed_loop_sends_when_one_times_out():
    client, table = sent_by(closed_loop(1, requests=4, prompt=5, output=7), timeout=0.5)
    assert table.sent_s.tolist() == [0, 0.5, 1, 1.5]
    assert table.output_tokens.tolist() == [1] * 4
    assert set(table.status) == {"failed"}
    assert client.engine.now == 2
    assert client.in_system_area == 2  # one at a time, all the time


@pytest.mark.parametrize("users", [1, 2])
def test_a_closed_loop_does_not_wait_for_what_was_given_up_on_its_way(users):
    far = server(max_model_len=100, engine="vllm")
    timeout = far.request_latency / 1000  # the first takes 0.37 of the latency, the second 1.45
    workload = closed_loop(users, requests=3 * users, prompt=5, output=7)
    client = Client(workload, ClientOptions(timeout=timeout), OneASecond(), far)
    while client.step():
        pass
    table = client.table()
    assert table.sent_s.to_numpy() == pytest.approx(np.repeat([0, timeout, 2 * timeout], users), rel=1e-12)
    assert set(table.status) == {"failed"}
    assert client.engine.queue == []
    assert client.engine.now == pytest.approx(3 * timeout, rel=1e-12)


def test_the_horizon_leaves_requests_unfinished_and_unsent():
    client, table = sent_by(FOUR, horizon=1.75)
    assert table.status.tolist() == ["finished", "unfinished", "unfinished"]
    assert table.output_tokens.tolist() == [7, 1, 0]
    assert (client.engine.now, client.next) == (1.75, 3)


def test_a_prompt_that_is_too_long_takes_no_connection():
    load = trace(sent_s=[0, 0], prompt_tokens=[100, 98], output_tokens=[7, 7])
    _, table = sent_by(load, in_flight=1)
    assert table.status.tolist() == ["failed", "finished"]
    assert table.error[0] == "prompt of 100 tokens: max_model_len is too short"
    assert table.output_tokens.tolist() == [0, 2]
    assert table.last_token_s[1] == 1


def test_options_are_refused_where_they_are_made():
    with pytest.raises(ValueError, match=r"^timeout = -1: allowed are positive seconds up to inf$"):
        ClientOptions(timeout=-1)
    with pytest.raises(ValueError, match=r"^horizon = 'end': allowed are positive seconds"):
        ClientOptions(horizon="end")
    with pytest.raises(ValueError, match=r"^in_flight = 1.5: allowed are whole numbers from 1 to"):
        ClientOptions(in_flight=1.5)


def test_a_prompt_that_the_horizon_cuts_in_its_last_part_has_no_output():
    load = trace(sent_s=[0, 0], prompt_tokens=[200, 20], output_tokens=[10, 10])
    chunky = server(max_num_batched_tokens=64)
    first = simulate(chunky, load).first_token_s[0]
    cut = simulate(chunky, load, horizon=first * (1 - 1e-6))
    assert cut.output_tokens.tolist() == [0, 0]


# An engine without a client ---------------------------------------------------------------------------------------


def test_an_engine_reports_first_tokens_and_ends():
    engine = Engine(server())
    long, short = Request(0, 20, 5, 0), Request(1, 30, 3, 0)
    assert engine.idle
    engine.add(long)
    engine.add(short)
    prompts = engine.step(inf, inf, inf)
    assert (prompts.first_tokens, prompts.finished, prompts.seconds) == ([long, short], [], engine.now)
    assert engine.step(inf, inf, inf).finished == [short]
    assert (engine.generated(long), engine.generated(short), engine.steps) == (3, 3, 3)
    assert engine.step(inf, inf, inf).finished == [long]
    assert (engine.idle, engine.steps, engine.generated_tokens) == (True, 5, 8)


def test_a_leap_ends_with_the_step_in_which_a_request_arrives():
    engine = Engine(server())
    engine.add(Request(0, 20, 400, 0))
    engine.step(inf, inf, inf)
    one = engine.times.linear[1] + engine.times.head[1] + float(engine.times.decode(1, 21))
    begin = engine.now
    engine.step(begin + 10.5 * one, inf, inf)
    assert engine.steps == 1 + 11
    assert begin + 10.5 * one < engine.now < begin + 11.5 * one
    engine.step(inf, engine.now + 4.5 * one, inf)
    assert engine.steps == 1 + 11 + 5
    assert engine.step(inf, inf, engine.now + 0.5 * one) is None


# A step has 64 tokens: 20 of the other prompt and 44 of this one, then one for the other and 63, then the last 43.
@pytest.mark.parametrize(("steps", "blocks", "generated"), [(0, 0, 0), (1, 3, 0), (2, 7, 0), (3, 10, 1), (5, 10, 3)])
def test_a_cancelled_request_gives_its_blocks_back(steps, blocks, generated):
    engine = Engine(server(max_num_batched_tokens=64))
    other, cancelled = Request(0, 20, 300, 0), Request(1, 150, 300, 0)
    engine.add(other)
    engine.add(cancelled)
    for _ in range(steps):
        engine.step(inf, engine.now, inf)
    free = engine.ranks[0].cache.free
    engine.cancel(cancelled)
    assert engine.ranks[0].cache.free - free == blocks
    assert cancelled.generated == generated
    assert [*engine.ranks[0].running, *engine.ranks[0].waiting] == [other]
    while not engine.idle:
        engine.step(inf, inf, inf)
    assert (other.generated, cancelled.generated, engine.ranks[0].cache.free) == (
        300,
        generated,
        engine.ranks[0].cache.units,
    )


# Many steps at once -----------------------------------------------------------------------------------------------

SEQUENCES = st.lists(st.tuples(st.integers(1, 40), st.integers(20, 60)), min_size=1, max_size=6)


@given(sequences=SEQUENCES, block=st.integers(1, 20), before=st.integers(0, 9), steps=st.integers(0, 19))
def test_a_leap_takes_the_blocks_of_its_steps(sequences, block, before, steps):
    batch, requests = (
        DecodingBatch(Footprint(block)),
        [Request(i, *lengths, 0, 1) for i, lengths in enumerate(sequences)],
    )
    batch.advance(before)
    for request in requests:
        batch.join(request)
    expected = sum(-(-(r.prompt + steps) // block) - -(-r.prompt // block) for r in requests)
    assert batch.units_of(steps) == expected
    free = expected
    within = batch.steps_within(free)
    assert within >= min(steps, min(r.output for r in requests) - 1)
    assert batch.units_of(within) <= free
    batch.advance(steps)
    assert [batch.generated(r) for r in requests] == [1 + steps] * len(requests)
    assert batch.context == sum(r.prompt + 1 + steps for r in requests)


# Another policy ---------------------------------------------------------------------------------------------------


class ShortestFirst(Scheduler):
    """The shortest prompt is admitted first, the longest preempted, and a prompt comes in parts of 32 tokens."""

    def _next_in_queue(self):
        return min(self.waiting, key=lambda request: request.prompt)

    def _victim(self):
        return max(self.running, key=lambda request: request.prompt)

    def _part_of(self, request, budget):
        return super()._part_of(request, min(budget, 32))


def test_a_policy_is_its_decisions(monkeypatch):
    load = trace(sent_s=[0, 0, 0], prompt_tokens=[90, 60, 20], output_tokens=[40, 40, 40])
    small = server(max_num_seqs=2, max_model_len=160, kv_tokens=160)
    fcfs = simulate(small, load)
    monkeypatch.setitem(SCHEDULERS, "recompute", ShortestFirst)
    shortest = simulate(small, load)
    assert fcfs.first_token_s.argsort().tolist() == [0, 1, 2]
    assert shortest.first_token_s.argsort().tolist() == [2, 1, 0]
    for table in (fcfs, shortest):
        assert (table.output_tokens == 40).all()
        assert table.attrs["engine"]["generated_tokens"] == 120
    assert fcfs.attrs["engine"]["preemptions"] > 0
