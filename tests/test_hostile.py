"""Files from elsewhere: whatever they hold, they are read or refused in one line that names them."""

import copy
import csv
import gzip
import io
import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench import figures, loadtest, timings
from workbench.audit import Source
from workbench.catalog import GPU, Model
from workbench.catalog.loading import load_entry
from workbench.common import checked_file_name
from workbench.common.project import DATA
from workbench.common.yaml_records import validated
from workbench.files import reading
from workbench.files.json_streams import json_events
from workbench.files.yaml_files import read_mapping, read_yaml
from workbench.measure.models import find_model

ONE_LINE = r"\A[^\n]*\Z"


def one_line_of(error, where):
    assert where in str(error)
    assert "\n" not in str(error)


# YAML -------------------------------------------------------------------------------------------------------------

BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, r"line 2: not valid YAML \(aliases are not allowed\)"),
        ("a: &a {b: 1}\nc:\n  <<: *a\n", r"line 3: not valid YAML \(aliases are not allowed\)"),
        ("a: &a [*a]\n", r"line 1: not valid YAML \(aliases are not allowed\)"),
        ("a: " + "[" * 40 + "]" * 40, r"line 1: not valid YAML \(nested over 32 levels deep\)"),
        ("a: " + "[" * 100_000, r"line 1.*: not valid YAML \("),
        ("- " * 20_000, r"not valid YAML \("),
        ("a: 1\nb: {c: 2, c: 3}\n", r"line 2: not valid YAML \('c' is given twice\)"),
        ("a: 2026-13-01\n", r"not valid YAML \(month must be in 1..12"),
        ("a: " + "9" * 5000, r"not valid YAML \(Exceeds the limit"),
        ("a: \x00\n", r"not valid YAML \("),
        ("? [a, b]\n: 1\n", r"line 1: not valid YAML \(found unhashable key"),
        (
            "a: !!python/object/apply:os.system [exit]\n",
            r"line 1: not valid YAML \(tags such as tag:yaml.org,2002:python/object/apply:os",
        ),
    ],
)
def test_hostile_yaml_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read_yaml(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_yaml_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(ValueError, match=r"x.yaml: not valid YAML \('utf-8' codec can't decode byte"):
        read_yaml(tmp_path / "x.yaml")


def test_a_huge_yaml_file_is_refused_before_it_is_parsed(tmp_path):
    path = tmp_path / "x.yaml"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse: a terabyte that takes no room
    with pytest.raises(ValueError, match="x.yaml: larger than 4 MiB"):
        read_yaml(path)


def test_a_mapping_of_many_keys_takes_no_quadratic_time(tmp_path):
    (tmp_path / "x.yaml").write_text("".join(f"k{i}: {i}\n" for i in range(50_000)))
    assert len(read_mapping(tmp_path / "x.yaml")) == 50_000


# Entries of the catalog, claims ----------------------------------------------------------------------------------

ENTRIES = {
    "gpus/h100-sxm.yaml": GPU, "models/deepseek-v3.yaml": Model, "models/llama-2-7b-awq.yaml": Model,
    "claims/peers.yaml": Source,
}  # fmt: skip
FIELDS = {name: read_mapping(DATA / name) for name in ENTRIES}
FIELDS["claims/peers.yaml"]["claims"] = FIELDS["claims/peers.yaml"]["claims"][:2]

leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates(),
    st.sampled_from([0, -1, 1e400, float("nan"), 10**4000, "", "\n", "../../x", "fp16"]),
)  # fmt: skip
keys = st.one_of(st.text(max_size=8), st.integers(), st.sampled_from(["fp16", "a\nb", "../x"]))
anything = st.recursive(
    leaves, lambda part: st.lists(part, max_size=3) | st.dictionaries(keys, part, max_size=3), max_leaves=6
)


@st.composite
def spoiled(draw, whole):
    """A copy of nested data with one to three of its places replaced, removed or added to."""
    data = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        here = data
        while True:
            places = list(here) if isinstance(here, dict) else list(range(len(here)))
            if not places:
                break
            place = draw(st.sampled_from(places))
            deeper = here[place]
            if isinstance(deeper, dict | list) and draw(st.booleans()):
                here = deeper
                continue
            change = draw(st.sampled_from(["replace", "remove", "add"]))
            if change == "remove":
                del here[place]
            elif change == "replace" or isinstance(here, list):
                here[place] = draw(anything)
            else:
                here[draw(keys)] = draw(anything)
            break
    return data


@pytest.mark.parametrize("name", ENTRIES)
@given(data=st.data())
def test_a_spoiled_entry_is_accepted_or_refused_in_one_line(name, data):
    fields = data.draw(spoiled(FIELDS[name]))
    try:
        text = str(validated(ENTRIES[name], fields, "mine.yaml"))
    except ValueError as error:
        one_line_of(error, "mine.yaml: ")
    else:
        assert text


