"""Fits of the whole catalog: a table of operators becomes files of fits, or is judged; what no fit is to see."""

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import workbench as wb
from workbench import calibration
from workbench.calibration.operators import COLUMNS_AS, WORDS
from workbench.calibration.whole_catalog import JUDGED
from workbench.catalog import CollectiveFit, catalog_fits, kernel_fit, read_fits
from workbench.cli import app
from workbench.kernels.collectives import collective_seconds
from workbench.operators import Cost

pytest.importorskip("pyarrow")

TRUTH = CollectiveFit(
    launch_us=5.0, gpu_us=1.0, one_shot=False, small_fraction=0.1, setup_us=20.0, pair_fraction=0.8, all_fraction=0.6
)
#: Of `TRUTH` on both, with 3 % noise: what a fit can reach.
NOISE = 0.03


def operators(path, rows):
    """A file of operators with all columns, NaN and empty where a row says nothing."""
    empty = dict.fromkeys(WORDS, "") | dict.fromkeys(COLUMNS_AS, np.nan)
    pd.DataFrame([empty | row for row in rows]).to_parquet(path)
    return path


def messages(name, seed):
    """All-reduces among 2, 4 and 8 GPUs of one card, by NCCL."""
    rng, card = np.random.default_rng(seed), wb.gpu(name.replace("_", "-"))
    gpus, size = np.array([(g, 2.0**k) for g in (2, 4, 8) for k in range(10, 28)]).T
    seconds = collective_seconds(TRUTH, card, Cost(0.0, 4 * size, size, 1, 1, kernel="all_reduce", gpus=gpus))
    seconds = seconds * np.exp(NOISE * rng.standard_normal(len(size)))
    row = {"gpu": name, "engine": "nccl", "version": "2.30", "operator": "all_reduce", "dtype": "half"}
    return [
        row | {"kernel_source": "NCCL", "gpus": g, "message_bytes": s, "time_s": t}
        for g, s, t in zip(gpus, size, seconds, strict=True)
    ]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Two GPUs of one architecture and link; a third one that the catalog does not have."""
    rows = messages("h100_sxm", 1) + messages("h200_sxm", 2)
    return operators(tmp_path_factory.mktemp("operators") / "o.parquet", [*rows, rows[0] | {"gpu": "x100"}])


@pytest.fixture(scope="module")
def fits(file):
    return calibration.fit_catalog(calibration.read_operators(file), "made up", processes=1)


# Fits -------------------------------------------------------------------------------------------------------------


def test_every_gpu_has_its_fit_and_the_error_of_the_other_ones(fits):
    assert set(fits) == {"h100-sxm", "h200-sxm"}
    for (fit,) in fits.values():
        assert (fit.kind, fit.format, fit.engine, fit.version, fit.family) == (
            *("all_reduce", "bf16", "nccl", "2.30", "nccl"),
        )  # fmt: skip
        assert (fit.rows, fit.held_out, fit.source) == (54, "3 folds by message_bytes", "made up")
        # the mean of |N(0, 3 %)| is 2.4 %, and a fit to other rows is a little off besides
        assert 0.75 * 2.4 < fit.error_percent < 1.5 * 2.4
        assert 0.75 * 2.4 < fit.elsewhere_percent < 1.5 * 2.4
        assert fit.noise_percent is None  # one engine
        for name in ("launch_us", "setup_us", "pair_fraction", "all_fraction", "small_fraction"):
            assert getattr(fit.parameters, name) == pytest.approx(getattr(TRUTH, name), rel=0.15)


def test_the_error_elsewhere_is_of_a_fit_that_never_saw_the_gpu(file):
    """Times twice as long on one GPU: each one's fit is off by half, or twice, on the other."""
    table = calibration.read_operators(file)
    slow = table.gpu.eq("h200-sxm")
    fits = calibration.fit_catalog(table.assign(time_s=table.time_s * (1 + slow)), "made up", processes=1)
    assert fits["h100-sxm"][0].elsewhere_percent == pytest.approx(100, rel=0.1)
    assert fits["h200-sxm"][0].elsewhere_percent == pytest.approx(50, rel=0.1)
    other_link = table.assign(gpu=table.gpu.replace("h100-sxm", "l40s"))
    apart = calibration.fit_catalog(other_link, "made up", processes=1)
    assert [own[0].elsewhere_percent for own in apart.values()] == [None, None]


def test_a_file_keeps_the_catalogs_fits_of_other_kernels_and_other_timings(fits, tmp_path):
    known = {fit.kind: fit for fit in catalog_fits("h100-sxm") if fit.engine == "nccl"}["all_reduce"]
    for source, rows in (("made up", {known.rows, 54}), (known.source, {54})):
        new = {name: [fit.model_copy(update={"source": source}) for fit in own] for name, own in fits.items()}
        paths = calibration.write_fits(new, tmp_path)
        assert [path.name for path in paths] == ["h100-sxm.yaml", "h200-sxm.yaml"]
        written = read_fits(yaml.safe_load(paths[0].read_text()), "there")
        assert {fit.rows for fit in written if fit.kind == "all_reduce" and fit.engine == "nccl"} == rows
        others = [fit for fit in catalog_fits("h100-sxm") if fit is not known]
        assert all(fit in written for fit in others)
        assert len(written) == len(others) + len(rows)


