"""The command that says of measured kernels what they are and what limits them."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .kinds import meant_for
from .options import Entries, FileFormat, check_apart, check_picture, names, own_gpu, own_model, tell

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

MOST = 10**12  # of a number of --step
#: What arguments of `workbench.explain` are called in its messages, and here.
OPTIONS = {
    "step=(sequences, new tokens, context)": "--step SEQUENCES,NEW_TOKENS,CONTEXT", "l2_bandwidth": "--l2-gbs",
    **{f"{name}_dtype": f"--{name}-dtype" for name in ("weight", "activation", "kv")}, "time_model": "--time-model",
    **{f"{name} is missing": f"--{name} is missing" for name in ("gpu", "model")}, "of step =": "of --step =",
    "tp = ": "--tp ", "gpu=, ": "--gpu, ", "gpu=": "--gpu", "model=": "--model", "step=": "--step", "tp=": "--tp",
}  # fmt: skip
AN_ARGUMENT = re.compile(r"(?<![\w-])(?:" + "|".join(map(re.escape, OPTIONS)) + ")")


def explain(
    file: Annotated[
        Path, typer.Argument(help="Trace of PyTorch's profiler, CSV of Nsight Compute, or what `timings` reads.")
    ],
    gpu: Annotated[str | None, typer.Option(help="Id of the GPU; default: what FILE says.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Id of the model, or several; default: what the kernels' names say.")
    ] = None,
    tp: Annotated[int | None, typer.Option(help="GPUs that share every layer; default: as the sizes show.")] = None,
    step: Annotated[
        str | None,
        typer.Option(help="What a step works on, where FILE has no sizes: SEQUENCES,NEW_TOKENS,CONTEXT."),
    ] = None,
    weight_dtype: Annotated[str | None, typer.Option(help="Default: as each kernel says.")] = None,
    activation_dtype: Annotated[str | None, typer.Option(help="Default: as each kernel says.")] = None,
    kv_dtype: Annotated[str | None, typer.Option(help="Default: as each kernel says.")] = None,
    engine: Annotated[str | None, typer.Option(help="Whose kernels are predicted.")] = None,
    time_model: Annotated[str, typer.Option(help="Of the predictions, 'kernel' or 'ideal'.")] = "kernel",
    format: FileFormat = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the table to FILE.csv.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the roofline: PNG, SVG or PDF.")] = None,
    l2_gbs: Annotated[
        float | None, typer.Option(help="Bandwidth of the GPU's L2 cache, for a second roof of --plot, in GB/s.")
    ] = None,
    entries: Entries = None,
) -> None:
    """What each measured kernel of a model is, how far from its roof and from what is predicted, and what bounds it."""
    check_apart(file, output, plot)
    from .. import explanation, tables
    from ..common.errors import unknown
    from ..files.formulas import inert_table
    from ..files.writing import check_output, write_text

    if output and output.suffix != ".csv":
        raise unknown("file suffix of --output", output.suffix, (".csv",))
    if plot:
        check_picture(plot)
    elif l2_gbs is not None:
        raise ValueError("--l2-gbs is for the chart: give --plot, too")
    if l2_gbs is not None and not 1e-3 <= l2_gbs <= 1e9:
        raise ValueError(f"--l2-gbs {l2_gbs:g}: allowed are 0.001 to 1e9 GB/s")
    for target in filter(None, (output, plot)):
        check_output(target)
    sizes = None if step is None else _step(step)
    try:
        source = explanation.own_file(file)
        table = _timings(source, format)
        tell(table.attrs["problems"])
        ds = explanation.explain(
            table, own_gpu(gpu, entries) if gpu else None, [own_model(each, entries) for each in names(model)] or None,
            tp=tp, step=sizes, weight_dtype=weight_dtype, activation_dtype=activation_dtype, kv_dtype=kv_dtype,
            engine=engine, time_model=time_model, l2_bandwidth=None if l2_gbs is None else 1e9 * l2_gbs,
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(_as_options(str(error))) from None
    rows = tables.explained(ds)
    if output:
        write_text(inert_table(rows).to_csv(index=False, lineterminator="\n"), output)
    if plot:
        _draw(ds, plot)
    typer.echo(tables.table(rows))
    left = tables.unassigned(ds)
    share = 100 * ds.attrs["assigned_share"]
    typer.echo(f"{share:.1f} % of {1e3 * ds.attrs['total_time']:,.4g} ms assigned ({', '.join(ds.model.values)})")
    for line in json.loads(ds.attrs["notes"]):
        typer.echo(_as_options(line))
    if len(left):
        left["why"] = left.why.map(_as_options)
        typer.echo(tables.table(left.head(10), "not assigned:"))
    if len(left) > 10:
        typer.echo(f"and {len(left) - 10} more, {left['share [%]'][10:].sum():.2g} % of the time")
    for line in json.loads(ds.attrs["ambiguous"]):
        typer.echo(f"workbench: {line}", err=True)
    if ds.attrs["assumed"]:
        typer.echo(f"workbench: {ds.attrs['assumed']}", err=True)


def _step(text: str) -> tuple[int, int, int]:
    """Sequences, new tokens and context of --step."""
    parts = [part.strip() for part in text.split(",")]
    whole = [int(part) if re.fullmatch(r"[0-9]{1,13}", part) else 0 for part in parts]
    if len(whole) != 3 or not all(1 <= number <= MOST for number in whole):
        raise ValueError(
            f"--step {text[:40]!r}: expected SEQUENCES,NEW_TOKENS,CONTEXT, such as 8,1,1024, each a whole number "
            f"from 1 to {MOST:,}"
        )
    if whole[1] > whole[2]:
        raise ValueError(
            f"--step {text!r}: {whole[1]} new tokens, of a context of {whole[2]}: allowed are 1 to {whole[2]}"
        )
    return whole[0], whole[1], whole[2]


def _timings(file: str | Path, format: str | None) -> "pd.DataFrame":
    """The kernels of a file; what to run instead where it is another kind of file."""
    from .. import timings

    try:
        with meant_for("explain", Path(file)):
            return timings.read(file, format) if format else timings.read_any(file)
    except ValueError as error:
        begins = re.search(r"not a known timing format, it starts with (.*)\. Known", str(error))
        if not begins:
            raise
        first = f"it starts with {begins[1][:40]}" if len(begins[1]) > 2 else "its first line is empty"
        known = "a trace of PyTorch's profiler, or a CSV of Nsight Compute, Nsight Systems or `workbench timings`"
        raise ValueError(f"{str(file)[-60:]}: no kernel timings, {first}: expected {known}") from None


def _as_options(text: str) -> str:
    """A sentence of `workbench.explain` with its arguments as options."""
    return AN_ARGUMENT.sub(lambda match: OPTIONS[match[0]], re.sub(r"\btp=(\d)", r"--tp \1", text))


def _draw(ds: "xr.Dataset", path: Path) -> None:
    """The roofline chart of what was measured, written whole."""
    from matplotlib.figure import Figure

    from .. import plots
    from ..files.writing import write_chart

    figure = Figure(figsize=(8, 6), layout="constrained")
    title = f"{', '.join(ds.model.values)} on {', '.join(ds.gpu.values)}, measured and predicted"
    plots.roofline(ax=figure.subplots(), measured=ds, title=title[:90])
    write_chart(figure, path)
