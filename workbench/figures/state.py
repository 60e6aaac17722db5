"""What a batch keeps beside its figures: which inputs gave which files, its scratch folder, and what programs leave."""

import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..common.machine import is_running
from ..common.project import digest
from ..files.folders import discard, only_told, real_folder, scratch
from ..files.reading import parse_json, read_small
from ..files.writing import write_text

# What is up to date -----------------------------------------------------------------------------------------------


def file_digests(files: Mapping[str, Path]) -> dict[str, str]:
    """The hash of each file's bytes, by the files' names here."""
    return {name: digest(path.read_bytes()) for name, path in files.items()}


def record_state(state: Path, inputs: str, outputs: Mapping[str, str]) -> None:
    """Write down, in the file `state`, which inputs (a fingerprint) gave which outputs (`file_digests` of them).

    The outputs are in place: where it cannot be written down, that is told, and they are made again another time.
    """
    with only_told(f"{state} is not written"):
        real_folder(state.parent)
        write_text(json.dumps({"inputs": inputs, "outputs": outputs}), state)


def is_unchanged(state: Path, inputs: str, files: Mapping[str, Path]) -> bool:
    """Whether files are those that these inputs gave, as `record_state` wrote it down."""
    try:
        return bool(parse_json(read_small(state), str(state)) == {"inputs": inputs, "outputs": file_digests(files)})
    except (OSError, ValueError):
        return False


# Where a batch works ----------------------------------------------------------------------------------------------

#: Paths in a scratch folder: notebooks as they run, connection files of their kernels, and what notebooks write.
SCRATCH = r"[\w.-]+\.ipynb|kernel-[0-9a-f]+\.json|[\w.-]+/.*"


@contextmanager
def workplace(output: Path) -> Iterator[Path]:
    """Make the output folder, with a scratch folder of this process in it, which goes however the batch ends.

    A link to a folder is a folder to write to: whoever gives it means what it leads to.

    What else kernels write (history, font cache) is kept in the output folder too, not in the user's home. Raises
    ValueError where the folder cannot be written.
    """
    state = output / ".state"
    host = platform.node()  # others may see the folder, too
    with ExitStack() as stack:
        try:
            output.mkdir(parents=True, exist_ok=True)
            real_folder(state)
            for left in state.glob(f"run-{host}-*"):
                process = left.name.removeprefix(f"run-{host}-")
                if process.isdecimal() and not is_running(int(process)):  # it was killed
                    discard(left, SCRATCH)
            keep_below(state)
            folder = stack.enter_context(scratch(state / f"run-{host}-{os.getpid()}", SCRATCH))
        except OSError as error:
            raise ValueError(f"cannot write to {output}: {error.strerror}") from None
        yield folder.path.resolve()


def keep_below(state: Path) -> None:
    """Have this process and its kernels keep what else they write in a folder, and draw as notebooks do."""
    for variable, folder in (
        ("IPYTHONDIR", "ipython"), ("JUPYTER_RUNTIME_DIR", "runtime"), ("JUPYTER_CONFIG_DIR", "config"),
        ("JUPYTER_DATA_DIR", "data"), ("MPLCONFIGDIR", "matplotlib"),
    ):  # fmt: skip
        os.environ[variable] = str(real_folder(state / folder).resolve())
    for variable in ("MPLBACKEND", "JUPYTER_PATH", "JUPYTER_PREFER_ENV_PATH"):
        os.environ.pop(variable, None)
