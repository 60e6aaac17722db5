"""Hostile files, made at random for every reader: each must be read, or refused in one line that names it.

By hand: `python tests/hostile_files.py [N] [--seed S] [--first I] [--jobs J]`; `1 --first I` makes one of them again.
Of every file the time and the memory are watched. The exit status is the number of faults.
"""

import argparse
import csv
import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pandas as pd
import test_loadtest as lt
import test_timings as tm
import yaml

from workbench import calibration, from_hf_config, loadtest, timings
from workbench.audit import Source
from workbench.catalog import GPU, Model
from workbench.catalog.loading import load_entry
from workbench.common.progress import progress_bar
from workbench.common.project import DATA
from workbench.common.yaml_records import validated
from workbench.explorer.view import View
from workbench.explorer.widget import _saved
from workbench.figures import differences, params
from workbench.files.yaml_files import read_mapping
from workbench.measure import results
from workbench.measure.timed_kernels import Kernel

ROOT = Path(__file__).resolve().parents[1]
MOST_SECONDS, MOST_MEMORY = 10.0, 1e9  # [s] of the processor, [byte]
BATCH = 2000  # files of one process

# Valid files ------------------------------------------------------------------------------------------------------


def text(value):
    return (value if isinstance(value, str) else json.dumps(value)).encode()


def parquet_of(table):
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    return buffer.getvalue()


def measured():
    kernel = Kernel("gemm", "llama-7b:qkv_proj", "fp16", m=16, n=12288, k=4096)
    row = results.row_of(kernel, "H100", "torch", [1e-4, 2e-4])
    buffer = io.StringIO("# machine: x\n")
    buffer.seek(0, io.SEEK_END)
    writer = csv.DictWriter(buffer, results.MEASURED, lineterminator="\n")
    writer.writeheader()
    writer.writerows([row] * 3)
    return buffer.getvalue().encode()


VIEW = View(gpu=["t4"], model=["llama-2-7b-awq"]).model_dump(mode="json")
CONFIG = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192,
    "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}, "rope_scaling": {"factor": 8.0},
}  # fmt: skip
EXPERTS = CONFIG | {
    "model_type": "deepseek_v3", "moe_intermediate_size": 2048, "n_routed_experts": 256, "num_experts_per_tok": 8,
    "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "quantization_config": None,
}  # fmt: skip
CLAIMS = read_mapping(DATA / "claims" / "peers.yaml")
FIGURE = ROOT / "figures" / "medusa-fig18.csv"

#: By reader: samples of what it reads, each with its format.
SAMPLES = {
    "loadtest": [
        *((name, text(content)) for name, content, *_ in (lt.FOUR | lt.THREE).values()),
        ("csv", lt.CSV.replace("4.0,,,40,0", '4.0,,,40,0\n"5.0",6,7,"40",2').encode()),
    ],
    "timings": [
        ("workbench", tm.OWN.encode()), ("vidur", tm.VIDUR.encode()), ("aiconfigurator", tm.GEMM.encode()),
        ("aiconfigurator", tm.ATTENTION.encode()), ("ncu", tm.NCU_RAW.encode()), ("ncu", tm.NCU_DETAILS.encode()),
        ("nsys", tm.NSYS.encode()), ("nsys", tm.NSYS_TRACE.encode()),
        *(("aiconfigurator", (tm.AICONFIGURATOR_HEAD + rows).encode()) for rows, _ in tm.AICONFIGURATOR_ROWS.values()),
        ("torch", text(tm.TRACE)), ("torch", text(tm.TRACE["traceEvents"])),
        *(("aiconfigurator", parquet_of(pd.read_csv(io.StringIO(table)))) for table in (tm.GEMM, tm.ATTENTION)),
    ],
    "config": [("", text(CONFIG)), ("", text(EXPERTS))],
    "gpu": [("", (DATA / "gpus" / f"{name}.yaml").read_bytes()) for name in ("t4", "h100-sxm")],
    "model": [("", (DATA / "models" / f"{name}.yaml").read_bytes()) for name in ("gpt2", "deepseek-v3")],
    "params": [("", (ROOT / "params" / "medusa" / "medusa-fig18.yaml").read_bytes())],
    "claims": [("", yaml.dump(CLAIMS | {"claims": CLAIMS["claims"][:3]}).encode())],
    "view": [("", text({"view": VIEW}))],
    "measured": [("", measured())],
    "figure": [("", FIGURE.read_bytes()[:5000])],
}  # fmt: skip

