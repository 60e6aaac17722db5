"""The project's own measurements: what each says of itself, that nothing is fitted on them, and how far off we are."""

import re
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import pytest
import xarray as xr
import yaml

import workbench as wb
from workbench import plots, studies, tables, timings
from workbench.studies import against_measured

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "workbench" / "data" / "measured").iterdir())
NAMES = [path.stem for path in FILES]


# The files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_measurement_says_where_when_and_with_what_it_was_made(name):
    table = wb.measured(name)
    header = "\n".join(table.attrs["header"])
    for said in (r"^date: 2026-11-26", r"^gpu: NVIDIA H[12]00", r"^versions: torch 2\.11\.0\+cu130", r"^method: "):
        assert re.search(said, header, re.M), said
    assert set(table.gpu) == set(re.findall(r"^gpu: (.*)$", header, re.M))
    assert (table.time_s > 0).all()
    text = (ROOT / "workbench" / "data" / "measured" / f"{name}.csv").read_text()
    assert not re.search(r"/(root|home|tmp|work|mnt|data)/", text)  # of no other machine


def test_the_measurements_are_listed():
    listed = wb.measurements()
    assert list(listed.name) == NAMES
    counts = listed.set_index("name").timings
    assert (counts["llama-7b-unfused-h100"], counts["llama-7b-unfused-h200"]) == (252, 252)
    assert counts["llama-33b-candidates-h100"] == 2 * 7 * 8  # qk and pv, lengths, candidates
    with pytest.raises(ValueError, match="unknown name 'grid'. Did you mean 'grid-h200'"):
        wb.measured("grid")


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(("forward", "today"))])
def test_kernel_timings_are_in_the_projects_own_format(name):
    table = timings.read(ROOT / "workbench" / "data" / "measured" / f"{name}.csv")
    assert table.attrs["problems"] == []
    assert len(table) == len(wb.measured(name))


def test_nothing_is_fitted_on_them():
    """Up to calibration no wing may import their reader (test_wings), nor names their folder; no fit names a file."""
    for wing in ("catalog", "kernels", "timings", "calibration"):
        for path in (ROOT / "workbench" / wing).rglob("*.py"):
            assert not re.search(r"""data/measured|/ ["']measured["']""", path.read_text()), path
    for place in ("gpus", "fits"):
        for path in (ROOT / "workbench" / "data" / place).glob("*.yaml"):
            assert not [name for name in NAMES if name in path.read_text()], path


# Operators --------------------------------------------------------------------------------------------------------

FILES_H100 = {"h100-sxm": {"file": "llama-7b-unfused-h100", "dtype": "fp16"}}


@pytest.fixture(scope="module")
def params():
    return {
        name: yaml.safe_load((ROOT / "params" / "measured" / f"medusa-{name}-measured.yaml").read_text())
        for name in ("fig09", "fig18")
    }


@pytest.fixture(scope="module")
def charts(params):
    """The grids of the two charts, by figure."""
    names = ("files", "model", "operator", "phase", "batch_size", "seq_len")
    return {
        figure: studies.operator_times(
            *(values[name] for name in names), candidates=values["candidates"], engine=values["engine"]
        )
        for figure, values in params.items()
    }


def test_a_point_is_the_kernel_of_its_sizes(charts):
    """Rows of the files, found by eye: decode's projections have batch x hidden, scores have heads x new x context."""
    ds = charts["fig09"].sel(gpu="h100-sxm", model="llama-7b", candidates=1)
    decode = ds.measured_time.sel(operator="down_proj", phase="decode", batch_size=4)
    assert set(decode.values) == {3.5296e-05}  # m, n, k = 4, 4096, 11008, whatever the length
    ds = charts["fig18"].sel(gpu="h100-sxm", model="llama-33b", phase="decode", batch_size=16)
    assert ds.measured_time.sel(operator="pv", seq_len=8192, candidates=80).item() == 0.00095318
    flops = 2 * 16 * 52 * 80 * 8192 * 128  # sequences, heads, new tokens, context, head size
    assert ds.performance.sel(operator="pv", seq_len=8192, candidates=80).item() == pytest.approx(flops / 0.00095318)


