"""The T4 report's load test put right, its roadmap computed, and the notebook on a file."""

from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from workbench import audit, catalog, figures, loadtest, studies
from workbench.audit.values import ends, range_of
from workbench.figures.batch import kernel_manager
from workbench.figures.state import workplace
from workbench.published import T4_METRICS
from workbench.published.t4 import T4_CALIBRATED, T4_CONTEXT
from workbench.studies import t4_charts, t4_findings, t4_roadmap

# sent, first token, last token, prompt, output: one of 11 tokens in 2 s, one of 21 in 8 s, one cut off, one never begun
FILE = """\
# load test: csv
sent_s,first_token_s,last_token_s,prompt_tokens,output_tokens,status,error
0.0,0.5,2.5,20,11,finished,
1.0,2.0,10.0,40,21,finished,
2.0,3.0,,20,5,unfinished,
4.0,,,20,0,unfinished,
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "load.csv"
    path.write_text(FILE)
    return path


@pytest.fixture(scope="module")
def simulated():
    return studies.load_test_requests()


@pytest.fixture(scope="module")
def roadmap():
    return studies.roadmap()


@pytest.fixture(scope="module", autouse=True)
def computed_once():
    """What takes seconds, and several tests ask for, each once."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("capacity", "p99_reduction", "replicas_needed"):
            once = cache(getattr(t4_findings, name))
            patch.setattr(t4_findings, name, once)
            patch.setattr(studies, name, once)
        yield


# The load test ----------------------------------------------------------------------------------------------------


def test_what_the_records_hold():
    recorded = {name: row[3] for name, row in T4_METRICS.items()}
    assert recorded["requests sent"] == pytest.approx(20.26, abs=0.005)
    assert recorded["requests finished"] == 1.55
    assert recorded["finished of those sent"] == pytest.approx(7.7, abs=0.05)
    assert recorded["with a first token"] == pytest.approx(15.65, abs=0.005)


def test_the_records_are_written_once():
    claims = audit.sources()["t4-report"].claims
    recorded = {claim.id: claim for claim in claims if claim.quantity == "t4_recorded"}
    assert {claim.inputs["metric"] for claim in recorded.values()} == set(T4_METRICS) - {"with a first token"}
    terms = [term for claim in claims for term in claim.inputs.get("terms", ()) if claim.quantity == "total"]
    assert not {row[3] for row in T4_METRICS.values()}.intersection(terms)
    assert recorded["t4-ttft-p99-50"].inputs == {"metric": "TTFT p99", "per": 1000}
    for metric, claim in (
        ("TTFT p50", "t4-ttft-p50-table"), ("TTFT p99", "t4-ttft-p99-table"), ("TPOT p50", "t4-tpot-p50-table"),
        ("TPOT p99", "t4-tpot-p99"), ("latency p50", "t4-latency-p50"), ("requests finished", "t4-request-rate"),
        ("tokens of finished requests", "t4-throughput"),
    ):  # fmt: skip
        assert recorded[claim].inputs == {"metric": metric}
        assert recorded[claim].published == T4_METRICS[metric][2]
    with pytest.raises(ValueError, match="unknown metric 'TTFT p90'. Did you mean 'TTFT p99'"):
        audit.recompute.QUANTITIES["t4_recorded"]("TTFT p90")


def test_load_test_of_a_file_by_hand(path):
    table = studies.load_test_table(studies.load_test_requests(path))
    assert list(table.columns) == ["unit", "target", "printed", "recorded", "file", "note"]
    found = table["file"]
    assert found["requests sent"] == 4 / 4  # four, the last 4 s after the first
    assert found["requests finished"] == 2 / 10
    assert (found["finished of those sent"], found["with a first token"]) == (50, 75)
    assert found["tokens of finished requests"] == pytest.approx(32 / 10)
    assert found["TTFT p50"] == 1000
    assert found["TPOT p50"] == pytest.approx(300)  # between 2 s / 10 and 8 s / 20
    assert found["latency p50"] == pytest.approx(5750)
    assert (found["mean prompt"], found["mean output"]) == (25, 16)


def test_breakdown_of_a_file_by_hand(path):
    parts = studies.latency_breakdown(studies.load_test_requests(path))["file"]
    assert parts["prompt [token]"] == 30
    assert parts["first token, queue and prefill [ms]"] == 750
    assert parts["decode [ms]"] == 5000
    assert parts["total [ms]"] == 5750
    assert 2 * 3.6e9 / 320e9 < parts["prefill alone [ms]"] / 1e3 < 0.06  # the weights are unpacked for 16 rows, twice
    assert parts["prefill alone, its prefix cached [ms]"] < parts["prefill alone [ms]"] / 1.8  # for 14 rows, once


