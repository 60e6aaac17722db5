"""Load tests beside simulated ones: recordings made by servers whose settings are known, and what limits each."""

import inspect
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from workbench import cli, loadtest, plots, studies
from workbench.common.variables import VARIABLES
from workbench.loadtest import changes, limits, recordings, replays
from workbench.loadtest.settings import SETTING_BOUNDS
from workbench.published import T4_SERVER
from workbench.simulation import Server, closed_loop, poisson, simulate

GPU, MODEL = "l4", "llama-3.2-1b"
NO_HOST = {"step_overhead": 0.0, "sequence_overhead": 0.0}
LENGTHS = {"prompt": 200, "output": list(range(40, 120, 3))}


def recorded(load, horizon=None, **server):
    """What a client writes of a load on a server, its settings unknown; longest requests as `compare` takes them."""
    longest = int((load.prompt_tokens + load.output_tokens).max())
    known = {"gpu": GPU, "model": MODEL, "kv_tokens": "fit", "max_model_len": longest} | server
    table = simulate(Server(**known), load, horizon=horizon)
    counted = table.output_tokens.astype("Int64").where(table.status == "finished")
    return table.assign(output_tokens=counted)


def compared(load, horizon=None, **server):
    """That recording, compared with every setting of the server given."""
    given = {"gpu": GPU, "model": MODEL} | server
    return loadtest.compare(recorded(load, horizon, **given), given.pop("gpu"), given.pop("model"), **given)


# Limits -----------------------------------------------------------------------------------------------------------

BURST = {"rate": 50, "requests": 60}
#: By what limits it, a server built so and its load.
LIMITED = {
    "client": (poisson(2, requests=60, **LENGTHS), {}),
    "sequence cap": (poisson(50, requests=120, **LENGTHS), {"max_num_seqs": 8}),
    "kv cache": (
        poisson(50, requests=120, prompt=400, output=[50, 100]),
        {"kv_tokens": 4096, "max_num_seqs": 64},
    ),
    "prefill budget": (
        poisson(**BURST, prompt=1000, output=[4, 8]),
        {"max_num_batched_tokens": 64, "max_num_seqs": 32},
    ),
    "host": (poisson(50, requests=120, **LENGTHS), {"max_num_seqs": 64, "sequence_overhead": 2e-3}),
    "compute": (poisson(**BURST, prompt=1500, output=[2, 4]), {"model": "llama-3-8b"}),
    "memory": (
        poisson(50, requests=120, prompt=1500, output=[400, 500]),
        {"model": "llama-2-7b", "kv_tokens": 10**6, "max_num_seqs": 32},
    ),
    "link": (poisson(**BURST, prompt=1500, output=[2, 4]), {"model": "llama-3-8b", "tp": 8}),
    "unpacking": (
        poisson(50, requests=200, prompt=20, output=[100, 200]),
        {"gpu": "t4", "model": "llama-2-7b-awq", "max_num_seqs": 64, "gemm_rows": 16},
    ),
}


@pytest.fixture(scope="module")
def found():
    return {name: compared(load, **NO_HOST | server) for name, (load, server) in LIMITED.items()}


@pytest.mark.parametrize("name", LIMITED)
def test_a_server_built_to_have_a_limit_is_said_to_have_it(name, found):
    comparison = found[name]
    assert comparison.limits.names[0] == name
    assert comparison.paragraph().startswith(f"The limit is {limits.LIMIT_WORDS[name]}")
    assert set(LIMITED) == set(limits.LIMIT_WORDS) == set(comparison.limits.evidence.limit)


@pytest.mark.parametrize("name", LIMITED)
def test_the_simulation_of_a_simulation_is_the_same(name, found):
    ds = found[name].metrics
    for variable in ("offered", "started", "finished", "ttft", "tpot", "e2e", "output_token_rate", "mean_running"):
        measured, simulated = (ds[variable].sel(source=source).values for source in ("measured", "simulated"))
        np.testing.assert_allclose(simulated, measured, rtol=1e-9, err_msg=variable)
    assert not [note for note in found[name].notes if "times the finished" in note or "not in the file" in note]


