"""Grid cells per second, beside what this machine's memory can copy: both measured side by side in one run.

Run by ``make bench``. A cell is one (gpu, model, operator, phase, batch size, sequence length).
"""

import time

import numpy as np

import workbench as wb

GRID = {
    "gpu": ["a100-80gb-pcie", "h100-sxm", "t4", "l4"],
    "model": ["llama-7b", "llama-3-8b"],
    "operator": "unfused",
    "batch_size": range(1, 129),
    "seq_len": range(64, 64 * 257, 64),
}
RUNS = 5


def best_time(function) -> float:
    """Shortest of a few runs after one to warm up [s]."""
    function()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    ds = wb.roofline_grid(**GRID)
    cells, nbytes = ds.time.size, ds.nbytes
    source = np.ones(nbytes // 8)
    target = np.zeros_like(source)
    copy = best_time(lambda: np.copyto(target, source))
    grid = best_time(lambda: wb.roofline_grid(**GRID))
    print(f"grid    {cells:,} cells, {nbytes / 1e6:,.0f} MB in {grid * 1e3:.0f} ms: {cells / grid / 1e6:.1f} M cells/s")
    print(f"copy    {nbytes / 1e6:,.0f} MB in {copy * 1e3:.0f} ms: {2 * nbytes / copy / 1e9:.1f} GB/s read and written")
    print(f"ratio   the grid takes {grid / copy:.1f} times as long as copying its result")


if __name__ == "__main__":
    main()