# Readers ----------------------------------------------------------------------------------------------------------


def read_loadtest(path, format):
    table = loadtest.read(path, format)
    loadtest.report(loadtest.metrics(table))
    if not table.iloc[:, :3].max().max() > 1e6:
        loadtest.timeline(table)
    loadtest.write(table, path.with_suffix(".csv"))


def read_timings(path, format):
    table = timings.read(path, format)
    assert table.time_s.between(0, float("inf"), inclusive="neither").all()
    timings.write(table, path.with_suffix(".csv"))
    calibration.usable(table)


@cache
def declared(notebook):
    return real_parameters(notebook)


real_parameters, params.notebook_parameters = params.notebook_parameters, declared


def read_figure(path, _):
    answer = differences(path, FIGURE)
    assert len(answer) < 3000, answer
    assert len(answer.splitlines()) < 2, answer


READERS = {
    "loadtest": read_loadtest,
    "timings": read_timings,
    "config": lambda path, _: str(from_hf_config(path)),
    "gpu": lambda path, _: str(load_entry(GPU, path)),
    "model": lambda path, _: str(load_entry(Model, path)),
    "params": lambda path, _: params.read_params(path, ROOT / "notebooks" / "medusa.ipynb"),
    "claims": lambda path, _: validated(Source, read_mapping(path), str(path)),
    "view": lambda path, _: validated(View, _saved(path), str(path)),
    "measured": lambda path, _: results.open_results(path, "H100"),
    "figure": read_figure,
}
FORMATS = {"loadtest": [*loadtest.LOAD_TEST_FORMATS], "timings": [*timings.TIMING_FORMATS]}

# What is done to them ---------------------------------------------------------------------------------------------

STRINGS = (
    "", " ", "\n", "\r", "\0", "a\nb", "\x1b[31m", "\u2028", "\ufeff", "\ud800", "é" * 50, "\U0001f600", "../../x",
    "/dev/zero", "=1+1", "NaN", "-inf", "1e400", "1e-400", "9" * 400, "0x" + "f" * 5000, "1:" * 3000 + "1", "fp16",
    "null", "true", '"', "'", ",", "x" * 3000, "x" * 200_000, "decode" * 5000, "[" * 100, "{{7*7}}", "%s%n",
    "2026-13-01", "~", "*a", "&a",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 0.5, -0.0, 2**31, 2**53 + 1, 2**63, -(2**63), 10**30, 10**400, 1e-320, 1e300, 1.7e308, float("nan"),
    float("inf"), True, False, None,
)  # fmt: skip
TOKENS = (
    b"\0", b"\n", b"\r", b"\r\n", b"\xff", b"\xc0\x80", b"\xef\xbb\xbf", b'"', b"'", b",", b":", b": ", b"- ", b"[",
    b"]", b"{", b"}", b"\\", b"\\u0000", b"\\ud800", b"#", b"*a", b"&a ", b"!!int ''", b"!!bool x", b"!!timestamp x",
    b"<<: ", b"%YAML 9", b"---\n", b"nan", b"NaN", b"-Infinity", b"1e999", b"PAR1", b"\x1f\x8b", b"\t", b"?", b"|",
    b">", b"@", b"`", b";",
)  # fmt: skip


def anything(rng, depth=0):
    choice = rng.random()
    if choice < 0.45:
        return rng.choice(STRINGS)
    if choice < 0.85 or depth > 3:
        return rng.choice(NUMBERS)
    if choice < 0.9:
        return [anything(rng, depth + 1) for _ in range(rng.choice((0, 1, 3)))]
    if choice < 0.95:
        return {rng.choice(STRINGS): anything(rng, depth + 1) for _ in range(rng.choice((0, 1, 3)))}
    nested = rng.choice((1, []))
    for _ in range(rng.choice((20, 40, 900))):
        nested = rng.choice(([nested], {"a": nested})) if depth < 100 else nested
    return rng.choice((nested, [rng.choice(NUMBERS)] * 20_000, [[]] * 5000))


