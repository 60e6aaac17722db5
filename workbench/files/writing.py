"""Files that are written whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from ..common.errors import unknown
from ..common.extras import check_libraries

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def whole(path: Path, suffixes: tuple[str, ...] = ()) -> Iterator[Path]:
    """A temporary file beside `path` that takes its name when it is complete, and vanishes otherwise.

    Raises ValueError for a missing folder, a path that cannot be written, and a suffix that is not among `suffixes`.
    """
    if suffixes and path.suffix not in suffixes:
        raise unknown("file suffix", path.suffix, suffixes)
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {path.parent}")
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_table(table: "pd.DataFrame", path: Path, suffixes: tuple[str, ...] = (".csv",)) -> None:
    """Write a table, whole or not at all: by its suffix as .csv, with 7 significant digits, or as .parquet.

    Raises ValueError for a suffix that is not among `suffixes`.
    """
    with whole(path, suffixes) as temporary:
        if path.suffix == ".csv":
            table.to_csv(temporary, index=False, float_format="%.7g")
        else:
            check_libraries("pyarrow")
            table.to_parquet(temporary, index=False)


def write_text(text: str, path: Path) -> None:
    """Write a text file, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
