"""Files from elsewhere that are opened to be read, and the budget that each of them has."""

import csv
import gzip
import io
import json
import os
import stat
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path, PosixPath
from typing import Any, BinaryIO, TextIO


@dataclass(frozen=True)
class Budget:
    """What one file may hold: with it no reader holds more than 1 GB, or four times the file where that is more."""

    small: int = 4 * 2**20  #: of a file that is read whole, such as YAML and a config.json [byte]
    unfolded: int = 32 * 2**20  #: of what a zipped file unfolds to [byte], or `ratio` times the file if that is more
    ratio: int = 50  #: telemetry and traces zip 5 to 25 times; a bomb a thousand times [1]
    piped: int = 128 * 2**20  #: of what comes through a pipe [byte]
    line: int = 8 * 2**20  #: of a line, a table's row [character], a JSON record or value [byte]
    rows: int = 1_000_000  #: requests, timings, lines of a table [1]
    events: int = 8_000_000  #: kernels, calls and launches of a trace, a few bytes each [1]
    columns: int = 10_000  #: of a table [1]
    text: int = 256 * 2**20  #: of the texts of a table that differ, as they are held [byte]
    depth: int = 32  #: levels of nesting [1]


BUDGET = Budget()
YAML = (".yaml", ".yml")  # what a file of an entry ends with
MAX_COMMENTS, MAX_COMMENT = 1000, 1000  # lines that are kept of a table's comments, and of each its characters
MAX_PROBLEMS = 100  # lines that are kept of what is wrong with a table; the rest is counted


class Piped(PosixPath):
    """The name of a pipe, with all that came through it: readers open a file more than once."""

    content: bytes


def given_file(path: object) -> Path:
    """The path of a file to read, a pipe's emptied; ValueError for a folder, a device and anything but a path."""
    if not isinstance(path, str | PathLike):
        raise ValueError(f"path = {path!r}: expected the path of a file")
    if isinstance(path, Piped):
        return path
    try:
        file, mode = Path(path), os.stat(path).st_mode  # noqa: PTH116
    except ValueError as error:  # a null character
        raise ValueError(f"path = {path!r}: expected the path of a file ({error})") from None
    if stat.S_ISREG(mode):
        return file
    if stat.S_ISFIFO(mode):
        return _piped(file)
    kind = "a folder" if stat.S_ISDIR(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
    raise ValueError(f"{file}: {kind}: expected a file")


def own_path(name: object) -> Path | None:
    """The path that a user gives in place of a name: any PathLike, or text that ends or begins as paths do or is one.

    A name with a slash, as hubs have them, is one where there is such a folder or file; any, where there is a folder
    with a config.json.
    """
    if isinstance(name, PathLike):
        return Path(name).expanduser()
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        return None
    try:
        path = Path(name).expanduser()
        given = name.endswith((*YAML, ".json")) or name.startswith(("~", "/", "./", "../")) or name.count("/") > 1
        return path if given or ("/" in name and path.exists()) or (path / "config.json").is_file() else None
    except (OSError, RuntimeError):  # too long, or a home of nobody
        return None


def _piped(path: Path) -> Piped:
    """Read a pipe to its end; one that nobody writes to is at its end, rather than waited for."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as pipe:
        begun = pipe.read(1)
        os.set_blocking(pipe.fileno(), True)
        parts, size = [begun or b""], 0
        while begun != b"" and (part := pipe.read(2**16)):
            parts.append(part)
            size += len(part)
            if size > BUDGET.piped:
                raise ValueError(f"{path}: over {_mib(BUDGET.piped)} through a pipe: write it to a file first")
    piped = Piped(path)
    piped.content = b"".join(parts)
    return piped


def _mib(size: float) -> str:
    return f"{size / 2**20:.4g} MiB"


# Opening ----------------------------------------------------------------------------------------------------------


class _Unfolded(io.RawIOBase):
    """What a gzip file unfolds to, up to the limit."""

    def __init__(self, path: Path, zipped: BinaryIO, size: int) -> None:
        self._file, self._name, self._size, self._read = gzip.GzipFile(fileobj=zipped), path, size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        self._read += count
        if self._read > (limit := unfolded_limit(self._size)):
            raise ValueError(f"{self._name}: {_mib(self._size)} that unfold to over {_mib(limit)}: not read further")
        return count


def unfolded_limit(size: int) -> int:
    """How much a compressed file of that size may unfold to [byte]."""
    return max(BUDGET.unfolded, BUDGET.ratio * size)


@contextmanager
def open_bytes(path: Path, *, unfold: bool = True) -> Iterator[BinaryIO]:
    """Open a file to read its bytes, unfolded if it is gzipped; a broken gzip file raises ValueError."""
    with io.BytesIO(path.content) if isinstance(path, Piped) else path.open("rb") as raw:
        zipped = unfold and raw.read(2) == b"\x1f\x8b"
        size = raw.seek(0, os.SEEK_END) if zipped else 0
        raw.seek(0)
        try:
            yield io.BufferedReader(_Unfolded(path, raw, size), 2**16) if zipped else raw
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise ValueError(f"{path}: not a whole gzip file ({error})") from None


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file, gzipped or not; ValueError while it is read where it holds anything but text."""
    with open_bytes(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig") as file:
        try:
            yield file
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not a text file ({error})") from None


def starts_with(path: Path, mark: bytes) -> bool:
    """Whether these are a file's first bytes."""
    with open_bytes(path, unfold=False) as file:
        return file.read(len(mark)) == mark


def read_small(path: Any, most: int | None = None) -> bytes:
    """The content of a file that is never large, a path or a resource of the package; ValueError for a larger one."""
    most = BUDGET.small if most is None else most
    with open_bytes(given_file(path), unfold=False) if isinstance(path, Path) else path.open("rb") as file:
        content: bytes = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path}: larger than {_mib(most)}, so not one of the files read here")
    return content


# JSON -------------------------------------------------------------------------------------------------------------


def parse_json(content: str | bytes, where: str, *, strict: bool = True, infinite: bool = False) -> Any:
    """The value of a JSON text; ValueError, in one line, where it is invalid or too deep.

    Strict, there is no NaN, no infinity unless `infinite`, and no key of an object is given twice.
    """
    constant = _number if infinite else _refused
    options: dict[str, Any] = {"object_pairs_hook": _unique, "parse_constant": constant} if strict else {}
    try:
        value = json.loads(content, **options)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if strict else ""
        raise ValueError(f"{where}{line}: not valid JSON, or cut off ({error.msg})") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not a text file ({error})") from None
    except RecursionError:
        raise ValueError(f"{where}: nested over {BUDGET.depth} levels deep") from None
    except ValueError as error:  # a number of thousands of digits, or what is refused below
        raise ValueError(f"{where}: not valid JSON ({error})") from None
    check_depth(value, where)
    return value


def check_depth(value: Any, where: str) -> None:
    """Raise ValueError where nested lists and objects are too deep."""
    level, depth = [value], 0
    while level := [part for part in level if isinstance(part, dict | list)]:
        depth += 1
        if depth > BUDGET.depth:
            raise ValueError(f"{where}: nested over {BUDGET.depth} levels deep")
        level = [part for parts in level for part in (parts.values() if isinstance(parts, dict) else parts)]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"{twice[:80]!r} is given twice")
    return found


