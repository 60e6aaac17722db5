"""Published measurements of servers: the rows that are shipped, what is predicted for them, and how far off it is."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import record_serving

import workbench as wb
from workbench import audit, plots, studies
from workbench.studies import published_serving

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def table():
    return studies.serving_predictions()


# The rows ---------------------------------------------------------------------------------------------------------


def test_every_row_is_of_the_catalog_and_has_what_its_load_measures(table):
    assert set(table.gpu) <= set(wb.gpus())
    assert set(table.model) <= set(wb.models())
    assert set(table.engine) <= set(wb.catalog.engines())
    assert set(table.load_kind) == set(published_serving.LOAD_KINDS)
    assert set(table.len_dist) == set(published_serving.SHORTEST_SHARE)
    assert (table[["tp", "isl", "osl", "load", "tokens_per_second"]] > 0).all(axis=None)
    assert (table.n_gpus == table.tp).all()
    closed = table.load_kind == "closed_loop"
    assert table[closed][["ttft_s", "tpot_s"]].gt(0).all(axis=None)
    assert table[~closed].output_tok_s_total.gt(0).all()
    assert table[["output_tok_s_total", "ttft_s"]].notna().sum(axis=1).eq(1).all()
    assert not table.duplicated().any()


def test_nothing_that_is_not_to_be_trusted_is_shipped(table):
    assert not table.gpu.str.contains("gb200|h20-").any()
    assert not table.model.str.contains("deepseek").any()


def test_every_source_is_described_and_small_enough_to_ship(table):
    sources = studies.serving_sources().set_index("source")
    assert set(sources.index) == set(table.source)
    assert sources.runs.sum() == len(table) > 1400
    assert sources.notna().all(axis=None)
    assert sources.url.str.startswith("https://").all()
    assert sources.licence.str.contains("Apache-2.0|facts, with their source").all()
    for file in (ROOT / "workbench/data/serving").iterdir():
        assert file.stat().st_size < 300_000


def test_the_throughput_of_a_closed_loop_is_that_of_littles_law(table):
    row = table[(table.source == "aiconfigurator") & (table.len_dist == "fixed")].iloc[0]
    seconds = row.ttft_s + (row.osl - 1) * row.tpot_s  # of a request
    assert row.tokens_per_second == pytest.approx(row.load * row.osl / seconds)
    row = table[table.source == "inferencex"].iloc[0]  # outputs of 0.9 times the label on average
    seconds = row.ttft_s + (0.9 * row.osl - 1) * row.tpot_s
    assert row.tokens_per_second == pytest.approx(row.load * 0.9 * row.osl / seconds)


# Servers and predictions ------------------------------------------------------------------------------------------


def test_a_server_is_that_of_its_row(table):
    row = table[(table.source == "inferencex") & (table.model == "gpt-oss-120b") & (table.engine == "vllm")].iloc[0]
    server = studies.server_of(row.to_dict())
    assert (server.gpu.id, server.model.id, server.tp, server.engine) == (row.gpu, row.model, row.tp, "vllm")
    assert (server.activation_dtype, server.kv_dtype) == (row.act_dtype, row.kv_dtype)
    assert server.max_num_seqs == row.load  # InferenceX gives vLLM as many as there are users
    assert server.max_num_batched_tokens == 8192  # as it does these
    assert server.max_model_len == row.isl + row.osl
    assert studies.server_of(row.to_dict() | {"engine": "sglang 0.5"}).engine == "sglang"
    assert studies.server_of(row.to_dict(), engine="trtllm").engine == "trtllm"
    assert not studies.server_of(row.to_dict(), time_model="ideal").calibration.host


@pytest.mark.parametrize(
    ("changes", "requests", "concurrency", "shortest"),
    [
        ({"load_kind": "closed_loop", "load": 4.0, "len_dist": "uniform 0.8-1"}, 40, 4, 80),
        ({"load_kind": "closed_loop", "load": 4.0, "len_dist": "fixed"}, 40, 4, 100),
        ({"load_kind": "static_batch", "load": 8.0, "len_dist": "fixed"}, 8, None, 100),
        ({"load_kind": "offline_max", "load": 500.0, "len_dist": "fixed"}, 500, None, 100),
        ({"load_kind": "offline_max", "load": np.inf, "len_dist": "fixed"}, 1000, None, 100),
        ({"load_kind": "offline_max", "load": np.inf, "len_dist": "fixed", "isl": 5000, "osl": 500}, 1500, None, 5000),
    ],
)
def test_requests_are_those_of_the_load(changes, requests, concurrency, shortest):
    workload = published_serving._workload({"isl": 100, "osl": 200} | changes)
    assert len(workload) == requests
    assert workload.concurrency == concurrency
    assert workload.prompt_tokens.min() == shortest
    assert workload.output_tokens.max() <= changes.get("osl", 200)


def test_one_request_takes_its_prompt_and_its_steps():
    row = {
        "gpu": "h100-sxm", "tp": 1, "model": "llama-3.1-8b", "weight_dtype": np.nan, "act_dtype": "fp16",
        "kv_dtype": "fp16", "engine": "vllm", "isl": 1000, "osl": 101, "len_dist": "fixed",
        "load_kind": "static_batch", "load": 1.0,
    }  # fmt: skip
    ideal = published_serving.served(row, time_model="ideal")
    assert ideal["tokens_per_second"] == pytest.approx(101 / (ideal["ttft_s"] + 100 * ideal["tpot_s"]))
    # all weights but the embedding, in 16 bit, over the bandwidth; beside them about 1,050 tokens of cache
    weights = 2 * (32 * (4096 * 6144 + 4096 * 4096 + 3 * 4096 * 14336) + 4096 * 128256)
    assert weights / 3350e9 < ideal["tpot_s"] < 1.02 * weights / 3350e9
    kernel = published_serving.served(row)
    assert kernel["ttft_s"] > ideal["ttft_s"]
    assert kernel["tpot_s"] > ideal["tpot_s"]
    refused = published_serving.served(row | {"model": "llama-3.1-405b"})
    assert np.isnan(refused["tokens_per_second"])
    assert refused["refused"]


def test_the_recorded_predictions_are_those_of_today(table):
    """The first and the eighth of each source, GPU and model; of TensorRT-LLM's, whose runs are long, of one length."""
    quick = table[(table.source != "tensorrt-llm-0.17") | (table.isl == 5000)]
    rows = quick.groupby(["source", "gpu", "model"]).nth([0, 7])
    assert all(set(rows[name]) == set(table[name]) for name in ("source", "gpu", "model", "engine", "load_kind"))
    for time_model in wb.kernels.TIME_MODELS:
        found = studies.predict_serving(rows, time_model=time_model, processes=1)
        for name in published_serving.BENCHMARK_VALUES:
            recorded = rows[f"{time_model}_{name}"]
            compared = recorded.notna() if name == "tokens_per_second" else recorded.notna() & rows[name].notna()
            # six digits are recorded; 0.1 % leaves room for what sums on other machines differ by
            np.testing.assert_allclose(found[name][compared], recorded[compared], rtol=1e-3, err_msg="make serving")
        assert (found.refused != "").equals(found.tokens_per_second.isna())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"load_kind": "open_loop"}, "unknown load_kind 'open_loop'"),
        ({"len_dist": "normal"}, "unknown len_dist 'normal'"),
    ],
)
def test_a_row_of_another_kind_is_refused(table, changes, message):
    with pytest.raises(ValueError, match=message):
        studies.predict_serving(table[:1].assign(**changes), processes=1)