def test_the_command_writes_what_the_function_fits(file, fits, tmp_path):
    arguments = ["calibrate", str(file), "--catalog", str(tmp_path), "--source", "made up"]
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 0, run.output
    assert run.stdout.split() == [str(tmp_path / f"{name}.yaml") for name in fits]
    assert "workbench: 1 rows left out: GPUs that are not in the catalog" in run.stderr
    (tmp_path / "again").mkdir()
    calibration.write_fits(fits, tmp_path / "again")
    for name in fits:
        assert (tmp_path / f"{name}.yaml").read_bytes() == (tmp_path / "again" / f"{name}.yaml").read_bytes()


@pytest.mark.parametrize("processes", [0, -1, 1.5, True])
def test_a_number_of_processes_that_is_none(file, processes):
    with pytest.raises(ValueError, match="processes"):
        calibration.fit_catalog(calibration.read_operators(file), "made up", processes=processes)


# Judgement --------------------------------------------------------------------------------------------------------


def test_the_catalog_is_judged_by_the_fit_that_it_computes_with(file, tmp_path):
    table = calibration.read_operators(file)
    found = calibration.judge(table)
    assert list(found) == JUDGED
    assert found.regime.tolist() == ["all", "memory-bound"] * 2
    whole = found[found.regime == "all"].set_index("gpu")
    for name in ("h100-sxm", "h200-sxm"):
        rows, used = table[table.gpu == name], kernel_fit(name, "all_reduce", family="nccl")
        assert (whole.rows[name], whole.fit[name]) == (54, used.label)
        work = Cost(0.0, 2 * rows.message_bytes.to_numpy(), 1, 1, 1, kernel="all_reduce", gpus=rows.gpus.to_numpy())
        off = 100 * (collective_seconds(used.fit, wb.gpu(name), work) / rows.time_s - 1)
        assert whole.error_percent[name] == pytest.approx(off.abs().mean(), rel=1e-6)
        assert whole.bias_percent[name] == pytest.approx(off.mean(), rel=1e-6)
        assert whole.held_out_percent[name] == used.record.error_percent
        assert whole.ideal_error_percent[name] > 50  # latency, of which the roof knows nothing
    run = CliRunner().invoke(app, ["calibrate", str(file), "--judge", "-o", str(tmp_path / "j.csv")])
    assert run.exit_code == 0, run.output
    written = pd.read_csv(tmp_path / "j.csv")
    pd.testing.assert_frame_equal(written[["gpu", "rows"]], found.reset_index()[["gpu", "rows"]])
    np.testing.assert_allclose(written.error_percent, found.error_percent, atol=0.005)


def test_without_a_catalog_or_a_judgement_a_gpu_is_needed(file):
    run = CliRunner().invoke(app, ["calibrate", str(file)])
    assert run.exit_code == 1
    assert run.stderr == "workbench: --gpu is missing: the id of the GPU that was measured; or --catalog, or --judge\n"


# What is read -----------------------------------------------------------------------------------------------------

GEMM = {"gpu": "b200_sxm", "engine": "vllm", "version": "0.24", "operator": "gemm", "dtype": "bfloat16",
        "kernel_source": "vllm_default", "m": 8.0, "n": 64.0, "k": 64.0, "time_s": 1e-5}  # fmt: skip
HEADS = {"batch_size": 1.0, "n_heads": 8.0, "n_kv_heads": 8.0, "head_dim": 128.0, "time_s": 1e-5}
STEP = GEMM | HEADS | {"operator": "attention_decode", "kv_dtype": "bfloat16", "new_tokens": 1.0, "context": 512.0,
                       "kernel_source": "flash_attention"}  # fmt: skip
LATENT = STEP | {"operator": "mla_decode", "kernel_source": "trtllm_mla", "engine": "sglang", "version": "0.5.14"}
LATENT_PROMPT = LATENT | {"operator": "mla_prefill", "new_tokens": 512.0}
MOE = GEMM | {"operator": "moe", "kernel_source": "vllm_fused_moe", "n_experts": 8.0, "top_k": 2.0, "tp": 1.0,
              "ep": 1.0, "distribution": "power_law_1.2"}  # fmt: skip
