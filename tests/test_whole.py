"""Files under kill -9: at every moment a file is the old one or the new one, never half of either."""

import subprocess
import sys

# A writer that saves two versions of a chart in turn, killed at 50 moments. The script forks it, as importing
# matplotlib again for each would take longer than the test.
KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from workbench import figures

folder = Path(sys.argv[1])
versions = []
for scale in (1, 2):
    figure, ax = plt.subplots(figsize=(1, 1))
    ax.plot([0, scale], [0, scale])
    versions.append((figure, pd.DataFrame({"x [m]": range(1000 * scale)})))

def save(version, target):
    figures.save(*versions[version], "chart", str(target))

start = time.perf_counter()
for version in (0, 1):
    save(version, folder / str(version))
took = (time.perf_counter() - start) / 2
names = [f"chart.{kind}" for kind in ("csv", "png", "svg")]
whole = {name: {(folder / str(version) / name).read_bytes() for version in (0, 1)} for name in names}
save(0, folder / "out")
moments, cut, broken = random.Random(1), 0, []
for _ in range(50):
    child = os.fork()
    if not child:
        while True:
            save(1, folder / "out")
            save(0, folder / "out")
    time.sleep(moments.uniform(0, 2 * took))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    broken += [name for name in names if (folder / "out" / name).read_bytes() not in whole[name]]
    cut += any(path.name.startswith(".") for path in (folder / "out").iterdir())
    for left in (folder / "out").glob(".*"):
        left.unlink()
print(len(names) * 50, "files read,", len(broken), "broken; killed inside a write:", cut > 0)
"""


def test_fifty_kills_leave_every_file_whole(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", KILLS, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == "150 files read, 0 broken; killed inside a write: True\n"
