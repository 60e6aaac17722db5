"""Search: what is best, by hand and by brute force over the whole grid; lazily the same."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from workbench import search, serving, store
from workbench.grid import sweep
from workbench.operators import operator_set

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


@pytest.mark.parametrize(
    "name",
    [
        "bandwidth",
        "peak_flop_rate",
        "percent_of_peak",
        "speedup",
        "best_speedup",
        "acceleration_rate",
        "mbu",
        "attainable",
    ],
)
def test_more_of_a_rate_is_better(name):
    assert wb.best(by_hand().rename(performance=name), name).batch_size.item() == 4


def test_the_direction_of_a_variable_of_ones_own_is_given():
    ds = by_hand().assign(goodput=lambda d: d.time, rank=lambda d: d.time.astype("u1"))
    assert wb.best(ds, "goodput", maximize="goodput").batch_size.item() == 1
    assert wb.best(ds, "goodput", minimize=["goodput"]).batch_size.item() == 2
    assert wb.best(ds, "rank", maximize="rank").batch_size.item() == 1
    assert wb.best(ds, "cost", limits={"goodput": 3}, maximize="goodput").batch_size.item() == 3
    assert wb.best(ds, "cost", limits={"goodput": 2}, minimize="goodput").batch_size.item() == 4
    assert wb.pareto(ds, "goodput", "cost", maximize="goodput").batch_size.tolist() == [1, 3]


def test_a_direction_given_goes_before_what_a_variable_is():
    assert wb.best(by_hand(), "time", maximize="time").batch_size.item() == 1
    assert wb.best(by_hand(), "performance", minimize="performance").batch_size.item() == 1
    assert wb.best(by_hand(), "time", limits={"performance": 1}, minimize="performance").batch_size.item() == 1


def test_limits_by_hand():
    row = wb.best(by_hand(), "cost", limits={"time": 2.0}).iloc[0]
    assert row.to_dict() == {"batch_size": 4, "cost": 5.0, "time": 2.0}
    assert wb.best(by_hand(), "time", limits={"performance": 3}).batch_size.item() == 4
    assert wb.best(by_hand(), "time", limits={"cost": 0.5}).empty


def test_nothing_feasible_has_the_columns_of_what_is(servers):
    for by in ([], ["tp", "model"]):
        row = wb.best(servers, "cost", by=by, limits={"ttft": 1.0})
        for none in (wb.best, wb.pareto):
            arguments = ["cost"] if none is wb.best else ["cost", "ttft"]
            found = none(servers, *arguments, by=by, limits={"ttft": 0.0})
            assert found.empty
            assert found.dtypes.to_dict() == row.dtypes.to_dict()
            assert list(found) == list(row)


def test_labels_of_a_dim_without_them_are_its_places():
    ds = xr.Dataset({"time": ("run", [3.0, 2.0, 4.0, 1.0])})
    assert wb.best(ds, "time").run.tolist() == wb.best(ds.chunk(run=2), "time").run.tolist() == [3]


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
    """Every setting as a row, but for operators that a model does not have."""
    rows = ds[list(names)].to_dataframe().reset_index()
    if "operator" in rows:
        has = {model: operator_set(wb.model(model), "fused") for model in set(rows.model)}
        rows = rows[[operator in has[model] for model, operator in zip(rows.model, rows.operator, strict=True)]]
    return rows.dropna()


MIXED = {
    "gpu": ["t4", "h100-sxm"], "model": ["llama-3-8b", "mixtral-8x7b", "gpt2"], "batch_size": [1, 8],
    "seq_len": [128, 1024],
}  # fmt: skip


def sources(**arguments):
    whole = wb.roofline_grid(**arguments)
    return {
        "eager": whole,
        "lazy": wb.roofline_grid(**arguments, chunks=29),
        "blocks": [whole.sel(gpu=[gpu], model=[model]) for gpu in arguments["gpu"] for model in arguments["model"]],
        "without calls": whole[["time", "flops", "bytes", "bound"]],
        "chunks, without calls": wb.roofline_grid(**arguments, chunks=29)[["time", "flops", "bytes", "bound"]],
    }


@pytest.mark.parametrize("name", ["time", "flops", "bytes"])
@pytest.mark.parametrize("source", ["eager", "lazy", "blocks", "without calls", "chunks, without calls"])
def test_an_operator_that_a_model_lacks_is_not_best(source, name):
    """Mixtral has a router, which takes no time on Llama, and GPT-2 no gate."""
    whole = table(wb.roofline_grid(**MIXED), name)
    assert whole[name].min() > 0
    ds = sources(**MIXED)[source]
    for by in ([], ["model"], ["model", "operator"], ["operator", "phase"]):
        expected = whole.groupby(by)[name].min() if by else whole[name].min()
        found = wb.best(ds, name, by=by)
        if by:
            pd.testing.assert_series_equal(found.set_index(by)[name].sort_index(), expected.sort_index())
        else:
            assert found[name].item() == expected
    assert wb.pareto(ds, "time", "flops").time.min() > 0


def test_a_grid_from_a_file_is_searched_as_it_was_made(tmp_path):
    chunks = {"operator": 3, "model": 2, "batch_size": 1}
    store.write(sweep.checked(**MIXED), tmp_path / "g.zarr", chunks=chunks)
    with xr.open_zarr(tmp_path / "g.zarr") as stored:
        found = wb.best(stored, "time", by=["model", "operator"])
        assert len(wb.best(stored, "time", limits={"peak_flop_rate": 1e14})) == 1  # stored in other chunks
    expected = wb.best(wb.roofline_grid(**MIXED), "time", by=["model", "operator"])
    pd.testing.assert_frame_equal(
        found.sort_values(["model", "operator"], ignore_index=True),
        expected.sort_values(["model", "operator"], ignore_index=True),
        check_dtype=False,
    )


def test_an_all_reduce_of_one_gpu_is_not_best():
    found = wb.best(wb.roofline_grid("h100-sxm", "llama-3-8b", tp=[1, 2]), "time", by=["operator", "tp"])
    assert set(found[found.operator == "all_reduce"].tp) == {2}
    assert found.time.min() > 0


def test_one_operator_selected_is_not_best_on_a_model_without_it():
    assert wb.best(wb.roofline_grid(**MIXED).sel(operator="router"), "time").model.item() == "mixtral-8x7b"


def test_ceilings_are_of_the_dims_that_they_have():
    assert wb.best(wb.roofline_grid(**MIXED), "bandwidth").to_dict("list") == {
        "gpu": ["h100-sxm"], "bandwidth": [wb.gpu("h100-sxm").bandwidth],
    }  # fmt: skip


@pytest.mark.parametrize("chunks", [None, 7, "auto", {"gpu": 1, "seq_len": 2}])
def test_best_of_a_grid_is_that_of_the_whole_table(chunks):
    whole = table(wb.roofline_grid(**GRID), "time", "performance")
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
    monkeypatch.setattr(search, "REQUESTS_AT_ONCE", 5)
    source = wb.estimates(list(PRICE), ["llama-3-8b", "gpt2"], price=PRICE, **SERVER) if blocks else servers
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


def test_what_fits_is_by_gpu(servers):
    """The same server needs the same memory on every GPU, if it fits."""
    found = wb.best(servers.sel(model=["llama-3-8b"]), "memory", by="gpu").set_index("gpu")
    assert set(found.index) == {"h100-sxm", "l4", "t4"}
    for gpu, row in found.iterrows():
        here = servers.sel(gpu=gpu, model="llama-3-8b")
        assert row.memory == here.memory.where(here.fits).min()


# What must hold everywhere ----------------------------------------------------------------------------------------

#: Few values, so that there are many equal ones; some settings have none.
VALUES = st.sampled_from([0.0, 1.0, 2.0, 3.0, np.nan, np.inf])


DIMS = ("gpu", "operator", "batch_size")


@st.composite
def settings(draw):
    """Two variables of which less is better and one of which more is, on some dims; what fits, and what there is."""
    lengths = {dim: draw(st.integers(1, 3)) for dim in DIMS}
    kinds = dict.fromkeys(("time", "cost", "performance"), VALUES)
    kinds |= draw(st.sampled_from([{}, {"fits": st.booleans()}, {"calls": st.sampled_from([0.0, 1.0])}]))
    variables = {}
    for name, values in kinds.items():
        dims = draw(st.lists(st.sampled_from(DIMS), min_size=1, unique=True))
        shape = [lengths[dim] for dim in dims]
        drawn = draw(st.lists(values, min_size=(count := int(np.prod(shape))), max_size=count))
        variables[name] = (dims, np.reshape(drawn, shape))
    ds = xr.Dataset(variables)
    return ds.assign_coords({dim: np.arange(size) + 10 for dim, size in ds.sizes.items()})


def allowed(ds, objectives, limits, by):
    """Every setting that is there, fits and keeps to the limits, as a row; `performance` turned so that less is better.

    In the order of `by` and then of the other dims, in which the first of equal ones is taken.
    """
    shown = ds[[*objectives, *limits]]
    there = ds.fits if "fits" in ds else xr.DataArray(True)
    if "calls" in ds:
        there = there & (ds.calls > 0).any([dim for dim in ds.calls.dims if dim not in shown.dims])
    rows = xr.merge(xr.broadcast(shown.assign(there=there))).transpose(*by, ...).to_dataframe().reset_index()
    rows = rows[rows.there & np.isfinite(rows[objectives]).all(axis=1)]
    for name, limit in limits.items():
        rows = rows[rows[name] >= limit if name == "performance" else rows[name] <= limit]
    return rows.assign(**{name: -rows[name] for name in rows if name == "performance"})


def groups(rows, by):
    return [group for _, group in rows.groupby(by)] if by else [rows] if len(rows) else []


def parts(ds):
    """The settings in blocks, one for each label of the first dim."""
    dim, size = next(iter(ds.sizes.items()))
    return [ds.isel({dim: [i]}) for i in range(size)]


QUESTIONS = (
    settings(),
    st.permutations(["time", "cost", "performance"]),
    st.none() | st.sampled_from([0, 1, 2, 3]),
    st.sets(st.sampled_from(DIMS)),
)


@given(*QUESTIONS)
def test_the_best_of_any_settings_is_that_of_their_table(ds, names, limit, by):
    objective, limits = names[0], {} if limit is None else {names[1]: limit}
    by = sorted(by & set(ds[[objective, *limits]].dims))
    rows = allowed(ds, [objective], limits, by)
    found, of_parts = (wb.best(source, objective, by=by, limits=limits) for source in (ds, parts(ds)))
    assert sorted(of_parts[objective]) == sorted(found[objective])
    turned = found.assign(performance=-found.performance) if "performance" in found else found
    first = [group.loc[group[objective].idxmin(), list(found)].tolist() for group in groups(rows, by)]
    assert turned.values.tolist() == first


@given(*QUESTIONS)
def test_the_front_of_any_settings_is_that_of_their_table(ds, names, limit, by):
    x, y, limited = names
    limits = {} if limit is None else {limited: limit}
    by = sorted(by & set(ds[[x, y, *limits]].dims))
    expected = []
    for rows in groups(allowed(ds, [x, y], limits, by), by):
        one, other = rows[x].to_numpy(), rows[y].to_numpy()
        front = rows[[not beaten(one, other, i) for i in range(len(rows))]].drop_duplicates([x, y])
        expected += front.sort_values(x)[[*by, x, y]].values.tolist()
    found, of_parts = (
        table.assign(performance=-table.performance) if "performance" in table else table
        for table in (wb.pareto(source, x, y, by=by, limits=limits) for source in (ds, parts(ds)))
    )
    assert found[[*by, x, y]].values.tolist() == expected
    assert sorted(of_parts[[*by, x, y]].values.tolist()) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": "tome"}, "unknown variable 'tome'. Did you mean 'time'"),
        ({"objective": ["time"]}, r"unknown variable \['time'\]. Did you mean 'time'"),
        ({"limits": {"ttft": 1}}, "unknown variable 'ttft'. .*Allowed: time, cost, performance"),
        ({"limits": {"cost": "1"}}, "limit of cost = '1': allowed are numbers"),
        ({"limits": {"cost": float("nan")}}, "limit of cost = nan: allowed are numbers"),
        ({"limits": "time"}, "limits = 'time': allowed are numbers by variable, e.g. {'time': 0.5}"),
        ({"limits": 5}, "limits = 5: allowed are numbers by variable"),
        ({"by": "gpu"}, "unknown dim in by 'gpu'. Allowed: batch_size"),
        ({"by": ["batch"]}, "unknown dim in by 'batch'. Did you mean 'batch_size'"),
        ({"by": 5}, "unknown dim in by 5. Allowed: batch_size"),
        ({"by": ["batch_size", "batch_size"]}, "dim in by has 'batch_size' more than once"),
        ({"maximize": "tome"}, "unknown variable in maximize 'tome'. Did you mean 'time'"),
        ({"minimize": 5}, "unknown variable in minimize 5. Allowed: time"),
        ({"maximize": "time", "minimize": "time"}, "'time' is in maximize and in minimize: give it in one of them"),
        ({"objective": "mine"}, "is more or less of 'mine' better. Give maximize='mine' or minimize='mine'"),
        ({"limits": {"mine": 1}}, "is more or less of 'mine' better"),
        ({"source": None}, "source is a NoneType: expected a Dataset, or several as `estimates` yields"),
        ({"source": "time"}, "source is a str: "),
        ({"source": by_hand().time}, "source is a DataArray: "),
        ({"source": by_hand().time[0]}, "source is a DataArray: "),
        ({"source": by_hand().to_dataframe()}, "source is a DataFrame: "),
        ({"source": [by_hand(), by_hand().to_dataframe()]}, "source is a DataFrame: "),
        ({"source": []}, "source is empty: give at least one Dataset"),
        ({"source": by_hand().isel(batch_size=0)}, "source has one setting and no dims: select with lists"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, message):
    source = by_hand().assign(mine=lambda d: d.time)
    with pytest.raises(ValueError, match=message) as error:
        wb.best(**{"source": source, "objective": "time"} | arguments)
    assert "\n" not in str(error.value)


def test_blocks_of_estimates_refuse_what_estimate_refuses():
    with pytest.raises(ValueError, match="unknown GPU 'h1000'"):
        wb.best(wb.estimates("h1000", "gpt2"), "ttft")


def test_nothing_else_is_held_than_a_block(monkeypatch):
    sizes = []
    load = xr.Dataset.load
    monkeypatch.setattr(xr.Dataset, "load", lambda ds: sizes.append(ds.time.size) or load(ds))
    lazy = wb.roofline_grid("t4", "gpt2", batch_size=range(1, 101), seq_len=range(1, 51), chunks=1000)
    assert np.isfinite(wb.best(lazy, "time").time.item())
    assert max(sizes) <= 1000
    assert sum(sizes) == lazy.time.size
