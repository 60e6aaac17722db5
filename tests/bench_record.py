"""From pytest-benchmark's JSON to the table of the documentation: `python tests/bench_record.py IN.json OUT.csv`."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd

COLUMNS = [
    "benchmark", "case", "time_model", "cells", "points", "result_bytes", "seconds", "copy_seconds",
    "peak_over_result", "peak_bytes", "disk_bytes", "rounds",
]  # fmt: skip


def main(source: str, target: str) -> None:
    """A row a benchmark: medians [s], and what it noted besides; above them the machine, the versions and the date."""
    report = json.loads(Path(source).read_text())
    rows = []
    for entry in report["benchmarks"]:
        params = dict(entry["params"] or {})
        for number in ("power", "size"):
            params.pop(number, None)  # of the cells, which it notes
        rows.append({
            "benchmark": entry["name"].partition("[")[0].removeprefix("bench_").replace("_", " "),
            "time_model": params.pop("time_model", ""),
            "case": " ".join(map(str, params.values())),
            "seconds": entry["stats"]["median"], "rounds": entry["stats"]["rounds"], **entry["extra_info"],
        })  # fmt: skip
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    whole = ["cells", "points", "result_bytes", "peak_bytes", "disk_bytes"]
    table[whole] = table[whole].astype("Int64")
    machine, day = report["machine_info"], report["datetime"][:10]
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "xarray", "dask", "zarr"))
    head = (
        f"# {machine['cpu']['brand_raw']}, {machine['cpu']['count']} cores, {machine['system']}; "
        f"Python {machine['python_version']}, {versions}; {day}"
    )
    Path(target).write_text(f"{head}\n{table.to_csv(index=False, float_format='%.4g')}")


if __name__ == "__main__":
    main(*sys.argv[1:])