def test_every_point_was_measured_but_prompts_that_do_not_fit(charts):
    assert charts["fig18"].measured_time.notnull().all()
    lacking = charts["fig09"].measured_time.isnull().to_series()
    lacking = lacking[lacking].reset_index()
    assert set(zip(lacking.operator, lacking.phase, strict=True)) == {("qk", "prefill"), ("pv", "prefill")}
    assert (lacking.batch_size * lacking.seq_len**2 * 32 * 2 > 0.9 * 80e9).all()  # their scores alone [byte]


def test_no_measured_operator_beats_its_roof(charts):
    for ds in charts.values():
        assert (ds.ideal_time / ds.measured_time).max() < 1


#: Mean absolute errors that the kernel-time model keeps to [%], of GEMMs and of attention's matmuls.
OPERATOR_LIMITS = {"fig09 gemm": 8, "fig09 unfused": 26, "fig18 unfused": 19}


@pytest.mark.parametrize("gpu", ["h100-sxm", "h200-sxm"])
@pytest.mark.parametrize("what", OPERATOR_LIMITS)
def test_operators_are_predicted_well(charts, params, what, gpu):
    figure, kind = what.split()
    rows = tables.series_errors(charts[figure], params[figure]["series"]).query("gpu == @gpu")
    rows = rows[rows.series.str.startswith("qk/pv") == (kind == "unfused")]
    error, ideal = ((rows[name] * rows.points).sum() / rows.points.sum() for name in ("error [%]", "ideal [%]"))
    assert error <= OPERATOR_LIMITS[what]
    assert error < ideal


def test_the_tables_of_a_chart_have_its_points(charts, params):
    series = params["fig18"]["series"]
    points = tables.measured_points(charts["fig18"], series)
    assert len(points) == 2 * 2 * 7 * 8
    errors = tables.series_errors(charts["fig18"], series)
    one = points.query("gpu == 'h200-sxm' and candidates == 112")
    off = 100 * (one["time [s]"] / one["measured_time [s]"] - 1)
    row = errors.query("gpu == 'h200-sxm' and series.str.endswith('112)')").iloc[0]
    assert (row.points, row["error [%]"], row["bias [%]"]) == pytest.approx((14, off.abs().mean(), off.mean()))


def test_a_chart_has_a_dot_and_a_bar_for_each_point(charts, params):
    figure, (above, below) = plt.subplots(2)
    ds, series = charts["fig18"].sel(gpu=["h100-sxm"]), params["fig18"]["series"]
    plots.measured_roofline(ds, above, series=series, title="a")
    plots.time_ratios(ds, below, series=series)
    for ax, names in ((above, ("performance", "predicted")), (below, ("ratio", "ideal_ratio"))):
        drawn = {tuple(point) for dots in ax.collections for point in dots.get_offsets().data.round(9)}
        values = {
            "performance": ds.performance, "predicted": ds.flops / ds.time, "ratio": ds.time / ds.measured_time,
            "ideal_ratio": ds.ideal_time / ds.measured_time,
        }  # fmt: skip
        points = [xr.broadcast(ds.intensity, values[name]) for name in names]
        pairs = (zip(x.values.ravel(), y.values.ravel(), strict=True) for x, y in points)
        assert drawn == {(round(x, 9), round(y, 9)) for each in pairs for x, y in each}
    assert [text.get_text() for text in below.get_legend().get_texts()] == [
        f"kernel-time model: {100 * abs(ds.time / ds.measured_time - 1).mean():.1f} % off",
        f"ideal roofline: {100 * abs(ds.ideal_time / ds.measured_time - 1).mean():.1f} % off",
    ]
    plt.close(figure)


