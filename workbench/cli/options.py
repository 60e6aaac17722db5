"""Options that several commands have, how their text is read, and what ends a command early."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..common.machine import cores
from ..ending import end_interrupted, was_interrupted
from ..files.reading import MAX_PROBLEMS

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ..catalog import GPU, Model

MOST_LABELS = 10_000_000  # that one option lists
CORES = cores()
#: Folders in one of entries of one's own.
KINDS = ("gpus", "models", "fits")

Entries = Annotated[
    Path | None, typer.Option("--entries", help="Folder of your own entries: gpus/, models/ and fits/, a file each.")
]

Scheduler = Annotated[str | None, typer.Option(help="Address of a dask scheduler, tcp://HOST:PORT.")]
FileFormat = Annotated[str | None, typer.Option(help="Format of FILE; by default recognized by its content.")]
WeightDtype = Annotated[str | None, typer.Option()]
ActivationDtype = Annotated[str | None, typer.Option()]
KvDtype = Annotated[str | None, typer.Option()]
TimeModel = Annotated[str, typer.Option(help="'ideal' or 'kernel'.")]


def chosen(option: str, given: str | None, *allowed: str) -> str | None:
    """An option's name; None for 'none', where that is allowed, and without the option."""
    from ..common.arguments import one_of

    return None if given is None or one_of(option, given, allowed) == "none" else given


def integers(option: str, given: list[str] | None) -> list[int] | None:
    """An option's whole numbers, and ranges with their last, "1,2,4" or "64:8192:64"; None without the option."""
    numbers: list[int] = []
    for text in given or []:
        try:
            ranges = [_range(*map(int, part.split(":"))) for part in text.split(",")]
            if sum(map(len, ranges)) > MOST_LABELS or not all(ranges):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise ValueError(
                f"{option} {text!r}: expected whole numbers separated by commas, e.g. 1,2,4, or first:last[:step], "
                f"e.g. 64:8192:64, at most {MOST_LABELS:,} of them"
            ) from None
        numbers += [number for each in ranges for number in each]
    return numbers or None


def _range(first: int, last: int | None = None, step: int = 1) -> range:
    return range(first, (first if last is None else last) + 1, max(step, 0))


def prices(given: list[str] | None, entries: Path | None = None) -> dict[str, float] | None:
    """The price of each GPU, of "GPU=PRICE" each; None without the option."""
    found = dict[str, float]()
    for text in given or []:
        name, _, value = text.rpartition("=")
        try:
            hourly = float(value)
        except ValueError:
            raise ValueError(f"--price {text!r}: expected GPU=PRICE, e.g. t4=0.35") from None
        card = own_gpu(name, entries).id
        if card in found:
            raise ValueError(f"--price {text!r}: {card} has a price, {found[card]:g}: give one for each GPU")
        found[card] = hourly
    return found or None


def names(given: list[str] | None) -> list[str]:
    """An option's names, given one by one or separated by commas; a path may hold some."""
    return [name for text in given or [] for name in ([text] if Path(text).exists() else text.split(","))]


def own_gpu(name: str, entries: Path | None) -> "GPU":
    """A GPU by its name or file, or by its name in a folder of one's own; with the folder's fits of it."""
    from ..catalog import gpu
    from ..catalog import gpus as catalog_gpus
    from ..catalog.choosing import own_fits

    card = gpu(_own_file(name, "gpus", entries) or name)
    if not (fits := _own_file(card.id, "fits", entries)):
        return card
    return gpu(card, fits=fits) if card.id in catalog_gpus() else card.model_copy(update={"fits": own_fits(fits)})


def own_gpus(given: list[str] | None, entries: Path | None) -> "list[GPU]":
    """The GPUs of an option."""
    return [own_gpu(name, entries) for name in names(given)]


def own_model(name: str, entries: Path | None) -> "Model":
    """A model by its name or file, or by its name in a folder of one's own."""
    from ..catalog import model

    if "/" in name and not Path(name).exists() and Path(name).parent.is_dir():
        raise ValueError(f"{name}: no such file or folder")
    return model(_own_file(name, "models", entries) or name)


