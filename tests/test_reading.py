"""The budget that every reader has: bombs, pipes, devices, and files that are just within it."""

import gzip
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import hostile_files
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import test_loadtest as lt
import test_timings as tm
from pyarrow import parquet

import workbench as wb
from workbench import figures, loadtest, timings
from workbench.files import reading
from workbench.files.json_streams import json_events, values_of
from workbench.files.reading import csv_rows
from workbench.files.yaml_files import read_yaml
from workbench.measure import results
from workbench.timings.cells import read_cells
from workbench.timings.profilers import guess_kernel

CSV = b"sent_s,first_token_s,last_token_s\n"
OWN = b"operator_class,time_s,m\n"


def save(tmp_path, content, name="file"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def refused(read, path):
    """What a reader says of a file, which is one line."""
    with pytest.raises(ValueError) as error:  # noqa: PT011  the message is compared where this is called
        read(path)
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value).removeprefix(f"{path}: ")


@pytest.fixture
def small(monkeypatch):
    """Set fields of the budget for a test."""
    return lambda **fields: monkeypatch.setattr(reading, "BUDGET", replace(reading.BUDGET, **fields))


# Bombs ------------------------------------------------------------------------------------------------------------


def members(head, part, times):
    """Of a gzip file that has a part of 1 MiB or less many times."""
    return gzip.compress(head) + gzip.compress(part * (2**20 // len(part)), 9) * times


#: Small files that unfold to gigabytes: how they are read, and what is said of them.
BOMBS = {
    "line.jsonl.gz": ("l", members(b'{"metadata":{"request_start_ns":1},"x":"', b"a", 2500), "line 1: longer than 8"),
    "rows.csv.gz": ("l", members(CSV, b"0,,\n", 115), "over 1,000,000 requests"),
    "timings.csv.gz": ("t", members(OWN, b"gemm,1,1\n", 260), "over 1,000,000 lines"),
    "numbers.json.gz": ("l", members(b'{"ttfts":[1],"itls":[[', b"1,", 200), "a value or record of over 8 MiB"),
    "text.json.gz": ("l", members(b'{"ttfts":[1],"x":"', b"a", 1000), "request 1: a value or record of over 8 MiB"),
    "digits.json.gz": ("l", members(b'{"ttfts":[1],"x":', b"9", 10), "request 1: a number of over 16,384 digits"),
    "record.json.gz": ("l", members(b'{"records":[{"a":[', b"{},", 300), "records[0]: a value or record of over 8 MiB"),
    "trace.json.gz": ("t", members(b'{"traceEvents":[{"args":[', b"1.5,", 300), "event 0: a value or record of"),
    "wide.csv.gz": ("t", members(b"operator_class,time_s", b",x", 300), "line 1: not valid CSV (longer than 8"),
    "quoted.csv.gz": ("l", members(CSV, b'"' + b"a\n" * 400_000, 300), "over 1,000,000 lines"),
    "rows.parquet": ("t", b"", "over 1,000,000 rows: split it"),
    "words.parquet": ("t", b"", "texts of over 128 MiB"),
    "rows-lie.parquet": ("t", b"", "over 1,000,000 rows: split it"),
    "word-lie.parquet": ("t", b"", "not a readable parquet file ("),
    "word.parquet": ("t", b"", "not a readable parquet file ("),
}  # fmt: skip

READ_ALL = """
import resource
import sys
from pathlib import Path
from workbench import loadtest, timings
for path in sys.argv[1:]:
    name = Path(path).name
    try:
        {"l": loadtest, "t": timings}[name[0]].read(path)
    except ValueError as error:
        print(error)
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def lie(path, truth, told, times):
    """Put another number where a parquet file's footer has one, the first times that it stands there (all if -1)."""
    before, footer = hostile_files.footer_of(path.read_bytes())
    assert hostile_files.varint(2 * truth) in footer
    lied = footer.replace(hostile_files.varint(2 * truth), hostile_files.varint(2 * told), times)
    path.write_bytes(hostile_files.with_footer(before, lied))


def write_parquets(folder):
    ones = np.ones(1_000_000)
    many = pa.table({"op_name": pa.array(["gemm"] * len(ones)).dictionary_encode(), "latency": ones, "m": ones})
    with parquet.ParquetWriter(folder / "t-rows.parquet", many.schema) as file:
        for _ in range(40):
            file.write_table(many)
    parquet.write_table(pa.concat_tables([many] * 10), folder / "t-rows-lie.parquet", row_group_size=10**7)
    lie(folder / "t-rows-lie.parquet", 10**7, 5, 1)
    word = pa.DictionaryArray.from_arrays(pa.array(np.zeros(200_000, np.int8)), ["g" * 1_000_000])
    parquet.write_table(pa.table({"op_name": word, "latency": ones[:200_000]}), folder / "t-words.parquet")
    word = pa.table({"op_name": ["g" * 200_000_000], "latency": [1.0]})
    for name in ("t-word.parquet", "t-word-lie.parquet"):
        parquet.write_table(word, folder / name, compression="zstd", use_dictionary=False)
    size = parquet.read_metadata(folder / "t-word-lie.parquet").row_group(0).column(0).total_uncompressed_size
    lie(folder / "t-word-lie.parquet", size, 100, -1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_small_files_that_unfold_to_gigabytes_are_refused_within_one(tmp_path):
    write_parquets(tmp_path)
    paths = [tmp_path / f"{reader}-{name}" for name, (reader, _, _) in BOMBS.items()]
    for path, (_, content, _) in zip(paths, BOMBS.values(), strict=True):
        if content:
            path.write_bytes(content)
        assert path.stat().st_size < 4e6
    run = subprocess.run([sys.executable, "-c", READ_ALL, *paths], capture_output=True, text=True, check=True)
    *told, most = run.stdout.splitlines()
    assert len(told) == len(BOMBS)
    for path, line, (_, _, message) in zip(paths, told, BOMBS.values(), strict=True):
        assert line.startswith(f"{path}: ")
        assert message in line
    assert int(most) * 1024 < 1e9


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_hostile_files_made_at_random_are_read_or_refused_in_one_line():
    arguments = [sys.executable, hostile_files.__file__, "--seed", "0", "--worker", "0", "300"]
    run = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
    outcomes = [outcome for _, _, outcome, _, _ in map(json.loads, run.stdout.splitlines())]
    assert len(outcomes) == 300
    assert [outcome for outcome in outcomes if outcome not in ("read", "refused")] == []


# The limits, one by one -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "content", "limit", "message"),
    [
        (loadtest.read, CSV + b"\n" * 1200, {"rows": 100}, "line 1101: not valid CSV (over 100 lines: split it)"),
        (loadtest.read, CSV + b"0,1,2\n" * 120, {"rows": 100}, "over 100 requests: split it"),
        (loadtest.read, CSV + b"x,1,2\n" * 120, {"rows": 100}, "over 100 requests: split it"),
        (loadtest.read, json.dumps(lt.varcas([(0, 1, 2, 3, 4)] * 120)).encode(), {"rows": 100}, "over 100 requests: "),
        (loadtest.read, json.dumps(lt.VLLM_REQUESTS * 40).encode(), {"rows": 100}, "over 100 requests: split it"),
        (loadtest.read, lt.lines(lt.LINES * 40).encode(), {"rows": 100}, "over 100 requests: split it"),
        (loadtest.read, json.dumps(lt.vllm(ttfts=[1.0] * 120)).encode(), {"rows": 100}, "over 100 requests: split it"),
        (loadtest.read, json.dumps(lt.vllm(itls=[[]] * 120)).encode(), {"rows": 100}, "over 100 requests: split it"),
        (loadtest.read, json.dumps(lt.guidellm(benchmarks=1)).encode(), {"rows": 3}, "over 3 requests: split it"),
        (loadtest.read, json.dumps(lt.GENAI_PERF).encode(), {"rows": 2}, "over 2 requests: split it"),
        (loadtest.read, lt.lines(lt.LINES).encode(), {"line": 300}, "line 1: longer than 300 characters"),
        (loadtest.read, CSV + b'"a\n",' * 100, {"line": 200}, "line 42: not valid CSV (longer than 200 characters)"),
        (loadtest.read, CSV + b"0," * 200, {"columns": 100}, "line 2: not valid CSV (201 fields: at most 100)"),
        (loadtest.read, CSV.strip() + b",error\n" + b"".join(b"0,,,%050d\n" % i for i in range(99)), {"text": 1000},
         "over 0.0009537 MiB of cells and texts that differ: split it"),
        (timings.read, OWN + b"# gemm,1,1\n" * 1200, {"rows": 100},
         "line 1101: not valid CSV (over 100 lines: split it"),
        (timings.read, OWN + b"gemm,1,1\n" * 1200, {"rows": 100}, "line 668: over 2,000 cells: split it"),
        (timings.read, OWN + b"".join(b"gemm,1,%d\n" % i for i in range(99)), {"text": 1000}, "over 0.0009537 MiB of"),
        (timings.read, tm.VIDUR.encode(), {"rows": 10}, "over 10 timings, 7 in each row: split it"),
        (timings.read, tm.OWN.encode(), {"line": 100}, "line 3: not valid CSV (longer than 100 characters)"),
        (timings.read, json.dumps(tm.TRACE).encode(), {"events": 5}, "over 5 kernels and calls: profile fewer steps"),
        (timings.read, json.dumps(tm.TRACE["traceEvents"]).encode(), {"depth": 3}, "event 0: nested over 3 levels"),
        (wb.from_hf_config, b" " * 5000, {"small": 4096}, "larger than 0.003906 MiB, so not one of the files read"),
        (wb.from_hf_config, b'{"a": [[[1]]]}', {"depth": 3}, "nested over 3 levels deep"),
        (read_yaml, b"a: [[[1]]]", {"depth": 3}, "not valid YAML (nested over 3 levels deep)"),
        (read_yaml, b"# " + b"x" * 5000, {"small": 4096}, "larger than 0.003906 MiB, so not one of the files read"),
    ],
)  # fmt: skip
def test_what_is_over_the_budget_is_one_clear_line(tmp_path, small, read, content, limit, message):
    small(**limit)
    assert message in refused(read, save(tmp_path, content))


def test_a_zipped_file_may_unfold_to_many_times_its_size_where_it_is_large(tmp_path, small):
    noise = np.random.default_rng(1).bytes(20_000).hex()
    content = lt.CSV.replace("# a test of ten seconds", f"# {noise}").encode()
    small(unfolded=1000, ratio=50)
    assert len(loadtest.read(save(tmp_path, gzip.compress(content)))) == 4
    small(unfolded=1000, ratio=1)
    assert "that unfold to over" in refused(loadtest.read, save(tmp_path, gzip.compress(content)))
    assert len(loadtest.read(save(tmp_path, content))) == 4  # not zipped: it is as large as it is


def test_a_file_zipped_in_parts_is_read_and_one_zipped_twice_is_refused(tmp_path):
    half = len(lt.CSV) // 2
    parts = [gzip.compress(part.encode()) for part in (lt.CSV[:half], lt.CSV[half:])]
    assert len(loadtest.read(save(tmp_path, b"".join(parts)))) == 4
    twice = gzip.compress(gzip.compress(lt.CSV.encode()))
    assert "not a text file" in refused(loadtest.read, save(tmp_path, twice))


@pytest.mark.parametrize("ends", ["\r", "\r\n"])
def test_other_line_ends_are_line_ends(tmp_path, small, ends):
    assert len(loadtest.read(save(tmp_path, lt.CSV.replace("\n", ends).encode()))) == 4
    small(rows=100)
    many = CSV.decode() + "# 0,1,2\n" * 1200
    assert "over 100 lines" in refused(loadtest.read, save(tmp_path, many.replace("\n", ends).encode()))


@pytest.mark.parametrize("coding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("read", [loadtest.read, timings.read])
def test_another_coding_is_refused(tmp_path, read, coding):
    assert "not a text file (" in refused(read, save(tmp_path, lt.CSV.encode(coding)))


# Tables -----------------------------------------------------------------------------------------------------------


def test_a_column_that_is_needed_stands_once(tmp_path):
    twice = "3 columns 'sent_s': expected one"
    assert refused(loadtest.read, save(tmp_path, CSV.strip() + b",sent_s,sent_s\n0,1,2,3,4\n")) == twice
    assert refused(timings.read, save(tmp_path, OWN.strip() + b",m\ngemm,1,2,3\n")) == "2 columns 'm': expected one"
    assert len(timings.read(save(tmp_path, OWN.strip() + b",x,x\ngemm,1,2,3,4\n"))) == 1  # of no column that is read


def test_columns_that_are_not_read_are_not_held_but_named(tmp_path):
    path = save(tmp_path, b"a,b,time_s\n" + b"x,y,1\n" * 3)
    assert list(read_cells(path, keep="time_s".__eq__).frame) == ["time_s"]
    assert refused(lambda path: timings.read(path, "workbench"), path) == (
        "no column 'operator_class'; its columns: a, b, time_s"
    )


def test_only_the_first_problems_of_timings_are_kept(tmp_path):
    table = timings.read(save(tmp_path, OWN + b"gemm,1,-1\n" * 250 + b"gemm,1\n" * 250 + b"gemm,1,1\n"))
    told = table.attrs["problems"]
    assert told[0] == "500 problems in all"
    assert told[1] == "line 252: 2 fields: expected 3"
    assert len(told) == 101


def test_cells_in_messages_are_short(tmp_path):
    table = timings.read(save(tmp_path, OWN + b"gemm,1," + b"x" * 100_000 + b"\ngemm,1,1\n"))
    assert table.attrs["problems"] == [f"line 2: m = {'x' * 60!r}: expected a whole number above 0"]


@pytest.mark.parametrize("number", ["9007199254740992", "1e300"])
def test_a_size_that_float64_cannot_tell_from_the_next_is_none(tmp_path, number):
    table = timings.read(save(tmp_path, OWN + f"gemm,1,{number}\ngemm,1,9007199254740991\n".encode()))
    assert table.m.tolist() == [2**53 - 1]


def test_a_time_that_vanishes_in_seconds_is_none(tmp_path):
    gemm = tm.GEMM.replace(",0.002", ",5e-324")  # ms
    assert (timings.read(save(tmp_path, gemm.encode())).time_s > 0).all()
    assert len(timings.read(save(tmp_path, gemm.encode()))) == 1


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([["gemm"], ["gemm"]], "column 'op_name' holds list<element: string>: expected texts or numbers"),
        ([{"a": 1}, {"a": 2}], "column 'op_name' holds struct<a: int64>: expected texts or numbers"),
        ([b"gemm", b"gemm"], "column 'op_name' holds binary: expected texts or numbers"),
        ([None, None], "no column 'op_name'; its columns: "),
        ([pd.Timestamp(0)] * 2, "column 'op_name' holds timestamp"),
    ],
)
def test_a_parquet_column_of_another_kind_is_refused(tmp_path, column, message):
    columns = {name: [1.0, 2.0] for name in ("latency", "m", "n", "k")} | {"op_name": column}
    parquet.write_table(pa.table(columns), tmp_path / "x.parquet")
    assert message in refused(timings.read, tmp_path / "x.parquet")


def test_parquet_columns_stand_once_and_its_footer_is_small(tmp_path, small):
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table([[1.0], [2.0]], names=["latency", "latency"]), path)
    assert "2 columns 'latency': expected one" in refused(timings.read, path)
    parquet.write_table(pa.table([[1.0]] * 100, names=[f"{'x' * 1000}{i}" for i in range(100)]), path)
    small(small=10_000)
    assert "a footer of 0 MiB: at most 0" in refused(timings.read, path)


