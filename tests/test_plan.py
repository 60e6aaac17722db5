"""A capacity plan: every row has its verdict, and the verdicts follow from the numbers beside them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import TPS, gpus, models

import workbench as wb
from workbench.serving import plan, plan_text
from workbench.serving.verdicts import BEST, FITTING, KEPT
from workbench.simulation import closed_loop, trace

WORKLOAD = {"prompt": 1000, "output": 200, "tp": [1, 2, 4], "batch_size": [1, 8, 64, 512], "max_num_seqs": 512}
LEVEL = {"ttft": 0.5, "tpot": 0.03}


@pytest.fixture(scope="module")
def table():
    price = {"t4": 0.35, "l4": 0.7, "a100-80gb-sxm": 1.6, "h100-sxm": 2.5}
    return plan("llama-3-8b", **LEVEL, request_rate=20, price=price, confirm=0, **WORKLOAD)


def test_every_combination_is_a_row(table):
    assert len(table) == 4 * 3 * 4
    assert not table.duplicated(["gpu", "tp", "batch_size"]).any()
    assert (table.verdict != "").all()


def test_the_best_is_the_cheapest_that_meets_the_service_level(table):
    assert table.verdict[0] == BEST
    good = table[table.verdict.isin([BEST, KEPT])]
    assert (table.verdict == BEST).sum() == 1
    assert ((good.ttft_s <= LEVEL["ttft"]) & (good.tpot_s <= LEVEL["tpot"])).all()
    assert table.cost[0] == good.cost.min()
    assert good.cost.is_monotonic_increasing


def test_the_usual_batch_sizes_go_up_to_the_sequences_of_a_server():
    asked = {"prompt": 100, "output": 10, "gpu": "h100-sxm", "tp": 1}
    assert sorted(plan("llama-3-8b", max_num_seqs=48, **asked).batch_size) == [1, 2, 4, 8, 16, 32]
    with pytest.raises(ValueError, match="64"):
        plan("llama-3-8b", max_num_seqs=48, batch_size=64, **asked)


def test_losers_lose_by_what_they_say(table):
    assert (table[table.verdict == "TTFT over"].ttft_s > LEVEL["ttft"]).all()
    over = table[table.verdict == "TPOT over"]
    assert ((over.tpot_s > 0.03) & (over.ttft_s <= LEVEL["ttft"])).all()
    unfit = table[table.verdict.str.endswith("not fit")]
    assert unfit[["ttft_s", "tpot_s", "cost"]].isna().all(axis=None)
    assert (unfit.batch_size > unfit.largest_batch).all()
    assert {"weights do not fit", "KV cache does not fit", "TTFT over", "TPOT over"} <= set(table.verdict)


def test_the_dominated_name_a_row_that_is_no_worse(table):
    rows = table.set_index(table.gpu + " tp " + table.tp.astype(str) + " batch " + table.batch_size.astype(str))
    dominated = rows[rows.verdict.str.startswith("dominated by ")]
    assert len(dominated) > 3
    for _, row in dominated.iterrows():
        by = rows.loc[row.verdict.removeprefix("dominated by ")]
        assert by.ttft_s <= row.ttft_s
        assert by.tpot_s <= row.tpot_s
        assert by.cost <= row.cost
        assert "over" not in by.verdict


def test_equals_do_not_dominate_each_other():
    twin = wb.gpu("l4").model_copy(update={"id": "l4-twin"})
    rows = plan("llama-3-8b", gpu=["l4", twin], prompt=1000, output=200, tp=1, batch_size=1)
    assert set(rows.verdict) == {BEST, FITTING}
    assert rows.cost[0] == rows.cost[1]


def test_rows_are_the_estimates(table):
    row = table[(table.gpu == "h100-sxm") & (table.tp == 2) & (table.batch_size == 64)].iloc[0]
    ds = wb.serving.estimate(
        "h100-sxm", "llama-3-8b", 64, 1000, 200, 2, schedule="continuous", price=2.5, max_num_seqs=512
    )
    ds = ds.squeeze()
    assert (row.ttft_s, row.tpot_s) == (ds.ttft.item(), ds.tpot.item())
    by_hand = row.gpus * 2.5 / (20 * 200 * 3600) * 1e6  # dollars an hour over tokens an hour
    assert row.cost == pytest.approx(by_hand)
    assert row.cost > ds.cost.item()  # the last replica is not full
    assert row.memory_gb == ds.memory.item() / 1e9
    assert row.replicas == np.ceil(20 / ds.requests_per_second.item())
    assert row.gpus == 2 * row.replicas


def test_little_traffic_is_served_by_the_cheapest_replica_and_not_by_the_cheapest_full_one():
    prices = {"l4": 0.7, "h100-sxm": 2.5}
    asked = {"prompt": 1000, "output": 200, "ttft": 1, "tpot": 0.09, "price": prices, "confirm": 1}
    few = plan("llama-3-8b", request_rate=0.05, **asked)
    many = plan("llama-3-8b", request_rate=50, **asked)
    assert few.gpu[0] == "l4"
    assert few.gpus[0] * 0.7 < 2.5
    assert many.gpu[0] == "h100-sxm"


def test_gpus_that_cannot_run_a_model_say_why():
    table = plan("llama-3-8b", gpu=["tpu-v5e", "jetson-agx-orin-64gb", "h100-sxm5"], **WORKLOAD | {"tp": [1, 3, 4]})
    verdicts = {(row.gpu, row.tp): row.verdict for row in table.itertuples() if row.batch_size == 1}
    assert verdicts["tpu-v5e", 1] == "weights do not fit"  # in its own 16 bits
    assert verdicts["jetson-agx-orin-64gb", 4] == "no link between GPUs"
    assert verdicts["h100-sxm", 3] == "tp does not divide the model"
    assert (table[table.verdict == BEST].gpu == "h100-sxm").all()
    assert (table.verdict == BEST).any()
    long = plan("llama-3-8b", gpu="h100-sxm", prompt=9000, output=10)
    assert set(long.verdict) == {"longer than the model's context"}


def test_without_prices_the_cost_is_in_gpu_hours():
    table = plan("llama-3-8b", gpu="h100-sxm", **WORKLOAD)
    row = table[(table.tp == 4) & (table.batch_size == 8)].iloc[0]
    assert row.cost == pytest.approx(1e6 * 4 / 3600 / row.tokens_per_second)
    assert "replicas" not in table
    assert "Cost: of a million output tokens, in GPU-hours." in plan_text(table)


def test_the_report_is_legible(table):
    lines = plan_text(table, rows=5).splitlines()
    assert lines[1].split() == ["GPU", "tp", "batch", "ms", "ms", "replicas", "GPUs", "%", "cost"]
    assert lines[2].endswith("best")
    assert max(map(len, lines)) <= 80
    large = (table.gpus > 64).sum()
    assert f"{43 - large} more rows." in lines
    assert f"{large} rows of more than 64 GPUs are left out (most_gpus)." in lines
    assert "more than" not in plan_text(table, most_gpus=10**6)
    said = " ".join(lines)
    counts = said.split("(most_gpus). ")[1].split(". Replicas")[0]
    assert sum(int(part.split()[0]) for part in counts.split("; ")) == len(table)
    assert "Cost: of a million output tokens, in the prices' currency." in said
    assert "in EUR." in plan_text(table, currency="EUR")
    assert lines[-1].startswith("Assumed of vllm: its host adds ")


def test_the_report_says_what_the_numbers_leave_out(table):
    said = "Replicas are those of the estimate's throughput, without a queue: nothing is simulated."
    assert said in plan_text(table, width=200)
    large = plan("llama-3-8b", gpu=["gb200", "h100-sxm"], prompt=100, output=10, tp=[8, 16], batch_size=1)
    assert "replicas" not in plan_text(large)
    beyond = large[large.verdict == "more GPUs than a machine has"]
    assert beyond[["gpu", "tp"]].values.tolist() == [["h100-sxm", 16]]


# What must hold everywhere ----------------------------------------------------------------------------------------


def better(rows, than):
    """Which rows are no slower and no dearer than one, and better in something; with one token there is no TPOT."""
    measures = ["ttft_s", "tpot_s", "cost"]
    mine, others = than[measures].fillna(0).astype(float), rows[measures].fillna(0)
    return (others <= mine).all(axis=1) & (others < mine).any(axis=1)


@settings(max_examples=30)  # two plans each
@given(
    model=models(),
    cards=st.lists(gpus, min_size=1, max_size=2, unique_by=lambda card: card.id),
    batches=st.lists(st.integers(1, 2000), min_size=1, max_size=3, unique=True),
    tps=st.lists(st.sampled_from(TPS), min_size=1, max_size=2, unique=True),
    sizes=st.tuples(st.integers(1, 4000), st.integers(1, 400)),
    price=st.none() | st.sampled_from([0.5, 2.0]),
    rate=st.none() | st.sampled_from([0.1, 30.0, 1e4]),
    shares=st.tuples(*[st.none() | st.floats(0, 1)] * 2),
)
def test_a_verdict_follows_from_the_numbers_in_its_row(model, cards, batches, tps, sizes, price, rate, shares):
    workload = {
        "prompt": sizes[0], "output": sizes[1], "gpu": cards, "tp": tps, "batch_size": batches, "price": price,
        "schedule": "static", "max_num_seqs": 2000, "max_model_len": 10**5, "request_rate": rate,
    }  # fmt: skip
    every = plan(model, **workload)
    ttft, tpot = (  # a level that one of the rows just meets
        None if share is None or values.isna().all() else float(values.quantile(share, interpolation="lower"))
        for share, values in zip(shares, (every.ttft_s, every.tpot_s), strict=True)
    )
    rows = plan(model, ttft=ttft, tpot=tpot, **workload)
    assert len(rows) == len(every) == len(cards) * len(batches) * len(tps)
    fits, late = rows.ttft_s.notna(), rows.ttft_s > (ttft or np.inf)
    slow = rows.tpot_s > (tpot or np.inf)
    good = rows[fits & ~late & ~slow]
    assert (rows.verdict == "TTFT over").equals(late)
    assert (rows.verdict == "TPOT over").equals(~late & slow)
    assert (rows.verdict.str.endswith(("not fit", "context"))).equals(~fits)
    names = good.gpu + " tp " + good.tp.astype(str) + " batch " + good.batch_size.astype(str)
    for place, row in good.iterrows():
        others = better(good, row)
        if others.any():
            assert row.verdict.removeprefix("dominated by ") in set(names[others])
        else:
            assert row.verdict == (BEST if place == 0 else FITTING if (ttft, tpot) == (None, None) else KEPT)
    if len(good):
        assert rows.verdict[0] == BEST
        assert rows.cost[0] == pytest.approx(good.cost.min(), rel=1e-8)  # ties are of nine digits
    if rate is not None:
        np.testing.assert_array_equal(rows.replicas[fits], np.ceil(rate / rows.requests_per_second[fits]))
        hourly = (price or 1.0) * rows.gpus[fits]
        np.testing.assert_allclose(rows.cost[fits], 1e6 * hourly / 3600 / (rate * sizes[1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "llama"}, "model 'llama' can be 'llama-7b'"),
        ({"prompt": 0}, "prompt = 0: allowed are whole numbers"),
        ({"output": [10, 20]}, r"output = \[10, 20\]: allowed are whole numbers"),
        ({"ttft": -1}, "ttft = -1: allowed are positive numbers"),
        ({"tpot": float("nan")}, "tpot = nan: allowed are positive numbers"),
        ({"request_rate": "10"}, "request_rate = '10': allowed are positive numbers"),
        ({"tp": []}, "tp is empty: give at least one"),
        ({"price": {"t5": 1.0}}, "unknown GPU 't5'"),
        ({"price": {}}, "gpu is empty: give at least one"),
        ({"price": 0, "gpu": "t4"}, "price of t4 = 0: allowed are positive numbers"),
        ({"kv_dtype": "int3"}, "unknown kv_dtype 'int3'"),
        ({"speed": 1}, "speed"),
        ({"gpus": 0, "gpu": "t4"}, "gpus = 0: allowed are whole numbers from 1"),
        ({"gpus": 8}, "gpus = 8: say which GPU they are, by gpu"),
        ({"gpus": 8, "gpu": "t4", "request_rate": 1}, "gpus = 8 with request_rate = 1: give one"),
        ({"utilization": 0}, "utilization = 0: allowed are positive shares up to 1"),
        ({"utilization": 1.5}, "utilization = 1.5: allowed are positive shares up to 1"),
        ({"percentile": 0}, "percentile = 0: allowed are numbers from 1 to 100"),
        ({"percentile": float("nan")}, "percentile = nan: allowed are numbers from 1 to 100"),
        ({"arrivals": "posson"}, "unknown arrivals 'posson'. Did you mean 'poisson'"),
        ({"arrivals": closed_loop(2, requests=3, prompt=9, output=9)}, "arrivals: a closed loop has no rate"),
        ({"arrivals": trace(sent_s=[0], prompt_tokens=[9], output_tokens=[9])}, "arrivals = .* at two times at least"),
        ({"confirm": -1}, "confirm = -1: allowed are whole numbers from 0"),
        ({"seed": -1}, "seed = -1: allowed are whole numbers from 0"),
        ({"progress": 1}, "unknown progress 1"),
        ({"prompt": None}, "prompt = None: allowed are whole numbers"),
        (
            {"request_rate": 1, "gpu": "t4", "workspace": 1e9},
            "workspace is not simulated: leave it out, or give confirm = 0",
        ),
    ],
)
def test_a_careless_plan(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        plan(**{"model": "llama-3-8b"} | WORKLOAD | options)
