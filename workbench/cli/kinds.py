"""What a file is that was given to the wrong command, and which one takes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files.reading import open_text

#: Of a command, the others whose files it takes.
ALSO = {"simulate": ("loadtest",), "explain": ("timings",), "calibrate": ("timings",)}


@contextmanager
def meant_for(command: str, file: Path) -> Iterator[None]:
    """Say of a file that a command cannot read what it is, where another command reads it."""
    try:
        yield
    except ValueError:
        kind, right, option = _kind(file)
        if right in ("", command, *ALSO.get(command, ())):
            raise
        raise ValueError(f"{file}: {kind}: workbench {right} {option}FILE") from None


def _kind(file: Path) -> tuple[str, str, str]:
    """What a file is, the command that takes it, and the option for it; empty texts for anything else."""
    from .. import loadtest, timings
    from ..loadtest.recorded import workload_format

    try:
        if workload := workload_format(file):
            return f"this is a workload ({workload}), without results", "simulate", "--trace "
    except ValueError:  # no text
        pass
    try:
        return f"this is a load test ({loadtest.recognize(file)})", "loadtest", ""
    except ValueError:
        pass
    try:
        format = timings.recognize(file)
        if format == "torch":  # what any JSON is taken for
            with open_text(file) as text:
                format = format if '"traceEvents"' in text.read(2**16) else ""
        if file.suffix == ".parquet":
            timings.read(file)
    except ValueError as problem:
        return (
            ("this is a table of operators", "calibrate", "--judge ") if "operators" in str(problem) else ("", "", "")
        )
    return (f"these are kernel timings ({format})", "timings", "") if format else ("", "", "")
