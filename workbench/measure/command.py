"""Time the grid's kernels on this machine's GPU with PyTorch: `workbench measure`, or `python -m workbench.measure`.

The second form runs from a bare checkout on a machine that has PyTorch and none of this project's other dependencies,
from Python 3.10 on. The file that it writes is this project's CSV of timings (`timings.read`), with comment lines that
say where it is from. It is written whole every few seconds; kernels that it already has are not measured again.
"""

import argparse
import shlex
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

from ..common.errors import unknown
from ..ending import end_interrupted, one_line, printed, was_interrupted
from ..operators import PHASES
from . import plan
from .models import ModelSizes, catalog_models, find_model
from .plan import Grid
from .results import Results, alone, open_results, row_of
from .timed_kernels import ELEMENT_BYTES, Kernel, LeftOut

SAVE_EVERY, REPORT_EVERY = 5.0, 10.0  # [s]
RESUMED = "what was measured is kept, run again to go on"
MAX_FAILURES = 10  # in a row: the GPU is in a bad state, then, rather than one kernel unsupported
DRY_RUN_MEMORY = 80e9  # [byte]


class Backend(Protocol):
    """A device that kernels are timed on; `backends.open_backend` makes one."""

    gpu: str
    framework: str
    memory: float  #: that may be used [byte]
    gemm_size: int  #: of the square matrix product that counts as the compute ceiling [1]
    copy_bytes: int  #: of the copy that counts as the memory ceiling [byte]

    def supports(self, dtype: str) -> bool:
        """Whether the device has matrix products in that format."""

    def facts(self) -> list[str]:
        """Comment lines about the machine."""

    def times(self, kernel: Kernel, calls: int, runs: int) -> list[float]:
        """Times of one call [s], a mean over `calls` in each of `runs`; raises MemoryError or RuntimeError."""


OpenBackend = Callable[[str], Backend]


def open_torch(device: str) -> Backend:
    """The PyTorch backend; imported here, since everything else works without PyTorch."""
    from .backends import open_backend

    return open_backend(device)


# Measuring --------------------------------------------------------------------------------------------------------