def test_prefill_alone_pays_for_every_16_rows():
    assert 1e3 * studies.prefill_time(20) == pytest.approx(57.8, abs=0.05)
    assert 1e3 * studies.prefill_time(20, cached_prefix=16) == pytest.approx(30.1, abs=0.05)
    assert 1e3 * studies.prefill_time(50) == pytest.approx(113, abs=0.5)
    kernels = [studies.prefill_time(rows) - T4_CALIBRATED["sequence_overhead"] for rows in (16, 17, 48, 64)]
    assert np.array(kernels[1:]) / kernels[0] == pytest.approx([2, 3, 4], rel=0.05)


def test_the_breakdown_and_the_claim_have_one_prefill(simulated):
    parts = studies.latency_breakdown(simulated)["simulated"]
    assert parts["prompt [token]"] == 20
    assert parts["prefill alone [ms]"] == 1e3 * studies.prefill_time(20)
    assert parts["prefill alone, its prefix cached [ms]"] == 1e3 * studies.prefill_time(20, cached_prefix=16)
    assert found("t4-prefill-50").ours == pytest.approx(1e3 * studies.prefill_time(50), rel=1e-5)
    assert "58 ms pass for a prompt of 20, 30 ms where 16 of them are cached" in found("t4-prefill-50").reason


@pytest.mark.parametrize("sequences", [1, 98])
def test_most_of_a_request_is_decode(sequences):
    decode = 149 * sequences / studies.kernel_rate(sequences, **T4_CALIBRATED)
    whole = decode / (studies.decode_share(sequences) / 100)
    assert 0.98 * whole < decode < whole
    if sequences == 1:
        assert whole - decode == pytest.approx(studies.prefill_time(20), rel=1e-6)


def test_nothing_finished(path):
    path.write_text("\n".join([*FILE.splitlines()[:2], *FILE.splitlines()[4:]]) + "\n")
    table = studies.load_test_requests(path)
    assert studies.latency_breakdown(table)["file"].isna().all()
    assert studies.load_test_table(table)["file"]["finished of those sent"] == 0
    assert studies.recommendations(table)["so"][0].startswith("not met")


def test_without_a_file_the_run_is_simulated(simulated):
    table = studies.load_test_table(simulated)
    assert table.loc["requests sent", "simulated"] == pytest.approx(20.26, rel=0.03)  # another draw of the arrivals
    assert 4 < table.loc["finished of those sent", "simulated"] < 10
    assert table.loc["TTFT p99", "simulated"] == pytest.approx(50_674, rel=0.05)
    running = loadtest.timeline(simulated).running
    assert running.max() <= 100 * (1 + 1e-12)  # what the client opens
    assert running.sel(time=slice(20, 50)).min() > 90


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        studies.load_test_requests(tmp_path / "nothing.csv")
    with pytest.raises(ValueError, match="a folder: expected a file"):
        studies.load_test_requests(tmp_path)


def test_capacity():
    table = studies.capacity()
    log = table.loc["engine's log"]
    assert log.requests_per_second.tolist() == pytest.approx([2, 8 / 3])  # 300 and 400 tokens over 150
    assert log.offered_over_capacity.tolist() == pytest.approx([10.1, 7.6], abs=0.05)
    at_98 = table[table.sequences == 98].tokens_per_second
    assert at_98["simulated server"] < at_98["kernels alone"] < at_98["ideal roof"]
    assert 250 < at_98["simulated server"] < 400
    assert (table.requests_per_second < 20).all()  # no setting of one T4 serves what was offered
    assert studies.capacity(2.0).offered_over_capacity["engine's log"].iloc[0] == pytest.approx(1)


def test_one_context_for_one_run():
    limits = studies.capacity()
    step = studies.static_tables("decode", 98, T4_CONTEXT).tokens_per_second.sel(source="workbench").item()
    roof = limits[limits.sequences == 98].tokens_per_second["ideal roof"]
    assert roof == pytest.approx(step, rel=1e-9)
    assert studies.kernel_rate(98, time_model="ideal", gemm_efficiency=1.0) == roof
    assert found("t4-max-throughput").ours == pytest.approx(limits.tokens_per_second["ideal roof"].max(), rel=1e-5)
    times = [found(f"t4-tpot-{name}") for name in ("1-running", "8-running", "p50")]
    assert {claim.quantity for claim in times} == {"t4_step"}
    assert times[-1].ours == pytest.approx(98e3 / step, rel=1e-5)


