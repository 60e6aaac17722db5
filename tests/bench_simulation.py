"""How long the simulation of 100,000 requests of 150 output tokens takes: `python tests/bench_simulation.py`."""

import time

from workbench.simulation import Server, closed_loop, poisson, simulate

REQUESTS = 100_000
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
}


def main() -> None:
    """Print seconds, steps and the mean batch of each workload."""
    for name, (sequences, workload) in WORKLOADS.items():
        server = Server("a100-80gb-sxm", "llama-2-7b", max_num_seqs=sequences, kv_tokens=120_000)
        start = time.perf_counter()
        engine = simulate(server, workload).attrs["engine"]
        seconds = time.perf_counter() - start
        print(
            f"{name:<45}{seconds:6.1f} s, {engine['steps']:>9,} steps, mean batch {engine['mean_running']:5.1f},"
            f" {engine['preemptions']:,} preemptions"
        )


if __name__ == "__main__":
    main()