@pytest.mark.parametrize(
    ("run", "names"),
    [("default", ("host", "unpacking")), ("max_num_seqs=8", ("sequence cap",)), ("max_num_seqs=1", ("sequence cap",))],
)
@pytest.mark.parametrize("known", [(), ("gemm_efficiency", "sequence_overhead")])
def test_the_t4_reports_server_has_the_limits_that_its_study_finds(run, names, known):
    """Its load tests as they are simulated there, known or not what is calibrated: `studies.roadmap` has the gains."""
    table = studies.t4_replay(run).reset_index(drop=True)
    counted = table.output_tokens.astype("Int64").where(table.status == "finished")
    given = {name: T4_SERVER[name] for name in known}
    comparison = loadtest.compare(table.assign(output_tokens=counted), "t4", T4_SERVER["model"], **given)
    assert comparison.limits.names == names
    assert "unpacks all weights for every few rows (gemm_rows 16, dequantize_rows 256)" in comparison.report()
    if len(names) == 2:
        helping = comparison.changes.set_index("setting").gain
        assert helping["gemm_rows"] > 1.25
        assert helping["host"] > 1.2


def test_shares_of_a_step_are_a_whole_and_amdahls_law_gives_their_gains(found):
    for comparison in found.values():
        rows = comparison.limits.evidence.set_index("limit")
        shares = rows.share.dropna()
        assert shares.sum() == pytest.approx(100)
        assert (rows.gain[shares.index] <= 1 / (1 - shares / 200) + 1e-12).all()
        assert (rows.gain[shares.index] >= 1).all()


def test_what_the_host_takes_of_a_step_by_hand(found):
    """2 ms for every sequence in every step: for every token that comes."""
    rows = found["host"].limits.evidence.set_index("limit")
    counts = found["host"].simulated.attrs["engine"]
    assert rows.share["host"] == pytest.approx(100 * 2e-3 * counts["generated_tokens"] / counts["busy"], rel=0.02)


def test_the_parts_of_the_steps_make_up_the_time_that_the_server_is_busy(found):
    """Mean steps stand for those without prompts; AWQ's, which rise with every 16 rows, are furthest from a mean."""
    for name, comparison in found.items():
        again = replays.Replays(recordings.recording(comparison.measured)).run(comparison.server)
        within = 0.15 if name == "unpacking" else 0.02
        assert sum(limits.step_parts(again).values()) == pytest.approx(again.counts["busy"], rel=within), name


# Changes ----------------------------------------------------------------------------------------------------------


def test_the_change_that_takes_the_limit_away_helps(found):
    helps = {
        "sequence cap": "max_num_seqs", "prefill budget": "max_num_batched_tokens", "host": "host",
        "unpacking": "gemm_rows", "compute": "tp", "memory": "tp", "client": "tp",
    }  # fmt: skip
    for name, setting in helps.items():
        table = found[name].changes
        assert table.setting[1] == setting, name
        assert table.gain[1] > 1.5
    assert found["kv cache"].changes[1:3].setting.tolist() == ["tp", "kv_dtype"]
    assert found["link"].changes.change[1] == "tp 4 (half the GPUs)"


def test_a_change_is_what_a_simulation_of_it_says(found):
    load, server = LIMITED["sequence cap"]
    row = found["sequence cap"].changes.iloc[1]
    cap = int(re.search(r"max_num_seqs ([\d,]+)", row.change)[1].replace(",", ""))
    now, then = (recorded(load, **NO_HOST | server | {"max_num_seqs": n}).attrs["engine"] for n in (8, cap))
    rates = [counts["generated_tokens"] / counts["duration"] for counts in (now, then)]
    assert row.gain == pytest.approx(rates[1] / rates[0])
    assert row.token_rate == pytest.approx(rates[1])


