"""What if an entry had other numbers: checked as an entry, said in every print-out, and the rest as before."""

import numpy as np
import pytest

import workbench as wb
from workbench.catalog import KINDS, kernel_fit
from workbench.serving.estimate_table import estimate_text


def seconds(card, phase="decode", **options):
    """Of a step of Llama 3 8B, with eight sequences of 1,024 tokens [s]."""
    ds = wb.roofline_grid(card, "llama-3-8b", None, phase, 8, 1024, **options)
    return wb.forward_pass(ds).time.item()


def test_other_numbers_of_a_gpu():
    card, was = wb.gpu("h100", bandwidth_gbs=4800), wb.gpu("h100-sxm")
    assert card.bandwidth == 4.8e12
    assert card.id == "h100-sxm (modified: bandwidth_gbs=4800)"
    changed = {name for name, value in dict(card).items() if value != getattr(was, name)}
    assert changed == {"id", "memory", "modified"}
    assert was.bandwidth == 3.35e12
    both = wb.roofline_grid([was, card], "gpt2", "q_proj", "decode")
    np.testing.assert_allclose(both.time[0] / both.time[1], 4800 / 3350)  # memory-bound


def test_what_was_changed_is_in_every_print_out():
    card, small = wb.gpu("t4", capacity_gb=32, bandwidth_gbs=640), wb.model("gpt2", n_layers=6)
    assert card.modified == "capacity_gb=32, bandwidth_gbs=640"
    assert str(card).startswith("GPU t4 (modified: capacity_gb=32, bandwidth_gbs=640): NVIDIA T4")
    assert "\n  modified                n_layers=6; the rest is as its sources say\n" in repr(small)
    for ds in (wb.roofline_grid(card, small), wb.serving.estimate(card, small)):
        assert ds.gpu.item() == card.id
        assert ds.model.item() == small.id == "gpt2 (modified: n_layers=6)"
    ds = wb.serving.estimate(card, small)
    assert "modified: n_layers=6" in estimate_text(ds)
    plan = wb.serving.plan(small, prompt=10, output=5, gpu=[card, "t4"], tp=1, batch_size=1)
    assert {*plan.gpu} == {card.id, "t4"}
    assert "modified" in wb.serving.plan_text(plan)
    server = wb.simulation.Server(card, small, kv_tokens="fit")
    assert "modified" in str(server)


def test_a_change_that_changes_nothing_is_the_entry_itself():
    assert wb.gpu("t4", tdp_w=70) is wb.gpu("t4")
    assert wb.model("gpt2", n_layers=12, n_heads=12) is wb.model("gpt2")


def test_a_what_if_of_a_what_if_names_both():
    card = wb.gpu(wb.gpu("t4", tdp_w=75), boost_mhz=1600)
    assert card.id == "t4 (modified: tdp_w=75, boost_mhz=1600)"
    assert card.original == wb.gpu("t4").original == "t4"


@pytest.mark.parametrize("name", ["h100-sxm", "l40s", "a100-80gb-pcie", "rtx-4090", "mi300x", "t4"])
def test_kernels_of_an_unchanged_card_are_as_before(name):
    """What no kernel depends on changes none, whether the card has fits of its own or borrows them."""
    card, other = wb.gpu(name), wb.gpu(name, year=2001)
    for kind in KINDS:
        for form in ("bf16", "fp8"):
            own, its = kernel_fit(card, kind, form), kernel_fit(other, kind, form)
            assert own.gpu == its.gpu
            expected, found = own.fit.model_dump(), its.fit.model_dump()
            assert {name: value for name, value in found.items() if not isinstance(value, float)} == {
                name: value for name, value in expected.items() if not isinstance(value, float)
            }
            floats = [name for name, value in expected.items() if isinstance(value, float)]
            np.testing.assert_allclose([found[f] for f in floats], [expected[f] for f in floats], rtol=1e-12)


def test_kernels_of_a_changed_card_are_scaled_from_its_own_fits():
    slow, was, fast = (wb.gpu("h100", bandwidth_gbs=b) for b in (2000, 3350, 4800))
    assert kernel_fit(fast, "decode").gpu == "h100-sxm"
    assert "the same architecture" in kernel_fit(fast, "decode").why
    times = [seconds(card, time_model="kernel") for card in (slow, was, fast)]
    assert times[0] > times[1] > times[2]
    assert 2000 / 3350 < times[1] / times[0] < 1  # launches and shares of the bandwidth stay
    assert 3350 / 4800 < times[2] / times[1] < 1
    twice = wb.gpu("h100", dense_tflops={"fp16": 1978.8, "bf16": 1978.8}, tdp_w=1400)
    long = [seconds(card, "prefill", time_model="kernel") for card in (was, twice)]
    assert 0.5 < long[1] / long[0] < 0.75


