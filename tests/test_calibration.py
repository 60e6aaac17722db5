"""Fits: known parameters are found again among outliers, errors are of rows held out, and bad tables say why."""

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import workbench as wb
from workbench import calibration, kernels, plots
from workbench.calibration import least_squares
from workbench.calibration.kinds import FITTED
from workbench.calibration.rows import folds
from workbench.catalog import read_fits
from workbench.catalog.fits import DecodeFit, ElementwiseFit, GemmFit, PrefillFit
from workbench.cli import app

GPU = "a100-80gb-sxm"
TRUTH = {
    "gemm": GemmFit(
        launch_us=4.0, loop_us=3.0, loop_depth=800.0, fill_depth=150.0, half_tile=20.0, boost=0.1,
        compute_fraction=0.75, bandwidth_fraction=0.85, overlap=2.0,
    ),
    "unfused": GemmFit(launch_us=5.0, fill_depth=100.0, compute_fraction=0.6, bandwidth_fraction=0.7, overlap=1.5),
    "prefill": PrefillFit(
        launch_us=9.0, wave_us=2.0, token_ns=1.5, exponentials=1.5, compute_fraction=0.7, large_head=0.8,
        bandwidth_fraction=0.6, tail=0.5, window_edge=2.0, packed_heads=True,
    ),
    "decode": DecodeFit(
        launch_us=8.0, context_us=3.0, wave_us=2.5, bandwidth_fraction=0.8, overlap=2.0, compute_fraction=0.2,
        block_gbs=20.0, max_splits=8.0, large_head=0.8, single_head=0.7,
    ),
    "elementwise": ElementwiseFit(launch_us=3.0, bandwidth_fraction=0.6),
}  # fmt: skip


def shapes(kind, rng, rows):
    def pick(values):
        return rng.choice(values, rows)

    if kind in ("gemm", "unfused"):
        table = {"m": pick([1, 16, 64, 200, 512, 1000, 4096, 16384]), "n": pick([512, 2048, 4096, 11008, 28672])}
        table |= {"k": pick([64, 512, 2048, 4096, 14336])}
        return table | ({"batch": pick([1, 32, 256])} if kind == "unfused" else {})
    if kind == "elementwise":
        return {"bytes": 2.0 ** rng.uniform(12, 30, rows)}
    context = pick([32, 128, 1000, 4096, 16384, 65536 if kind == "decode" else 8192])
    return {
        "batch_size": pick([1, 4, 32, 128]), "seq_len_q": context if kind == "prefill" else np.ones(rows),
        "seq_len_kv": context, "n_heads": pick([8, 16, 32, 64]), "n_kv_heads": pick([1, 4, 8]),
        "head_dim": pick([64, 128, 256]), "window": pick([np.nan, 256.0]),
    }  # fmt: skip


