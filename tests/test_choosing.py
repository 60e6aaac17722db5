"""Whose fit is used: the order of GPU, engine and format, what is said of it, and the error to expect."""

import numpy as np
import pytest

import workbench as wb
from workbench import serving
from workbench.catalog import Fit, GemmFit, catalog_fits, engine, engines, kernel_fit
from workbench.catalog.choosing import OTHER_MEMORY, SAME_ARCHITECTURE, Candidate, gpus_apart, nearest_fit
from workbench.kernels.formats import Formats
from workbench.kernels.unknowns import fit_of
from workbench.operators import OPERATORS, kernel_of

H20, H100, H200, B200, L40S, A100 = map(
    wb.gpu, ("h20-141gb", "h100-sxm", "h200-sxm", "b200-sxm", "l40s", "a100-80gb-sxm")
)
LAW = {"launch_us": 3.0, "compute_fraction": 0.7, "bandwidth_fraction": 0.8, "overlap": 2.0}


def made(engine="sglang", family="deepgemm", form="bf16", rows=100, kind="gemm", **fields):
    return Fit(
        kind=kind, format=form, engine=engine, version="1", family=family, source="made up", rows=rows,
        held_out="none", error_percent=5.0, bias_percent=0.0, parameters=GemmFit(**LAW), **fields,
    )  # fmt: skip


def chosen(card, *pairs, form="bf16", engine="sglang", family=None):
    """Of (GPU, fit), the nearest, whatever their order."""
    candidates = [Candidate(*pair) for pair in pairs]
    first, last = (nearest_fit(card, "gemm", form, engine, each, family) for each in (candidates, candidates[::-1]))
    assert first == last
    return tuple(first)


# The order --------------------------------------------------------------------------------------------------------


def test_a_gpu_and_engine_go_before_a_library_before_an_architecture_before_others():
    lent, unrelated = made("vllm"), made("pytorch", "eager")
    order = [
        (H200, made()), (H200, lent), (H100, made()), (H100, lent), (H200, unrelated), (H100, unrelated),
        (A100, made()), (A100, lent), (A100, unrelated),
    ]  # fmt: skip
    for place, nearest in enumerate(order):
        assert chosen(H200, *order[place:]) == nearest


def test_a_near_format_goes_after_the_same_format_of_another_card_of_the_architecture_alone():
    fp8, int8, bf16 = (made(form=form) for form in ("fp8", "int8", "bf16"))
    order = [(H200, fp8), (H100, fp8), (H200, int8), (H200, bf16), (L40S, fp8), (L40S, bf16)]
    for place, nearest in enumerate(order):
        assert chosen(H200, *order[place:], form="fp8") == nearest
    assert chosen(H200, (H100, bf16), (H200, fp8), form="bf16") == (H100, bf16)  # wide ones never go by narrow ones
    unrelated = made("pytorch", "eager", "fp8")
    assert chosen(L40S, (H100, unrelated), (H100, bf16), form="fp8") == (H100, bf16)
    assert chosen(H200, (H100, unrelated), (H100, bf16), form="fp8") == (H100, unrelated)


def test_memory_and_chip_are_nearer_than_the_architecture():
    gddr = wb.gpu("rtx-pro-6000-server")
    assert chosen(wb.gpu("gb200"), (gddr, made()), (B200, made()))[0] == B200
    assert chosen(wb.gpu("rtx-5090"), (B200, made()), (gddr, made()))[0] == gddr
    assert chosen(wb.gpu("rtx-5090"), (B200, made()), (A100, made()))[0] == B200
    # of one chip, the nearest ridge point: H20 has 37 FLOP/byte, H200 206, H100 295
    assert chosen(H20, (H100, made()), (H200, made()))[0] == H200


def test_chips_that_share_memory_with_the_cpu_go_by_those_whose_sms_are_as_wide():
    """FLOPs of an SM in a clock: GB10 1,077 and RTX PRO 6000 1,051; Thor 8,214 and B200 7,737; Orin and A100 2,048."""
    graphics, of_data_centers = wb.gpu("rtx-pro-6000-server"), B200
    for name, near, far in (("gb10", graphics, of_data_centers), ("jetson-agx-thor", of_data_centers, graphics)):
        assert chosen(wb.gpu(name), (near, made("vllm", "cutlass")), (far, made("vllm", "cutlass"))) == (
            *(near, made("vllm", "cutlass")),
        )  # fmt: skip
        assert kernel_fit(name, "gemm").gpu in {"gb10": ("rtx-pro-6000-server",), "jetson-agx-thor": ("gb200",)}[name]
        assert (gpus_apart(wb.gpu(name), near), gpus_apart(wb.gpu(name), far)) == (SAME_ARCHITECTURE, OTHER_MEMORY)
        unknown = wb.gpu(name).model_copy(update={"boost_mhz": None})
        assert gpus_apart(unknown, near) == OTHER_MEMORY
    orin = wb.gpu("jetson-agx-orin-64gb")
    assert (gpus_apart(orin, A100), gpus_apart(orin, wb.gpu("a40"))) == (SAME_ARCHITECTURE, OTHER_MEMORY)