#: Files of one's own by what comes after their name.
OWN_ENDINGS = (".yaml", ".yml", ".json", "/config.json")


def _own_file(name: str, kind: str, entries: Path | None) -> Path | None:
    """The file, or the folder with a config.json, that has a name in a folder of one's own."""
    if entries is None:
        return None
    if not any((entries / each).is_dir() for each in KINDS):
        raise ValueError(f"--entries {entries}: expected a folder with {', '.join(KINDS[:-1])} or {KINDS[-1]} in it")
    found = [entries / kind / f"{name}{ending}" for ending in OWN_ENDINGS]
    return next((path for path in found if path.is_file()), None)


#: Plain numbers beyond which a limit is asked for with its unit [s].
LONG_TTFT, LONG_TPOT, LONG_E2E = 60.0, 1.0, 3600.0
#: What a time is written with, and its seconds.
UNITS = {"ms": 1e-3, "s": 1.0, "": 1.0}


def seconds(option: str, given: str | None, most: float) -> float | None:
    """A time, "40ms", "1.5s" or in seconds, which are not taken for milliseconds where there are more than `most`."""
    if given is None:
        return None
    written = re.fullmatch(r"([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?) ?(ms|s|)", given.strip())
    if not written:
        raise ValueError(f"{option} {given!r}: expected a time, e.g. 40ms or 1.5s, or a number of seconds")
    number, unit = written.groups()
    if not unit and float(number) > most:
        raise ValueError(f"{option} {number}: write {number}ms or {number}s, as a number is one of seconds")
    return float(number) * UNITS[unit]


def objectives(ttft: str | None, tpot: str | None, e2e: str | None = None) -> dict[str, float] | None:
    """The objectives of `--slo-ttft`, `--slo-tpot` and `--slo-e2e` [s]; None without any."""
    given = (("ttft", ttft, LONG_TTFT), ("tpot", tpot, LONG_TPOT), ("e2e", e2e, LONG_E2E))
    limits = {name: seconds(f"--slo-{name}", text, most) for name, text, most in given}
    for name, limit in limits.items():
        if limit == 0:
            raise ValueError(f"--slo-{name} 0: expected a time above 0, e.g. 40ms")
    return {name: limit for name, limit in limits.items() if limit is not None} or None


def terminal_width() -> int:
    """Columns of the terminal, 80 at least [1]."""
    return max(shutil.get_terminal_size().columns, 80)


@contextmanager
def workers(scheduler: str | None) -> Iterator["Executor | None"]:
    """What runs tasks on the workers of a dask cluster; None without an address."""
    if scheduler is None:
        yield None
        return
    from ..cluster import executor

    with executor(scheduler) as pool:
        yield pool


@contextmanager
def interruptible(what: str) -> Iterator[None]:
    """Say after Ctrl-C what is kept."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or was_interrupted():
            end_interrupted(what)
        raise


def tell(problems: list[str]) -> None:
    """What is wrong with a file or its rows, the first ten lines."""
    for problem in problems[:10]:
        typer.echo(f"workbench: {problem}", err=True)
    if len(problems) > MAX_PROBLEMS:  # of more than these not every one is kept
        typer.echo("workbench: and more", err=True)
    elif len(problems) > 10:
        typer.echo(f"workbench: and {len(problems) - 10} more", err=True)


def check_apart(file: Path, *outputs: Path | None) -> None:
    """Raise ValueError where an output is what is read, or another output."""
    found = [file.resolve()]
    for output in filter(None, outputs):
        if output.resolve() in found:
            what = "it is what is read" if output.resolve() == found[0] else "two outputs have that name"
            raise ValueError(f"cannot write {output}: {what}")
        found.append(output.resolve())


#: Endings of a chart that a command draws.
PICTURES = (".png", ".svg", ".pdf")


def check_picture(path: Path) -> None:
    """Raise ValueError for a chart that has another ending."""
    from ..common.errors import unknown

    if path.suffix not in PICTURES:
        raise unknown("file suffix of --plot", path.suffix, PICTURES)