def synthetic(kind, rows=600, noise=0.03, outliers=0.05, seed=1):
    """Timings that the model would give, with 3 % noise and 5 % of the rows three times too slow."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"operator_class": kind, "dtype": "fp16"} | shapes(kind, rng, rows))
    timings = least_squares.Timings(kind, "bf16", table.assign(time_s=1.0), wb.gpu(GPU))
    slow = np.where(rng.random(rows) < outliers, 3.0, 1.0)
    return table.assign(time_s=timings.predict(TRUTH[kind]) * np.exp(noise * rng.standard_normal(rows)) * slow)


@pytest.fixture(scope="module")
def result():
    table = pd.concat([synthetic(kind) for kind in TRUTH], ignore_index=True)
    return calibration.fit(table, GPU)


@pytest.fixture(scope="module")
def gemm_table():
    return synthetic("gemm", rows=60)


# What a fit finds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TRUTH)
def test_known_parameters_are_found_again(result, kind):
    """Within 10 % or half a microsecond, what is hardly seen in times wider: 3 % noise, one row in twenty wild."""
    found, known = result.of(kind).model_dump(), TRUTH[kind].model_dump()
    tolerance = {"loop_depth": 0.5, "fill_depth": 0.25, "half_tile": 0.25}
    for name in FITTED[kind].bounds:
        absolute = 0.5 if name.endswith("_us") else 0.05
        assert found[name] == pytest.approx(known[name], rel=tolerance.get(name, 0.1), abs=absolute), name


def test_packed_heads_are_told_from_others(result):
    assert result.of("prefill").packed_heads


def test_intervals_cover_the_truth():
    """95 % intervals: of 35 parameters no more than three outside. Outliers to one side would pull them off."""
    table = pd.concat([synthetic(kind, outliers=0) for kind in TRUTH], ignore_index=True)
    result = calibration.fit(table, GPU)
    truth = [getattr(TRUTH[row.kind], row.parameter) for row in result.parameters.itertuples()]
    inside = result.parameters.low.le(truth) & result.parameters.high.ge(truth) | result.parameters.low.isna()
    assert (~inside).sum() <= 3
    assert (result.parameters.high - result.parameters.low).gt(0).sum() > 15


def test_what_the_rows_do_not_determine_has_no_interval():
    """One head size: the softmax and the products of a score cannot be told apart; no head is large, no edge seen."""
    table = synthetic("prefill")
    parameters = calibration.fit(table[(table.head_dim == 128) & table.window.isna()], GPU).parameters
    unknown = set(parameters.parameter[parameters.low.isna()])
    assert "exponentials" in unknown
    assert not unknown & {"launch_us", "wave_us", "bandwidth_fraction"}
    assert not set(parameters.parameter) & {"large_head", "window_edge"}


def test_held_out_errors_are_the_noise_and_the_outliers(result):
    """Mean error: 2.4 % of noise, and of 5 % outliers two thirds each: 5.6 %; the ideal roofline is far off."""
    whole = result.errors[result.errors.regime == "all"].set_index("kind")
    assert whole.error_percent.between(4, 9).all()
    assert (whole.bias_percent.abs() < 6).all()
    assert (whole.ideal_error_percent > 3 * whole.error_percent).all()
    assert set(result.errors.regime) == {"all", *calibration.REGIMES}
    parts = result.errors[result.errors.regime != "all"].groupby("kind").rows.sum()
    assert parts.to_dict() == whole.rows.to_dict()


def test_no_row_is_judged_by_a_fit_that_saw_its_shape(gemm_table):
    held_out = list(folds(gemm_table, ["n", "k"]))
    assert (np.sum(held_out, axis=0) == 1).all()
    for unseen in held_out:
        shapes = [set(map(tuple, gemm_table.loc[rows, ["n", "k"]].to_numpy())) for rows in (unseen, ~unseen)]
        assert not shapes[0] & shapes[1]


def test_rows_above_the_roof_are_not_fitted_on():
    """A cache that never left L2 reads faster than the memory: a few such rows change no parameter."""
    table = synthetic("decode", outliers=0)
    small = table[(table.seq_len_kv == 1000) & (table.batch_size == 1)]
    impossible = small.iloc[: len(table) // 100].assign(time_s=1e-9)
    clean, dirty = calibration.fit(table, GPU), calibration.fit(pd.concat([table, impossible]), GPU)
    assert dirty.of("decode") == clean.of("decode")
    assert (dirty.table.predicted_s >= dirty.table.ideal_s).all()


@pytest.mark.parametrize(("kind", "copies", "rel"), [("gemm", 6, 0.15), ("decode", 1, 0.05)])
def test_replays_give_the_rate_of_the_l2_cache(kind, copies, rel):
    """Where many rows beat the memory roof, operands that fit were in L2, as many sets of them as the rows say.

    The room in L2, which GEMMs have besides, is 1; a little less of it and a slower L2 give nearly the same times.
    """
    rng = np.random.default_rng(2)
    table = pd.DataFrame({"operator_class": kind, "dtype": "fp16", "copies": copies} | shapes(kind, rng, 600))
    timings = least_squares.Timings(kind, "bf16", table.assign(time_s=1.0), wb.gpu("l40s"))
    truth = TRUTH[kind].model_copy(update={"l2_speedup": 4.0, "launch_us": 1.0})
    table["time_s"] = timings.predict(truth)
    result = calibration.fit(table, "l40s")
    assert result.of(kind).l2_speedup == pytest.approx(4, rel=rel)
    assert getattr(result.of(kind), "l2_share", 1) > 0.9
    assert result.errors.error_percent[0] < 3
    assert "l2_speedup" in set(result.parameters.parameter)


def test_a_prompt_of_one_token_counts_as_decode():
    table = synthetic("decode").assign(operator_class="attention_prefill", seq_len_kv=1)
    assert [fit.kind for fit in calibration.fit(table, GPU).fits] == ["decode"]


# What a fit gives back --------------------------------------------------------------------------------------------


def test_the_snippet_is_a_file_of_fits(result):
    fits = {fit.kind: fit for fit in read_fits(yaml.safe_load(result.to_yaml("synthetic")), "snippet")}
    assert fits["gemm"].parameters.compute_fraction == pytest.approx(result.of("gemm").compute_fraction, rel=0.005)
    assert fits["gemm"].source == "synthetic"
    assert fits["gemm"].rows == 600
    assert 0 < fits["gemm"].intervals_percent["compute_fraction"] < 10


def test_a_catalog_entry_computes_with_a_pasted_snippet(result):
    fits = read_fits(yaml.safe_load(result.to_yaml("synthetic")), "snippet")
    card = wb.gpu(GPU).model_copy(update={"fits": fits})
    row = result.table[result.table.kind == "gemm"].iloc[0]
    time = kernels.gemm_time(card, m=row.m, n=row.n, k=row.k)
    assert time == pytest.approx(row.predicted_s, rel=0.01)  # three digits in the snippet


@pytest.mark.parametrize("draw", [plots.predicted_against_measured, plots.residuals])
def test_predicted_against_measured(result, ax, draw):
    assert draw(result.table, ax, title="A100") is ax
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert [label.split(":")[0] for label in labels] == [*sorted(TRUTH), "ideal roofline"]
    assert ax.get_xlabel() == "Measured time (s)"


def test_timings_of_several_gpus_are_not_mixed(tmp_path, gemm_table):
    file = tmp_path / "timings.csv"
    pd.concat([gemm_table.assign(gpu="A100"), gemm_table.assign(gpu="H100")]).to_csv(file, index=False)
    arguments = ["calibrate", str(file), "--gpu", GPU]
    mixed = CliRunner().invoke(app, arguments)
    assert (mixed.exit_code, mixed.stdout) == (1, "")
    assert mixed.stderr == "workbench: timings of 2 GPUs ('A100', 'H100'): choose one with --measured-on\n"
    one = CliRunner().invoke(app, [*arguments, "--measured-on", "A100"])
    assert yaml.safe_load(one.stdout)["fits"][0]["rows"] == len(gemm_table)
    wrong = CliRunner().invoke(app, [*arguments, "--measured-on", "A10"])
    assert "unknown --measured-on 'A10'. Did you mean" in wrong.stderr


def test_calibrate_draws_the_fit(tmp_path, gemm_table):
    file, picture = tmp_path / "timings.csv", tmp_path / "fit.png"
    gemm_table.to_csv(file, index=False)
    arguments = ["calibrate", str(file), "--gpu", GPU, "--plot"]
    assert CliRunner().invoke(app, [*arguments, str(picture)]).exit_code == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"
    refused = CliRunner().invoke(app, [*arguments, str(tmp_path / "fit.gif")])
    assert refused.exit_code == 1
    assert "unknown file suffix of --plot '.gif'" in refused.stderr


def test_calibrate_prints_a_snippet_or_writes_it(tmp_path, gemm_table):
    file, snippet = tmp_path / "timings.csv", tmp_path / "snippet.yaml"
    file.write_text("# machine, date, command\n" + gemm_table.to_csv(index=False))
    printed = CliRunner().invoke(app, ["calibrate", str(file), "--gpu", GPU])
    assert printed.exit_code == 0
    assert "compute-bound" in printed.stderr
    assert yaml.safe_load(printed.stdout)["sources"] == {"timings 1": "timings.csv"}
    written = CliRunner().invoke(app, ["calibrate", str(file), "--gpu", GPU, "-o", str(snippet)])
    assert written.exit_code == 0
    assert snippet.read_text() == printed.stdout


# Bad tables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns=["time_s", "dtype"]), "timings have no column dtype, time_s: needed are"),
        (lambda t: t.drop(columns="k"), "timings have no column k: gemm needs m, n, k"),
        (lambda t: t.iloc[:0], "no timings to fit: operator_class has none of gemm, unfused, prefill"),
        (lambda t: t.assign(operator_class="conv"), "no timings to fit"),
        (lambda t: t.iloc[:10], "10 rows of bf16 gemm of pytorch .*: a fit needs 20, of 3 sizes"),
        (lambda t: t.assign(m=64, n=64, k=64), "60 rows of bf16 gemm of pytorch .*: a fit needs 20, of 3 sizes"),
        (lambda t: t.assign(time_s=[np.nan, *t.time_s[1:]]), "time_s = nan in a gemm row: expected positive numbers"),
        (lambda t: t.assign(m=[-4, *t.m[1:]]), "m = -4 in a gemm row: expected positive numbers"),
        (lambda t: t.assign(n=["x", *t.n[1:]]), "n = x in a gemm row: expected positive numbers"),
        (lambda t: t.assign(dtype="float16"), r"unknown dtype 'float16'\. Did you mean 'fp16'"),
        (lambda t: t.assign(dtype="fp8"), "a100-80gb-sxm has no fp8 peak"),
    ],
)
def test_a_bad_table_is_one_clear_line(gemm_table, change, message):
    with pytest.raises(ValueError, match=message) as error:
        calibration.fit(change(gemm_table), GPU)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "gpu", "message"),
    [
        ("", GPU, "timings.csv: not a known timing format, it starts with ''"),
        ("a,b\n1,2\n", GPU, "timings.csv: not a known timing format, it starts with 'a,b'"),
        ("a,b\n1,2\n", "h1000", "unknown GPU 'h1000'"),
    ],
)
def test_a_bad_file_is_one_line_and_exit_status_1(tmp_path, text, gpu, message):
    file = tmp_path / "timings.csv"
    file.write_text(text)
    run = CliRunner().invoke(app, ["calibrate", str(file), "--gpu", gpu])
    assert run.exit_code == 1
    assert message in run.stderr
    assert run.stderr.count("\n") == 1


def test_a_missing_file(tmp_path):
    run = CliRunner().invoke(app, ["calibrate", str(tmp_path / "none.csv"), "--gpu", GPU])
    assert run.exit_code == 1
    assert "none.csv" in run.stderr


def test_timings_of_any_format_become_rows_that_a_fit_can_use():
    timings = pd.DataFrame(
        [
            ("gemm", "q_proj", "fp16", 8, 64, 64, None), ("other", "qk_init", "fp16", 8, 8, 128, 32),
            ("other", "sampler", "fp16", 8, None, None, None),
            ("elementwise", "7b:rms_norm", "fp16", 8, 64, None, None),
            ("elementwise", "rotary", "fp16", 8, 64, None, None), ("gemm", "q_proj", "bf16/fp8", 8, 64, 64, None),
        ],
        columns=["operator_class", "name", "dtype", "m", "n", "k", "batch_size"],
    ).assign(time_s=1e-5)  # fmt: skip
    rows = calibration.usable(timings)
    assert list(rows.operator_class) == ["gemm", "unfused", "elementwise"]
    assert rows.batch.tolist()[1] == 32
    assert rows.bytes.tolist()[2] == 2 * 8 * 64 * 2  # read once and written once, 2 bytes an element


def test_a_kind_with_too_few_rows_is_skipped_with_its_reason():
    few = pd.DataFrame({"operator_class": ["elementwise"], "dtype": ["fp16"], "bytes": [1e6], "time_s": [1e-5]})
    table = pd.concat([synthetic("gemm"), few], ignore_index=True)
    result = calibration.fit(table, "a100-80gb-sxm")
    assert [fit.kind for fit in result.fits] == ["gemm"]
    assert result.skipped == ("1 rows of bf16 elementwise of pytorch not stated: a fit needs 20, of 3 sizes",)


def test_one_models_rows_are_judged_at_other_sizes():
    table = synthetic("prefill")
    result = calibration.fit(table.assign(n_heads=32, n_kv_heads=8, head_dim=128), GPU)
    assert result.fits[0].held_out == "3 folds by batch_size, seq_len_q, seq_len_kv, n_heads, n_kv_heads, head_dim"


def test_models_are_held_out_together():
    table = synthetic("gemm")
    names = np.array(["llama:q_proj", "qwen:q_proj", "phi:q_proj", "phi:down_proj"])[np.arange(len(table)) % 4]
    assert calibration.fit(table.assign(name=names), GPU, by="model").fits[0].held_out == "3 folds by model"
    assert calibration.fit(table.assign(name="llama:q"), GPU, by="model").fits[0].held_out == "3 folds by n, k"


def test_grouped_products_alone_are_no_layer():
    """The project's own timings of experts have neither routing nor tp and ep: no fit of a layer is made of them."""
    rows = calibration.usable(wb.measured("today-kernels-h100"))
    assert "moe" not in set(rows.operator_class)
    assert {"gemm", "attention_prefill", "attention_decode"} <= set(rows.operator_class)