def test_other_architectures_go_by_the_most_measured_gpu():
    others = [(card, made()) for card in (H100, B200, A100, L40S)]
    for name in ("t4", "mi300x", "tpu-v5e", "gaudi3"):
        assert chosen(wb.gpu(name), *others)[0] == A100


def test_an_engines_usual_library_has_most_of_its_timings_and_another_may_be_asked_for():
    usual, rare = made(family="cutlass", rows=300), made(family="deepgemm", rows=40)
    both = [(H200, usual), (H200, rare)]
    assert chosen(H200, *both) == (H200, usual)
    assert chosen(H200, *both, family="deepgemm") == (H200, rare)
    assert chosen(H200, *both, family="marlin") == (H200, usual)
    assert chosen(H200, (H200, usual), (H100, rare), family="deepgemm") == (H200, usual)  # the GPU's own engine first


def test_fits_of_ones_own_go_first_in_their_format():
    own = made("trtllm", "mine")
    card = H200.model_copy(update={"fits": (own,)})
    used = kernel_fit(card, "gemm", "bf16", "sglang")
    assert (used.record, used.why) == (own, "trtllm's mine kernels")
    for kind, form in (("gemm", "fp8"), ("decode", "bf16")):  # of which there is none of one's own
        of_catalog = kernel_fit(H200, kind, form, "sglang")
        assert kernel_fit(card, kind, form, "sglang").record is of_catalog.record
        assert of_catalog.why == "fitted on this GPU"


@pytest.mark.parametrize("name", [name for name in wb.gpus() if catalog_fits(name)])
def test_every_fit_of_the_catalog_is_used_where_it_was_made(name):
    def names(fit):
        return fit.kind, fit.format, fit.engine, fit.family

    most = {names(fit): fit for fit in sorted(catalog_fits(name), key=lambda fit: fit.rows)}
    for fit in most.values():
        if fit.engine in engines():
            used = kernel_fit(name, fit.kind, fit.format, fit.engine, family=fit.family)
            assert used.record is fit
            assert used.error_percent == fit.error_percent
            assert fit.family in (*engine(fit.engine).families, fit.engine)


@pytest.mark.parametrize(("argument", "message"), [
    ({"family": 3}, "^family = 3: expected the name of a kernel library"), ({"pcie": "yes"}, "^unknown pcie 'yes'"),
    ({"engine": "vlm"}, "^unknown engine 'vlm'. Did you mean 'vllm'"), ({"format": "fp6"}, "^unknown format 'fp6'"),
])  # fmt: skip
def test_what_there_is_not_is_refused(argument, message):
    with pytest.raises(ValueError, match=message):
        kernel_fit("h100-sxm", "gemm", **argument)


def test_an_engine_whose_quantization_is_a_kernel_of_its_own():
    apart, fused = (kernel_fit("h100-sxm", "gemm", "fp8", name) for name in ("pytorch", "vllm"))
    kernel = kernel_fit("h100-sxm", "elementwise", engine="pytorch")
    assert (engine("pytorch").quantizes_apart, engine("vllm").quantizes_apart) == (True, False)
    assert apart.fit.quantize_fraction == kernel.fit.bandwidth_fraction
    assert apart.fit.quantize_us == kernel.fit.launch_us > 0
    assert "activations quantized by an elementwise kernel" in apart.why
    assert fused.fit == fused.record.parameters
    assert kernel_fit("h100-sxm", "gemm", "bf16", "pytorch").fit.quantize_fraction is None


# The error to expect ----------------------------------------------------------------------------------------------


def test_a_borrowed_fit_is_as_far_off_as_on_another_gpu_of_the_architecture():
    own, lent = kernel_fit("h100-sxm", "gemm", "fp8"), kernel_fit("h20-141gb", "gemm", "fp8")
    assert own.error_percent == own.record.error_percent
    assert lent.error_percent == lent.record.elsewhere_percent != lent.record.error_percent
    for name, kind, form in (
        ("t4", "gemm", "bf16"),  # another architecture
        ("rtx-5090", "mla_prefill", "bf16"),  # another memory
        ("a100-80gb-sxm", "moe", "mxfp4_wo"),  # in another format
    ):
        assert np.isnan(kernel_fit(name, kind, form).error_percent)