def test_parquet_texts_are_counted_before_they_are_handed_on(tmp_path, small):
    names = ["x" * 40 + str(i) for i in range(8)]
    parquet.write_table(pa.table({"latency": [1.0] * 8, "op_name": names}), tmp_path / "x")
    small(text=1000)
    assert "texts of over 0 MiB" in refused(timings.read, tmp_path / "x")
    small(text=4000)
    assert "no column of gemm_dtype, attn_dtype" in refused(timings.read, tmp_path / "x")


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_parquet_texts_of_every_kind_are_read(tmp_path, kind):
    columns = {name: [1.0, 2.0] for name in ("latency", "m", "n", "k")} | {"op_name": pa.array(["gemm"] * 2).cast(kind)}
    parquet.write_table(pa.table(columns | {"gemm_dtype": ["fp8", None]}), tmp_path / "x.parquet")
    assert timings.read(tmp_path / "x.parquet").dtype.tolist() == ["fp8", ""]


def test_a_quoted_cell_is_kept_as_it_is(tmp_path):
    text = "x\n\n# y\n#\n" + "z" * 200_000
    table = f'sent_s,first_token_s,last_token_s,error\n# one\n\n0,,,"{text}"\n\n# two\n1,2,3,\n'
    comments = []
    rows = list(csv_rows(save(tmp_path, table.encode()), comments))
    assert [row for _, row in rows[1:]] == [["0", "", "", text], ["1", "2", "3", ""]]
    assert comments == ["one", "two"]


