"""What a file is that was given to the wrong command, and which one takes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files.reading import open_text


@contextmanager
def meant_for(command: str, file: Path) -> Iterator[None]:
    """Say of a file that a command cannot read what it is, where another command reads it."""
    try:
        yield
    except ValueError:
        kind, right = _kind(file)
        if right in ("", command):
            raise
        raise ValueError(f"{file}: this is {kind}: workbench {right} FILE") from None


def _kind(file: Path) -> tuple[str, str]:
    """What a file is and the command that takes it; empty texts for anything else."""
    from .. import loadtest, timings
    from ..loadtest.recorded import workload_format

    try:
        if workload := workload_format(file):
            return f"a workload ({workload})", "simulate --trace"
    except ValueError:  # no text
        pass
    try:
        return f"a load test ({loadtest.recognize(file)})", "loadtest"
    except ValueError:
        pass
    try:
        format = timings.recognize(file)
        if format in ("torch", "torch-cpu"):  # what any JSON is taken for
            with open_text(file) as text:
                format = format if '"traceEvents"' in text.read(2**16) else ""
    except ValueError:
        return "", ""
    if format == "aiconfigurator" and file.suffix == ".parquet":
        return "a table of kernel timings", "timings"
    return (f"kernel timings ({format})", "timings") if format else ("", "")