def test_the_changes_are_sorted_and_three_are_named(found):
    for comparison in found.values():
        table = comparison.changes
        assert table.setting.is_unique
        assert table.gain[1:].is_monotonic_decreasing
        assert (table.gain_high >= table.gain).all()
        helping = min(int((table.gain[1:] >= changes.LEAST_GAIN).sum()), changes.REMEDIES)
        words = comparison.paragraph().partition("simulated: ")[2].split("; ")
        assert len(list(filter(None, words))) == helping


# Fitted settings --------------------------------------------------------------------------------------------------


def test_the_cap_and_the_hosts_time_are_found():
    table = recorded(poisson(50, requests=150, **LENGTHS), max_num_seqs=12, step_overhead=4e-3, sequence_overhead=2e-5)
    settings = loadtest.compare(table, GPU, MODEL).settings.set_index("setting")
    assert settings.value["max_num_seqs"] == 12
    assert settings.value["step_overhead"] == pytest.approx(4e-3, rel=0.01)
    assert settings.value["sequence_overhead"] == pytest.approx(2e-5)  # the engine's own
    assert settings.source["max_num_seqs"].startswith("fitted")
    assert settings.source["step_overhead"].startswith("fitted")
    assert settings.source["max_num_batched_tokens"] == "the engine's: no other fits better"
    for name, (low, high) in SETTING_BOUNDS.items():
        assert low <= settings.value[name] <= high


def test_a_test_that_was_cut_off_tells_the_same():
    """Few requests have a count of tokens; the first token of many never came."""
    load = poisson(50, requests=300, **LENGTHS)
    table = recorded(load, horizon=3.0, max_num_seqs=12, step_overhead=4e-3, sequence_overhead=2e-5)
    assert 10 < (table.status == "finished").sum() < 40
    comparison = loadtest.compare(table, GPU, MODEL)
    settings = comparison.settings.set_index("setting")
    assert settings.value["max_num_seqs"] == 12
    assert settings.value["step_overhead"] == pytest.approx(4e-3, rel=0.02)
    assert comparison.limits.names == ("sequence cap",)
    assert "requests, are drawn from the others' (Kaplan-Meier)" in comparison.report()
    finished = comparison.metrics.finished
    assert finished.sel(source="simulated") == pytest.approx(finished.sel(source="measured"), abs=8)


def test_the_budget_is_found():
    table = recorded(poisson(6, requests=60, prompt=[2000, 4000], output=[40, 80]), max_num_batched_tokens=512)
    settings = loadtest.compare(table, GPU, MODEL, step_overhead=4e-4, sequence_overhead=2e-5).settings
    assert settings.value.tolist()[:2] == [256, 512]
    assert settings.source.tolist()[2:] == ["given", "given"]


def test_the_hosts_time_of_a_step_is_told_from_that_of_a_sequence_where_the_batch_varies():
    load = poisson(8, requests=120, prompt=100, output=[20, 300])
    table = recorded(load, step_overhead=3e-3, sequence_overhead=4e-4)
    comparison = loadtest.compare(table, GPU, MODEL, max_num_seqs=256, max_num_batched_tokens=2048)
    value = comparison.settings.set_index("setting").value
    assert value["step_overhead"] == pytest.approx(3e-3, rel=0.05)
    assert value["sequence_overhead"] == pytest.approx(4e-4, rel=0.05)


def test_a_gain_that_the_recording_does_not_tell_has_both_ends():
    """One sequence at a time: its host's time may be the step's, which more sequences share, or its own."""
    table = recorded(poisson(50, requests=40, prompt=20, output=[20, 40]), max_num_seqs=1, step_overhead=0.02)
    comparison = loadtest.compare(table, GPU, MODEL, max_num_batched_tokens=2048)
    row = comparison.changes.set_index("setting").loc["max_num_seqs"]
    assert row.gain_high > 4 * row.gain > 4
    assert f"({row.gain_high:.2f} if the host's time is a step's and not a sequence's)" in comparison.paragraph()
    assert any("is all that the kernels' model does not explain" in note for note in comparison.notes)