def spoil_tree(rng, tree):
    """One place of nested lists and dicts replaced, removed, doubled, moved, or added to."""
    here = tree
    while True:
        places = list(here) if isinstance(here, dict) else list(range(len(here))) if isinstance(here, list) else []
        if not places:
            return
        place = rng.choice(places)
        if isinstance(here[place], dict | list) and rng.random() < 0.8:
            here = here[place]
            continue
        break
    change = rng.random()
    if change < 0.15:
        del here[place]
    elif change < 0.25 and isinstance(here, list):
        here.extend(here[:50] * rng.choice((1, 2, 100)))
    elif change < 0.35 and isinstance(here, dict):
        here[rng.choice([*STRINGS, *map(str, places)])] = here[place]
    else:
        here[place] = anything(rng)


def spoil_json(rng, content):
    tree = [json.loads(line) for line in content.splitlines()] if content.count(b"\n{") else [json.loads(content)]
    for _ in range(rng.choice((1, 1, 2, 5))):
        spoil_tree(rng, tree)
    indent = rng.choice((None, None, 1))
    sys.set_int_max_str_digits(0)
    dumped = rng.choice(("\n", "\n", " ", "")).join(json.dumps(part, indent=indent) for part in tree)
    sys.set_int_max_str_digits(4300)
    return dumped.encode()


def spoil_table(rng, content):
    rows = list(csv.reader(io.StringIO(content.decode())))
    rows = [row for row in rows if row] or [[""]]
    for _ in range(rng.choice((1, 1, 2, 5))):
        row = rng.choice(rows)
        change = rng.random()
        if change < 0.6 and row:
            row[rng.randrange(len(row))] = str(rng.choice(STRINGS + NUMBERS))
        elif change < 0.7 and row:
            del row[rng.randrange(len(row))]
        elif change < 0.8 and row:
            row += row[: rng.choice((1, 3, 10_000))] * rng.choice((1, 1, 50))
        elif change < 0.9:
            rows.insert(rng.randrange(len(rows)), list(rng.choice(rows)))
        else:
            rows += rows[-2:] * rng.choice((1, 10, 500))
    buffer = io.StringIO()
    quoting = rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    csv.writer(buffer, quoting=quoting, lineterminator=rng.choice(("\n", "\n", "\r\n", "\r"))).writerows(rows)
    return buffer.getvalue().encode("utf-8", "surrogatepass")


def spoil_yaml(rng, content):
    tree = yaml.load(content, Loader=yaml.CSafeLoader)
    for _ in range(rng.choice((1, 1, 2, 5))):
        spoil_tree(rng, tree)
    try:
        return yaml.dump(tree, Dumper=yaml.CSafeDumper, allow_unicode=True).encode()
    except (ValueError, RecursionError, yaml.YAMLError):  # what YAML cannot hold
        return json.dumps(str(tree)[:2000]).encode()


def varint(number):
    """A number as parquet's footer has it."""
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def footer_of(content):
    """What is before a parquet file's footer, and the footer."""
    size = int.from_bytes(content[-8:-4], "little")
    return content[: -8 - size], content[-8 - size : -8]


def with_footer(content, footer):
    return content + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def spoil_footer(rng, content):
    """A parquet file whose footer says other numbers; its length is true."""
    before, footer = footer_of(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(footer))
        number = varint(rng.choice((0, 1, 2, 20, 2000, 2 * 10**7, 2**32, 2**63, rng.randrange(256))))
        footer = footer[:at] + number + footer[at + rng.choice((1, 1, 2, 3)) :]
    return with_footer(before, footer)