@pytest.mark.parametrize("name", ["gpus/t4.yaml", "models/gpt2.yaml"])
@given(data=st.data())
def test_a_file_with_spoiled_bytes_is_read_or_refused_in_one_line(tmp_path_factory, name, data):
    content = bytearray((DATA / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 8))] = data.draw(
            st.one_of(st.binary(max_size=6), st.sampled_from([b"\n", b": ", b"- ", b"[", b"{", b"&a ", b"*a", b"\t"]))
        )
    path = tmp_path_factory.getbasetemp() / "spoiled.yaml"
    path.write_bytes(content)
    try:
        load_entry(GPU if name.startswith("gpus") else Model, path)
    except ValueError as error:
        one_line_of(error, "spoiled.yaml")


def test_a_number_of_thousands_of_digits_is_refused_in_one_line(tmp_path):
    path = tmp_path / "mine.yaml"  # hexadecimal: read without the limit on decimal digits, which then no text can show
    path.write_text((DATA / "gpus" / "t4.yaml").read_text().replace("sm_count: 40", f"sm_count: 0x{'f' * 5000}"))
    with pytest.raises(ValueError, match=ONE_LINE) as error:
        load_entry(GPU, path)
    assert "mine.yaml: sm_count = an integer of thousands of digits" in str(error.value)
    with pytest.raises(ValueError, match=ONE_LINE) as error:
        wb.from_hf_config(CONFIG | {"hidden_size": 10**5000})
    assert str(error.value).startswith("config dict: hidden_size")


@pytest.mark.parametrize(
    ("field", "value"), [("dense_tflops", {"fp16": float("nan")}), ("memory", {"bandwidth_gbs": float("inf")})]
)
def test_no_number_of_a_gpu_is_nan_or_infinite(field, value):
    with pytest.raises(ValueError, match=rf"mine.yaml: {field}\.\w+ = (nan|inf): "):
        validated(GPU, FIELDS["gpus/h100-sxm.yaml"] | {"id": "x", field: value}, "mine.yaml")


def test_a_claim_that_publishes_nan_is_refused():
    source = copy.deepcopy(FIELDS["claims/peers.yaml"])
    source["claims"][0]["published"] = float("nan")
    with pytest.raises(ValueError, match=r"peers.yaml: claims\.0\.published\S* = nan: Input should be a finite number"):
        validated(Source, source, "peers.yaml")


# Hugging Face's config.json ---------------------------------------------------------------------------------------

CONFIG = {
    "model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
    "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128, "n_routed_experts": 256,
    "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 3, "moe_layer_freq": 1,
    "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "vocab_size": 129280, "max_position_embeddings": 163840, "_name_or_path": "../../etc/passwd",
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}, "tie_word_embeddings": False,
}  # fmt: skip


@given(spoiled(CONFIG))
def test_a_spoiled_config_is_read_or_refused_in_one_line(config):
    try:
        model = wb.from_hf_config(config)
    except ValueError as error:
        one_line_of(error, "config dict: ")
    else:
        assert model.parameters > 0


@given(st.binary(max_size=60))
@example(b"[" * 200_000)
@example(b'{"a":' * 200_000)
@example(b'{"model_type": "llama", "hidden_size": NaN}')
@example(b'{"model_type": "llama", "hidden_size": ' + b"9" * 5000 + b"}")
def test_bytes_that_are_no_config_are_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "config.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=ONE_LINE) as error:
        wb.from_hf_config(path)
    assert str(path) in str(error.value)


@given(spoiled(CONFIG))
@example(CONFIG | {"num_hidden_layers": 10**8, "moe_layer_freq": 10**8})
@example(CONFIG | {"num_attention_heads": 10**6})
def test_a_spoiled_config_is_measured_or_refused_in_one_line(tmp_path_factory, config):
    path = tmp_path_factory.getbasetemp() / "config.json"
    path.write_text(json.dumps(config, default=str), encoding="utf-8")
    try:
        sizes = find_model(str(path))
    except ValueError as error:
        one_line_of(error, str(path))
    else:
        assert sizes.kv_elements_per_token > 0


@given(st.binary(max_size=60))
@example(b"[" * 200_000)
def test_bytes_that_are_no_config_are_not_measured(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "config.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=ONE_LINE) as error:
        find_model(str(path))
    assert str(path) in str(error.value)


def test_the_name_in_a_config_is_no_path(tmp_path):
    assert wb.from_hf_config(CONFIG).id == "passwd"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(CONFIG))
    assert find_model(str(tmp_path / "model")).id == "model"


# Kernel timings ---------------------------------------------------------------------------------------------------

