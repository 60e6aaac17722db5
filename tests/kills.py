"""Kill and interrupt every command that writes, and run it again.

`python kills.py N [--seed SEED] [--only NAME ...]` kills N processes at moments spread evenly over their own time, and
prints a table. `python kills.py --imports STEP` interrupts every command at every STEPth import. `python kills.py --at
PLACES` kills forks of this process at so many file operations, whatever the clock says.

After a kill each output must be absent or, to the last byte, that of before or the new one; after the next run it is
the new one, and nothing else is left. Ctrl-C is one line and status 130. Nothing prints a traceback.
"""

import argparse
import contextlib
import gc
import io
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SIGNALS = [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
OPERATIONS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}
ENDED = {0: "ended before", -signal.SIGKILL: "killed", -signal.SIGTERM: "killed", -signal.SIGHUP: "killed"}
ENDED |= {128 + signal.SIGINT: "interrupted", 128 + signal.SIGTERM: "ended", 128 + signal.SIGHUP: "ended"}
#: By Ctrl-C while Python starts or ends, where no line of the package runs.
OUTSIDE = "outside"

GRID = ["grid", "--gpu", "t4", "--model", "gpt2", "--seq-len", "1,64", "--chunk", "16", "-j", "1"]
PLAN = ["plan", "gpt2", "--prompt", "100", "--gpu", "t4", "--tp", "1", "--batch-size", "1,2"]
MEASURE = ["measure", "--model", "llama-7b", "--dtype", "fp16", "--operator", "fused", "--seq-len", "128"]


class Command(NamedTuple):
    """A command that writes: its arguments for the old and for the new output, 1 and 2, and the files."""

    arguments: Callable[[int], list[str]]
    outputs: list[str]


COMMANDS = {
    f"grid{suffix}": Command(
        lambda n, suffix=suffix: [*GRID, "--batch-size", f"{n},{n + 1}", "-o", f"g{suffix}"],
        [f"g{suffix}", f"g{suffix}.manifest.json"],
    )
    for suffix in (".zarr", ".nc", ".csv", ".parquet")
} | {
    f"plan{suffix}": Command(
        lambda n, suffix=suffix: [*PLAN, "--output-tokens", str(n), "-o", f"p{suffix}"], [f"p{suffix}"]
    )
    for suffix in (".csv", ".parquet")
} | {
    "audit": Command(lambda n: ["audit", "--figure", f"medusa-fig{8 + n:02d}", "--csv", "a.csv"], ["a.csv"]),
    "timings": Command(lambda n: ["timings", f"kernels-{n}.csv", "-o", "t.csv"], ["t.csv"]),
    "loadtest": Command(lambda n: ["loadtest", f"load-{n}.csv", "-o", "l.csv"], ["l.csv"]),
    "calibrate": Command(
        lambda n: ["calibrate", f"kernels-{n}.csv", "--gpu", "t4", "-o", "c.yaml", "--plot", "c.svg"],
        ["c.yaml", "c.svg"],
    ),
    "measure": Command(lambda n: [*MEASURE, "--batch-size", ",".join("1248"[: 2 * n]), "-o", "m.csv"], ["m.csv"]),
    "figures": Command(
        lambda n: ["figures", "-j", "1", "-o", "figures"],
        [*(f"figures/one.{kind}" for kind in ("csv", "png", "svg")), "figures/index.html"],
    ),
}  # fmt: skip
DRAW = """\
import matplotlib.pyplot as plt
import pandas as pd
from workbench import figures
figure, ax = plt.subplots(figsize=(2, 2))
ax.plot([0, height])
figures.save(figure, pd.DataFrame({"height [m]": [height / 3] * 1000}), figure_id, output_dir)
"""