def spoil_parquet(rng, content):
    table = pd.read_parquet(io.BytesIO(content))
    name = rng.choice([*table])
    words = rng.choice(STRINGS).encode("utf-8", "replace").decode()
    others = (1, -1.5, float("nan"), None, [1, 2], {"a": 1}, True, b"gemm", pd.Timestamp(0), pd.Timedelta(1), 2**62)
    values = rng.choice((words, words, *others))
    change = rng.random()
    if change < 0.5:
        table[name] = pd.Series([values] * len(table))
    elif change < 0.6:
        table = table.rename(columns={name: rng.choice(["m", "x" * 100_000, "latency", ""])})
        table = table.loc[:, ~table.columns.duplicated()]
    elif change < 0.7:
        table = table.drop(columns=name)
    elif change < 0.8:
        table = table.astype({name: "category"})
    else:
        table = pd.concat([table] * rng.choice((1, 100, 20_000)))
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=rng.random() < 0.2, compression=rng.choice(("snappy", "zstd", None)))
    return spoil_footer(rng, buffer.getvalue()) if rng.random() < 0.5 else buffer.getvalue()


def spoil_bytes(rng, content):
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 10))):
        at = rng.randrange(len(content) + 1)
        if rng.random() < 0.2:  # near the end: a parquet file's footer, a gzip file's sum
            at = max(len(content) - rng.randrange(1, 400), 0)
        change = rng.random()
        if change < 0.4:
            content[at : at + 1] = rng.choice((bytes([rng.randrange(256)]), b"\xff", b"\0"))
        elif change < 0.8:
            content[at : at + rng.choice((0, 0, 1, 8))] = rng.choice(TOKENS) * rng.choice((1, 1, 1, 40, 5000))
        elif change < 0.9:
            del content[at : at + rng.choice((1, 10, len(content)))]
        else:
            content[at:at] = content[at : at + rng.choice((1, 50, 500))] * rng.choice((1, 3, 200))
    return bytes(content)


