"""How a command ends: by Ctrl-C, or where what it prints cannot be written, in one line at most.

Only what is needed for that is imported here: until the handler stands, Ctrl-C would be a traceback.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable

INTERRUPTED, UNREAD = 128 + signal.SIGINT, 128 + signal.SIGPIPE  # what shells show for these signals

_name, _pressed = "workbench", False


def run_command(name: str, run: Callable[[], int | None]) -> None:
    """End this process by a command, whatever becomes of it.

    Until `interrupts_raise` is called, Ctrl-C ends it at once. Afterwards the first one raises KeyboardInterrupt, so
    that files which are not whole are removed; whatever exception comes of that, the command has been interrupted.

    Parameters
    ----------
    name : str
        The command's, which its line begins with.
    run : callable
        The command; returns its exit status, or raises SystemExit.
    """
    global _name
    _name = name
    _on_interrupt(_end_at_once)
    for stream, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, stream) is None:  # closed: the next file that is opened would take its number
            setattr(sys, stream, open(os.devnull, mode))  # noqa: PTH123, SIM115
        elif mode == "w":
            getattr(sys, stream).reconfigure(errors="backslashreplace")  # names of files may hold anything
    try:
        status: str | int | None = run()
    except SystemExit as end:
        status = UNREAD if isinstance(end.__context__, BrokenPipeError) else end.code
    except BrokenPipeError:
        status = UNREAD
    except BaseException:
        if not _pressed:
            raise
    if _pressed:
        end_interrupted()
    _on_interrupt(_end_at_once)
    sys.exit(printed() or status)


def interrupts_raise() -> None:
    """Let the first Ctrl-C raise KeyboardInterrupt; a second one ends the process at once."""
    _on_interrupt(_raise_once)
    sys.unraisablehook = _not_raised


def was_interrupted() -> bool:
    """Whether Ctrl-C has come, whatever exception it has become since.

    Returns
    -------
    bool
        False until the first one.
    """
    return _pressed


def end_interrupted(what: str = "") -> None:
    """End this process with status 130 and a line; threads that still wait for a kernel end with it.

    Parameters
    ----------
    what : str
        What is kept, if there is anything to say.
    """
    _on_interrupt(signal.SIG_IGN)
    _say(f"interrupted; {what}" if what else "interrupted")
    os._exit(INTERRUPTED)


def printed(*, told: bool = False) -> int:
    """Have what was printed written, and say so where that fails, unless the reader has gone.

    Parameters
    ----------
    told : bool, default False
        Whether it was said before that it fails.

    Returns
    -------
    int
        0, or the exit status to end with.
    """
    try:
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        status = UNREAD
    except OSError as error:
        if not told:
            _say(one_line(error))
        status = 1
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python says it again, at its end
    return status


def one_line(error: Exception) -> str:
    """What an error says; a system's error without a file's name, what it is about.

    Parameters
    ----------
    error : Exception
        Whatever was raised.

    Returns
    -------
    str
        One line.
    """
    if isinstance(error, OSError) and error.filename is None:
        if error.errno == errno.ENOSPC:
            return f"cannot write to standard output: {error.strerror}"
        if error.errno == errno.ENOENT:  # of `os.getcwd`
            return "the folder that this runs in is no longer there"
    elif isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def _on_interrupt(handler: Callable[..., object] | int) -> None:
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as of what runs in a shell's background
        signal.signal(signal.SIGINT, handler)


def _end_at_once(*_: object) -> None:
    end_interrupted()


def _raise_once(*_: object) -> None:
    global _pressed
    _pressed = True
    _on_interrupt(_end_at_once)
    raise KeyboardInterrupt


def _not_raised(unraisable: "sys.UnraisableHookArgs") -> None:
    """An exception that a destructor or a callback has raised, which Python can but print."""
    if unraisable.exc_type is KeyboardInterrupt:
        end_interrupted()
    sys.__unraisablehook__(unraisable)


def _say(text: str) -> None:
    try:  # noqa: SIM105
        os.write(2, f"{_name}: {text}\n".encode(errors="backslashreplace"))
    except OSError:  # nobody to tell
        pass
