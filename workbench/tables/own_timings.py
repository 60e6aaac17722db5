"""The project's own measurements, in ``data/measured``: they judge the kernel-time model and are never fitted on."""

import pandas as pd

from ..common.arguments import one_of
from ..common.project import DATA

#: The measurements by name, each a CSV whose comment lines say where it is from.
OWN_FILES = {file.name.removesuffix(".csv"): file for file in (DATA / "measured").iterdir() if ".csv" in file.name}


def measurements() -> pd.DataFrame:
    """What this project has measured itself.

    Returns
    -------
    pd.DataFrame
        A row a file: its name, for `measured`; the gpu as its driver calls it; date; versions; and timings [1].
    """
    rows = []
    for name in sorted(OWN_FILES):
        table = measured(name)
        said = dict(line.partition(": ")[::2] for line in reversed(table.attrs["header"]))
        rows.append({"name": name, **{key: said[key] for key in ("gpu", "date", "versions")}, "timings": len(table)})
    return pd.DataFrame(rows)


def measured(name: str) -> pd.DataFrame:
    """One of the project's own measurements.

    Parameters
    ----------
    name : str
        Of a file in ``data/measured``; `measurements` lists them.

    Returns
    -------
    pd.DataFrame
        A row a timing with the file's own columns; ``time_s`` is its median [s]. ``attrs["header"]`` holds the file's
        comment lines: GPU, date, versions and method.

    Raises
    ------
    ValueError
        For a name that there is not.
    """
    path = OWN_FILES[one_of("name", name, sorted(OWN_FILES))]
    table = pd.read_csv(str(path), comment="#").dropna(axis="columns", how="all")
    lines = path.read_text(encoding="utf-8").splitlines()
    table.attrs["header"] = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    return table