def test_of_comments_the_first_are_kept_and_of_each_its_beginning(tmp_path):
    content = OWN + "# \U0001f600".encode() + b"x" * 5000 + b"\n" + b"# y\n" * 2000 + b"gemm,1,1\n"
    header = timings.read(save(tmp_path, content)).attrs["header"]
    assert header == ["\U0001f600" + "x" * 998] + ["y"] * 999


# JSON -------------------------------------------------------------------------------------------------------------


def test_values_are_the_same_whole_or_in_parts(tmp_path):
    tree = {"a": [{"b": [1, [2, {"c": None}]], "d": "x"}, [], {}, 3.5, True], "e": {"a": [7]}}
    path = save(tmp_path, json.dumps(tree).encode() + b"\n[1, [2]]")
    assert [value for _, value in values_of(json_events(path, {"a.item"}), {"a.item"})] == tree["a"]
    assert [value for _, value in values_of(json_events(path, {"", "item"}), {""})] == [tree, [1, [2]]]
    assert [value for _, value in values_of(json_events(path, {"e", "item"}), {"e", "item"})] == [{"a": [7]}, 1, [2]]


def test_long_keys_take_no_memory_below_them(tmp_path):
    content = b"".join(b'{"%s":' % (b"k" * 2**18) for _ in range(8)) + b"1" + b"}" * 8
    paths = [place for place, _, _ in json_events(save(tmp_path, content))]
    assert max(map(len, paths)) == 8 * 201 - 1


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_python_writes_for_no_number_is_none_wherever_a_part_of_the_file_ends(tmp_path, word):
    for place, before in (("list.item", '"list": [1.0, '), ("list.item", '"list":['), ("mean", '"mean": ')):
        end = "]" if "list" in place else ""
        for at in range(2**14 - 12, 2**14 + 3):
            start = f'{{"x": "{"y" * (at - len(before) - 9)}",{before}'
            assert len(start) == at
            path = save(tmp_path, f'{start}{word}{end},"text": "a{word}"}}'.encode())
            found = [value for _, value in values_of(json_events(path, {place, "text"}), {place, "text"})]
            assert found[-2:] == [None, f"a{word}"]


