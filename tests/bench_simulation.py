"""How long the simulation of 100,000 requests of 150 output tokens takes: `python tests/bench_simulation.py`.

As of Mooncake's traces, the last has prompts of many blocks of 512 tokens, most of them alike in the first.
"""

import time

import numpy as np

from workbench.simulation import Server, Workload, closed_loop, poisson, simulate, trace

REQUESTS = 100_000


def conversations() -> Workload:
    """Turns of 50 conversations at a time: each repeats the one before it and adds 512 tokens, up to 16 times."""
    rng = np.random.default_rng(0)
    talks = rng.integers(0, 50, REQUESTS)
    turns = np.zeros(50, int)
    hashes = []
    for talk in talks.tolist():
        turns[talk] += 1
        begun, length = divmod(int(turns[talk]) - 1, 16)
        hashes.append([16 * (begun * 50 + talk) + turn for turn in range(length + 1)])
    return trace(
        sent_s=np.cumsum(rng.exponential(1 / 10, REQUESTS)), prompt_tokens=[512 * len(keys) for keys in hashes],
        output_tokens=rng.integers(1, 300, REQUESTS), block_hashes=hashes, block_tokens=512,
    )  # fmt: skip


WORKLOADS = {
    "closed loop of 8, batch 8": (8, closed_loop(8, requests=REQUESTS, prompt=100, output=150)),
    "closed loop of 256, batch 256": (256, closed_loop(256, requests=REQUESTS, prompt=100, output=150)),
    "Poisson 3/s, outputs 1 to 299, at most 8": (
        8,
        poisson(3, requests=REQUESTS, prompt=100, output=range(1, 300)),
    ),
    "Poisson 40/s, outputs 1 to 299, at most 256": (
        256,
        poisson(40, requests=REQUESTS, prompt=100, output=range(1, 300)),
    ),
    "Conversations, prompts up to 8,192, 256": (256, conversations()),
}


def main() -> None:
    """Print seconds, steps and the mean batch of each workload."""
    for name, (sequences, workload) in WORKLOADS.items():
        room = 600_000 if workload.block_hashes else 120_000
        server = Server("a100-80gb-sxm", "llama-2-7b", max_num_seqs=sequences, kv_tokens=room, max_model_len=8704)
        start = time.perf_counter()
        engine = simulate(server, workload).attrs["engine"]
        seconds = time.perf_counter() - start
        print(
            f"{name:<45}{seconds:6.1f} s, {engine['steps']:>9,} steps, mean batch {engine['mean_running']:5.1f},"
            f" {engine['preemptions']:,} preemptions, {engine['hit_tokens']:,} tokens found"
        )


if __name__ == "__main__":
    main()