def test_kernels_that_are_slower_than_the_server_leave_the_host_nothing():
    table = recorded(poisson(2, requests=30, **LENGTHS), **NO_HOST)
    table.last_token_s = table.first_token_s + 0.5 * (table.last_token_s - table.first_token_s)
    settings = loadtest.compare(table, GPU, MODEL, max_num_seqs=8, max_num_batched_tokens=2048).settings
    assert settings.value.tolist()[2:] == [0, 0]


# What a recording does not tell -----------------------------------------------------------------------------------


def rows(*values):
    """Requests by sent, first, last, output and status, prompts of 10."""
    columns = ["sent_s", "first_token_s", "last_token_s", "output_tokens", "status"]
    table = pd.DataFrame(values, columns=columns).assign(prompt_tokens=10, error="")
    return table.astype({"output_tokens": "Int64", "prompt_tokens": "Int64"})


def test_unknown_outputs_by_hand():
    """Kaplan-Meier: of 4 at risk at 11 one ends, of those beyond 21 tokens, as one had when the test ended, one."""
    nan = np.nan
    table = rows(
        (0, 0, 1.0, 11, "finished"), (0, 0, 2.0, 21, "finished"), (0, 0, 3.0, 31, "finished"),
        (0.5, 0.5, nan, pd.NA, "unfinished"), (2, nan, nan, 0, "unfinished"),
    )  # fmt: skip
    lengths, unknown = recordings.output_lengths(table)
    assert lengths.tolist()[:3] == [11, 21, 31]
    assert unknown == 2
    assert lengths[3] == 31  # 2.5 s at 0.1 s a token: 26 came, and only one is longer
    assert lengths[4] in (11, 21, 31)


@pytest.mark.parametrize(
    "values",
    [
        [(0, 0.1, 1.0, 11, "finished")],
        [(0, 0.1, 1.0, 11, "finished")] * 5,
        [(0, 0.0, 0.0, 11, "finished")] * 5,
        [(0, 0.1, 0.1, 1, "finished"), (1, 1.1, 1.1, 1, "finished")],
        [(0, np.nan, 1.0, 11, "finished"), (0, np.nan, 1.5, 11, "finished")],
        [(0, 0.1, 1.0, 11, "finished"), (0.5, np.nan, np.nan, pd.NA, "unfinished")],
        [(0, 0.1, 1.0, 11, "finished"), (0.6, np.nan, 1.2, pd.NA, "failed"), (0.7, 0.9, np.nan, 4, "failed")],
    ],
)
@pytest.mark.filterwarnings("error")
def test_the_smallest_recordings(values):
    comparison = loadtest.compare(rows(*values), GPU, MODEL, max_num_batched_tokens=2048)
    assert comparison.paragraph().startswith("The limit is ")
    assert comparison.metrics.offered.values.tolist() == [len(values)] * 2


def test_unknown_outputs_of_many_have_the_distribution_of_the_known():
    known = [(0, 0, n / 10, n + 1, "finished") for n in (10, 20, 30, 40)]
    table = rows(*known, *[(3, np.nan, np.nan, 0, "failed")] * 400)
    lengths, unknown = recordings.output_lengths(table)
    assert unknown == 400
    assert np.unique(lengths[4:], return_counts=True)[1] == pytest.approx([100] * 4, abs=3)


