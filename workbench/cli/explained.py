"""The command that says of measured kernels what they are and what limits them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Entries, FileFormat, check_apart, check_picture, integers, names, own_gpu, own_model, tell

if TYPE_CHECKING:
    import xarray as xr


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
    entries: Entries = None,
) -> None:
    """What each measured kernel of a model is, how far from its roof and from what is predicted, and what bounds it."""
    check_apart(file, output, plot)
    from .. import tables, timings
    from ..common.errors import unknown
    from ..explanation import explain as explained
    from ..explanation import own_file
    from ..files.formulas import inert_table
    from ..files.writing import write_text

    if output and output.suffix != ".csv":
        raise unknown("file suffix of --output", output.suffix, (".csv",))
    if plot:
        check_picture(plot)
    sizes = integers("--step", [step] if step else None)
    if sizes is not None and len(sizes) != 3:
        raise ValueError(f"--step {step!r}: expected SEQUENCES,NEW_TOKENS,CONTEXT, e.g. 8,1,1024")
    source = own_file(file)
    table = timings.read(source, format) if format else timings.read_any(source)
    tell(table.attrs["problems"])
    ds = explained(
        table, own_gpu(gpu, entries) if gpu else None, [own_model(each, entries) for each in names(model)] or None,
        tp=tp, step=(sizes[0], sizes[1], sizes[2]) if sizes else None, weight_dtype=weight_dtype,
        activation_dtype=activation_dtype, kv_dtype=kv_dtype, engine=engine, time_model=time_model,
    )  # fmt: skip
    rows = tables.explained(ds)
    if output:
        write_text(inert_table(rows).to_csv(index=False, lineterminator="\n"), output)
    if plot:
        _draw(ds, plot)
    typer.echo(tables.table(rows))
    left = tables.unassigned(ds)
    share = 100 * ds.attrs["assigned_share"]
    typer.echo(f"{share:.1f} % of {1e3 * ds.attrs['total_time']:,.4g} ms assigned ({', '.join(ds.model.values)})")
    if len(left):
        typer.echo(tables.table(left.head(10), "not assigned:"))
    if len(left) > 10:
        typer.echo(f"and {len(left) - 10} more, {left['share [%]'][10:].sum():.2g} % of the time")
    for line in json.loads(ds.attrs["ambiguous"]):
        typer.echo(f"workbench: {line}", err=True)
    if ds.attrs["assumed"]:
        typer.echo(f"workbench: {ds.attrs['assumed']}", err=True)


def _draw(ds: "xr.Dataset", path: Path) -> None:
    """The roofline chart of what was measured, written whole."""
    from matplotlib.figure import Figure

    from .. import plots
    from ..files.writing import write_chart

    figure = Figure(figsize=(8, 6), layout="constrained")
    title = f"{', '.join(ds.model.values)} on {', '.join(ds.gpu.values)}, measured and predicted"
    plots.roofline(ax=figure.subplots(), measured=ds, title=title[:90])
    write_chart(figure, path)
