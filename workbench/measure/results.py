"""The CSV that kernel times are kept in: taken up where it is there, written whole, by one run at a time."""

import csv
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..files.folders import scratch
from ..files.formulas import as_given, inert
from ..files.reading import Texts, csv_rows, given_file
from ..files.writing import check_output, remove_left, whole
from .columns import SIZES, TIMING_COLUMNS
from .timed_kernels import Kernel, told_apart

#: Columns of the file. `scales` says of fp8 operands that there is one a "token" (a row of each), or else one a tensor.
MEASURED = (*TIMING_COLUMNS, "p10_s", "p90_s", "runs", "note", "scales")
#: Those that a file from before they were there lacks.
LATER = ("v_head_dim", "n_experts", "experts_per_token", "scales")
MAX_ROWS = 300_000  # of a file to go on with; a grid has some thousands


@dataclass
class Results:
    """The CSV of timings: what was in it before, and what is added."""

    path: Path
    comments: list[str] = field(default_factory=list)
    rows: list[dict[str, str]] = field(default_factory=list)

    @property
    def done(self) -> set[tuple[str, ...]]:
        """Keys of the kernels in the file."""
        return {_key(row) for row in self.rows}

    def save(self) -> None:
        """Write the file whole."""
        with whole(self.path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            file.writelines(f"# {' '.join(line.split())}\n" for line in self.comments)
            writer = csv.DictWriter(file, MEASURED, lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: inert(cell) for name, cell in row.items()} for row in self.rows)


def _key(row: dict[str, str]) -> tuple[str, ...]:
    """`Kernel.key` of a row."""
    kind = row["operator_class"]
    return (kind, told_apart(kind, row["name"]), row["dtype"], row["scales"], *(row[name] for name in SIZES))


def open_results(path: Path, gpu: str) -> Results:
    """The results so far, none if there is no such file; ValueError for a file of another kind or another GPU."""
    if not path.exists():
        return Results(path)
    results, texts = Results(path), Texts(path)
    table = csv_rows(given_file(path), results.comments)
    names = next(table, (0, list[str]()))[1]
    if tuple(names) not in (MEASURED, tuple(name for name in MEASURED if name not in LATER)):
        raise ValueError(f"{path}: not a file of `workbench measure`: choose another with -o")
    for number, (_, cells) in enumerate(table, 1):
        if len(cells) != len(names):
            raise ValueError(f"{path}: row {number} has not {len(names)} fields: mend it, or choose another with -o")
        row = dict.fromkeys(MEASURED, "")
        row |= {name: texts.held(as_given(cell)) for name, cell in zip(names, cells, strict=True)}
        if row["gpu"] != gpu:
            found = row["gpu"][:80]
            raise ValueError(f"{path}: has timings of gpu = {found!r}, this is {gpu!r}: choose another with -o")
        results.rows.append(row)
        if number > MAX_ROWS:
            raise ValueError(f"{path}: over {MAX_ROWS:,} timings: choose another with -o")
    return results


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep a file to this run, by a folder `.NAME.lock` beside it, whose lock the system takes back from a killed one.

    Raises ValueError where another run has the file, and where no file can be written.
    """
    check_output(path)
    with ExitStack() as stack:
        try:
            stack.enter_context(scratch(path.with_name(f".{path.name}.lock"), ""))
        except BlockingIOError as error:
            raise ValueError(f"{path}: {error.strerror}: wait for it, or choose another with -o") from None
        except OSError as error:
            raise ValueError(f"cannot write {path}: {error.strerror}") from None
        remove_left(path.parent)
        yield


def row_of(kernel: Kernel, gpu: str, framework: str, times: Sequence[float], note: str = "") -> dict[str, str]:
    """One kernel's row: the median of its times [s], 10th and 90th percentile; or a note on why there are none."""
    row = dict.fromkeys(MEASURED, "") | {
        "source": "workbench", "gpu": gpu, "framework": framework, "note": note,
        "operator_class": kernel.operator_class, "name": kernel.name, "dtype": kernel.dtype,
        "scales": kernel.scales,
    }  # fmt: skip
    row |= {name: str(getattr(kernel, name) or "") for name in SIZES}
    if times:
        tenths = statistics.quantiles(times, n=10, method="inclusive") if len(times) > 1 else [times[0]] * 9
        spread = {"time_s": statistics.median(times), "p10_s": tenths[0], "p90_s": tenths[-1]}
        row |= {name: f"{value:.5g}" for name, value in spread.items()} | {"runs": str(len(times))}
    return row
