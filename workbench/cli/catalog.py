"""Commands on the catalog: its GPUs and its models."""

import typer


def gpus() -> None:
    """List the GPUs of the catalog."""
    from .. import catalog

    for name in catalog.gpus():
        typer.echo(f"{name:<22}{catalog.gpu(name).name}")


def models() -> None:
    """List the models of the catalog."""
    from .. import catalog

    for name in catalog.models():
        typer.echo(f"{name:<22}{catalog.model(name).name}")
