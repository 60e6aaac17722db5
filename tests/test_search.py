"""Search: what is best, by hand and by brute force over the whole grid; lazily the same."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import workbench as wb
from workbench import search, serving

GRID = {
    "gpu": ["h100-sxm", "t4", "l4"], "model": ["llama-3-8b", "gpt2"], "batch_size": [1, 2, 8, 64],
    "seq_len": [64, 500, 4096], "time_model": "kernel",
}  # fmt: skip
SERVER = {"batch_size": [1, 4, 16, 64, 256], "prompt": [128, 2048], "output": [1, 100], "tp": [1, 2]}
PRICE = {"h100-sxm": 2.5, "l4": 0.7, "t4": 0.35}


@pytest.fixture(scope="module")
def servers():
    return serving.estimate(list(PRICE), ["llama-3-8b", "gpt2"], price=PRICE, **SERVER)


def by_hand():
    """Four settings: the third costs least, the second is the fastest."""
    values = {"time": [4.0, 1.0, 3.0, 2.0], "cost": [2.0, 9.0, 1.0, 5.0], "performance": [1.0, 2.0, 3.0, 4.0]}
    return xr.Dataset({name: ("batch_size", v) for name, v in values.items()}, {"batch_size": [1, 2, 3, 4]})


def test_the_smallest_or_the_largest_by_what_a_variable_is():
    assert wb.best(by_hand(), "time").batch_size.item() == 2
    assert wb.best(by_hand(), "cost").batch_size.item() == 3
    assert wb.best(by_hand(), "performance").batch_size.item() == 4


def test_limits_by_hand():
    row = wb.best(by_hand(), "cost", limits={"time": 2.0}).iloc[0]
    assert row.to_dict() == {"batch_size": 4, "cost": 5.0, "time": 2.0}
    assert wb.best(by_hand(), "time", limits={"performance": 3}).batch_size.item() == 4
    assert wb.best(by_hand(), "time", limits={"cost": 0.5}).empty


def test_a_front_by_hand():
    """1: 4 s for 2 is beaten by 3: 3 s for 1."""
    assert wb.pareto(by_hand(), "time", "cost").batch_size.tolist() == [2, 4, 3]
    assert wb.pareto(by_hand(), "time", "performance").batch_size.tolist() == [2, 4]
    assert wb.pareto(by_hand(), "time", "cost", limits={"cost": 5}).batch_size.tolist() == [4, 3]
    assert wb.pareto(by_hand(), "time", "cost", limits={"cost": 0}).empty


def test_of_equal_ones_the_first():
    ds = xr.Dataset({"time": ("batch_size", [2.0, 1.0, 1.0, 1.0])}, {"batch_size": [1, 2, 3, 4]}).assign(
        cost=lambda d: d.time
    )
    for chunks in ({}, {"batch_size": 1}):
        lazy = ds.chunk(chunks) if chunks else ds
        assert wb.best(lazy, "time").batch_size.tolist() == [2]
        assert wb.pareto(lazy, "time", "cost").batch_size.tolist() == [2]


def table(ds, *names):
    return ds[list(names)].to_dataframe().reset_index().dropna()


@pytest.mark.parametrize("chunks", [None, 7, "auto", {"gpu": 1, "seq_len": 2}])
def test_best_of_a_grid_is_that_of_the_whole_table(chunks):
    whole = table(wb.roofline_grid(**GRID), "performance", "time")
    found = wb.best(
        wb.roofline_grid(**GRID, chunks=chunks), "performance", by=["gpu", "operator"], limits={"time": 1e-3}
    )
    kept = whole[whole.time <= 1e-3]
    expected = kept.loc[kept.groupby(["gpu", "operator"]).performance.idxmax()]
    pd.testing.assert_series_equal(
        found.set_index(["gpu", "operator"]).performance.sort_index(),
        expected.set_index(["gpu", "operator"]).performance.sort_index(),
    )
    for row in found.itertuples():
        setting = {dim: getattr(row, dim) for dim in ("gpu", "model", "operator", "phase", "batch_size", "seq_len")}
        assert wb.roofline_grid(**GRID).performance.sel(setting).item() == row.performance


def test_best_of_a_lazy_forward_pass():
    lazy = wb.forward_pass(
        wb.roofline_grid("h100-sxm", "llama-3-8b", phase="decode", batch_size=range(1, 50), chunks=40)
    )
    tokens = lazy.assign(tokens_per_second=lazy.batch_size / lazy.time)
    row = wb.best(tokens, "tokens_per_second", limits={"time": 0.01}).iloc[0]
    assert (row.batch_size, row.phase) == (49, "decode")
    assert wb.best(tokens, "time").batch_size.item() == 1


def beaten(x, y, i):
    return ((x <= x[i]) & (y <= y[i]) & ((x < x[i]) | (y < y[i]))).any()


@pytest.mark.parametrize("blocks", [False, True])
def test_fronts_of_servers_are_those_of_the_whole_table(servers, blocks, monkeypatch):
    monkeypatch.setattr(search, "BLOCK", 5)
    source = search.estimates(list(PRICE), ["llama-3-8b", "gpt2"], price=PRICE, **SERVER) if blocks else servers
    front = wb.pareto(source, "tpot", "cost", by="model", limits={"ttft": 1.0})
    rows = table(servers.where(servers.fits), "tpot", "cost", "ttft")
    for model, kept in rows[rows.ttft <= 1.0].groupby("model"):
        x, y = kept.tpot.to_numpy(), kept.cost.to_numpy()
        expected = {(a, b) for i, (a, b) in enumerate(zip(x, y, strict=True)) if not beaten(x, y, i)}
        found = front[front.model == model]
        assert set(zip(found.tpot, found.cost, strict=True)) == expected
        assert found.tpot.is_monotonic_increasing
        assert found.cost.is_monotonic_decreasing
        assert len(found) > 1


def test_the_cheapest_server_keeps_to_the_service_level(servers):
    limits = {"ttft": 0.5, "tpot": 0.03}
    found = wb.best(servers.sel(output=[100]), "cost", limits=limits, by=["model", "prompt"]).set_index(
        ["model", "prompt"]
    )
    assert len(found) == 3  # GPT-2 sees 1,024 tokens
    for (model, prompt), row in found.iterrows():
        here = servers.sel(model=model, prompt=prompt, output=100)
        assert row.cost == here.cost.where((here.ttft <= 0.5) & (here.tpot <= 0.03)).min()


def test_what_does_not_fit_is_not_best(servers):
    """70B in 16 bit takes two H100s; one has memory numbers all the same."""
    ds = serving.estimate("h100-sxm", "llama-2-70b", 1, 128, 100, [1, 2, 4])
    assert ds.memory.isel(tp=0).item() > 0
    assert wb.best(ds, "memory", limits={"memory": 200e9}).tp.item() == 4
    assert wb.best(ds, "tokens_per_second", limits={"memory": 76e9}).tp.item() == 4
    assert wb.best(ds.sel(tp=[1]), "memory").empty


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": "tome"}, "unknown variable 'tome'. Did you mean 'time'"),
        ({"objective": "time", "limits": {"ttft": 1}}, "unknown variable 'ttft'. .*Allowed: time, cost, performance"),
        ({"objective": "time", "limits": {"cost": "1"}}, "limit of cost = '1': allowed are numbers"),
        ({"objective": "time", "limits": {"cost": float("nan")}}, "limit of cost = nan: allowed are numbers"),
        ({"objective": "time", "by": "gpu"}, "unknown dim 'gpu'. Allowed: batch_size"),
        ({"objective": "time", "by": ["batch"]}, "unknown dim 'batch'. Did you mean 'batch_size'"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        wb.best(by_hand(), **arguments)
    assert "\n" not in str(error.value)


def test_blocks_of_estimates_refuse_what_estimate_refuses():
    with pytest.raises(ValueError, match="unknown GPU 'h100'"):
        wb.best(search.estimates("h100", "gpt2"), "ttft")


def test_nothing_else_is_held_than_a_block(monkeypatch):
    sizes = []
    load = xr.Dataset.load
    monkeypatch.setattr(xr.Dataset, "load", lambda ds: sizes.append(ds.time.size) or load(ds))
    lazy = wb.roofline_grid("t4", "gpt2", batch_size=range(1, 101), seq_len=range(1, 51), chunks=1000)
    assert np.isfinite(wb.best(lazy, "time").time.item())
    assert max(sizes) <= 1000
    assert sum(sizes) == lazy.time.size