def test_no_rows_and_missing_columns_are_refused(table):
    with pytest.raises(ValueError, match="rows is empty: give benchmarks"):
        studies.predict_serving(table[:0])
    with pytest.raises(ValueError, match="rows has no 'load_kind'"):
        studies.predict_serving(table.drop(columns="load_kind"))


# Errors -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def four():
    return pd.DataFrame({
        "gpu": ["a", "a", "b", "b"], "load_kind": "closed_loop",
        "tokens_per_second": [100.0, 100.0, 100.0, 100.0], "ttft_s": [1.0, np.nan, np.nan, np.nan], "tpot_s": np.nan,
        "kernel_tokens_per_second": [110.0, 70.0, 200.0, np.nan], "kernel_ttft_s": 0.5, "kernel_tpot_s": 1.0,
    })  # fmt: skip


def test_errors_are_those_of_the_ratios(four):
    errors = studies.serving_errors(four, ["gpu"]).set_index(["gpu", "quantity"])
    a, b = (errors.loc[gpu, "tokens_per_second"] for gpu in "ab")
    assert (a.n, a.refused, a.ratio) == (2, 0, pytest.approx(0.9))  # 1.1 and 0.7
    assert (a["error [%]"], a["near [%]"]) == (pytest.approx(20), 50)
    assert (b.n, b.refused, b.ratio, b["error [%]"], b["near [%]"]) == (1, 1, 2, 100, 0)
    assert errors.loc["a", "ttft_s"].n == 1
    assert ("b", "ttft_s") not in errors.index  # nothing was measured
    whole = studies.serving_errors(four, [], quantity=["tokens_per_second"], within=1.0)
    assert whole["near [%]"].tolist() == [100]
    with pytest.raises(ValueError, match="unknown by 'gpus'"):
        studies.serving_errors(four, ["gpus"])
    with pytest.raises(ValueError, match="unknown quantity 'itl'"):
        studies.serving_errors(four, [], quantity=["itl"])