def test_as_many_t4s_as_the_capacity_implies(simulated):
    needed = studies.replicas_needed().set_index("gpu")
    alone = studies.capacity().offered_over_capacity["kernels alone"]
    assert needed.replicas["t4"] == np.ceil(alone) == 3  # with 94 sequences, where powers of two took a fourth
    assert needed.batch_size["t4"] not in (1, 2, 4, 8, 16, 32, 64, 128)
    rows = studies.recommendations(simulated).set_index("the report").computed
    assert "3 x t4" in rows["no need to upgrade the GPU"]
    lower = [t4_findings.p99_reduction(sequences) for sequences in (4, 8)]
    assert f"p99 {min(lower):.0f} to {max(lower):.0f} % lower" in rows["a batch of 4 to 8, to halve the p99"]


def test_utilization_by_hand():
    flops = 2 * (32 * (4 * 4096**2 + 3 * 4096 * 11008) + 4096 * 32000)  # of one token, without attention
    assert studies.utilization(300) == pytest.approx(100 * 300 * flops / 65e12, rel=0.01)


def test_traffic_by_hand():
    table = studies.traffic()
    one = table["1 x 512 tokens"]
    assert one["KV cache"] == pytest.approx(512 * 0.524288, rel=0.003)  # and queries, outputs
    weights = 32 * (4 * 4096**2 + 3 * 4096 * 11008) * (0.5 + 2.5 / 128) + 2 * 4096 * 32000
    assert one["weights"] == pytest.approx(weights / 1e6, rel=1e-6)
    assert one["total"] == pytest.approx(one["KV cache"] + one["weights"] + one["activations"])
    assert one["time at 320 GB/s [ms]"] == pytest.approx(one["total"] / 320)
    assert table["report"]["total"] == 50
    assert one["time on the ideal roof [ms]"] == pytest.approx(one["time at 320 GB/s [ms]"])
    assert one["memory-bound [% of that time]"] == 100


def test_memory_is_not_the_bound_at_the_load_tested():
    width = 0.5 + 2.5 / 128
    sizes = {"qkv": (4096, 3 * 4096), "o": (4096, 4096), "gate_up": (4096, 2 * 11008), "down": (11008, 4096)}

    def intensity(rows, k, n):
        return 2 * rows * k * n / (2 * rows * (k + n) + width * k * n)

    at_load = {name: intensity(98, *size) for name, size in sizes.items()}
    assert min(at_load.values()) == pytest.approx(319, abs=0.5)
    assert max(at_load.values()) == pytest.approx(340, abs=0.5)
    ridge = 65e12 / 320e9
    assert [max(intensity(rows, *size) for size in sizes.values()) > ridge for rows in (56, 57)] == [False, True]
    computing = 32 * sum(2 * 98 * k * n for k, n in sizes.values()) / 65e12
    loaded = studies.traffic()[f"98 x {T4_CONTEXT} tokens"]
    assert loaded["time on the ideal roof [ms]"] == pytest.approx(37.7, abs=0.05)
    assert loaded["time on the ideal roof [ms]"] > 1.2 * loaded["time at 320 GB/s [ms]"]
    share = 100 * (1 - 1e3 * computing / loaded["time on the ideal roof [ms]"])
    assert loaded["memory-bound [% of that time]"] == pytest.approx(share, rel=1e-6)
    assert loaded["share of the peak [%]"] == pytest.approx(53, abs=0.05)
    assert share < 50  # so that memory bandwidth is not the limiting factor there


def test_pass_limits():
    limits = studies.pass_limits("decode", [1, 98], [T4_CONTEXT])
    assert (limits.memory_bound + limits.compute_bound).values.ravel().tolist() == pytest.approx([100, 100])
    assert studies.pass_limits("prefill", 1, [56, 57]).memory_bound.values.ravel().tolist() == pytest.approx(
        [100, 23], abs=0.05
    )


def test_a_step_of_the_load_test_takes_a_tenth_of_the_bandwidth():
    assert studies.bandwidth_use() == pytest.approx(100 * 9.6018e9 / 0.309 / 320e9, rel=1e-3)
    assert studies.bandwidth_use("max_num_seqs=1") == pytest.approx(100 * 3.6876e9 / 0.0301 / 320e9, rel=2e-3)
    with pytest.raises(ValueError, match="unknown run 'defualt'. Did you mean 'default'"):
        studies.bandwidth_use("defualt")


