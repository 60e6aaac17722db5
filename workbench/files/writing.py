"""Files that are written whole or not at all, where nothing is but a file."""

import errno
import os
import platform
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from zlib import crc32

from ..common.errors import unknown
from ..common.extras import check_libraries
from ..common.machine import is_running
from .formulas import inert_table

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

#: Of a file that is not whole yet: digits for the place, its process, and by chance.
TEMPORARY = r"\.workbench-[0-9a-f]{32}"
LEFT = 86_400.0  # s after which nobody writes to such a file any more


def check_output(path: Path) -> None:
    """Raise ValueError where no file can be written: without a folder, or in place of a link, a folder or a device."""
    try:
        if not path.parent.is_dir():
            raise ValueError(f"cannot write {path}: there is no folder {path.parent}")
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from None
    if not stat.S_ISREG(kind):
        what = "a link" if stat.S_ISLNK(kind) else "a folder" if stat.S_ISDIR(kind) else "not a file"
        raise ValueError(f"cannot write {path}: it is {what}")


@cache
def _prefix() -> str:
    """With digits for where numbers of processes mean the same: a machine until it starts anew, a container."""
    place = platform.node()
    with suppress(OSError):  # no Linux
        place += Path("/proc/sys/kernel/random/boot_id").read_text() + str(Path("/proc/self/ns/pid").readlink())
    return f".workbench-{crc32(place.encode()):08x}"


def remove_left(folder: Path) -> None:
    """Remove files that were not whole yet from a folder: those of killed processes, elsewhere those of yesterday."""
    for left in folder.glob(".workbench-*"):
        if re.fullmatch(TEMPORARY, left.name):
            with suppress(OSError):
                gone = left.name.startswith(_prefix()) and not is_running(int(left.name[len(_prefix()) :][:8], 16))
                if gone or time.time() - left.lstat().st_mtime > LEFT:
                    left.unlink()


@contextmanager
def whole(path: Path, suffixes: tuple[str, ...] = ()) -> Iterator[Path]:
    """A temporary file beside `path` that takes its name when it is complete, and vanishes otherwise.

    Raises ValueError for what `check_output` refuses, a path that cannot be written, and a suffix that is not among
    `suffixes`.
    """
    if suffixes and path.suffix not in suffixes:
        raise unknown("file suffix", path.suffix, suffixes)
    check_output(path)
    remove_left(path.parent)
    temporary = path.with_name(f"{_prefix()}{os.getpid():08x}{uuid4().hex[:16]}")
    try:
        temporary.touch(exist_ok=False)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or ' '.join(str(error).split())}") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_table(table: "pd.DataFrame", path: Path, suffixes: tuple[str, ...] = (".csv",)) -> None:
    """Write a table, whole or not at all: by its suffix as .csv, with 7 significant digits, or as .parquet.

    Raises ValueError for a suffix that is not among `suffixes`. A CSV's text is `inert`.
    """
    with whole(path, suffixes) as temporary:
        if path.suffix == ".csv":
            inert_table(table).to_csv(temporary, index=False, float_format="%.7g")
        else:
            check_libraries("pyarrow")
            table.to_parquet(temporary, index=False)


def write_text(text: str, path: Path) -> None:
    """Write a text file, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_chart(figure: "Figure", path: Path, **options: Any) -> None:
    """Write a chart, whole or not at all, in the format of its suffix; the same chart gives the same bytes."""
    import matplotlib as mpl

    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix, {})
    with whole(path) as temporary, mpl.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(temporary, format=path.suffix[1:], dpi=160, metadata=undated, **options)


def write_netcdf(ds: "xr.Dataset", path: Path) -> None:
    """Write a Dataset to a file that is not there yet, or empty; OSError for whatever HDF5 has to say."""
    try:
        for number, name in enumerate(ds):  # one by one, in order: the same bytes every time
            ds[[name]].to_netcdf(path, mode="a" if number else "w")
    except RuntimeError as error:
        raise OSError(errno.EIO, f"{error}{'; is the disk full?' if 'HDF' in str(error) else ''}") from None