@pytest.mark.parametrize("name", [None, "trtllm"])
def test_a_grid_says_whose_fit_each_operator_goes_by(name):
    gpus, models = ["h100-sxm", "t4"], ["llama-3-8b", "mixtral-8x7b"]
    ds = wb.roofline_grid(gpus, models, batch_size=[1, 8], time_model="kernel", engine=name)
    assert ds.fit.dims == ds.expected_error.dims == ("gpu", "model", "operator", "phase")
    assert ds.expected_error.attrs["units"] == "%"
    meaning = dict(zip(ds.fit.attrs["flag_values"], ds.fit.attrs["flag_meanings"].split(), strict=True))
    used = set()
    for gpu in gpus:
        for model in models:
            entry, formats = wb.model(model), Formats().of(wb.model(model))
            for operator in ds.operator.values:
                for phase in ("prefill", "decode"):
                    at = ds.sel(gpu=gpu, model=model, operator=operator, phase=phase)
                    if not at.calls.item():
                        assert meaning[at.fit.item()] == "none"
                        assert np.isnan(at.expected_error)
                        continue
                    kind = kernel_of(entry, operator)
                    known = fit_of(wb.gpu(gpu), kind, formats.kernel_format(operator), phase, name)
                    assert meaning[at.fit.item()] == known.label
                    np.testing.assert_equal(at.expected_error.item(), known.error_percent)  # NaN like NaN
                    if kind == "attention":
                        assert known.record.kind == phase
                    used.add(known.record.engine)
    assert used == {"vllm", name or "vllm"}  # elementwise kernels are timed of vLLM alone
    assert {"fit", "expected_error"}.isdisjoint(wb.roofline_grid(gpus, models))


def test_the_error_of_an_estimate_is_that_of_its_operators_by_their_shares():
    ds = serving.estimate("h100-sxm", "llama-3-8b", 8, 1000, 100, tp=2).squeeze()
    formats = Formats().of(wb.model("llama-3-8b"))
    for phase in ("prefill", "decode"):
        share = ds.share.sel(phase=phase).to_series()
        share = share[[name in OPERATORS or name == "all_reduce" for name in share.index]]
        share = share[share > 0]
        kinds = {name: kernel_of(wb.model("llama-3-8b"), name) for name in share.index}
        errors = [
            fit_of(H100, kind, formats.kernel_format(name) if name in OPERATORS else "bf16", phase).error_percent
            for name, kind in kinds.items()
        ]
        mean = (share * errors).sum() / share.sum()
        assert ds.expected_error.sel(phase=phase).item() == pytest.approx(mean, rel=1e-12)
        assert min(errors) < mean < max(errors)
    assert "expected_error" not in serving.estimate("h100-sxm", "llama-3-8b", time_model="ideal")


def test_where_most_of_the_time_is_of_no_known_error_none_is_expected():
    """The host's part, of whose error nothing is known, grows with the sequences."""
    settings = {"gpu": "h100-sxm", "model": "llama-3.2-1b", "batch_size": [1, 256], "prompt": 2000, "output": 100}
    with_host, alone = (serving.estimate(**settings, **o).sel(phase="decode") for o in ({}, {"engine": None}))
    host = with_host.share.sel(operator="host").squeeze().to_numpy()
    assert host[0] < 25 < host[1]
    assert np.isnan(with_host.expected_error.squeeze()).to_numpy().tolist() == (host > 25).tolist()
    assert np.isfinite(alone.expected_error).all()


def test_a_plan_has_the_error_of_decoding():
    sizes = {"prompt": 100, "output": 10, "gpu": ["h100-sxm", "t4"], "tp": 1, "batch_size": [1, 4], "engine": None}
    table = serving.plan("llama-3.2-1b", **sizes)
    for row in table.itertuples():
        ds = serving.estimate(row.gpu, "llama-3.2-1b", row.batch_size, 100, 10, schedule="continuous", engine=None)
        of_decoding = ds.expected_error.sel(phase="decode").item()
        assert row.expected_error == pytest.approx(of_decoding, rel=1e-12, nan_ok=True)
        assert np.isnan(of_decoding) == (row.gpu == "t4")
    assert "expected_error" not in serving.plan("llama-3.2-1b", **sizes, time_model="ideal")