def test_recommendations_follow(simulated):
    table = studies.recommendations(simulated).set_index("the report")
    assert table.so.iloc[0].startswith("not met")
    assert max(studies.gains("Batch of 4 to 8, as recommended")) < 1
    assert max(studies.gains("L4") + studies.gains("A10G")) < 2
    assert max(studies.gains("Narrow KV cache, speed")) < 1.1
    assert min(max(studies.gains(name)) for name in ("Weights unpacked once", "A host that takes no time")) > 1.1
    assert abs(t4_findings.p99_reduction(8)) < 10


def test_replicas_serve_the_load():
    table = studies.replicas_needed(20.0)
    assert table.gpu.tolist() == ["t4", "l4", "a10g", "l40s"]
    assert (table.replicas == np.ceil(20 / table.requests_per_second)).all()
    assert (table.ttft_s <= 1).all()
    assert (table.tpot_s <= 0.3).all()


def test_the_prices_at_which_another_card_is_cheaper():
    said = next(s.not_computable for s in audit.sources()["t4-report"].sentences if 220 in s.numbers)
    needed = studies.replicas_needed().set_index("gpu").replicas
    assert (needed["t4"] / needed).to_dict() == {"t4": 1, "l4": 1, "a10g": 1.5, "l40s": 3}
    assert "an L4 breaks even at a T4's, an A10G at 1.5 T4s', an L40S at 3" in said


# The roadmap ------------------------------------------------------------------------------------------------------


def found(claim):
    return next(c for c in audit.sources()["t4-report"].claims if c.id == claim)


class Recomputed(dict):
    """Rows of the audit, each recomputed when it is asked for."""

    def __missing__(self, claim):
        one = found(claim)
        self[claim] = audit.recompute.QUANTITIES[one.quantity](**one.inputs)
        return self[claim]


CLAIMS = Recomputed()


def gain(roadmap, change, setting, sequences=None):
    rows = roadmap[(roadmap.change == change) & (roadmap.setting == setting)]
    rows = rows[rows.sequences == sequences] if sequences else rows
    return rows.gain.item()


def test_roadmap_is_complete(roadmap):
    assert roadmap.gain.notna().all()
    assert set(roadmap.computed_by) == {"server", "kernels", "roof", "requests", "memory"}
    assert set(roadmap.unit) == {t4_roadmap.THROUGHPUT, t4_roadmap.LATENCY_SAVED, t4_roadmap.MEMORY_SAVED}


@pytest.mark.parametrize(
    ("change", "claim"),
    [
        ("Larger batch", "t4-gain-batching"), ("CUDA graphs", "t4-gain-cuda-graphs"),
        ("Flash attention", "t4-gain-flash-attention"), ("Speculative decoding", "t4-gain-speculative"),
        ("KV cache in 8 bit", "t4-gain-kv-8bit"), ("KV cache in 4 bit", "t4-gain-kv-4bit"),
        ("GQA or MQA", "t4-gain-gqa"), ("Distillation", "t4-gain-distillation"), ("L4", "t4-l4-gain"),
        ("A10G", "t4-a10g-gain"),
    ],
)  # fmt: skip
def test_guesses_are_the_claims(roadmap, change, claim):
    rows = roadmap[roadmap.change == change]
    assert [rows.guess_low.iloc[0], rows.guess_high.iloc[0]] == list(np.broadcast_to(found(claim).published, 2))
    ours = CLAIMS[claim].ours
    assert all(np.isclose(rows.gain, end).any() for end in ends(ours))  # the same computation for both
    assert found(claim).quantity in ("t4_gain", "t4_batching_gain")


def test_the_gain_of_a_card_is_that_of_the_roadmap(roadmap):
    for card, claim in (("L4", "t4-l4-gain"), ("A10G", "t4-a10g-gain")):
        assert CLAIMS[claim].ours == range_of(roadmap[roadmap.change == card].gain)
    assert CLAIMS["t4-l4-gain"].ours == pytest.approx((0.96, 1.20), abs=0.005)
    assert CLAIMS["t4-a10g-gain"].ours == pytest.approx((1.26, 1.75), abs=0.005)
    assert CLAIMS["t4-l4-efficiency"].ours == pytest.approx(np.array(CLAIMS["t4-l4-gain"].ours) * 70 / 72)
    two, four = (roadmap[roadmap.setting == f"{count} T4 over PCIe"].gain for count in (2, 4))
    assert CLAIMS["t4-tp-cost"].ours == pytest.approx(range_of([*(2 / two), *(4 / four)]))