def bomb(rng, content):
    """What unfolds to up to 400 MB of a few kilobytes: a part of the file over and over."""
    at = rng.randrange(len(content) + 1)
    part = rng.choice(
        (content[at : at + rng.choice((1, 5, 50, 500))], *TOKENS, b"0,,\n", b"1,", b"[],", b"{},", b'"a",', b"a: ")
    )
    packer, parts = zlib.compressobj(6, wbits=31), []
    part, most = part or b"x", rng.choice((2e6, 2e7, 4e8))
    parts.append(packer.compress(content[:at]))
    chunk = part * (2**18 // len(part) + 1)
    parts += [packer.compress(chunk) for _ in range(int(most / len(chunk)))]
    return b"".join([*parts, packer.compress(content[at:]), packer.flush()])


def wrap(rng, content):
    """The same in another coat."""
    choice = rng.randrange(9)
    if choice < 2:
        return gzip.compress(content, 1)
    if choice == 2:
        return gzip.compress(gzip.compress(content, 1), 1)
    if choice == 3:
        return gzip.compress(content[: len(content) // 2], 1) + gzip.compress(content[len(content) // 2 :], 1)
    if choice == 4:
        return gzip.compress(content, 1)[: rng.choice((-1, -4, -8, -20, 12, 3, 2))]
    if choice == 5:
        return b"\xef\xbb\xbf" + content
    if choice == 6:
        return content.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-32", "utf-7", "cp500")), "replace")
    if choice == 7:
        return content.replace(b"\n", rng.choice((b"\r", b"\r\n", b"\n\n", b"\0", b"")))
    return content[: rng.randrange(len(content) + 1)]


def structured(content):
    """What takes this file apart to change it."""
    if content.startswith(b"PAR1"):
        return spoil_parquet
    if content.lstrip().startswith((b"{", b"[")):
        return spoil_json
    return spoil_table if b"," in content.split(b"\n", 2)[1] else spoil_yaml


def make(number, seed):
    """A reader, a format to ask for and the content of one hostile file."""
    rng = random.Random(f"{seed}:{number}")
    reader = rng.choice((*SAMPLES, "loadtest", "loadtest", "timings", "timings"))
    format, content = rng.choice(SAMPLES[reader])
    asked = rng.choice((None, None, None, format or None, rng.choice(FORMATS.get(reader, (None,)))))
    if rng.random() < 0.7:
        spoil = spoil_yaml if reader in ("gpu", "model", "params", "claims") else structured(content)
        content = spoil(rng, content)
    if rng.random() < 0.45:
        content = spoil_bytes(rng, content)
    if rng.random() < 0.01:
        other = rng.choice([sample for samples in SAMPLES.values() for _, sample in samples])
        content = content[: rng.randrange(len(content) + 1)] + other
    if rng.random() < 0.15:
        content = wrap(rng, content)
    if rng.random() < 0.001:
        content = bomb(rng, content)
    return reader, asked, content[: 2**26]


# Trying them ------------------------------------------------------------------------------------------------------


class TooLongError(BaseException):
    pass


def _too_long(*_):
    raise TooLongError


def memory(name="VmHWM"):
    """The most memory that this process has held since it was last forgotten, or holds (VmRSS) [byte]."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return float(line.split()[1]) * 1024


def attempt(reader, asked, path):
    """Read one file: "read", "refused", or what is wrong with how it was refused."""
    try:
        READERS[reader](path, asked)
    except (ValueError, OSError) as error:
        message = str(error)
        if "\n" in message or "\r" in message:
            return f"several lines: {message!r}"
        if path.name.removesuffix(path.suffix) not in message:
            return f"the file is not named: {traceback.format_exc()}"
        return "refused" if len(message) < 3000 else f"a message of {len(message)} characters: {message[:200]}"
    except TooLongError:
        return f"over {MOST_SECONDS} s: {traceback.format_exc()}"
    except Exception:
        return traceback.format_exc()
    return "read"


def try_file(number, seed, folder):
    """Make a file and read it: its number, its reader, what came of it, the time [s] and memory [byte] that it took."""
    reader, asked, content = make(number, seed)
    path = Path(folder) / f"hostile-{number}.{'yaml' if reader in ('gpu', 'model', 'params') else 'x'}"
    if reader == "params":
        content = content.replace(b"medusa-fig18", path.stem.encode())
    path.write_bytes(content)
    size, content = len(content), b""
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark, that of the making, is forgotten
    start = time.process_time()
    signal.signal(signal.SIGVTALRM, _too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS)
    outcome = attempt(reader, asked, path)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    took, most = time.process_time() - start, memory()
    path.unlink()
    if most > MOST_MEMORY:
        outcome = f"{most / 1e6:,.0f} MB: {outcome}"
    if outcome not in ("read", "refused"):
        outcome = f"file {number} of seed {seed} ({reader}, {asked}, {size:,} bytes): {outcome}"
    return number, reader, outcome, took, most


def in_process(first, last, seed):
    """Try files in a process of their own, and in another one where it dies."""
    found = []
    while first < last:
        arguments = [sys.executable, __file__, "--worker", str(first), str(last), "--seed", str(seed)]
        for line in subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=False).stdout.splitlines():
            found.append(tuple(json.loads(line)))
            first = found[-1][0] + 1
        if first < last:
            found.append((first, "", f"file {first} of seed {seed}: the process died", 0.0, 0.0))
            first += 1
    return found


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("count", type=int, nargs="?", default=100_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--jobs", type=int, default=os.cpu_count())
    options.add_argument("--worker", type=int, nargs=2)
    o = options.parse_args()
    if o.worker:
        with tempfile.TemporaryDirectory() as folder:
            for number in range(*o.worker):
                print(json.dumps(try_file(number, o.seed, folder)), flush=True)
        return 0
    last, found = o.first + o.count, []
    with ThreadPoolExecutor(o.jobs) as pool, progress_bar("hostile files") as move:
        starts = range(o.first, last, BATCH)
        for part in pool.map(lambda first: in_process(first, min(first + BATCH, last), o.seed), starts):
            found += part
            move(len(found), o.count)
    counts = Counter((reader, outcome) for _, reader, outcome, _, _ in found)
    for reader in READERS:
        print(f"{reader:<10}", *(f"{counts[reader, what]:>8,} {what}" for what in ("read", "refused")))
    for what, place, unit in (("slowest", 3, "s of the processor"), ("largest", 4, "bytes held")):
        number, reader, outcome, *_ = most = max(found, key=lambda one: one[place])
        print(f"{what}: {most[place]:,.5g} {unit}, file {number} ({reader}, {outcome[:20]})")
    faults = [outcome for _, _, outcome, _, _ in found if outcome not in ("read", "refused")]
    print("\n".join(faults) or "no fault")
    return len(faults)


if __name__ == "__main__":
    sys.exit(main())