def _number(constant: str) -> float:
    if constant == "NaN":
        _refused(constant)
    return float(constant)


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


# Tables -----------------------------------------------------------------------------------------------------------


class _Lines:
    """The lines of a table, the number of the last one, and the comments between its rows, long ones cut."""

    def __init__(self, file: TextIO, comments: list[str], first: str) -> None:
        self.file, self.comments, self.first, self.number, self.row = file, comments, first, 0, 0

    def __iter__(self) -> Iterator[str]:
        begun = not self.first
        for line in iter(partial(self.file.readline, BUDGET.line), ""):
            self.number += 1
            if self.number > BUDGET.rows + 1000:  # a header, and comments
                raise csv.Error(f"over {BUDGET.rows:,} lines: split it")
            if self.row + len(line) >= BUDGET.line:
                raise csv.Error(f"longer than {BUDGET.line:,} characters")
            begun = begun or self.first in line
            if line.startswith("#") and not self.row:
                if len(self.comments) < MAX_COMMENTS:
                    self.comments.append(line[1 : MAX_COMMENT + 1].strip())
            elif begun and (self.row or line.strip()):
                self.row += len(line)
                yield line


def csv_rows(path: Path, comments: list[str] | None = None, first: str = "") -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV, each with the number of its last line; ValueError, in one line, for what is none or over budget.

    The table begins with the line that has the text `first`; what lines before it are another program's output. Lines
    between rows that begin with # are put into `comments`.
    """
    csv.field_size_limit(max(csv.field_size_limit(), BUDGET.line))  # of the whole process: it is only raised
    with open_text(path) as file:
        at = _Lines(file, [] if comments is None else comments, first)
        try:
            for row in csv.reader(at):
                if len(row) > BUDGET.columns:
                    raise csv.Error(f"{len(row):,} fields: at most {BUDGET.columns:,}")
                at.row = 0
                yield at.number, row
        except csv.Error as error:
            raise ValueError(f"{path}: line {at.number}: not valid CSV ({error})") from None


def check_unique_columns(path: Path, names: list[str], wanted: "frozenset[str] | set[str]") -> None:
    """Raise ValueError where a table has one of the wanted columns twice."""
    for name, times in Counter(name for name in names if name in wanted).items():
        if times > 1:
            raise ValueError(f"{path}: {times} columns {name!r}: expected one")


class Texts:
    """The texts of a table, each held once, up to the limit."""

    def __init__(self, path: Path) -> None:
        """The file is named in the error."""
        self._path, self._known, self._held = path, dict[str, str](), 0

    def held(self, text: str) -> str:
        """The same text; ValueError where those that differ take too much memory."""
        known = self._known.get(text)
        if known is None:
            self._held += 60 + len(text) * (1 if text.isascii() else 4)
            if self._held > BUDGET.text:
                raise ValueError(f"{self._path}: over {_mib(BUDGET.text)} of cells and texts that differ: split it")
            if len(self._known) < 2**16:
                self._known[text] = known = text
        return text if known is None else known
