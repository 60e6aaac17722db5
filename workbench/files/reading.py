"""Files from elsewhere that are opened to be read."""

import csv
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import BinaryIO, TextIO

MAX_LINE = 2**20  # characters; a few zipped kilobytes can unfold to a line of gigabytes


def given_file(path: object) -> Path:
    """The path of a file to read; ValueError for a folder's, and for anything but a path."""
    if not isinstance(path, str | PathLike):
        raise ValueError(f"path = {path!r}: expected the path of a file")
    if (file := Path(path)).is_dir():
        raise ValueError(f"{file}: a folder: expected a file")
    return file


def _is_zipped(path: Path) -> bool:
    with path.open("rb") as raw:
        return raw.read(2) == b"\x1f\x8b"


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file, gzipped or not; ValueError while it is read where it holds anything but text."""
    zipped = _is_zipped(path)
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig") if zipped else path.open(encoding="utf-8-sig") as file:
            yield file
    except (UnicodeDecodeError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: not a text file ({error})") from None


@dataclass
class Lines:
    """The lines of a table, comments apart, and the number of the last one."""

    file: TextIO
    comments: list[str]
    first: str
    number: int = 0

    def __iter__(self) -> Iterator[str]:
        begun = not self.first
        for line in iter(partial(self.file.readline, MAX_LINE), ""):
            self.number += 1
            if len(line) == MAX_LINE:
                raise csv.Error(f"longer than {MAX_LINE} characters")
            begun = begun or self.first in line
            if line.startswith("#"):
                self.comments.append(line.removeprefix("#").strip())
            elif begun and line.strip():
                yield line


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file, gzipped or not, to read its bytes; a broken gzip file raises ValueError."""
    zipped = _is_zipped(path)
    try:
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            yield file  # type: ignore[misc]
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: not a whole gzip file ({error})") from None