def prepare(folder: Path, number: int) -> None:
    """The files that commands read."""
    rows = [(m, n, k) for m in (1, 16, 200, 4096) for n in (512, 4096, 11008) for k in (64, 2048, 14336)]
    header = "operator_class,name,dtype,m,n,k,time_s\n"
    for each in (1, 2):
        text = "".join(
            f"gemm,x,fp16,{m},{n},{k},{1e-5 * each + m * n * k / 2e13 + n * k / 1.4e11:.6g}\n" for m, n, k in rows
        )
        (folder / f"kernels-{each}.csv").write_text(header + text)
        text = "".join(f"{t},{t + each},{t + 5 + each},20,5\n" for t in range(1000))
        names = "sent_s,first_token_s,last_token_s,input_tokens,output_tokens\n"
        (folder / f"load-{each}.csv").write_text(names + text)
    for name in ("notebooks", "params/small"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    texts = "".join(f'{name}: str = ""\n' for name in ("figure_id", "title", "caption", "output_dir"))
    parameters = f"{texts}height: int = 1\n"
    cells = [
        {"cell_type": "code", "id": str(i), "metadata": {"tags": tags}, "outputs": [], "execution_count": None,
         "source": source}
        for i, (source, tags) in enumerate([(parameters, ["parameters"]), (DRAW, [])])
    ]  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "x", "language": "python"}}
    notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "notebooks" / "small.ipynb").write_text(json.dumps(notebook))
    text = f"figure_id: one\ntitle: T\ncaption: C\nheight: {number}\noutput_dir: figures\n"
    (folder / "params" / "small" / "one.yaml").write_text(text)


# What a run leaves ------------------------------------------------------------------------------------------------


def contents(path: Path) -> dict[str, bytes]:
    """Bytes of a file, or of every file of a store; of what is measured, the rows in any order."""
    files = path.rglob("*") if path.is_dir() else [path] if path.exists() else []
    found = {str(file.relative_to(path)): file.read_bytes() for file in files if file.is_file()}
    if path.name == "m.csv":
        found = {name: b"".join(sorted(r for r in t.splitlines(True) if r[:1] != b"#")) for name, t in found.items()}
    return found


def tree(folder: Path) -> dict[str, bytes]:
    """All in a folder, but what other programs keep in .state (and there, what a run has left)."""
    return {
        name: content if name != "m.csv" else contents(folder / name)["."] for name, content in contents(folder).items()
        if "/.state/" not in name or "/.state/run-" in name
    }  # fmt: skip


def state(name: str, place: Path, before: Path, after: Path) -> str:
    """Which output there is: "absent", "old", "new", of several files with a slash between them."""
    states = []
    for output in COMMANDS[name].outputs:
        found, old, new = (contents(folder / output) for folder in (place, before, after))
        known = {"absent": {}, "new": new, "old": old}
        which = next((word for word, content in known.items() if found == content), "")
        if not which and name == "measure":  # some of the new rows beside the old ones
            rows, old_rows, new_rows = (set(each["."].splitlines(True)) for each in (found, old, new))
            which = "begun" if old_rows < rows < new_rows else ""
        assert which, f"{name}: {output} is neither absent nor old nor new"
        states.append(which)
    return "/".join(dict.fromkeys(states))


def check_end(name: str, sent: int, status: int, stderr: str) -> str:
    """How a killed command ended."""
    assert not {"Traceback", "Exception", "Error"} & set(stderr.replace(":", " ").split()), f"{name}: {stderr}"
    assert status in ENDED, f"{name}: status {status}: {stderr}"
    said = [line for line in stderr.splitlines() if ": interrupted" in line]  # beside it progress alone
    assert len(said) == (status == 128 + signal.SIGINT), f"{name}: {stderr}"
    assert sent == signal.SIGINT or status != 128 + signal.SIGINT, f"{name}: status {status}"
    return ENDED[status]


# At file operations -----------------------------------------------------------------------------------------------


def fork(run: Callable[[], None], folder: Path, stderr: Path) -> int:
    """Exit status of a child that runs a function in a folder, or minus the signal that ended it."""
    pid = os.fork()
    if not pid:
        os.chdir(folder)
        os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 1
        try:
            run()
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            import traceback

            traceback.print_exc()
        sys.stderr.flush()
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run_here(name: str, folder: Path) -> None:
    """Run a command in this process, so that its forks need neither import nor read entries again."""
    import matplotlib.pyplot  # noqa: F401

    from workbench import cli

    folder.mkdir()
    prepare(folder, 1)
    pretend()
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        if name != "figures":  # which would start kernels
            cli.app(COMMANDS[name].arguments(1))
    gc.freeze()  # a collection in a fork would copy all that it looks at