def test_memory_of_another_size_is_not_what_the_driver_said_of_the_old():
    assert wb.gpu("t4", capacity_gb=32).memory_bytes == wb.gpu("t4", memory={"capacity_gb": 32}).memory_bytes == 32e9
    assert wb.gpu("t4", capacity_gb=32, reported_gib=29).memory_bytes == 29 * 2**30
    assert wb.gpu("t4", bandwidth_gbs=640, capacity_gb=16).memory_bytes == wb.gpu("t4").memory_bytes


def test_fits_of_ones_own(tmp_path):
    (tmp_path / "mine.yaml").write_text((wb.catalog.loading.DATA / "fits" / "l40s.yaml").read_text())
    card = wb.gpu("t4", fits=tmp_path / "mine.yaml", tdp_w=75)
    assert card.id == "t4 (modified: fits, tdp_w=75)"
    assert kernel_fit(card, "gemm").gpu == card.id
    assert kernel_fit(card, "gemm").fit == kernel_fit("l40s", "gemm").fit
    with pytest.raises(ValueError, match=r"gone\.yaml: No such file or directory$"):
        wb.gpu("t4", fits=str(tmp_path / "gone.yaml"))


def test_other_sizes_of_a_model():
    """Layers of another number: parts that all of them have are in all of them; h, i, L, V by hand."""
    deep, was = wb.model("llama-3-8b", n_layers=40), wb.model("llama-3-8b")
    layer = 4096 * (2 * 4096 + 2 * 1024 + 3 * 14336)
    assert deep.parameters - was.parameters == 8 * layer
    assert deep.published_parameters is None
    assert wb.model("mixtral-8x7b", n_layers=40).moe.layers == 40
    assert wb.model("mixtral-8x7b", n_experts=16).moe.n_experts == 16
    assert wb.model("gpt2", published_parameters=7).published_parameters == 7
    dense = wb.model("mixtral-8x7b", moe=None)
    assert (dense.moe, dense.active_parameters) == (None, dense.parameters)


REFUSED = [
    (wb.gpu, "t4", {"bandwith_gbs": 1}, "unknown field 'bandwith_gbs'. Did you mean 'bandwidth_gbs'"),
    (wb.gpu, "t4", {"bandwidth_gbs": -1}, "memory.bandwidth_gbs = -1: Input should be greater than 0"),
    (wb.gpu, "t4", {"bandwidth_gbs": "fast"}, "memory.bandwidth_gbs = 'fast': Input should be a valid number"),
    (wb.gpu, "t4", {"bandwidth_gbs": float("nan")}, "memory.bandwidth_gbs = nan: "),
    (wb.gpu, "t4", {"memory": 3}, "memory = 3: Input should be"),
    (wb.gpu, "t4", {"memory": {"bandwith_gbs": 3}}, "unknown field 'memory.bandwith_gbs'. Did you mean 'memory.bandw"),
    (wb.gpu, "t4", {"dense_tflops": {"fp7": 3}}, "dense_tflops.*: unknown dtype 'fp7'. Did you mean 'fp8'"),
    (wb.gpu, "t4", {"id": "x"}, "unknown field 'id'"),
    (wb.gpu, "t4", {"max_gpus": 4}, "link.name: Field required"),
    (wb.model, "gpt2", {"n_layer": 4}, "unknown field 'n_layer'. Did you mean 'n_layers'"),
    (wb.model, "gpt2", {"n_layers": 1.5}, "n_layers = 1.5: Input should be a valid integer"),
    (wb.model, "gpt2", {"n_heads": 13}, "n_heads 13 is not a multiple of n_kv_heads 12"),
    (wb.model, "gpt2", {"n_experts": 8}, "moe.experts_per_token: Field required"),
    (wb.model, "mixtral-8x7b", {"layers": 3}, "of moe and of linear_attention and of indexer: give sliding_window={"),
    (wb.model, "deepseek-v3", {"n_layers": 40}, "58 exceed n_layers 40"),
]  # fmt: skip


@pytest.mark.parametrize(("find", "name", "changes", "message"), REFUSED)
def test_what_no_entry_may_have_is_one_line(find, name, changes, message):
    with pytest.raises(ValueError, match=f"^what if of {name}: .*{message}") as error:
        find(name, **changes)
    assert len(str(error.value)) < 200
    assert "\n" not in str(error.value)
