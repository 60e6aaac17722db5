"""One place for each thing to add: a made-up GPU, model, operator and law, each added there and found everywhere."""

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import workbench as wb
from workbench import explorer, speculation
from workbench.calibration.kinds import FITTED
from workbench.catalog import gpu_entries, loading, model_entries
from workbench.catalog.fits import FITS, KINDS
from workbench.cli import app
from workbench.explorer.controls import make_controls
from workbench.kernels.times import LAWS, Law
from workbench.measure import plan
from workbench.operators import OPERATORS, Operator, cost, decode, operator_set
from workbench.serving import Replica

ROOT = Path(__file__).resolve().parents[1]
GPU, MODEL = "a100-80gb-sxm", "llama-7b"
BATCH, LENGTH = 4, 256
#: LLaMA 7B's hidden size and layers [1].
HIDDEN, LAYERS = 4096, 32


@pytest.fixture
def pages(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import pages

    yield pages
    sys.modules.pop("pages")


# An operator ------------------------------------------------------------------------------------------------------


def mixer_proj(model, step, widths, _):
    """Tokens mixed: h -> 2 h."""
    h = model.hidden_size
    return cost.gemm(step.tokens, h, 2 * h, weight=widths.weight, activation=widths.activation, calls=model.n_layers)


#: What engines run and the papers' view has.
MIXER = Operator(mixer_proj, group="up/gate/down")


@pytest.fixture
def mixer(monkeypatch):
    monkeypatch.setitem(OPERATORS, "mixer_proj", MIXER)


def flops(tokens):
    """Of one call [FLOP]."""
    return 2 * tokens * HIDDEN * 2 * HIDDEN


def seconds(tokens):
    """Of all calls on the roof [s]: fp16, each operand read or written once."""
    card, moved = wb.gpu(GPU), 2 * (tokens * HIDDEN + 2 * HIDDEN**2 + tokens * 2 * HIDDEN)
    return LAYERS * max(flops(tokens) / card.peak_flop_rate("fp16"), moved / card.bandwidth)


@pytest.mark.parametrize("view", ["fused", "unfused"])
def test_an_operator_is_in_the_sets_of_its_view(mixer, view):
    assert "mixer_proj" in operator_set(wb.model(MODEL), view)


@pytest.mark.parametrize("operator", ["fused", "unfused", "mixer_proj"])
def test_an_operator_is_in_grids(mixer, operator):
    ds = wb.roofline_grid(GPU, MODEL, operator, batch_size=BATCH, seq_len=LENGTH).sel(operator="mixer_proj")
    assert ds.flops.sel(phase="prefill").item() == flops(BATCH * LENGTH)
    assert (ds.calls * ds.time.sel(phase="decode")).item() == pytest.approx(seconds(BATCH), rel=1e-12)


def test_an_operator_adds_its_time_to_passes_and_steps(monkeypatch):
    def both():
        ds = wb.roofline_grid(GPU, MODEL, "fused", "decode", BATCH, LENGTH)
        replica = Replica(wb.gpu(GPU), wb.model(MODEL), time_model="ideal")
        return wb.forward_pass(ds).time.item(), wb.serving.step_time(replica, decode(BATCH, LENGTH))

    without = both()
    monkeypatch.setitem(OPERATORS, "mixer_proj", MIXER)
    for before, after in zip(without, both(), strict=True):
        assert after - before == pytest.approx(seconds(BATCH), rel=1e-9)


def test_an_operator_is_in_the_shares_of_an_estimate(mixer):
    ds = wb.serving.estimate(GPU, MODEL, BATCH, LENGTH, 1, time_model="ideal").squeeze()
    prefill = ds.sel(phase="prefill")
    share = prefill.share.sel(operator="mixer_proj").item()
    assert share == pytest.approx(100 * seconds(BATCH * LENGTH) / prefill.step_time.item(), rel=1e-9)
    assert prefill.share.sum().item() == pytest.approx(100)


def test_an_operator_is_in_its_group_of_drafts(monkeypatch):
    def group():
        ds = speculation.speedup(GPU, MODEL, BATCH, LENGTH, [16], operators="fused", time_model="ideal")
        return ds.group_latency.sel(group="up/gate/down").item()

    without = group()
    monkeypatch.setitem(OPERATORS, "mixer_proj", MIXER)
    assert group() - without == pytest.approx(seconds(16 * BATCH), rel=1e-9)


def test_an_operator_is_measured(mixer):
    assert "mixer_proj" in plan.operator_groups()["fused"]
    assert "mixer_proj" in plan.Grid().operators
    (kernel,) = plan.grid_kernels(plan.Grid([MODEL], ["mixer_proj"], ["prefill"], [BATCH], [LENGTH], dtypes=["fp16"]))
    assert (kernel.operator_class, kernel.name) == ("gemm", "llama-7b:mixer_proj")
    assert (kernel.m, kernel.n, kernel.k, kernel.flops) == (BATCH * LENGTH, 2 * HIDDEN, HIDDEN, flops(BATCH * LENGTH))
    choices = CliRunner().invoke(app, ["measure", "--dry-run", "--operator", "mixer_proj", "--dtype", "fp16"])
    assert re.search(r"^gemm +mixer_proj +\d+$", choices.stdout, re.M)


def test_an_operator_is_in_the_documentation_and_the_explorer(mixer, pages):
    every = len(wb.models())
    assert f"| mixer\\_proj | Tokens mixed: h -> 2 h. | {every} | {every} |" in pages.operators_page()
    assert ("mixer_proj", "") in make_controls()["operator"].options
    shown = explorer.grid(explorer.View(gpu=[GPU], model=[MODEL], operator=["mixer_proj"]))
    assert shown.operator.values.tolist() == ["mixer_proj"]


# A GPU and a model ------------------------------------------------------------------------------------------------

ENTRY = {"confidence": "unverified", "provenance": "made up", "sources": {"none": "made up"}}
CARD = {
    "name": "Made-up GPU", "vendor": "Nobody", "architecture": "ampere", "form_factor": "PCIe", "year": 2030,
    "dense_tflops": {"fp16": 100.0}, "memory": {"capacity_gb": 40.0, "bandwidth_gbs": 1000.0}, **ENTRY,
}  # fmt: skip
TINY = {
    "name": "Made-up model", "family": "none", "hidden_size": 512, "intermediate_size": 1024, "n_layers": 2,
    "n_heads": 4, "n_kv_heads": 4, "head_dim": 128, "vocab_size": 1000, "gated": True, "tied_embeddings": False,
    "max_context": 4096, "sources": ENTRY["sources"],
}  # fmt: skip


def forget():
    """What the catalog remembers of its files."""
    for module in (loading, gpu_entries, model_entries):
        for function in vars(module).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """A catalog with a GPU and a model more."""
    for folder in ("engines", "fits"):
        shutil.copytree(str(loading.DATA / folder), tmp_path / folder)
    for folder, name, entry in (("gpus", "made-up-gpu", CARD), ("models", "made-up-model", TINY)):
        shutil.copytree(str(loading.DATA / folder), tmp_path / folder)
        (tmp_path / folder / f"{name}.yaml").write_text(yaml.safe_dump(entry))
    with monkeypatch.context() as patch:
        patch.setattr(loading, "DATA", tmp_path)
        forget()
        yield
    forget()


def test_a_gpu_and_a_model_are_in_the_catalog_and_its_commands(made_up):
    assert "made-up-gpu" in wb.gpus()
    assert "made-up-gpu" in wb.tables.gpu_numbers().index
    assert "made-up-model" in wb.models()
    assert re.search(r"^made-up-gpu +100 +- +- +40 +1,000 ", CliRunner().invoke(app, ["gpus"]).stdout, re.M)
    assert re.search(r"^made-up-model +[\d. ]+ +2 ", CliRunner().invoke(app, ["models"]).stdout, re.M)
    assert wb.gpu("Made-up GPU") is wb.gpu("MADE UP GPU") is wb.gpu("made-up-gpu")


def test_a_gpu_and_a_model_are_in_grids(made_up):
    """Decoding of q_proj, memory-bound: h (H D) weights of two bytes and a token's hidden states through 1 TB/s."""
    ds = wb.roofline_grid("made-up-gpu", "made-up-model", "q_proj", "decode")
    assert ds.time.item() == pytest.approx(2 * (512 * 512 + 512 + 512) / 1e12, rel=1e-12)
    assert ds.calls.item() == 2


def test_a_gpu_and_a_model_are_in_plans(made_up):
    table = wb.serving.plan("made-up-model", prompt=100, output=10, tp=1, batch_size=[1, 8])
    assert "best" in table.verdict.values
    assert (table[table.gpu == "made-up-gpu"].tokens_per_second > 0).all()


def test_a_gpu_and_a_model_are_in_the_documentation_and_the_explorer(made_up, pages):
    page = pages.catalog()
    assert "| made-up-gpu | Made-up GPU | 100 |  |  |  | 1000 | 40 |  |  |  |  | 2030 | unverified |\n" in page
    assert re.search(r"^\| made-up-model \| Made-up model \|", page, re.M)
    by_name = make_controls()
    assert "made-up-gpu" in dict(by_name["gpu"].options)
    assert "made-up-model" in dict(by_name["model"].options)


# A law of kernel times --------------------------------------------------------------------------------------------


@pytest.fixture
def law(monkeypatch):
    """An operator of a kind of its own, which takes twice as long as on its roof."""

    def mixer(*arguments):
        return replace(mixer_proj(*arguments), kernel="made_up")

    roof = LAWS["gemm"].ideal
    monkeypatch.setitem(LAWS, "made_up", Law(lambda fits, gpu, call, peak: 2 * roof(gpu, call, peak)))
    monkeypatch.setitem(OPERATORS, "mixer_proj", Operator(mixer))


@pytest.mark.parametrize(("time_model", "factor"), [("ideal", 1), ("kernel", 2)])
def test_a_law_gives_the_times_of_its_operators(law, time_model, factor):
    ds = wb.roofline_grid(GPU, MODEL, "mixer_proj", "decode", BATCH, LENGTH, time_model=time_model)
    assert (ds.calls * ds.time).item() == pytest.approx(factor * seconds(BATCH), rel=1e-12)
    work = wb.serving.step(Replica(wb.gpu(GPU), wb.model(MODEL), time_model=time_model), decode(BATCH, LENGTH))
    assert work["mixer_proj"].time == pytest.approx(factor * seconds(BATCH), rel=1e-12)


def test_what_is_fitted_has_its_record_and_its_bounds():
    """The laws with fitted numbers: a record of the catalog, and a row of what calibration knows."""
    assert tuple(FITTED) == KINDS == tuple(FITS)
    for kind, fitted in FITTED.items():
        tried = {name for variant in fitted.variants for name in variant}
        assert {*fitted.bounds, *tried} <= FITS[kind].model_fields.keys(), kind
        assert not fitted.bounds.keys() & tried, kind


# What CONTRIBUTING says -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("thing", "place"),
    [
        ("a GPU", "workbench/data/gpus/<id>.yaml"),
        ("a model", "workbench/data/models/<id>.yaml"),
        ("an operator", "workbench/operators/"),
        ("a law of kernel times", "workbench/kernels/times.py"),
        ("a chart", "params/<notebook>/<figure_id>.yaml"),
        ("a claim", "workbench/data/claims/<source>.yaml"),
    ],
)
def test_contributing_begins_with_the_one_place(thing, place):
    sections = (ROOT / "CONTRIBUTING.md").read_text().split("\n## ")
    (section,) = [text for text in sections if text.startswith(f"Add {thing}\n")]
    first = next(span for span in re.findall(r"`([^`]+)`", section) if "/" in span)
    assert first == place
    assert (ROOT / place.partition("<")[0]).exists()