def test_a_closed_loop_is_told_by_its_sends():
    load = closed_loop(6, requests=60, **LENGTHS)
    assert recordings.users_of(recorded(load)) == 6
    assert recordings.users_of(recorded(closed_loop(1, requests=10, **LENGTHS))) == 1
    for rate in (0.2, 2, 50):
        assert recordings.users_of(recorded(poisson(rate, requests=60, **LENGTHS))) is None
    late = recorded(load)
    columns = ["sent_s", "first_token_s", "last_token_s"]
    late[columns] = late[columns].add(5.0 * np.arange(60), axis=0)  # users that think for seconds
    assert recordings.users_of(late) is None


def test_a_closed_loop_is_simulated_as_one():
    comparison = compared(closed_loop(6, requests=60, **LENGTHS), max_num_seqs=256, **NO_HOST)
    assert comparison.notes[0] == "its client is a closed loop of 6: it sends a request when another has ended"
    assert comparison.limits.names == ("client",)
    assert comparison.metrics.mean_running.diff("source").item() == pytest.approx(0, abs=1e-6)


def test_requests_that_wait_at_their_client():
    """Ten open at once: more of the same load brings nothing, twice the connections do."""
    load = poisson(50, requests=60, **LENGTHS)
    longest = int((load.prompt_tokens + load.output_tokens).max())
    table = simulate(Server(GPU, MODEL, max_model_len=longest, kv_tokens="fit", **NO_HOST), load, in_flight=4)
    given = {"max_num_seqs": 256, "max_num_batched_tokens": 2048} | NO_HOST
    comparison = loadtest.compare(table, GPU, MODEL, in_flight=4, **given)
    assert comparison.limits.names == ("client",)
    assert comparison.metrics.mean_running.sel(source="simulated") < 4


def test_a_client_that_hides_requests_is_noticed():
    """Every other request of a server with eight sequences."""
    table = recorded(poisson(50, requests=200, **LENGTHS), horizon=4.0, max_num_seqs=8, **NO_HOST)
    half = table[::2].reset_index(drop=True)
    given = {"max_num_seqs": 8, "max_num_batched_tokens": 2048} | NO_HOST
    notes = loadtest.compare(half, GPU, MODEL, **given).notes
    assert any("the server may have had requests that are not in the file" in note for note in notes)


def test_gaps_between_tokens_of_a_simulation():
    """One request alone: every gap is a step, and there is one less than tokens."""
    load = poisson(1, requests=1, prompt=20, output=9)
    table = simulate(Server(GPU, MODEL, max_model_len=64), load, steps=True)
    bins = replays.gaps(table)
    assert sum(bins["count"]) == 8
    mean = np.average(bins["seconds"], weights=bins["count"])
    assert mean == pytest.approx((table.last_token_s - table.first_token_s)[0] / 8, rel=1e-3)


def test_itl_of_both_where_the_recording_has_it():
    load = poisson(8, requests=40, prompt=100, output=[20, 60])
    longest = int((load.prompt_tokens + load.output_tokens).max())
    server = Server(GPU, MODEL, max_model_len=longest, kv_tokens="fit", **NO_HOST)
    table = simulate(server, load, steps=True)
    table.attrs = {"itl": replays.gaps(table)}
    given = {"max_num_seqs": 256, "max_num_batched_tokens": 2048} | NO_HOST
    ds = loadtest.compare(table, GPU, MODEL, **given).metrics
    assert ds.itl_samples.values.tolist() == [int(load.output_tokens.sum()) - 40] * 2
    np.testing.assert_allclose(*ds.itl.values, rtol=1e-12)


def test_only_the_first_requests_are_simulated_many_times():
    recording = loadtest.recordings.recording(recorded(poisson(50, requests=30, **LENGTHS)))
    some = recording.first(10)
    assert len(some.table) == len(some.workload) == 10
    assert some.horizon == recording.workload.sent_s[10]
    assert recording.first(30) is recording


# Without send times, cut short -------------------------------------------------------------------------------------

GIVEN = {"max_num_seqs": 256, "max_num_batched_tokens": 2048} | NO_HOST


