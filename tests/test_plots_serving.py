"""Charts of load tests: what is drawn and how it is labelled."""

import numpy as np
import pandas as pd
import pytest

from workbench import loadtest, plots_serving

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
    assert plots_serving.queue(ds, ax, title="T4") is ax
    assert labels(ax) == ["waiting for a first token", "running"]
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("T4", "Time (s)", "Requests")
    for patch, name in zip(ax.patches, ("waiting", "running"), strict=True):
        np.testing.assert_array_equal(patch.get_data().values, ds[name])
        np.testing.assert_array_equal(patch.get_data().edges, [0, 3, 6, 9, 9.5])


def test_token_rate_draws_what_is_known_and_what_is_implied(table, ax):
    ds = loadtest.timeline(table)
    plots_serving.token_rate(ds, ax)
    assert labels(ax) == ["of requests whose count is known", "of all that run, at the mean TPOT (estimate)"]
    np.testing.assert_array_equal(ax.patches[0].get_data().values, ds.token_rate)
    np.testing.assert_array_equal(ax.patches[1].get_data().values, ds.implied_token_rate)


def test_token_rate_without_a_finished_request_has_no_estimate(table, ax):
    plots_serving.token_rate(loadtest.timeline(table[table.status == "unfinished"]), ax)
    assert labels(ax) == ["of requests whose count is known"]


def test_requests_are_lines_in_the_order_sent(table, ax):
    plots_serving.requests(table, ax)
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
    plots_serving.latencies(ds, ax)
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "End to end\n3 samples", "TTFT\n4 samples", "TPOT\n2 samples",
    ]  # fmt: skip
    assert labels(ax) == ["p50", "p90", "p95", "p99"]
    for line, p in zip(ax.get_lines(), (50, 90, 95, 99), strict=True):
        np.testing.assert_allclose(line.get_xdata(), [ds[name].sel(percentile=p) for name in ("e2e", "ttft", "tpot")])


def test_latencies_of_a_run_without_a_token_are_refused(table, ax):
    ds = loadtest.metrics(table[table.first_token_s.isna() & (table.status == "unfinished")])
    with pytest.raises(ValueError, match="no latency has a sample"):
        plots_serving.latencies(ds, ax)
