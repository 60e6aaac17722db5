"""Tables of the catalog's GPUs, of the kernel-time model's fits, and of the package's own speed."""

import re

import pandas as pd

from ..catalog.choosing import catalog_fits
from ..catalog.fits import IDENTITY, KINDS, UNITS
from ..catalog.gpu_entries import gpu as find_gpu
from ..catalog.gpu_entries import gpus, kernel_fit
from ..common.project import DATA

#: What tells the fits of the catalog apart.
OF_A_FIT = ["gpu", *IDENTITY]
#: What the columns of `benchmarks` are called in a chart's table.
BENCHMARK_UNITS = {
    "seconds": "time [s]", "copy_seconds": "copy [s]", "result_bytes": "result [byte]", "peak_bytes": "peak [byte]",
    "disk_bytes": "disk [byte]", "ns_per_cell": "time per cell [ns]", "points_per_second": "points per second [1/s]",
}  # fmt: skip


def gpu_numbers() -> pd.DataFrame:
    """The numbers that one chooses a GPU by.

    Returns
    -------
    pd.DataFrame
        A row a GPU of the catalog: name; peaks of 16 bit, fp8, fp4 and int8 [TFLOP/s], dense, with fp32 accumulation;
        bandwidth [GB/s]; the vendor's memory [GB] and what the driver reports of it [GiB]; link, all of its own links
        in one direction [GB/s], and how many GPUs these join [1]; power [W]; year; confidence. NaN where the catalog
        has no number.
    """
    cards = [find_gpu(name) for name in gpus()]
    rows = (
        {
            "name": card.name, "16 bit [TFLOP/s]": card.peak_16_bit / 1e12,
            **{f"{dtype} [TFLOP/s]": card.dense_tflops.get(dtype) for dtype in ("fp8", "fp4", "int8")},
            "bandwidth [GB/s]": card.memory.bandwidth_gbs, "memory [GB]": card.memory.capacity_gb,
            "reported [GiB]": card.memory.reported_gib, "link [GB/s]": card.link and card.link.gbs_per_direction,
            "joins [1]": card.link and card.link.max_gpus, "power [W]": card.tdp_w, "year": card.year,
            "confidence": card.confidence,
        }
        for card in cards
    )  # fmt: skip
    table = pd.DataFrame(rows, index=pd.Index([card.id for card in cards], name="gpu"))
    return table.astype({name: float for name in table if str(name).endswith("]")})


def fits() -> pd.DataFrame:
    """How good each fitted part of the kernel-time model is.

    Returns
    -------
    pd.DataFrame
        A row a fit: gpu, kind, format, engine, version, family; rows timed [1]; error and bias [%], the mean absolute
        and the mean error on held-out rows; elsewhere [%], that of a fit to the other GPUs of the architecture;
        held_out, how the rows were chosen; sources, the timings' repositories, or what was measured.
    """
    return pd.DataFrame(
        {
            "gpu": name, "kind": fit.kind, "format": fit.format, "engine": fit.engine, "version": fit.version,
            "family": fit.family, "rows": fit.rows, "error [%]": fit.error_percent, "bias [%]": fit.bias_percent,
            "elsewhere [%]": fit.elsewhere_percent, "held_out": fit.held_out,
            "sources": ", ".join(re.findall(r"github\.com/([\w.-]+/[\w.-]+)", fit.source)) or fit.source.split(":")[0],
        }
        for name in gpus() for fit in catalog_fits(name)
    )  # fmt: skip


def fidelity() -> pd.DataFrame:
    """Errors of the ideal roofline and of the kernel-time model on public timings.

    Returns
    -------
    pd.DataFrame
        A row a fit and regime: gpu, kind, format, engine, version, family; regime, "all" or what limits the kernel;
        rows timed [1]; ideal, error, bias [%]: mean absolute error of the ideal roofline; mean absolute and mean error
        of the fit on the timings that it was made from; held out [%], its mean absolute error on shapes that it did not
        see; elsewhere [%], that of a fit to another GPU of the architecture; noise [%], how far apart engines are on
        the same shapes. Where the timings are not at hand, only what the fit's record says, and NaN.
    """
    table = pd.read_csv(str(DATA / "fidelity.csv"), comment="#").drop(columns="fit")
    table = table.rename(columns={"ideal_error_percent": "ideal_percent"})
    table.columns = [re.sub("_percent$", " [%]", str(name)).replace("held_out", "held out") for name in table]
    known = pd.MultiIndex.from_frame(table[OF_A_FIT])
    records = fits().rename(columns={"error [%]": "held out [%]"}).drop(columns="bias [%]").assign(regime="all")
    other = records[~pd.MultiIndex.from_frame(records[OF_A_FIT]).isin(known)]
    return pd.concat([table, other[[name for name in table if name in other]]], ignore_index=True)


def fit_parameters() -> pd.DataFrame:
    """Every fitted number of the catalog.

    Returns
    -------
    pd.DataFrame
        A row a number: gpu, kind, format, engine, family, parameter, value and its unit.
    """
    return pd.DataFrame(
        {
            "gpu": name, "kind": fit.kind, "format": fit.format, "engine": fit.engine, "family": fit.family,
            "parameter": parameter, "value": float(value), "unit": UNITS[parameter],
        }
        for name in gpus() for fit in catalog_fits(name) for parameter, value in fit.parameters
        if parameter in fit.parameters.model_fields_set and type(value) in (int, float)
    )  # fmt: skip


def lenders() -> pd.DataFrame:
    """Whose fit each GPU of the catalog computes with.

    Returns
    -------
    pd.DataFrame
        A row a GPU, a column a kind of kernel; the ids of GPUs.
    """
    return pd.DataFrame(
        {kind: [kernel_fit(find_gpu(name), kind).gpu for name in gpus()] for kind in KINDS},
        index=pd.Index(gpus(), name="gpu"),
    )


def benchmarks() -> pd.DataFrame:
    """What ``make bench`` measured.

    Returns
    -------
    pd.DataFrame
        A row a benchmark: benchmark, case, time_model; cells, points [1], of which a point is a batch size, length and
        phase with every operator of a model; result_bytes, peak_bytes, disk_bytes [byte]; seconds, copy_seconds [s],
        medians, the latter of copying as many bytes as the result holds; over_copy, peak_over_result [1]; ns_per_cell
        [ns]; points_per_second [1/s]; rounds [1]. ``attrs["machine"]`` says where, with which versions, and when.
    """
    path = DATA / "benchmarks.csv"
    whole = ("cells", "points", "result_bytes", "peak_bytes", "disk_bytes")
    table = pd.read_csv(str(path), comment="#", dtype=dict.fromkeys(whole, "Int64"))
    table = table.fillna({"case": "", "time_model": ""})
    table["over_copy"] = table.seconds / table.copy_seconds
    table["ns_per_cell"] = 1e9 * table.seconds / table.cells
    table["points_per_second"] = table.points / table.seconds
    table.attrs["machine"] = path.read_text().partition("\n")[0].removeprefix("# ")
    return table