VIDUR = ["n_head,n_kv_head,n_embd,n_expanded_embd,vocab_size,use_gated_mlp,num_tokens,num_tensor_parallel_workers"]
VIDUR = [VIDUR[0] + ",time_stats.mlp_up_proj.median", "32,8,4096,14336,128256,True,64,1,0.01"]
TABLES = {
    "workbench": ["operator_class,dtype,m,n,k,time_s", "gemm,fp16,16,12288,4096,1.5e-4"],
    "vidur": VIDUR,
    "aiconfigurator": ["framework,version,device,op_name,gemm_dtype,m,n,k,latency", "X,1,B200,gemm,fp8,9,3584,32,0.01"],
    "ncu": ['"ID","Kernel Name","gpu__time_duration.sum"', '"","","usecond"', '"0","gemm","1.5"'],
}
BINARY = {
    "parquet": io.BytesIO(), "gzip": io.BytesIO(gzip.compress("\n".join(TABLES["workbench"]).encode())),
}  # fmt: skip
pd.read_csv(io.StringIO("\n".join(TABLES["aiconfigurator"]))).to_parquet(BINARY["parquet"])
CELLS = ["", "0", "-1", "nan", "inf", "1e400", "9" * 400, '"', "\x00", "../x", "=1+1", "gemm", "fp16", ",", "\r"]


def read_or_refuse(path):
    try:
        table = timings.read(path)
    except ValueError as error:
        one_line_of(error, str(path))
    else:
        assert np.isfinite(table.time_s).all()
        assert (table.time_s > 0).all()


@pytest.mark.parametrize("format", TABLES)
@given(data=st.data())
def test_a_spoiled_table_is_read_or_refused_in_one_line(tmp_path_factory, format, data):
    rows = list(csv.reader(TABLES[format]))
    for _ in range(data.draw(st.integers(1, 3))):
        row = data.draw(st.sampled_from(rows))
        row[data.draw(st.integers(0, len(row) - 1))] = data.draw(st.one_of(st.text(max_size=5), st.sampled_from(CELLS)))
    path = tmp_path_factory.getbasetemp() / "spoiled.csv"
    path.write_text("\n".join(map(",".join, rows)), encoding="utf-8", errors="replace")
    read_or_refuse(path)


@pytest.mark.parametrize("kind", BINARY)
@settings(max_examples=40)  # parquet is read in another process
@given(data=st.data())
def test_a_spoiled_binary_table_is_read_or_refused_in_one_line(tmp_path_factory, kind, data):
    content = bytearray(BINARY[kind].getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    path = tmp_path_factory.getbasetemp() / f"spoiled.{kind}"
    path.write_bytes(content)
    read_or_refuse(path)


def test_a_line_that_unfolds_to_gigabytes_is_not_held_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BUDGET", reading.Budget(line=1000))
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(("\n".join(TABLES["workbench"]) + "0" * 10**7).encode()))
    with pytest.raises(ValueError, match=r"bomb.csv.gz: line 2: not valid CSV \(longer than 1,000 characters\)"):
        timings.read(path)


def test_a_deeply_nested_trace_is_refused(tmp_path):
    path = tmp_path / "trace.json"
    path.write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"trace.json: event 0: nested over 32 levels deep"):
        timings.read(path)


# Load tests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["[", '{"a":', '{"metrics":[', '{"metrics":{"x":[', '{"records":[{"a":', '{"itls":['])
@pytest.mark.parametrize("more", ["[", '{"a":', '[{"metrics":'])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_deeply_nested_load_test_is_refused_before_it_takes_memory(tmp_path, start, more, zipped):
    path = tmp_path / "deep.json"
    content = (start + more * 60_000).encode()
    path.write_bytes(gzip.compress(content) if zipped else content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"deep.json: .*nested over 32 levels deep\Z") as error:
            loadtest.read(path)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
    one_line_of(error.value, str(path))


@pytest.mark.parametrize("format", loadtest.LOAD_TEST_FORMATS)
def test_whatever_a_load_test_is_taken_for_it_is_not_deep(tmp_path, format):
    path = tmp_path / "deep.json"
    path.write_text('{"metrics": ' + "[" * 60_000)
    with pytest.raises(ValueError, match=ONE_LINE) as error:
        loadtest.read(path, format)
    one_line_of(error.value, str(path))


def test_nesting_up_to_the_limit_is_read(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 32 + "]" * 32)
    assert len(list(json_events(path))) == 64


# Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc/x", "", "..", ".hidden", "a\nb", "a b", "x\x00"])
def test_a_name_that_would_leave_its_folder_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"^figure_id .*: must be letters, digits, '_', '-' and '\.'"):
        figures.save(None, pd.DataFrame(), name, str(tmp_path / "figures"))
    assert list(tmp_path.iterdir()) == []


def test_a_plain_name_is_one(tmp_path):
    assert checked_file_name("figure_id", "medusa-fig09.v2_x") == "medusa-fig09.v2_x"


def test_the_limits_leave_room_for_what_the_project_has():
    for path in (entry for folder in ("claims", "gpus", "models") for entry in (DATA / folder).iterdir()):
        assert len(path.read_bytes()) < reading.BUDGET.small / 10
        assert yaml.safe_load(path.read_text())