def test_each_engine_and_format_has_a_fit_of_its_own():
    bf16, fp8 = (
        synthetic("gemm").assign(framework=name, dtype=d) for name, d in (("vllm-0.9", "bf16"), ("sglang-1", "fp8"))
    )
    result = calibration.fit(pd.concat([bf16, fp8], ignore_index=True), "h100-sxm")
    found = [(fit.engine, fit.version, fit.format, fit.rows) for fit in result.fits]
    assert [each[:3] for each in found] == [("vllm", "0.9", "bf16"), ("sglang", "1", "fp8")]
    assert set(result.errors.engine) == {"vllm", "sglang"}


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (1e3, "half of the large gemm rows take .* times the roof's time: are they in seconds"),
        (1e-3, "100% of the gemm rows beat the roof of a100-80gb-sxm: are they of that GPU"),
    ],
)
def test_times_in_another_unit_or_of_another_gpu(gemm_table, factor, message):
    with pytest.raises(ValueError, match=message):
        calibration.fit(gemm_table.assign(time_s=gemm_table.time_s * factor), "a100-80gb-sxm")


def test_calibrate_tells_what_it_could_not_use(tmp_path, gemm_table):
    file = tmp_path / "timings.csv"
    bad = gemm_table.iloc[:2].assign(m=[-5, 8], dtype=["fp16", "fp16/fp8"])
    file.write_text(pd.concat([gemm_table, bad]).to_csv(index=False))
    run = CliRunner().invoke(app, ["calibrate", str(file), "--gpu", GPU])
    assert run.exit_code == 0
    assert "m = '-5'" in run.stderr
    assert "rows are of no kind that is fitted" in run.stderr
