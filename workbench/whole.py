"""Files that are written whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from .names import unknown


@contextmanager
def whole(path: Path, suffixes: tuple[str, ...] = ()) -> Iterator[Path]:
    """A temporary file beside `path` that takes its name when it is complete, and vanishes otherwise.

    Raises ValueError for a missing folder, a path that cannot be written, and a suffix that is none of `suffixes`.
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