def run_command(name: str, number: int) -> None:
    """Run a command in this process, which ends with it."""
    from workbench import cli, ending

    if name == "figures":
        ending.run_command("workbench", lambda: draw(number))
    if name == "measure":
        pretend()
    sys.argv = ["workbench", *COMMANDS[name].arguments(number)]
    cli.main()


def draw(number: int) -> None:
    """What a notebook's kernel does for `figures`; a whole batch starts processes of its own."""
    from workbench import ending

    ending.interrupts_raise()
    Path("figures").mkdir(exist_ok=True)
    Path("figures/index.html").touch()
    exec(DRAW, {"figure_id": "one", "height": number, "output_dir": "figures"})


def pretend(seconds: float = 0.0) -> None:
    """Have `measure` time a device that only pretends, and save after every kernel."""
    from test_measure import Pretender

    from workbench.measure import command

    class Slow(Pretender):
        def times(self, *arguments):
            time.sleep(seconds)
            return super().times(*arguments)

    command.main.__kwdefaults__["open_backend"] = Slow()
    command.SAVE_EVERY = 0.1 if seconds else 0.0


def at_operation(name: str, sent: int, at: int, log: Path) -> None:
    """Run a command that gets a signal at that file operation in its folder; log how many there were."""
    operations = itertools.count(1)
    here = str(Path.cwd())

    def note(event, arguments):
        inside = event == "open" and (str(arguments[0]).startswith(here) or not str(arguments[0]).startswith("/"))
        if (inside or event in OPERATIONS) and next(operations) == at:
            os.kill(os.getpid(), sent)

    sys.addaudithook(note)
    try:
        run_command(name, 2)
    finally:
        log.write_text(str(next(operations) - 1))


def kill_at_operations(root: Path, name: str, places: int) -> int:
    """Kill and interrupt a command at operations from the first to the last, half of them near the end; how often."""
    log, err = root / "operations", root / "stderr"
    before, after = root / "before", root / "after"
    run_here(name, root / "here")
    for number, whole in ((1, before), (2, after)):
        whole.mkdir()
        prepare(whole, number)
        assert fork(lambda n=number: run_command(name, n), whole, err) == 0, err.read_text()
    shutil.copytree(before, root / "counted")
    assert fork(lambda: at_operation(name, 0, 0, log), root / "counted", err) == 0, err.read_text()
    assert tree(root / "counted") == tree(after) | {"params/small/one.yaml": tree(before)["params/small/one.yaml"]}
    total = int(log.read_text())
    late = max(total - places // 2, 1)
    early = range(1, late, -(-late // (places - places // 2))) if late > 1 else ()
    kills = [(at, sent) for at in [*early, *range(late, total + 1)] for sent in SIGNALS[:2]]
    for at, sent in kills:
        place = root / f"killed-{at}-{sent}"
        shutil.copytree(before, place)
        prepare(place, 2)
        status = fork(lambda at=at, sent=sent: at_operation(name, sent, at, log), place, err)
        assert check_end(name, sent, status, err.read_text()) != "ended before", at
        state(name, place, before, after)
        assert fork(lambda: run_command(name, 2), place, err) == 0, (at, err.read_text())
        assert tree(place) == tree(after), (at, sent, sorted(tree(place).items() ^ tree(after).items())[0][0])
    return len(kills)


# At moments -------------------------------------------------------------------------------------------------------


def start(name: str, number: int, folder: Path, mark: str = "") -> subprocess.Popen:
    """A command of its own process, as the console script runs it."""
    arguments = COMMANDS[name].arguments(number) if name in COMMANDS else ["explore", "--no-browser", "--port", mark]
    here = f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import kills; kills.pretend(0.01); "
    code = f"import sys; from workbench.cli import main; sys.argv[1:] = {arguments!r}; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", (here if name == "measure" else "") + code], cwd=folder, text=True,
        env=os.environ | {"KILLS": mark}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process: subprocess.Popen) -> str:
    """Standard error of a process that ends; one that does not is a fault."""
    try:
        return process.communicate(timeout=600)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"does not end: {process.args[-1]}: {process.communicate()[1]}") from None