def spans(table, **attrs):
    """The same requests in a file that does not say when they were sent."""
    own = {"ttft_s": table.first_token_s - table.sent_s, "e2e_s": table.last_token_s - table.sent_s}
    table = table.assign(**own, sent_s=np.nan, first_token_s=np.nan, last_token_s=np.nan)
    table.attrs = attrs
    return table


@pytest.mark.parametrize(("attrs", "users"), [
    ({"concurrency": 4.0}, None), ({"concurrency": 4.0, "asked_rate": np.inf}, None), ({}, 4),
    ({"concurrency": 4.0, "asked_rate": 100.0, "duration_s": None}, None),
])  # fmt: skip
def test_latencies_of_a_closed_loop_are_simulated_as_one(attrs, users):
    table = recorded(closed_loop(4, requests=40, **LENGTHS), **NO_HOST)
    if "duration_s" in attrs:
        attrs = attrs | {"duration_s": float(table.last_token_s.max())}
    comparison = loadtest.compare(spans(table, **attrs), GPU, MODEL, users=users, **GIVEN)
    whose = "as given" if users else "its max_concurrency"
    assert comparison.notes[0] == (
        f"when requests were sent is unknown: taken to be those of a closed loop of 4, {whose}"
    )
    assert comparison.measured.sent_s.isna().all()
    ds = comparison.metrics
    for name in ("ttft", "tpot", "e2e"):
        np.testing.assert_allclose(*ds[name].values, rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(*comparison.timeline.running.sel(time=slice(0, 1)).values, atol=0.2)


def test_latencies_at_a_rate_are_simulated_at_random_times():
    table = recorded(poisson(4, requests=60, **LENGTHS), **NO_HOST)
    comparison = loadtest.compare(spans(table, asked_rate=4.0, concurrency=1000.0), GPU, MODEL, **GIVEN)
    assert comparison.notes[0] == (
        "when requests were sent is unknown: taken to be random (Poisson) at its request_rate, 4 per second"
    )
    simulated = comparison.metrics.sel(source="simulated")
    assert simulated.offered_rate == pytest.approx(4, rel=0.3)
    assert simulated.last_send > 10


def test_without_anything_on_the_client_nothing_is_printed(tmp_path):
    path = tmp_path / "spans.csv"
    loadtest.write(spans(recorded(poisson(4, requests=5, **LENGTHS))), path)
    done = invoke("loadtest", path, "--gpu", GPU, "--model", MODEL)
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "no send times, request_rate or max_concurrency in it: give its users (--users)" in line


def test_a_window_is_that_of_all_that_is_said():
    """Of a server with eight sequences that is loaded for ever longer: its first two seconds, cut off or compared."""
    load = poisson(50, requests=150, **LENGTHS)
    given = GIVEN | {"max_num_seqs": 8}
    whole, short = recorded(load, **given), recorded(load, horizon=2.0, **given)
    first, second = (
        loadtest.compare(table, GPU, MODEL, window=window, **given) for table, window in ((whole, 2), (short, None))
    )
    assert first.notes[0] == "all of this is of the first 2 s of the test"
    assert first.limits.names == second.limits.names == ("sequence cap",)
    np.testing.assert_allclose(first.changes.token_rate, second.changes.token_rate, rtol=0.03)  # to its last event
    for name in ("offered", "finished", "unfinished"):
        np.testing.assert_allclose(first.metrics[name], second.metrics[name], atol=1, err_msg=name)
    with pytest.raises(ValueError, match=r"window = \(1, 2\): a comparison begins with the first send"):
        loadtest.compare(whole, GPU, MODEL, window=(1, 2), **given)
    with pytest.raises(ValueError, match=r"window ends at 100 s, but the run lasted"):
        loadtest.compare(whole, GPU, MODEL, window=100)


# What bounds a setting, what keeps up -------------------------------------------------------------------------------


def test_a_server_that_keeps_up_near_its_most_is_limited_by_its_client():
    comparison = compared(poisson(9, requests=300, **LENGTHS), max_num_seqs=8, **NO_HOST)
    assert comparison.limits.names == ("client",)
    row = comparison.limits.evidence.set_index("limit").loc["client"]
    assert row.gain < limits.GAINS
    assert row.seen.startswith("all that was sent has ended with the sending")


def test_more_than_a_cap_never_run():
    """So a cap is at least what ran; an engine's default that is less than that is none."""
    table = recorded(poisson(400, requests=120, prompt=10, output=100), max_num_seqs=80, **NO_HOST)
    settings = loadtest.compare(table, GPU, MODEL, engine="pytorch", max_num_batched_tokens=2048, **NO_HOST).settings
    row = settings.set_index("setting").loc["max_num_seqs"]
    assert row.low == 80 <= row.value
    notes = loadtest.compare(table, GPU, MODEL, **GIVEN | {"max_num_seqs": 8}).notes
    assert "max_num_seqs = 8 as given, but 80 requests ran at a time" in notes


def test_half_of_the_hosts_time_gains_the_same_in_evidence_and_changes(found):
    comparison = found["host"]
    half = comparison.changes.set_index("setting").gain["host"]
    assert f"were it half, {half:.2f} times the tokens per second, simulated." in comparison.paragraph()
    assert "the same steps would bring" in found["memory"].paragraph()


def test_settings_that_are_given_may_be_why_fewer_ran():
    """Every other request of a server with eight sequences, as in the test of hidden requests."""
    table = recorded(poisson(50, requests=200, **LENGTHS), horizon=4.0, max_num_seqs=8, **NO_HOST)
    notes = loadtest.compare(table[::2].reset_index(drop=True), GPU, MODEL, **GIVEN | {"max_num_seqs": 8}).notes
    assert any(
        note.endswith("not in the file, or max_num_seqs and max_num_batched_tokens and step_overhead and"
                      " sequence_overhead as given are not its own") for note in notes
    )  # fmt: skip


# As text, as a chart, on the command line --------------------------------------------------------------------------


def test_the_report_has_both_and_every_setting(found):
    text = found["sequence cap"].report()
    line = next(line for line in text.splitlines() if line.startswith("finished"))
    assert line.split() == ["finished", "120", "120"]
    for name in SETTING_BOUNDS:
        assert re.search(rf"^{name} +[\d,.]+.* (given|the engine's: no other fits better)$", text, re.M)
    assert "ITL" not in text  # of neither
    rows = found["sequence cap"].side_by_side()
    assert rows.loc["finished"].tolist() == [120, 120]
    assert len(rows) == text.splitlines().index(next(x for x in text.splitlines() if x.startswith("max_num_seqs"))) - 1


def test_datasets_say_what_they_hold(found):
    for ds in (found["host"].metrics, found["host"].timeline):
        assert ds.source.values.tolist() == ["measured", "simulated"]
        assert ds.source.attrs["long_name"] == VARIABLES["source"].long_name
        assert all(ds[name].attrs["units"] for name in ds.data_vars)


def test_the_chart_draws_both(found):
    ds = found["sequence cap"].timeline
    _, ax = plt.subplots()
    assert plots.over_time(ds, "waiting", ax, title="L4") is ax
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["measured", "simulated"]
    for patch, values in zip(ax.patches, ds.waiting, strict=True):
        np.testing.assert_array_equal(patch.get_data().values, values)
    assert {patch.get_linestyle() for patch in ax.patches} == {"-", "--"}
    assert (ax.get_title(), ax.get_ylabel()) == ("L4", "Requests waiting")
    plt.close(ax.figure)
    with pytest.raises(ValueError, match="unknown variable 'wait'. Did you mean 'waiting'"):
        plots.over_time(ds, "wait")


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(each) for each in arguments])


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "load.csv"
    loadtest.write(recorded(poisson(50, requests=60, **LENGTHS), max_num_seqs=8, **NO_HOST), path)
    return path