def test_what_was_fitted_without_a_model_is_shown_where_it_is_known(four, tmp_path, monkeypatch):
    assert set(studies.serving_errors(four, []).predicted_by) == {"kernel"}
    held_out = four.assign(held_out_tokens_per_second=100.0)
    errors = studies.serving_errors(held_out, []).set_index(["quantity", "predicted_by"])
    assert errors.loc[("tokens_per_second", "held_out"), "error [%]"] == 0
    for name in ("benchmarks.csv", "predicted.csv", "other_tools.csv"):
        (tmp_path / name).write_text((ROOT / "workbench/data/serving" / name).read_text())
    (tmp_path / "held_out.csv").write_text("# x\nrow,model,tokens_per_second,ttft_s,tpot_s\n1,m,7,2,3\n")
    for module in (published_serving, studies.serving_accuracy):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    table = studies.serving_predictions()
    assert table.held_out_tokens_per_second.notna().sum() == 1
    assert table.held_out_tokens_per_second[1] == 7
    assert "workbench, model held out" in set(studies.serving_summary(table)["predicted by"])


def test_the_summary_has_every_kind_of_run_and_the_other_tool(table):
    summary = studies.serving_summary(table)
    assert list(summary.runs.str.partition(" (")[0].unique()) == ["all", "closed loops", "saturated"]
    assert (summary["predicted by"] == "AIConfigurator 0.12").sum() == 2
    closed = summary[summary.runs.str.startswith("closed loops")].set_index("predicted by")
    errors = studies.serving_errors(table[table.load_kind == "closed_loop"], []).set_index(["quantity", "predicted_by"])
    tpot = errors.loc[("tpot_s", "kernel")]
    assert closed.TPOT["workbench"] == f"{tpot.ratio:.2f}, {tpot['error [%]']:.0f} %, {tpot['near [%]']:.0f} %"
    assert closed.throughput["AIConfigurator 0.12"] == "1.03, 18 %, 82 %"


def test_the_kernels_times_are_nearer_than_the_ideal_roofline(table):
    """In throughput and TPOT: a TTFT is mostly waiting, which the ideal roofline meets by chance."""
    errors = studies.serving_errors(table, ["source"], quantity=["tokens_per_second", "tpot_s"]).pivot(
        index=["source", "quantity"], columns="predicted_by", values="error [%]"
    )
    assert (errors.kernel < errors.ideal).all()


def test_the_readme_has_the_errors_of_today(audited):
    """`make serving` writes them."""
    text = (ROOT / "README.md").read_text()
    assert record_serving.errors_table() in text
    for verdict, count in audit.verdict_counts(audited).items():
        assert f"| {verdict} | {count} |" in text


# Claims and charts ------------------------------------------------------------------------------------------------


def test_what_is_claimed_is_what_was_measured():
    benchmarks = studies.serving_benchmarks()
    claims = audit.sources()["served"].claims
    assert len({claim.inputs["source"] for claim in claims}) == 4
    for claim in claims:
        rows = benchmarks
        for name, value in claim.inputs.items():
            rows = rows[rows[name] == value]
        assert rows.output_tok_s_total.tolist() == [claim.published], claim.id


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"source": "oracle"}, "9 published runs are {'source': 'oracle'}: name one"),
        ({"gpus": 8}, "no column 'gpus': a published run has source, date"),
    ],
)
def test_a_claim_names_one_run(run, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        audit.recompute.served_throughput(**run)


def test_a_chart_of_ratios_has_two_boxes_for_each_value(table):
    ax = plots.served_ratios(table, "gpu", plt.subplots()[1])
    gpus = sorted(set(table.gpu))
    assert [label.get_text() for label in ax.get_yticklabels()] == gpus
    assert len(ax.patches) == 2 * len(gpus) + 1  # and the band
    said = [text.get_text() for text in ax.texts]
    errors = studies.serving_errors(table, ["gpu"], quantity=["tokens_per_second"]).query("predicted_by == 'kernel'")
    rows = errors.set_index("gpu").loc[gpus]
    assert said == [f"{n:,}, {error:.0f} % off" for n, error in zip(rows.n, rows["error [%]"], strict=True)]
    assert [handle.get_label() for handle in plots.predictor_legend()][-1] == "within 25 %"
    plt.close(ax.figure)


def test_a_scatter_has_a_point_for_each_run(table):
    ax = plots.served_scatter(table, "tpot_s", plt.subplots()[1])
    drawn = sum(len(points.get_offsets()) for points in ax.collections if points.get_label() in table.engine.unique())
    assert drawn == (table.tpot_s.notna() & table.kernel_tpot_s.notna()).sum()
    plt.close(ax.figure)
    with pytest.raises(ValueError, match="unknown quantity 'itl'"):
        plots.served_scatter(table, "itl")