def test_batching_by_context_by_hand(roadmap):
    for context, low, high in ((512, 3.29, 5.33), (2048, 2.37, 3.06)):
        rows = [gain(roadmap, "Larger batch", f"{batch} in place of 1, at {context:,} tokens") for batch in (4, 8)]
        assert rows == pytest.approx([low, high], abs=0.005)
        # attention of B sequences and B activations over one read of the weights; the time is the traffic's
        parts = {batch: studies.decode_parts("t4", "llama-2-7b-awq", batch, context)["total"] for batch in (1, 4, 8)}
        assert rows == pytest.approx([batch * parts[1] / parts[batch] for batch in (4, 8)])
    assert studies.batching_gain(1, 512).values.ravel().tolist() == [1, 1]


def test_memory_by_hand(roadmap):
    assert gain(roadmap, "Flash attention", "prompts of 2,048 tokens") == pytest.approx(100 * 32 * 2048**2 * 2 / 16e9)
    assert gain(roadmap, "KV cache in 8 bit", "of the GPU's memory") == pytest.approx(100 * 18608 * 262144 / 16e9)
    assert gain(roadmap, "KV cache in 4 bit", "of the cache") == 75
    assert gain(roadmap, "GQA or MQA", "GQA, 8 KV heads") == 75
    assert gain(roadmap, "GQA or MQA", "MQA, 1 KV head") == pytest.approx(96.9, abs=0.05)


def test_limits_of_gains(roadmap):
    rows = roadmap[roadmap.unit == t4_roadmap.THROUGHPUT].set_index("change")
    assert rows.loc["Larger batch"].gain.between(1, 8).all()
    assert rows.loc["Tensor parallelism"].gain.between(1, 4).all()
    assert rows.loc["L4"].gain.max() < 242 / 65  # the ratio of the peaks, the most that any kernel could gain
    assert rows.loc["Speculative decoding"].query("sequences == 64").gain.max() < 1.05  # little idle compute
    once = "Weights unpacked once", "a kernel without m16"
    assert 1 < gain(roadmap, *once, 1) < gain(roadmap, *once, 98)  # a GEMV takes one row, where tiles have 16


def test_launches_that_run_ahead_cost_nothing(roadmap):
    rows = roadmap[roadmap.change == "CUDA graphs"].set_index(["setting", "sequences"]).gain
    assert (rows["launches ahead of the GPU"] == 0).all()
    waited = rows["every launch waited for"]
    assert waited[1] > waited[98] > 0


def test_continuous_batching_by_hand(monkeypatch):
    lengths = [10] * 97 + [100]  # a static batch takes 100 steps for 1,070 tokens
    monkeypatch.setattr(t4_roadmap, "t4_requests", lambda rate, duration: {"output_tokens": lengths})
    assert [row[-1] for row in t4_roadmap._continuous()] == [pytest.approx(98 * 100 / 1070)]


def test_kv_cache_saved_by_hand():
    assert studies.kv_cache_saved(catalog.model("llama-3.1-8b"), "int8") == 100 * (1 - 8 / 32 / 2)


def test_a_smaller_batch_than_the_runs():
    table = studies.t4_replay("default", max_num_seqs=4)
    running = loadtest.timeline(table).running
    assert 3.5 < running.max() <= 4 * (1 + 1e-12)


def test_an_unknown_run():
    with pytest.raises(ValueError, match="unknown run 'defualt'. Did you mean 'default'"):
        studies.t4_replay("defualt")


def test_an_unknown_change():
    with pytest.raises(ValueError, match="unknown change 'Graphs'.*CUDA graphs"):
        studies.gains("Graphs")
    with pytest.raises(ValueError, match="unknown setting of 'L4' 'kernel alone'. Did you mean 'kernels alone'"):
        studies.gains("L4", "kernel alone")
    with pytest.raises(ValueError, match="unknown computed_by of 'L4' 'roof'"):
        studies.gains("L4", computed_by="roof")


