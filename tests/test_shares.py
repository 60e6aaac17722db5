"""Every GPU under every law: none is far off the best share of the roof that its architecture reaches."""

from collections import defaultdict
from functools import partial

import pytest

import workbench as wb
from workbench import kernels
from workbench.catalog.dtypes import KERNEL_FORMATS
from workbench.kernels.gemm_times import PRODUCT_FORMATS

PROMPT = {"new_tokens": 8192, "context": 8192, "batch_size": 4}
STEP = {"new_tokens": 1, "context": 8192, "batch_size": 64}
HEADS = {"n_heads": 32, "n_kv_heads": 8, "head_dim": 128}
LAYER = {"tokens": 16, "hidden_size": 4096, "intermediate_size": 2048, "n_experts": 64, "experts_per_token": 8}
MOST = 3.0
#: Of each law: the format that it computes in, "" for 16 bits of either kind, and a large call of it.
LAWS = {
    f"gemm {form} {m}": (KERNEL_FORMATS[form].computes, partial(kernels.gemm_time, m=m, n=8192, k=8192, dtype=form))
    for form in PRODUCT_FORMATS for m in (32, 8192)
} | {
    f"moe {form}": (KERNEL_FORMATS[form].computes, partial(kernels.moe_time, **LAYER, format=form))
    for form in PRODUCT_FORMATS
} | {
    "moe bf16": ("bf16", partial(kernels.moe_time, **LAYER)),
    "gemm decode": ("", partial(kernels.gemm_time, m=32, n=8192, k=8192)),
    "gemm prompt": ("", partial(kernels.gemm_time, m=8192, n=8192, k=8192)),
    "attention prompt": ("", partial(kernels.attention_time, **PROMPT, **HEADS)),
    "attention step": ("", partial(kernels.attention_time, **STEP, **HEADS)),
    "mla prompt": ("", partial(kernels.mla_time, **PROMPT, n_heads=128)),
    "mla step": ("", partial(kernels.mla_time, **STEP, n_heads=128)),
    "all-reduce": ("any", partial(kernels.all_reduce_time, bytes_=1e9, gpus=2)),
}  # fmt: skip


#: Of so few FLOPs to a byte that a few tokens' rows, padded to tiles, take longer than the experts' weights.
PADDED = ("h20-96gb", "h20-141gb")


@pytest.mark.parametrize("law", LAWS)
def test_no_gpu_is_far_off_its_architecture(law):
    computes, time = LAWS[law]
    shares = defaultdict(dict)
    for card in map(wb.gpu, wb.gpus()):
        half = next((dtype for dtype in ("fp16", "bf16") if dtype in card.dense_tflops), None)
        if law == "all-reduce" and card.id == "jetson-agx-orin-64gb":  # of its PCIe the catalog has no lanes
            continue
        if not (law.startswith("moe") and card.id in PADDED) and (
            half if computes in ("", "any") else computes in card.dense_tflops
        ):
            own = partial(time, card, **{"dtype": half} if computes == "" else {})
            memory = (card.memory.type or "")[:3]  # chips with HBM and with GDDR differ in more than that
            shares[card.architecture.split()[0], memory][card.id] = float(own(time_model="ideal") / own())
    assert shares
    for of in shares.values():
        assert all(0 < share <= 1 for share in of.values())
        assert {name: share for name, share in of.items() if share < max(of.values()) / MOST} == {}