def test_a_lone_surrogate_in_an_error_is_replaced(tmp_path):
    content = json.dumps(lt.VLLM_REQUESTS).replace("Bad Gateway", "\\ud800 gone").encode()
    assert loadtest.read(save(tmp_path, content)).error.tolist()[-1] == "? gone"


@pytest.mark.parametrize(
    "dims", [{"a": 1}, "x", 7, [7, 8], [[1e400, 2], [2, 3]], [["a", 2], [2, 3]], [[2**60, 2], [2, 3]], [[[]] * 2] * 2]
)
@pytest.mark.parametrize(
    "name", ["aten::mm", "aten::addmm", "aten::linear", "aten::bmm", "aten::_flash_attention_forward"]
)
def test_dims_that_are_none_are_a_problem_of_their_event(tmp_path, name, dims):
    events = [tm.op(name, dims, [tm.HALF] * 2, 1), tm.kernel("gemm", 3)]
    told = timings.read(save(tmp_path, json.dumps(events).encode())).attrs["problems"]
    assert len(told) == 1
    assert told[0].startswith("event 0: Input Dims = ")
    assert told[0].endswith(f": not those of {name}")


# Names of kernels, YAML -------------------------------------------------------------------------------------------


def test_a_long_name_takes_no_time_that_grows_with_its_square():
    assert guess_kernel("decode" * 100_000)["operator_class"] == "other"  # hours, where each "decode" looks for its end
    assert guess_kernel("x_decode_decode_kernel_attention")["operator_class"] == "attention_decode"
    assert guess_kernel("attention_then_decode")["operator_class"] == "attention_prefill"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: " + "1:" * 200_000 + "1", "a number of over 10,000 digits"),  # of base 60: hours
        ("a: -" + "1:" * 200_000 + "1.5", "a number of over 10,000 digits"),
        ("a: !!int ''", "tags such as tag:yaml.org,2002:int are not allowed"),
        ("a: !!bool x", "tags such as tag:yaml.org,2002:bool are not allowed"),
        ("a: !!timestamp x", "tags such as tag:yaml.org,2002:timestamp are not allowed"),
        ("a: !x 1", "tags such as !x are not allowed"),
        (f"{'k' * 900}: 1\n{'k' * 900}: 2\n", f"'{'k' * 80}' is given twice"),
    ],
)
def test_yaml_that_takes_hours_or_raises_is_refused(tmp_path, content, message):
    assert message in refused(read_yaml, save(tmp_path, content.encode()))


