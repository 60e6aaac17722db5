"""Prompts that begin alike find each other's blocks, as long as nobody needed the room."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from workbench.operators import decode
from workbench.servers import step_time
from workbench.simulation import Server, poisson, simulate, trace
from workbench.simulation.step_times import StepTimes


def server(**changes):
    settings = {"max_num_batched_tokens": 512, "max_model_len": 512, "max_num_seqs": 64, "engine": None}
    return Server("a100-80gb-sxm", "llama-2-7b", **settings | changes)


def prompts(lengths, hashes, block_tokens=32, output=1, apart=1.0):
    """Requests one after another, each when the one before has ended."""
    sent = apart * np.arange(len(lengths))
    return trace(
        sent_s=sent, prompt_tokens=lengths, output_tokens=[output] * len(lengths), block_hashes=hashes,
        block_tokens=block_tokens,
    )  # fmt: skip


def found(workload, **changes):
    """Tokens that the requests found, and what each had to compute."""
    frame = simulate(server(**changes), workload)
    times = (frame.first_token_s - frame.sent_s).to_numpy()
    return frame.attrs["engine"]["hit_tokens"], times


@pytest.mark.parametrize(("caching", "hits"), [(True, 64), (False, 0)])
def test_a_hit_is_not_computed_again(caching, hits):
    tokens, times = found(prompts([100, 100], [[1, 2], [1, 2]]), prefix_caching=caching)
    assert tokens == hits
    assert times[1] == pytest.approx(StepTimes(server()).alone([(hits, 100)], 0, 0))


@pytest.mark.parametrize(
    ("lengths", "hashes", "hits"),
    [
        ([100, 100], [[1, 2], [1, 3]], 32),  # alike to the 32nd token
        ([100, 100], [[1, 2], [3, 2]], 0),  # nothing is found after what is not
        ([100, 100], [[1, 2, 3], [1, 2, 3]], 96),  # with their last full block
        ([100, 100], [[1, 2, 3, 4], [1, 2, 3, 4]], 96),  # what of it fills no block is nobody's
        ([64, 64], [[1, 2], [1, 2]], 63),  # the last token is computed: its block of 16
        ([100, 100, 100], [[1, 2], [3, 4], [1, 2]], 64),
    ],
)
def test_the_longest_prefix_is_found(lengths, hashes, hits):
    assert found(prompts(lengths, hashes))[0] == hits


def test_a_prompt_of_whole_blocks_computes_its_last_one():
    _, times = found(prompts([64, 64], [[1, 2], [1, 2]]))
    assert times[1] == pytest.approx(StepTimes(server()).alone([(48, 64)], 0, 0))


def test_the_least_recently_used_go_first_and_of_them_the_last_block():
    # Ten blocks, prompts of four: a, b, a again, then c takes the two never used and half of b, from its end.
    ten = {"kv_tokens": 160, "max_model_len": 96}
    a, b, c = [1, 2], [3, 4], [5, 6]
    assert found(prompts([65, 65, 65, 65], [a, b, a, c]), **ten)[0] == 64
    assert found(prompts([65, 65, 65, 65, 65], [a, b, a, c, a]), **ten)[0] == 64 + 64
    # the 65th tokens have a block of their own: 5 + 5 are taken, a's second run of 65 takes b's fifth, c five more
    assert found(prompts([65, 65, 65, 65, 65], [a, b, a, c, b]), **ten)[0] == 64 + 0


def test_shared_blocks_are_held_once():
    # Four prompts of 160 tokens, 128 of them alike: 8 blocks and 2 of each, and one of each for what they generate.
    alike = prompts([160] * 4, [[7]] * 4, block_tokens=128, output=8, apart=0)
    engine = simulate(server(max_num_batched_tokens=640), alike).attrs["engine"]
    assert (engine["peak_kv_blocks"], engine["hit_tokens"]) == (8 + 4 * 3, 3 * 128)
    apart = simulate(server(max_num_batched_tokens=640, prefix_caching=False), alike).attrs["engine"]
    assert apart["peak_kv_blocks"] == 4 * 11


def test_shared_blocks_let_more_in():
    alike = prompts([160] * 8, [[7]] * 8, block_tokens=128, output=100, apart=0)
    for policy in ("recompute", "guaranteed_no_evict", "max_utilization", "prefill_first"):
        means = [
            simulate(server(kv_tokens=640, policy=policy, prefix_caching=each), alike).attrs["engine"]["mean_running"]
            for each in (True, False)
        ]
        assert means[0] > 1.3 * means[1]


def test_given_hits_save_computation_alone():
    load = trace(sent_s=[0], prompt_tokens=[400], output_tokens=[2], cached_tokens=[384])
    frame = simulate(server(), load)
    assert frame.first_token_s[0] == pytest.approx(StepTimes(server()).alone([(384, 400)], 0, 0))
    assert (frame.attrs["engine"]["hit_tokens"], frame.attrs["engine"]["peak_kv_blocks"]) == (0, 26)
    assert frame.last_token_s[0] - frame.first_token_s[0] == pytest.approx(step_time(server(), decode(1, 401)))


def test_any_workload_may_begin_alike():
    load = poisson(20, requests=50, prompt=200, output=20)
    alike = dataclasses.replace(load, block_hashes=[[0]] * len(load), block_tokens=160)
    plain, shared = simulate(server(), load), simulate(server(), alike)
    assert shared.attrs["engine"]["hit_tokens"] == 49 * 160
    assert (shared.first_token_s - shared.sent_s).mean() < (plain.first_token_s - plain.sent_s).mean()


def test_a_trace_keeps_its_hashes_in_order():
    table = pd.DataFrame(
        {"sent_s": [2.0, 1.0], "prompt_tokens": [64, 40], "output_tokens": 3, "block_hashes": [[8, 9], [7]]}
    )
    load = trace(table, block_tokens=32)
    assert (load.block_hashes, load.block_tokens, load.prompt_tokens.tolist()) == (((7,), (8, 9)), 32, [40, 64])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"block_hashes": [[1]]}, "block_hashes and block_tokens go together"),
        ({"block_tokens": 32}, "block_hashes and block_tokens go together"),
        ({"block_hashes": [[1]], "block_tokens": 0}, "block_tokens = 0: allowed are whole numbers from 1"),
        ({"block_hashes": [[1], [2]], "block_tokens": 32}, "a list for each of 1 requests, not 2"),
        ({"block_hashes": 7, "block_tokens": 32}, "a list for each of 1 requests, not 0"),
        ({"block_hashes": [["a"]], "block_tokens": 32}, r"block_hashes\[0\] = \['a'\]: expected whole numbers"),
        ({"block_hashes": [7], "block_tokens": 32}, r"block_hashes\[0\] = 7: expected whole numbers"),
        ({"block_hashes": [[1, 2]], "block_tokens": 32}, r"block_hashes\[0\] has 2 numbers: 20 tokens are 1 times 32"),
    ],
)
def test_a_trace_refuses_other_hashes(changes, match):
    with pytest.raises(ValueError, match=match):
        trace(sent_s=[0], prompt_tokens=[20], output_tokens=[1], **changes)


def test_runs_of_hashes_hold_a_block_at_least():
    with pytest.raises(ValueError, match="block_tokens = 8 is less than block_size = 16"):
        simulate(server(), prompts([20], [[1]], block_tokens=8))
