"""Charts of load tests: what is drawn and how it is labelled."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from workbench import loadtest, plots
from workbench.serving import capacity
from workbench.serving.verdicts import NOT_SIMULATED
from workbench.studies import t4_charts

ROWS = [
    (2.0, 4.0, np.nan, np.nan, "unfinished"), (0.0, 1.0, 5.0, 5, "finished"), (1.0, 1.5, 9.5, 3, "finished"),
    (4.0, np.nan, np.nan, 0, "unfinished"), (5.0, 6.0, np.nan, 2, "failed"), (6.0, np.nan, 9.0, 2, "finished"),
]  # fmt: skip


@pytest.fixture
def table():
    columns = ["sent_s", "first_token_s", "last_token_s", "output_tokens", "status"]
    return pd.DataFrame(ROWS, columns=columns).assign(prompt_tokens=8, error="")


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_queue_draws_the_steps_of_the_timeline(table, ax):
    ds = loadtest.timeline(table, step=3)
    assert plots.queue(ds, ax, title="T4") is ax
    assert labels(ax) == ["waiting for a first token", "running"]
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("T4", "Time (s)", "Requests")
    for patch, name in zip(ax.patches, ("waiting", "running"), strict=True):
        np.testing.assert_array_equal(patch.get_data().values, ds[name])
        np.testing.assert_array_equal(patch.get_data().edges, [0, 3, 6, 9, 9.5])


def test_token_rate_draws_what_is_known_and_what_is_implied(table, ax):
    ds = loadtest.timeline(table)
    plots.token_rate(ds, ax)
    assert labels(ax) == ["of requests whose count is known", "of all that run, at the mean TPOT (estimate)"]
    np.testing.assert_array_equal(ax.patches[0].get_data().values, ds.token_rate)
    np.testing.assert_array_equal(ax.patches[1].get_data().values, ds.implied_token_rate)


def test_token_rate_without_a_finished_request_has_no_estimate(table, ax):
    plots.token_rate(loadtest.timeline(table[table.status == "unfinished"]), ax)
    assert labels(ax) == ["of requests whose count is known"]


def test_requests_are_lines_in_the_order_sent(table, ax):
    plots.requests(table, ax)
    drawn = {line.get_label(): [(y, a, b) for (a, y), (b, _) in line.get_segments()] for line in ax.collections}
    assert drawn == {
        "waiting, never started": [(3, 4, 9.5)],
        "queue and prefill": [(0, 0, 1), (1, 1, 1.5), (2, 2, 4), (4, 5, 6)],
        "decoding": [(0, 1, 5), (1, 1.5, 9.5)],
        "decoding, not finished": [(2, 4, 9.5)],
        "no first token known": [(5, 6, 9)],
    }
    assert ax.get_lines()[0].get_xydata().tolist() == [[6, 4]]  # the failed one, after its first token
    assert labels(ax) == [*drawn, "failed"]
    assert ax.get_ylim() == (5.5, -0.5)


def test_latencies_are_the_percentiles_with_their_samples(table, ax):
    ds = loadtest.metrics(table)
    plots.latencies(ds, ax)
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "End to end\n3 samples", "TTFT\n4 samples", "TPOT\n2 samples",
    ]  # fmt: skip
    assert labels(ax) == ["p50", "p90", "p95", "p99"]
    for line, p in zip(ax.get_lines(), (50, 90, 95, 99), strict=True):
        np.testing.assert_allclose(line.get_xdata(), [ds[name].sel(percentile=p) for name in ("e2e", "ttft", "tpot")])


def test_latencies_of_a_run_without_a_token_are_refused(table, ax):
    ds = loadtest.metrics(table[table.first_token_s.isna() & (table.status == "unfinished")])
    with pytest.raises(ValueError, match="no latency has a sample"):
        plots.latencies(ds, ax)


# Roadmaps, comparisons, plans -------------------------------------------------------------------------------------


def test_gains_are_points_over_the_range_expected():
    columns = ["change", "sequences", "computed_by", "guess_low", "guess_high", "gain", "unit"]
    rows = [
        ("Faster", 1, "server", 2, 3, 1.5, "x tokens/s"), ("Faster", 98, "kernels", 2, 3, 4.0, "x tokens/s"),
        ("Other", 98, "server", np.nan, np.nan, 0.9, "x tokens/s"),
        ("Smaller", np.nan, "memory", 30, 30, 50, "% saved"),
    ]  # fmt: skip
    figure, axes = plt.subplots(2, 1)
    t4_charts.gains_chart(pd.DataFrame(rows, columns=columns), axes, title="T4")
    drawn = [[line.get_xydata().tolist() for line in ax.get_lines() if len(line.get_xdata())] for ax in axes]
    assert drawn[0][:4] == [[[2, 0], [3, 0]], [[1.5, -0.16]], [[4, 0.16]], [[0.9, 1.16]]]  # 98 below one sequence
    assert drawn[1] == [[[29.4, 0], [30.6, 0]], [[50, 0]]]  # a single number, as wide as it takes to be seen
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["Faster", "Other"]
    assert axes[0].get_title() == "T4"
    plt.close(figure)


def test_ratios_have_a_mark_for_each_run_and_quantity(ax):
    rows = [("a", "sent", 1.1), ("a", "tpot_p50", 0.9), ("b", "sent", 1.0)]
    t4_charts.ratios_chart(pd.DataFrame(rows, columns=["run", "quantity", "ratio"]), ax)
    first, second, _ = ax.get_lines()
    assert (first.get_xdata().tolist(), second.get_xdata().tolist()) == ([1.1, 0.9], [1.0])
    assert np.rint(first.get_ydata()).tolist() == [0, 1]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["requests sent", "TPOT p50"]
    assert labels(ax) == ["a", "b", "within 10 %"]


@pytest.fixture
def planned():
    columns = ["gpu", "tp", "batch_size", "tpot_s", "tokens_per_second", "cost", "gpus", "verdict"]
    rows = [
        ("h100-sxm", 1, 1, 0.01, 100, 2.0, 4, "dominated by h100-sxm tp 1 batch 8"),
        ("h100-sxm", 1, 8, 0.02, 400, 0.5, 1, capacity.BEST), ("h100-sxm", 2, 8, 0.02, 700, 0.6, 2, capacity.KEPT),
        ("l4", 1, 1, 0.05, 20, 3.0, 9, "TPOT over"),
        ("l4", 2, 1, np.nan, np.nan, np.nan, np.nan, "no link between GPUs"),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def test_pareto_is_per_gpu_and_marks_what_is_too_slow(planned, ax):
    plots.pareto(planned, ax, tpot=0.03)
    lines = {line.get_label(): line for line in ax.get_lines()}
    frontier = next(line for line in ax.get_lines() if line.get_linewidth() == 6 and len(line.get_xdata()))
    assert frontier.get_xydata().tolist() == [[50, 400], [100, 100]]  # tp 2 puts out 350 a GPU
    assert lines["TPOT 30 ms"].get_xdata()[0] == pytest.approx(33.3, abs=0.05)
    assert labels(ax) == ["h100-sxm", "l4", "tp 1", "tp 2", "misses the SLO", "frontier", "TPOT 30 ms"]
    filled = [line for line in ax.get_lines() if line.get_marker() == "s" and line.get_markerfacecolor() != "white"]
    assert not any(len(line.get_xdata()) for line in filled)  # the L4 misses its level


def test_costs_are_those_of_the_cheapest_setting(planned, ax):
    plots.costs(planned, ax, unit="$")
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "h100-sxm, tp 1",
        "h100-sxm, tp 2",
        "l4, tp 1",
        "l4, tp 2",
    ]
    assert [bar.get_width() for bar in ax.patches] == [0.5, 0.6, 0, 0]
    assert [text.get_text().strip() for text in ax.texts] == [
        "0.5: batch 8, 1 GPU", "0.6: batch 8, 2 GPUs", "TPOT over", "no link between GPUs",
    ]  # fmt: skip


def test_a_cost_far_beyond_the_others_is_a_broken_bar(planned, ax):
    rows = [("l4", 1.0), ("a10g", 2.0), ("h100-sxm", 3.0), ("t4", 50.0)]
    base = planned[planned.verdict.isna() | ~planned.verdict.isin(plots.servers.LOST)].iloc[[0]]
    table = pd.concat([base.assign(gpu=gpu, cost=cost) for gpu, cost in rows], ignore_index=True)
    plots.costs(table, ax)
    widths = [bar.get_width() for bar in ax.patches]
    assert widths[:3] == [1, 2, 3]
    assert 3 < widths[3] < 5
    assert "50: " in ax.texts[3].get_text()
    assert ax.get_xlim()[1] < 10
    assert [list(line.get_ydata()) for line in ax.get_lines()] == [[3, 3]]  # the break, on that bar alone


def test_what_was_not_simulated_is_not_said_to_meet_the_level(planned, ax):
    plots.costs(planned.assign(verdict=planned.verdict.replace({capacity.KEPT: NOT_SIMULATED})), ax)
    assert NOT_SIMULATED in [text.get_text().strip() for text in ax.texts]


def test_costs_where_nothing_meets_the_level(planned, ax):
    plots.costs(planned[planned.gpu == "l4"], ax)
    assert [bar.get_width() for bar in ax.patches] == [0, 0]


def test_pareto_of_nothing_that_fits_is_refused(planned, ax):
    with pytest.raises(ValueError, match="nothing in the plan fits"):
        plots.pareto(planned[planned.tpot_s.isna()], ax)