@pytest.mark.parametrize(("change", "message"), [
    ({"files": {}}, "files is empty: give a measurement by GPU"),
    ({"files": {"h100-sxm": {"file": "forward"}}}, "files of h100-sxm = {'file': 'forward'}: expected a mapping of"),
    ({"files": {"h100-sxm": {"file": "grid-h20", "dtype": "bf16"}}}, "unknown name 'grid-h20'. Did you mean 'grid-h2"),
    ({"files": {"h100-sxm": {"file": "grid-h200", "dtype": "fp16"}}}, "file 'grid-h200' has no timing in fp16 of q_p"),
    ({"model": "llama-65b"}, "file 'llama-7b-unfused-h100' has no timing in fp16 of q_proj of llama-65b"),
])  # fmt: skip
def test_what_was_not_measured_is_refused_in_one_line(change, message):
    arguments = {"files": FILES_H100, "model": "llama-7b", "operator": ["q_proj"], "phase": "decode"} | change
    with pytest.raises(ValueError, match=re.escape(message)):
        studies.operator_times(**arguments, batch_size=[1], seq_len=[128])


# Forward passes ---------------------------------------------------------------------------------------------------

#: Mean absolute errors that the kernel-time model keeps to [%], by format and phase, with PyTorch's kernels.
#: Of fp8 prompts they are those of the fp8 GEMMs, 11 % too slow in the mean: norms and activations are the same kernels
#: in both formats, and so is their time.
LIMITS = {("bf16", "decode"): 5, ("bf16", "prefill"): 8, ("fp8", "decode"): 8, ("fp8", "prefill"): 13}


@pytest.fixture(scope="module")
def passes():
    return studies.forward_passes("pytorch")


def test_forward_passes_are_those_of_cuda_graphs(passes):
    assert len(passes) == sum(
        (~wb.measured(name).phase.str.startswith("eager")).sum() for name in against_measured.PASS_FILES
    )
    assert set(passes.gpu) == {"h100-sxm"}
    row = passes.query("model == 'llama-3-8b' and dtype == 'bf16' and phase == 'decode' and batch_size == 1").iloc[0]
    assert (row.seq_len, row.time_s) == (512, 0.00624927)
    # all weights but the embedding, and the cache: 512 tokens of 32 layers x 2 x 1024; 2 byte each
    parameters = 32 * (4096 * 6144 + 4096 * 4096 + 3 * 4096 * 14336) + 4096 * 128256
    floor = 2 * (parameters + 512 * 32 * 2 * 1024) / 3350e9
    assert floor < row.ideal_s < 1.01 * floor


@pytest.mark.parametrize(("dtype", "phase"), LIMITS)
def test_whole_forward_passes_are_predicted_well(passes, dtype, phase):
    errors = studies.pass_errors(passes).set_index(["dtype", "phase"]).loc[dtype, phase]
    assert errors["error [%]"] <= LIMITS[dtype, phase]
    assert errors["ideal [%]"] > 1.5 * errors["error [%]"]
    rows = passes[(passes["dtype"] == dtype) & (passes.phase == phase)]
    assert errors["passes"] == len(rows)
    assert errors["bias [%]"] == pytest.approx(100 * (rows.kernel_s / rows.time_s - 1).mean())


def test_no_forward_pass_is_below_its_roof(passes):
    assert (passes.ideal_s < passes.time_s).all()
    assert (passes.ideal_s <= passes.kernel_s).all()


def test_a_chart_of_passes_has_a_dot_for_each(passes):
    rows = passes[passes.phase == "prefill"]
    ax = plots.passes(rows, plt.subplots()[1], title="prefill")
    drawn = [line for line in ax.get_lines() if len(line.get_xdata()) and line.get_linestyle() == "None"]
    assert sum(len(line.get_xdata()) for line in drawn) == 2 * len(rows)
    assert [text.get_text().partition(":")[0] for text in ax.get_legend().get_texts()] == [
        "llama-3-8b, bf16", "qwen2.5-7b, bf16", "llama-3-8b, fp8", "ideal roofline",
    ]  # fmt: skip
    plt.close(ax.figure)