def test_the_command_compares_where_a_gpu_and_a_model_are_given(file, tmp_path):
    chart = tmp_path / "both.png"
    server = ("--max-num-batched-tokens", 2048, "--step-overhead", 0, "--sequence-overhead", 0)
    done = invoke("loadtest", file, "--gpu", GPU, "--model", MODEL, *server, "--plot", chart)
    assert done.exit_code == 0, done.output
    alone = invoke("loadtest", file).output
    assert done.output.startswith(alone)
    assert "The limit is the cap on sequences." in done.output
    assert "fitted: as many ran at most while others waited" in " ".join(done.output.split())
    assert chart.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu", "l4"], "--model is missing: the simulated server needs it besides --gpu"),
        (["--model", MODEL], "--gpu is missing: the simulated server needs it besides --model"),
        (["--tp", "2"], "--tp goes with --gpu and --model, the server to simulate"),
        (["--plot", "x.png"], "--plot goes with --gpu and --model"),
        (["--gpu", "l4", "--model", MODEL, "--plot", "x.gif"], "unknown file suffix of --plot '.gif'"),
        (["--gpu", "l5", "--model", MODEL], "unknown GPU 'l5'"),
        (["--gpu", "l4", "--model", "llama-3-70b"], "llama-3-70b does not fit: 141.1 GB of weights on each l4"),
        (
            ["--gpu", "l4", "--model", MODEL, "--max-model-len", "9"],
            "max_model_len = 9: no request fits, as the shortest",
        ),
        (["--gpu", "l4", "--model", MODEL, "--users", "0"], "users = 0: allowed are whole numbers from 1"),
    ],
)
def test_what_cannot_be_compared_is_one_line(file, arguments, message):
    done = invoke("loadtest", file, *arguments)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert message in line
    assert len(line) < 200