# What is no file --------------------------------------------------------------------------------------------------


def pipe_of(content):
    """The name of a pipe that holds some bytes, as a shell's <(...) gives it; it is closed when it has been read."""
    read, write = os.pipe()
    os.write(write, content)
    os.close(write)
    return f"/dev/fd/{read}"


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (loadtest.read, lt.CSV.encode()), (loadtest.read, json.dumps(lt.varcas()).encode()),
        (loadtest.read, gzip.compress(lt.lines(lt.LINES).encode())), (timings.read, tm.OWN.encode()),
        (timings.read, json.dumps(tm.TRACE).encode()), (timings.read, hostile_files.SAMPLES["timings"][-1][1]),
        (wb.from_hf_config, json.dumps(hostile_files.CONFIG).encode()),
    ],
)  # fmt: skip
def test_a_pipe_is_read_like_a_file(tmp_path, read, content):
    found, same = read(pipe_of(content)), read(save(tmp_path, content))
    assert found.equals(same) if isinstance(same, pd.DataFrame) else found.hidden_size == same.hidden_size


def test_a_pipe_has_a_budget_and_an_end(tmp_path, small):
    small(piped=1000)
    assert "over 0.0009537 MiB through a pipe: write it to a file first" in refused(timings.read, pipe_of(b"x" * 2000))
    os.mkfifo(tmp_path / "fifo")
    assert "not a known timing format, it starts with ''" in refused(timings.read, tmp_path / "fifo")  # nobody writes


