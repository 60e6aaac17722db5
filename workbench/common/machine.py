"""What differs between machines and systems, asked in one place."""

import os


def cores() -> int:
    """Cores that this process may run on [1]; where the system does not tell (macOS), all of the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_size() -> int:
    """Memory of this machine [byte]."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(what: str, nbytes: float, instead: str) -> None:
    """Raise ValueError for what takes more memory than this machine has [byte]; `instead` says what to do."""
    if nbytes > (size := memory_size()):
        raise ValueError(f"{what} takes {nbytes / 1e9:,.0f} GB, this machine has {size / 1e9:,.0f} GB: {instead}")


def is_running(process: int) -> bool:
    """Whether there is a process of that number on this machine."""
    try:
        os.kill(process, 0)  # asks, and sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True