def ceilings(backend: Backend, dtypes: Sequence[str]) -> list[str]:
    """Comment lines with the two ceilings: bandwidth of a large copy, rate of a large matrix product."""
    side, elements = backend.gemm_size, backend.copy_bytes // 2
    copy = Kernel("elementwise", "ceiling:copy", "fp16", m=elements // 2**12, n=2**12)
    rate = _rate(backend, copy, copy.bytes / 1e9, "GB/s")
    lines = [f"copy bandwidth: {rate} (device to device, {copy.bytes / 2e6:.0f} MB read and written)"]
    for dtype in dtypes:
        gemm = Kernel("gemm", "ceiling:gemm", dtype, m=side, n=side, k=side)
        lines.append(f"{dtype} GEMM: {_rate(backend, gemm, gemm.flops / 1e12, 'TFLOP/s')} ({side} x {side} x {side})")
    return lines


def _rate(backend: Backend, kernel: Kernel, work: float, unit: str) -> str:
    try:
        return f"{work / statistics.median(backend.times(kernel, 1, 20)):.4g} {unit}"
    except (MemoryError, RuntimeError) as error:
        return f"not measured ({_reason(error)})"


def _reason(error: BaseException) -> str:
    """Why a kernel was not measured, in one line."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, LeftOut):
        return str(error)
    return f"failed: {(str(error).splitlines() or ['?'])[0][:200]}"


def run(
    todo: Sequence[Kernel], backend: Backend, results: Results, *, seconds: float, clock: Callable[[], float]
) -> int:
    """Measure kernels in order until all are done or `seconds` are over on the clock; returns how many were.

    One that would take longer than what is left is passed over.
    """
    began = saved = reported = clock()
    failures = number = 0
    for kernel in todo:
        left = seconds - (clock() - began)
        if left <= 0:
            break
        if plan.expected(kernel, backend.memory, plan.roofline_seconds(kernel)) > left:
            continue
        number += 1
        note, times = "", []
        try:
            times = backend.times(kernel, *plan.schedule(kernel, backend.memory))
        except (MemoryError, RuntimeError) as error:
            if was_interrupted():  # which a library may turn into an error of its own
                raise KeyboardInterrupt from None
            note = _reason(error)
        results.rows.append(row_of(kernel, backend.gpu, backend.framework, times, note))
        failures = failures + 1 if note.startswith("failed") else 0
        if failures == MAX_FAILURES:
            del results.rows[-failures:]  # to be tried again
            raise ValueError(f"{failures} kernels in a row failed, the last, {kernel.name}, with: {note}")
        if clock() - saved >= SAVE_EVERY:
            results.save()
            saved = clock()
        if clock() - reported >= REPORT_EVERY:
            reported = clock()
            _say(f"{number} of {len(todo)} kernels, {(reported - began) / 60:.1f} min, last {kernel.name} {note}")
    return number


def _say(text: str) -> None:
    print(f"measure: {text.strip()}", file=sys.stderr, flush=True)


# Command line -----------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)

    def _print_message(self, message: str, file: Any = None) -> None:
        print(message, end="", file=file, flush=True)


class _Ended(BaseException):
    """By a signal whose number it holds."""


@contextmanager
def _ending_by_signals() -> Iterator[None]:
    """Let the signals of a batch scheduler and of a closed terminal end what is measured as Ctrl-C does."""

    def end(number: int, frame: object) -> NoReturn:
        for each in taken:
            signal.signal(each, signal.SIG_IGN)
        raise _Ended(number)

    main_thread = threading.current_thread() is threading.main_thread()
    every = (signal.SIGTERM, signal.SIGHUP) if main_thread else ()
    taken = [each for each in every if signal.getsignal(each) == signal.SIG_DFL]
    try:
        for each in taken:
            signal.signal(each, end)
        yield
    finally:
        for each in taken:
            signal.signal(each, signal.SIG_DFL)


def _names(allowed: Sequence[str], groups: Mapping[str, Sequence[str]] | None = None) -> Callable[[str], list[str]]:
    """A parser of comma-separated names out of a set, or of groups of them."""

    def parse(text: str) -> list[str]:
        chosen: list[str] = []
        for name in text.split(","):
            if name not in allowed and name not in (groups or {}):
                raise argparse.ArgumentTypeError(str(unknown("name", name, [*(groups or {}), *allowed])))
            chosen += (groups or {}).get(name, [name])
        return list(dict.fromkeys(chosen))

    return parse


def _models(text: str) -> list[ModelSizes]:
    """Models by id, or by the path of a config.json."""
    try:
        return list({model.id: model for model in map(find_model, text.split(","))}.values())
    except (ValueError, OSError) as error:
        raise argparse.ArgumentTypeError(one_line(error)) from None


def _counts(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: expected whole numbers above 0 separated by commas, e.g. 1,2,4")
    return list(dict.fromkeys(map(int, parts)))


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number above 0")
    return value


def parser(command: str) -> argparse.ArgumentParser:
    """The options; lists are separated by commas."""
    options, grid = _Parser(prog=command, description=(__doc__ or "").split("\n")[0]), Grid()
    names = plan.MEDUSA_MODELS
    add = options.add_argument
    add("-o", "--output", type=Path, metavar="FILE", help="CSV to write or go on with; default timings-<gpu>.csv")
    add("--minutes", type=_positive, default=float("inf"), help="stop after that time; default: when all is measured")
    add("--dry-run", action="store_true", help="print the plan and its expected time; needs no GPU")
    add("--gpu", default="h100-sxm", metavar="ID", help="whose times a dry run expects; default h100-sxm")
    add("--device", default="cuda", help="cuda (also ROCm), cuda:N; cpu only to try this out, on a small grid")
    add("--memory-gb", type=_positive, help="memory to use; default 90%% of what is free, 80 in a dry run")
    add(
        "--model",
        type=_models,
        default=_models(",".join(names)),
        help=f"any of the catalog's {len(catalog_models())}, or a path to a config.json; default: {', '.join(names)}",
    )
    add(
        "--forward",
        action="store_true",
        help="time whole forward passes with random weights, as CUDA graphs, in place of kernels",
    )
    add("--eager", action="store_true", help="with --forward: each pass launched by the host, too")
    add("--operator", type=_names(grid.operators, plan.operator_groups()), default=grid.operators,
        help="fused, unfused, or names")  # fmt: skip
    add("--phase", type=_names(PHASES), default=grid.phases, help="prefill, decode")
    add("--batch-size", type=_counts, default=grid.batch_sizes, help="sequences")
    add("--seq-len", type=_counts, default=grid.seq_lens, help="prompt, or cached context")
    add("--candidates", type=_counts, default=grid.candidates, help="new tokens per sequence in decode")
    add("--dtype", type=_names(tuple(ELEMENT_BYTES)), default=grid.dtypes, help="fp16, bf16, fp8; the first most")
    return options


def main(
    arguments: Sequence[str] | None = None,
    *,
    command: str = "python -m workbench.measure",
    open_backend: OpenBackend = open_torch,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Time the kernels of a grid on this machine's GPU, as a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Of the command line; those of this process unless given. ``--help`` lists them.
    command : str
        What the command is called in messages.
    open_backend : callable, optional
        From the name of a device to the `Backend` that times on it.
    clock : callable, optional
        A clock that gives seconds [s].

    Returns
    -------
    int
        Exit status: 0, 1 with one line on standard error, 130 after Ctrl-C, 143 or 129 after SIGTERM or SIGHUP.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        with _ending_by_signals():
            return _measure(arguments, command, open_backend, clock)
    except BrokenPipeError:  # whoever read what is printed has gone
        raise
    except (ValueError, OSError) as error:
        _say(one_line(error))
        printed(told=True)
        return 1
    except KeyboardInterrupt:
        if was_interrupted():
            end_interrupted(RESUMED)
        _say(f"interrupted; {RESUMED}")
        return 128 + signal.SIGINT
    except _Ended as ended:
        _say(f"ended by {signal.Signals(ended.args[0]).name}; {RESUMED}")
        return 128 + int(ended.args[0])


def _measure(arguments: Sequence[str], command: str, open_backend: OpenBackend, clock: Callable[[], float]) -> int:
    o = parser(command).parse_args(arguments)
    grid = Grid(o.model, o.operator, o.phase, o.batch_size, o.seq_len, o.candidates, o.dtype)
    if o.eager and not o.forward:
        raise ValueError("--eager goes with --forward")
    if o.forward:
        found = plan.forward_kernels(grid, eager=o.eager)
    else:
        found = plan.in_order(plan.grid_kernels(grid), o.dtype[0])
    if o.dry_run:
        memory = (o.memory_gb or DRY_RUN_MEMORY / 1e9) * 1e9
        fitting = [kernel for kernel in found if kernel.memory <= memory]
        calls, assumed = _expected_calls(fitting, o.gpu)
        print(plan.describe(fitting, len(found) - len(fitting), memory, calls, assumed), flush=True)
        return 0
    backend = open_backend(o.device)
    backend.memory = min(backend.memory, (o.memory_gb or float("inf")) * 1e9)
    dtypes = [dtype for dtype in o.dtype if backend.supports(dtype)]
    fitting = [kernel for kernel in found if kernel.memory <= backend.memory and kernel.dtype in dtypes]
    words = "".join(character if character.isalnum() else " " for character in backend.gpu.lower()).split()
    path = o.output or Path(f"timings-{'-'.join(words)}.csv")
    with alone(path):
        results = open_results(path, backend.gpu)
        done = results.done
        todo = [kernel for kernel in fitting if kernel.key not in done]
        _say(f"{backend.gpu}: {len(todo)} kernels to measure, {len(fitting) - len(todo)} in {path} already, "
             f"{len(found) - len(fitting)} do not fit or are in a format that the GPU lacks")  # fmt: skip
        if todo:
            results.comments += header(backend, f"{command} {shlex.join(arguments)}", dtypes)
            try:
                finished = run(todo, backend, results, seconds=o.minutes * 60, clock=clock)
            finally:
                results.save()
            _say(f"{finished} of {len(todo)} kernels measured: {path}")
    return 0


def _expected_calls(kernels: list[Kernel], gpu: str) -> tuple[list[float], str]:
    """Times of one call of each kernel [s], and what they assume: the kernel-time model, where the package is whole."""
    rooflines = [plan.roofline_seconds(kernel) for kernel in kernels]
    try:
        from ..catalog import gpu as find_gpu
        from . import expected
    except ImportError:  # a bare machine with PyTorch alone
        return rooflines, "every kernel on the roofline of an A100 80GB (the kernel-time model needs the whole package)"
    card = find_gpu(gpu)
    times = expected.expected_times(kernels, card)
    calls = [roof if time != time else float(time) for time, roof in zip(times, rooflines, strict=True)]
    lacking = sorted({kernel.dtype for kernel, time in zip(kernels, times, strict=True) if time != time})
    without = f"; {', '.join(lacking)}, which it has no peak for, on an A100's roofline" if lacking else ""
    return calls, f"the kernel-time model of {card.id}{without}"


def header(backend: Backend, command: str, dtypes: Sequence[str]) -> list[str]:
    """Comment lines of one run; those of a run that goes on with a file follow the earlier ones."""
    return [
        time.strftime("date: %Y-%m-%d %H:%M UTC", time.gmtime()),
        f"command: {command.strip()}",
        *ceilings(backend, dtypes),
        *backend.facts(),
        "method: random operands; time_s is the median over runs, p10_s and p90_s the 10th and 90th percentile",
    ]