@pytest.mark.parametrize(
    "read", [loadtest.read, timings.read, wb.from_hf_config, lambda path: results.open_results(path, "")]
)
def test_what_is_no_file_is_refused_at_once(tmp_path, read, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        assert refused(read, Path("socket")) == "a socket: expected a file"
    for device in ("/dev/zero", "/dev/null"):
        assert refused(read, Path(device)) == "a device: expected a file"


@pytest.mark.parametrize("read", [loadtest.read, timings.read])
def test_names_that_lead_nowhere_are_named(tmp_path, read):
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("link", "loop", "missing", "x" * 5000):
        with pytest.raises(OSError, match=name):
            read(tmp_path / name)
    with pytest.raises(ValueError, match=r"path = 'a\\x00b': expected the path of a file"):
        read("a\0b")


# Files of this project, spoiled -----------------------------------------------------------------------------------


def test_results_to_go_on_with_have_a_budget(tmp_path, monkeypatch):
    path = save(tmp_path, hostile_files.measured())
    assert len(results.open_results(path, "H100").rows) == 3
    monkeypatch.setattr(results, "MAX_ROWS", 2)
    assert refused(lambda path: results.open_results(path, "H100"), path).startswith("over 2 timings")
    save(tmp_path, ",".join(results.MEASURED).encode() + b"\n" + b'"' + b"x" * 9_000_000)
    assert "line 2: not valid CSV (longer than" in refused(lambda path: results.open_results(path, "H100"), path)
    save(tmp_path, b"\xff" * 100)
    assert "not a text file" in refused(lambda path: results.open_results(path, "H100"), path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be compared (No columns to parse from file)"),
        (b"a,b\n1,2,3\n1,2\n1,2,3,4,5\n", "cannot be compared (Error tokenizing data."),
        (b"\xff\xfe", "cannot be compared ('utf-8' codec can't decode"),
        (b"a,b\n" + b"1,2\n" * 2**22, "cannot be compared ("),
        (b'"a\nb",c\n1,2\n', "columns a b, c; recomputed a, b"),
        (b'a,b\n"x\ny",2\n', "line 2, a: x y; recomputed 1"),
    ],
)
def test_a_figures_numbers_that_are_spoiled_differ_in_one_line(tmp_path, content, message):
    expected, found = save(tmp_path, content, "old.csv"), save(tmp_path, b"a,b\n1,2\n", "new.csv")
    answer = figures.differences(expected, found)
    assert message in answer
    assert len(answer.splitlines()) == 1


