"""Every GPU, engine and law: none is far off the best share of the roof that its architecture reaches."""

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import pytest

import workbench as wb
from workbench import catalog, kernels
from workbench.catalog.dtypes import KERNEL_FORMATS
from workbench.catalog.links import link_of
from workbench.kernels.collectives import joined_by_link

PROMPT = {"new_tokens": 8192, "context": 8192, "batch_size": 4}
STEP = {"new_tokens": 1, "context": 8192, "batch_size": 64}
LAYER = {"hidden_size": 4096, "intermediate_size": 2048, "n_experts": 64, "experts_per_token": 8}
STATES = {"n_heads": 32, "n_key_heads": 16, "batch_size": 64}
#: Formats of products besides 16 bits.
FORMATS = [form for form in KERNEL_FORMATS if form not in ("bf16", "fp8_cache")]
#: Architectures that were measured; of others every GPU is one of its own.
MEASURED = {wb.gpu(name).architecture.split()[0] for name in wb.gpus() if catalog.catalog_fits(name)}
MOST = 3.0
#: Cards that nothing joins, as far as the catalog knows.
ALONE = ("apple-m3-ultra", "apple-m4-max", "jetson-agx-orin-64gb", "jetson-agx-thor")


#: What is further off, and why.
KNOWN = {
    "gemm int8 8192": ("mi300x",),  # no int8 was timed there: the datasheet's share; its fp8 is that of whole servers
    "gemm int8_wo 8192": ("mi300x",),
    "moe int8 16": ("b300-sxm", "gb300"),  # of so few int8 FLOPs that rows, padded to tiles, take longer than weights
    "moe bf16 8192": ("gb200", "gb300"),  # SGLang's were timed there by Triton's kernels, and by faster ones on B200
    "moe int8 8192": ("gb200", "gb300"),  # the same
    "moe int8_wo 8192": ("gb200", "gb300"),
    "linear prompt": ("gh200-144gb", "h100-nvl", "h200-nvl", "h200-sxm"),  # Triton's, at a sixth of the bandwidth
}


class Large(NamedTuple):
    """A large call of a law."""

    computes: str  #: its format, "half" for 16 bits of either kind, "link" for a collective
    time: Callable[..., Any]
    in_8_bits: bool = False  #: it computes in fp8 where the GPU can, whatever its operands


def _attentions():
    """Prompts and decoding steps over caches of 16 and of 8 bits, and in 8 bits throughout."""
    sizes = {
        "attention": (kernels.attention_time, {"n_heads": 32, "n_kv_heads": 8, "head_dim": 128}),
        "mla": (kernels.mla_time, {"n_heads": 128}),
    }
    for (name, (time, heads)), (phase, step) in product(sizes.items(), (("prompt", PROMPT), ("step", STEP))):
        call = partial(time, **step, **heads)
        yield f"{name} {phase}", Large("half", call)
        yield f"{name} {phase} fp8_cache", Large("half", partial(call, kv_dtype="fp8"), in_8_bits=name == "mla")
        yield f"{name} {phase} fp8", Large("fp8", partial(call, kv_dtype="fp8", dtype="fp8"))


LAWS = {
    f"gemm {form} {m}": Large(
        KERNEL_FORMATS[form].computes, partial(kernels.gemm_time, m=m, n=8192, k=8192, dtype=form)
    )
    for form in FORMATS for m in (32, 8192)
} | {
    f"moe {form} {tokens}": Large(
        KERNEL_FORMATS[form].computes, partial(kernels.moe_time, tokens=tokens, **LAYER, format=form)
    )
    for form in ("bf16", *FORMATS) for tokens in (16, 8192)
} | {
    f"{name} {gpus}": Large("link", partial(getattr(kernels, f"{name}_time"), bytes_=1e9, gpus=gpus))
    for name in catalog.LINK_KINDS for gpus in (2, 8)
} | {
    "gemm 32": Large("half", partial(kernels.gemm_time, m=32, n=8192, k=8192)),
    "gemm 8192": Large("half", partial(kernels.gemm_time, m=8192, n=8192, k=8192)),
    "linear prompt": Large("half", partial(kernels.linear_attention_time, new_tokens=8192, **STATES)),
    "linear step": Large("half", partial(kernels.linear_attention_time, new_tokens=1, **STATES)),
} | dict(_attentions())  # fmt: skip


def group(card, law):
    """Chips that are alike: of an architecture and a kind of memory, with a usual ridge point; or of alike links."""
    if LAWS[law].computes == "link":
        return link_of(card, own=bool(joined_by_link(card, int(law.split()[1]))))
    word = card.architecture.split()[0]
    weak = card.id.startswith(
        ("h20-", "mi308x")
    )  # a seventh of the FLOPs to a byte that their architecture has elsewhere
    unified = card.id if card.memory.type.startswith("LPDDR") else None  # chips with one or the other's SMs
    return word if word in MEASURED else card.id, (card.memory.type or "")[:3], weak or unified


def shares(law, engine):
    """The share of its roof that every GPU reaches, by group."""
    computes, time, in_8_bits = LAWS[law]
    found = defaultdict(dict)
    for card in map(wb.gpu, wb.gpus()):
        half = next((dtype for dtype in ("fp16", "bf16") if dtype in card.dense_tflops), None)
        if computes == "link" and (card.id in ALONE or (card.id == "gb10" and law.endswith(" 8"))):
            continue
        if half if computes in ("half", "link") else computes in card.dense_tflops:
            own = partial(time, card, engine=engine, **{"dtype": half} if computes == "half" else {})
            least = {"dtype": "fp8"} if in_8_bits and "fp8" in card.dense_tflops else {}
            found[group(card, law)][card.id] = float(own(time_model="ideal", **least) / own())
    return found


@pytest.mark.parametrize("law", LAWS)
def test_no_gpu_is_far_off_its_architecture(law):
    for engine in catalog.engines():
        found = shares(law, engine)
        assert found
        for of in found.values():
            assert all(0 < share <= 1 for share in of.values())
            off = {name: share for name, share in of.items() if share < max(of.values()) / MOST}
            assert {name: share for name, share in off.items() if name not in KNOWN.get(law, ())} == {}, engine