def test_bad_arguments_name_what_is_allowed(file):
    table = loadtest.read(file)
    with pytest.raises(ValueError, match="unknown setting 'max_num_seq'. Did you mean 'max_num_seqs'"):
        loadtest.compare(table, GPU, MODEL, max_num_seq=8)
    with pytest.raises(ValueError, match="in_flight = 0: allowed are whole numbers from 1"):
        loadtest.compare(table, GPU, MODEL, in_flight=0)
    with pytest.raises(ValueError, match="output_tokens: unknown for every request that finished"):
        loadtest.compare(table.assign(output_tokens=pd.NA), GPU, MODEL)
    with pytest.raises(ValueError, match="prompt_tokens: unknown for every request"):
        loadtest.compare(table.assign(prompt_tokens=pd.NA), GPU, MODEL)
    with pytest.raises(ValueError, match="no column 'status' in the table of requests"):
        loadtest.compare(table.drop(columns="status"), GPU, MODEL)
    with pytest.raises(ValueError, match="llama-2-70b does not fit"):
        loadtest.compare(table, GPU, "llama-2-70b")


def test_it_is_the_same_every_time(file):
    given = {"max_num_batched_tokens": 2048} | NO_HOST
    first, second = (loadtest.compare(file, GPU, MODEL, **given) for _ in range(2))
    assert first.report() == second.report()
    pd.testing.assert_frame_equal(first.simulated, second.simulated)


def test_an_interrupt_ends_it(file, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.loadtest.comparison.find_limits", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loadtest.compare(file, GPU, MODEL, progress=True, max_num_batched_tokens=2048, **NO_HOST)


def test_a_bar_counts_simulations_and_never_passes_its_total():
    seen = []
    tick = loadtest.comparison._ticking(lambda done, total: seen.append((done, total)))
    for _ in range(200):
        tick()
    assert [done for done, _ in seen] == list(range(1, 201))
    assert all(done < total for done, total in seen)


def test_every_setting_that_is_fitted_is_one_of_the_server():
    assert set(SETTING_BOUNDS) <= set(inspect.signature(Server).parameters)