def test_figures_of_some_megabytes_are_compared_and_those_of_no_end_are_not(tmp_path):
    content = b"a,b\n" + b"1,2\n" * 1_500_000
    expected, found = save(tmp_path, content, "old.csv"), save(tmp_path, content[:-2] + b"3\n", "new.csv")
    assert figures.differences(expected, found) == f"{expected}, line 1500001, b: 2; recomputed 3"
    with expected.open("ab") as file:
        file.truncate(2**40)
    assert "cannot be compared" in (told := figures.differences(expected, found))
    assert "larger than 16 MiB" in told
    for wide in (b"1," * 3000, b"a,b\n" + b"1," * 3000):  # of a million pandas takes all memory
        assert "3,001 columns: at most 2,000" in figures.differences(save(tmp_path, wide, "old.csv"), found)


def test_a_saved_view_that_is_huge_is_refused(tmp_path):
    with (tmp_path / "view.json").open("wb") as file:
        file.truncate(2**40)  # sparse: a terabyte that takes no room
    assert "larger than 4 MiB" in refused(hostile_files._saved, tmp_path / "view.json")


# Load tests that contradict themselves ----------------------------------------------------------------------------


def warnings_of(tmp_path, content):
    return loadtest.read(save(tmp_path, json.dumps(content).encode())).attrs["warnings"]


def test_ttfts_in_milliseconds_are_told(tmp_path):
    assert warnings_of(tmp_path, lt.vllm()) == []
    assert warnings_of(tmp_path, lt.vllm(ttfts=[1000.0, 500.0, 0.0])) == [
        "summary: mean_ttft_ms = 750, but the mean of its records is 750,000 ms: are they seconds?",
        "summary: duration = 9.5 s, but its records last 1,004 s: are their times seconds?",
    ]


def test_gaps_between_tokens_that_do_not_fit_their_number_are_told(tmp_path):
    assert warnings_of(tmp_path, lt.vllm(itls=[[1.0] * 3, [4.0, 4.0], []])) == [
        "1 requests have other numbers of itls than of output tokens after the first: request 0 3 itls beside 5 tokens;"
        " their tpot is the time of all itls by tokens"
    ]