def left_running(mark: str, seconds: float = 20.0) -> list[str]:
    """Processes with a mark in their environment that have not ended by themselves after so long."""
    until = time.monotonic() + seconds
    while True:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"KILLS={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_text().replace("\0", " "))
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.1)


def ask_for_page(port: str) -> None:
    """Open the explorer's page, which starts a kernel."""
    for _ in range(300):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60).read()
            return
        time.sleep(0.1)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def kill_at_moments(root: Path, count: int, seed: int, names: list[str]) -> list[tuple[str, str, str, str]]:
    """Kill commands in turn at moments spread over their own time; command, signal, how it ended and what it left."""
    chance, results, whole = random.Random(seed), [], {}
    for name in names:
        if name == "explore":
            continue
        for number, folder in ((1, root / name / "before"), (2, root / name / "after")):
            folder.mkdir(parents=True)
            prepare(folder, number)
            began = time.monotonic()
            process = start(name, number, folder)
            stderr = ended(process)
            assert process.returncode == 0, stderr
            whole[name] = time.monotonic() - began
    rounds = -(-count // len(names))
    for number, (i, name) in enumerate(list(itertools.product(range(rounds), names))[:count], 1):
        sent = SIGNALS[(i + names.index(name)) % len(SIGNALS)]
        moment, end = (i + chance.random()) / rounds, ENDED[0]
        while end == ENDED[0]:  # too late: the machine was slower before
            if name == "explore":
                end, found = kill_server(root, sent, moment)
            else:
                end, found = kill_and_run_again(root / name, name, sent, moment * whole[name])
                whole[name] *= 0.8 if end == ENDED[0] else 1.0
        results.append((name, sent.name, end, found))
        print(number, *results[-1], sep="; ", file=sys.stderr, flush=True)
    return results


def kill_and_run_again(root: Path, name: str, sent: int, seconds: float) -> tuple[str, str]:
    """Kill a command after so many seconds; how it ended and what it left. The next run must leave the new output."""
    before, after, place = root / "before", root / "after", root / "killed"
    shutil.copytree(before, place)
    prepare(place, 2)
    process = start(name, 2, place, mark := str(place))
    time.sleep(seconds)
    process.send_signal(sent)
    stderr = ended(process)
    if process.returncode == -signal.SIGINT or "<frozen site>" in stderr or "init_import_site" in stderr:
        end = OUTSIDE
    else:
        end = check_end(name, sent, process.returncode, stderr)
    assert not (running := left_running(mark)), f"{name}: still runs: {running}"
    found = state(name, place, before, after)
    process = start(name, 2, place, mark)
    stderr = ended(process)
    assert process.returncode == 0, f"{name}: run again: {stderr}"
    differ = sorted({file for file, _ in tree(place).items() ^ tree(after).items()})
    assert not differ, f"{name}: {sent} after {seconds:.2f} s: run again, other bytes: {differ}"
    shutil.rmtree(place)
    return end, found


def kill_server(root: Path, sent: int, moment: float) -> tuple[str, str]:
    """Kill the explorer while it starts, or with its page open; how it ended. Its kernels must end by themselves."""
    port = free_port()
    process = start("explore", 0, root, port)
    if moment < 0.5:
        time.sleep(moment * 4)
    else:
        ask_for_page(port)
    process.send_signal(sent)
    stderr = ended(process)
    status = process.returncode
    end = OUTSIDE if status == -signal.SIGINT else check_end("explore", sent, status, stderr)
    assert not (running := left_running(port)), f"explore: still runs: {running}"
    return "ended" if end == ENDED[0] else end, "no kernel"


def print_table(results: list[tuple[str, str, str, str]]) -> None:
    """How often each command was sent each signal, how it ended, what it left; every one was run again."""
    signals = sorted({sent for _, sent, _, _ in results})
    print(f"{'command':<14}{''.join(f'{sent:>9}' for sent in signals)}  ended; output; run again")
    for name in dict.fromkeys(name for name, *_ in results):
        mine = [result for result in results if result[0] == name]
        sent = Counter(result[1] for result in mine)
        ends, left = (Counter(result[i] for result in mine) for i in (2, 3))
        words = ["; ".join(", ".join(f"{n} {what}" for what, n in each.items()) for each in (ends, left))]
        again = "" if name == "explore" else f"; {len(mine)} the same bytes"
        print(f"{name:<14}{''.join(f'{sent[each]:>9}' for each in signals)}  {words[0]}{again}")
    print(f"{len(results)} kills, no fault")


# At imports -------------------------------------------------------------------------------------------------------

#: The first of which `cli.main` has the handler standing: that of the package, of `cli` and of `ending` come before.
FIRST_IMPORT = 12
AT_IMPORT = """
import os, signal, sys
count = 0
def note(event, arguments):
    global count
    count += event == "import"
    if event == "import" and count == {at}:
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(note)
sys.argv[1:] = {arguments!r}
import workbench.cli
try:
    workbench.cli.main()
finally:
    print("imports", count, file=sys.stderr)
"""


def interrupt_at_import(arguments: list[str], at: int, folder: Path) -> tuple[int, str]:
    """Exit status and standard error of a command that is interrupted at an import (0: at none)."""
    command = [sys.executable, "-c", AT_IMPORT.format(at=at, arguments=arguments)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return result.returncode, result.stderr


def interrupt_at_imports(root: Path, step: int, names: list[str]) -> int:
    """Interrupt commands at every so many of their imports; how often."""
    total = 0
    others = {"gpus": ["gpus"], "help": ["--help"], "dry run": ["measure", "--dry-run"]}
    for name in [*others, *(each for each in names if each not in ("measure", "explore"))]:
        arguments = others.get(name) or COMMANDS[name].arguments(2)
        base = root / name
        base.mkdir()
        prepare(base, 2)
        shutil.copytree(base, root / f"{name}-counted")
        status, stderr = interrupt_at_import(arguments, 0, root / f"{name}-counted")
        assert status == 0, stderr
        imports = int(stderr.split()[-1])
        places = range(FIRST_IMPORT, imports, step)
        for at in places:
            place = root / f"{name}-{at}"
            shutil.copytree(base, place)
            status, stderr = interrupt_at_import(arguments, at, place)
            said = [line for line in stderr.splitlines() if "interrupted" in line]
            assert status == 130, (name, at, status, stderr)
            assert len(said) == 1, (name, at, stderr)
            assert "Traceback" not in stderr, (name, at, stderr)
            shutil.rmtree(place)
        print(f"{name:<14}{len(places)} of {imports} imports")
        total += len(places)
    return total


def main() -> None:
    """As the command line says."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("kills", nargs="?", type=int)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", nargs="+", choices=[*COMMANDS, "explore"], default=[*COMMANDS, "explore"])
    options.add_argument("--imports", type=int, metavar="STEP")
    options.add_argument("--at", type=int, metavar="PLACES")
    given = options.parse_args()
    for each in SIGNALS[1:]:  # of which `nohup`, or a shell's background, has some ignored, by children too
        signal.signal(each, signal.SIG_DFL)
    with tempfile.TemporaryDirectory() as root:
        if given.at:
            for name in given.only:
                if name != "explore":
                    (folder := Path(root) / name).mkdir()
                    print(name, kill_at_operations(folder, name, given.at), flush=True)
        elif given.imports:
            print(f"{interrupt_at_imports(Path(root), given.imports, given.only)} interrupts, no fault")
        else:
            print_table(kill_at_moments(Path(root), given.kills or 100, given.seed, given.only))


if __name__ == "__main__":
    main()