MESSAGE = GEMM | {"operator": "all_reduce", "kernel_source": "vLLM_custom_graph", "gpus": 2.0, "message_bytes": 64.0}
LINEAR = GEMM | {"operator": "gdn", "kernel_source": "fused_sigmoid_gating", "phase": "generation"}
KEPT = (GEMM, STEP, LATENT, LATENT_PROMPT, MOE, MESSAGE, LINEAR)
#: By the beginning of a reason, a row that is left out for it; each is one of `KEPT` with a change.
LEFT_OUT = {
    "GPUs that are not": GEMM | {"gpu": "x100"},
    "operators without a law": GEMM | {"operator": "mamba2"},
    "convolutions": LINEAR | {"kernel_source": "causal_conv1d_update"},
    "SGLang's B300": GEMM | {"engine": "sglang", "gpu": "b300_sxm"},
    "NCCL 1.3": MESSAGE | {"version": "1.3.0rc10"},
    "MLA of vLLM 0.14": LATENT | {"engine": "vllm", "version": "0.14.0"},
    "SGLang's MLA on Hopper": LATENT | {"gpu": "h100_sxm", "kv_dtype": "fp8"},
    "SGLang's MLA prefill": LATENT_PROMPT | {"kernel_source": "triton"},
    "MLA prefill by TensorRT-LLM 1.0": LATENT | {"gpu": "a100_sxm", "engine": "trtllm", "kv_dtype": "fp8"},
    "FlashInfer's CUTLASS MoE": MOE | {"gpu": "h100_sxm", "dtype": "fp8", "kernel_source": "vllm_cutlass_moe"},
    "MoE of vLLM 0.14": MOE | {"version": "0.14.0", "ep": 4.0, "m": 2.0},
    "SGLang's Triton attention": STEP | {"engine": "sglang", "kernel_source": "triton"},
    "decoding over fewer": STEP | {"context": 64.0},
    "more than 16 query heads": STEP | {"n_heads": 64.0, "n_kv_heads": 1.0},
    "prompts of fewer": STEP | {"operator": "attention_prefill", "new_tokens": 64.0},
    "latent decoding over fewer": LATENT | {"context": 128.0},
    "decoding of shared KV heads": STEP | {"engine": "trtllm", "gpu": "a100_sxm", "n_kv_heads": 2.0},
    "linear attention that moves": LINEAR | {"kernel_source": "fused_recurrent_gated_delta_rule"},
    "collectives launched eagerly": MESSAGE | {"kernel_source": "vLLM_custom_eager"},
}


def test_each_row_that_no_fit_is_to_see_is_left_out_for_its_reason(tmp_path):
    table = calibration.read_operators(operators(tmp_path / "o.parquet", [*KEPT, *LEFT_OUT.values()]))
    assert len(table) == len(KEPT)
    assert set(table.attrs["left_out"].values()) == {1}
    assert len(table.attrs["left_out"]) == len(LEFT_OUT)
    for beginning in LEFT_OUT:
        assert sum(reason.startswith(beginning) for reason in table.attrs["left_out"]) == 1, beginning


def test_what_a_row_is_of(tmp_path):
    rows = [
        *KEPT, LATENT | {"kv_dtype": "fp8"}, MESSAGE | {"dtype": "int8", "message_bytes": 64.0},
        MOE | {"distribution": "balanced"}, GEMM | {"dtype": "fp8_block", "gpu": "a100_sxm"},
        LINEAR | {"kernel_source": "chunk_gated_delta_rule", "phase": "context"},
        STEP | {"gpu": "h100_sxm", "kernel_source": "vllm_flash_attn"},
    ]  # fmt: skip
    table = calibration.read_operators(operators(tmp_path / "o.parquet", rows))
    assert table.operator_class.tolist() == [
        "gemm", "decode", "mla_decode", "mla_prefill", "moe", "all_reduce", "linear_step",
        "mla_decode", "all_reduce", "moe", "gemm", "linear_chunk", "decode",
    ]  # fmt: skip
    assert table.format.tolist()[7:11] == ["fp8_cache", "bf16", "bf16", "fp8_block"]
    assert table.message_bytes.dropna().tolist() == [128, 64]  # elements of two bytes, and of one
    assert table["skew"].tolist()[4] == 1.2
    assert table["skew"].tolist()[9] == 0
    assert table.gpu.tolist()[10] == "a100-80gb-sxm"
    assert table.family.tolist()[:6] == ["cublas", "fa2", "trtllm-gen", "trtllm-gen", "triton", "one-shot"]
    assert table.family.tolist()[12] == "fa3"  # on Hopper
    assert table.launched.tolist()[10] == "host"
    assert table.copies.tolist()[0] == 6  # of vLLM's benchmark of bf16, in turn


def test_a_file_that_is_no_table_of_operators(tmp_path):
    path = tmp_path / "o.parquet"
    pd.DataFrame({"gpu": ["h100_sxm"]}).to_parquet(path)
    with pytest.raises(ValueError, match="o.parquet: ") as error:
        calibration.read_operators(path)
    assert "\n" not in str(error.value)
    path.write_text("gpu,engine\n")
    with pytest.raises(ValueError, match="o.parquet: not a table of operators, which is a parquet file"):
        calibration.read_operators(path)