# The claims -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ("t4-decode-memory-bound", "reproduces"), ("t4-headline", "does not reproduce"),
        ("t4-current-bottleneck", "does not reproduce"), ("t4-prefill-compute-bound", "reproduces"),
        ("t4-prefill-compute-bound-50", "does not reproduce"), ("t4-gain-kv-8bit", "reproduces"),
        ("t4-summary-prefill-intensity", "reproduces with the source's formula only"),
        ("t4-latency-p99-half", "reproduces"), ("t4-gain-batching", "reproduces"),
        ("t4-gain-batching-2048", "reproduces with the source's formula only"),
        ("t4-gain-batching-load", "does not reproduce"), ("t4-single-throughput", "reproduces"),
        ("t4-single-alone", "does not reproduce"), ("t4-decode-b4-intensity-rises", "does not reproduce"),
        ("t4-cuda-graph-flag", "does not reproduce"), ("t4-flash-in-vllm", "does not reproduce"),
        ("t4-plot-roof", "does not reproduce"), ("t4-plot-decode-position", "does not reproduce"),
    ],
)  # fmt: skip
def test_verdicts(claim, verdict):
    one = found(claim)
    assert audit.verdict(one, CLAIMS[claim]) == one.verdict == verdict


def test_every_line_is_judged_and_no_verdict_hangs_on_a_judged_tolerance(audited):
    source = audit.sources()["t4-report"]
    assert source.lines == 266
    assert {number for sentence in source.sentences for number in sentence.numbers} == set(range(1, 267))
    rows = audited[audited.figure.str.startswith("t4-")]
    assert not rows.hangs.any()
    assert audit.changes(rows) == []
    files = ("static_analysis.json", "roofline_static.py", "further runs")
    assert set(source.elsewhere) == {c.id for c in source.claims if c.where.startswith(files)}


def test_the_load_s_sizes_are_written_once():
    growth = audit.recompute.QUANTITIES["t4_growth"]
    given = {"of": (98, T4_CONTEXT), "to": (1, T4_CONTEXT)}
    assert CLAIMS["t4-batch-intensity"] == growth("intensity", "decode", **given)
    assert "of" not in found("t4-batch-intensity").inputs


def test_what_is_not_computed_is_no_arithmetic_on_the_report_s_numbers():
    for claim in ("t4-flash-in-vllm", "t4-cuda-graph-flag"):
        assert found(claim).quantity == "documented"
    assert "documented" not in audit.recompute.ARITHMETIC


def test_by_its_own_formula_the_load_is_compute_bound():
    assert CLAIMS["t4-headline"].source == 0
    assert CLAIMS["t4-decode-memory-bound"].source == 100
    with pytest.raises(ValueError, match="unknown limit 'memoy'. Did you mean 'memory'"):
        audit.recompute.QUANTITIES["t4_bound"]("memoy", "decode", [1])
    with pytest.raises(ValueError, match="unknown column 'tokens'"):
        audit.recompute.QUANTITIES["t4_capacity"]("tokens")


def test_intensity_falls_with_the_context():
    b4 = CLAIMS["t4-decode-b4-intensity-rises"]
    assert b4.source == pytest.approx(9.825 / 11.566, rel=1e-4)
    assert b4.ours < b4.source < 1 < found("t4-decode-b4-intensity-rises").published


# Charts and the notebook ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chart", t4_charts.CHARTS)
def test_charts(chart, path):
    figure, table = studies.draw_chart(chart, studies.load_test_requests(path), title="A title")
    titles = [ax.get_title() for ax in figure.axes]
    assert "A title" in [*titles, figure.get_suptitle()]
    assert len(table)
    plt.close(figure)


def test_an_unknown_chart(path):
    with pytest.raises(ValueError, match="unknown chart 'queues'.*queue"):
        studies.draw_chart("queues", studies.load_test_requests(path))


def test_the_notebook_runs_on_a_file(path, tmp_path):
    import papermill

    root = Path(__file__).resolve().parents[1]
    figure = figures.find(root)["t4-queue"]
    values = figure.values | {"load_test": str(path), "output_dir": str(tmp_path), "figure_id": "queue"}
    with workplace(tmp_path / "work") as scratch:
        papermill.execute_notebook(
            str(figure.notebook), str(tmp_path / "run.ipynb"), values, kernel_name="python3",
            progress_bar=False, kernel_manager_class=kernel_manager(scratch, root),
        )  # fmt: skip
    drawn = pd.read_csv(tmp_path / "queue.csv")
    assert drawn["time [s]"].tolist() == list(range(10))
    assert drawn.waiting.iloc[5:].tolist() == [1] * 5  # the one that never begins
    assert "not met: the queue grows" in (tmp_path / "run.ipynb").read_text()
