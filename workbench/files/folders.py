"""Folders that the workbench works in, beside what it writes: no link is followed, nothing else is touched.

Each bears a mark. One without it, or with a file that the workbench gives no such name, is refused as it stands.
"""

import errno
import fcntl
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "made-by-workbench"


@contextmanager
def only_told(what: str) -> Iterator[None]:
    """Whatever fails here, once the output is in place, is one line on standard error and no failure of the run."""
    try:
        yield
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        logging.getLogger("workbench").warning("workbench: %s: %s", what, reason)


def remove(path: str | Path, folder: int | None = None) -> None:
    """Remove a file, a folder with all that is in it, or a link itself; what is not there is none."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode):
            inside = _open(path, folder)
            try:
                for name in os.listdir(inside):  # noqa: PTH208 of what is open, whatever has its name by now
                    remove(name, inside)
            finally:
                os.close(inside)
            os.rmdir(path, dir_fd=folder)
        else:
            os.unlink(path, dir_fd=folder)


def _open(path: str | Path, folder: int | None = None) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise ValueError(f"{path}: a link or a file where the workbench has a folder: move it away") from None
        raise


def real_folder(path: Path) -> Path:
    """The path itself of a folder, made where there is none; ValueError where a link or a file has its name."""
    with suppress(FileExistsError):
        path.mkdir()
    os.close(_open(path))
    return path


def contents(folder: str | Path, below: str = "") -> Iterator[tuple[str, bool]]:
    """All that is in a folder: paths from it, a folder's with a slash behind, and whether it is a file or a folder."""
    with os.scandir(folder) as found:
        for entry in found:
            name = below + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield f"{name}/", True
                yield from contents(entry.path, f"{name}/")
            else:
                yield name, entry.is_file(follow_symlinks=False)


def all_known(folder: Path, known: str) -> bool:
    """Whether a folder has files and folders alone; ValueError for a path in it that the pattern does not match."""
    plain = True
    for name, is_plain in contents(folder):
        if not re.fullmatch(known, name, re.DOTALL):
            raise ValueError(f"{folder}: has {name!r} in it, which the workbench did not make: move it away")
        plain &= is_plain
    return plain


def holds(path: Path, content: bytes) -> bool:
    """Whether this is all that a file holds."""
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content


def end_of(path: Path, size: int = 4096) -> bytes:
    """The last bytes of a file, where a manifest has its versions."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - size, 0))
        return file.read(size)


@dataclass(frozen=True)
class Folder:
    """A folder of the workbench's own; what it puts there matches the pattern `known`."""

    path: Path
    known: str
    handle: int  #: the open folder

    def _names(self) -> list[str]:
        return os.listdir(self.handle)  # noqa: PTH208 of what is open, too

    def _mark(self) -> None:
        os.close(os.open(MARK, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666, dir_fd=self.handle))

    def lock(self) -> bool:
        """Keep it to this run until it is closed or its process ends; False where another run has it.

        Where a file system has no locks, every run has it.
        """
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        return True

    def claim(self) -> None:
        """Mark a folder that is empty; ValueError for another, unless all in it is of the workbench's making.

        Links are not: where one has a name that is known, everything is removed, the link unfollowed.
        """
        if os.fstat(self.handle).st_uid not in (0, os.geteuid()):
            raise ValueError(f"{self.path}: another user's folder: move it away")
        if not self._names():
            self._mark()
            return
        if MARK not in self._names():
            raise ValueError(f"{self.path}: a folder that the workbench did not make: move it away")
        if not all_known(self.path, rf"{MARK}|{self.known}"):
            self.empty()

    def empty(self, *first: str) -> None:
        """Remove all but the mark; some names before the others."""
        for name in (*first, *self._names()):
            if name != MARK:
                remove(name, self.handle)

    def dissolve(self) -> None:
        """Remove it with all that is in it; what has to stay is told in a line."""
        with only_told(f"{self.path} stays"), suppress(FileNotFoundError):
            self.claim()
            self.empty()
            remove(MARK, self.handle)
            try:
                self.path.rmdir()
            except OSError:  # what is still at work there has written to it
                self._mark()
                raise


@contextmanager
def opened(path: Path, known: str) -> Iterator[Folder]:
    """A folder that is there, and no link to one."""
    handle = _open(path)
    try:
        yield Folder(path, known, handle)
    finally:
        os.close(handle)


def discard(path: Path, known: str) -> None:
    """Remove a folder that a run has left, not one that a run has; anything else of that name is told of, and stays."""
    with only_told(f"{path} stays"), suppress(FileNotFoundError), opened(path, known) as folder:
        if folder.lock():
            folder.dissolve()


@contextmanager
def scratch(path: Path, known: str) -> Iterator[Folder]:
    """A folder that one run has at a time; it goes however the block ends."""
    with _held(path, known) as folder:
        try:
            yield folder
        finally:
            folder.dissolve()


@contextmanager
def working(path: Path, known: str) -> Iterator[Folder]:
    """A folder that one run has at a time; it goes where the block ends well, and stays to go on with otherwise."""
    with _held(path, known) as folder:
        yield folder
        folder.dissolve()


@contextmanager
def _held(path: Path, known: str) -> Iterator[Folder]:
    with opened(real_folder(path), known) as folder:
        if not folder.lock():
            raise BlockingIOError(errno.EWOULDBLOCK, "another run is writing it")
        if not (path.exists() and os.path.samestat(os.fstat(folder.handle), path.lstat())):
            raise BlockingIOError(errno.EWOULDBLOCK, "another run has just written it")
        folder.claim()
        yield folder
