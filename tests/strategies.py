"""Random models, GPUs and settings, for what must hold everywhere: each is one that could be built."""

from collections.abc import Iterable
from functools import cache

from hypothesis import strategies as st

import workbench as wb
from workbench.catalog import GPU, Model
from workbench.catalog.dtypes import WEIGHT_DTYPES, WIDTH, compute_dtype
from workbench.kernels import TIME_MODELS, all_reduce_time

#: GPUs that share a model [1]; every random model can be cut into that many.
TPS = (1, 2, 4)
ACTIVATIONS = ("fp16", "bf16", "fp8", "int8", "fp32")


@cache
def _linked() -> list[GPU]:
    """GPUs on which several can share a model, with a 16-bit peak and a memory."""
    linked = []
    for card in map(wb.gpu, wb.gpus()):
        try:
            all_reduce_time(card, bytes_=1, gpus=max(TPS))
        except ValueError:
            continue
        if "fp16" in card.dense_tflops and card.memory.capacity_gb:
            linked.append(card)
    return linked


gpus = st.deferred(lambda: st.sampled_from(_linked()))

_mla = st.fixed_dictionaries(
    {
        "q_lora_rank": st.sampled_from([None, 64, 384]), "kv_lora_rank": st.sampled_from([64, 512]),
        "qk_nope_head_dim": st.sampled_from([32, 128]), "qk_rope_head_dim": st.sampled_from([16, 64]),
        "v_head_dim": st.sampled_from([32, 128]),
    }
)  # fmt: skip


@st.composite
def _moe(draw: st.DrawFn, layers: int) -> dict[str, object]:
    return {
        "n_experts": (experts := draw(st.integers(2, 64))),
        "experts_per_token": draw(st.integers(1, min(experts, 8))),
        "intermediate_size": 4 * draw(st.integers(8, 512)),
        "shared_intermediate_size": draw(st.none() | st.integers(8, 512).map(lambda size: 4 * size)),
        "layers": draw(st.integers(1, layers)),
    }


@st.composite
def models(draw: st.DrawFn, *, latent: bool = True, window: bool = True, mtp: bool = False) -> Model:
    """A transformer of any size that 1, 2 or 4 GPUs can share: grouped heads or not, a gate or none, experts or none.

    latent, window : whether it may have multi-head latent attention, and layers that see a window only
    mtp : whether it has a layer for multi-token prediction
    """
    layers, group = draw(st.integers(1, 40)), draw(st.sampled_from([1, 2, 4, 8]))
    kv_heads = draw(st.sampled_from([1, 2, 4, 8]))
    heads = max(kv_heads * group, max(TPS))
    mla = draw(st.none() | _mla) if latent else None
    sliding = None if mla or not window else draw(st.none() | st.tuples(st.integers(1, 4096), st.integers(1, layers)))
    return Model(
        id="random", name="random", family="random", sources={"made": "up"},
        hidden_size=draw(st.integers(16, 8192)), intermediate_size=4 * draw(st.integers(8, 4096)), n_layers=layers,
        n_heads=heads, n_kv_heads=kv_heads, head_dim=draw(st.sampled_from([32, 64, 80, 128])),
        vocab_size=draw(st.integers(10, 200_000)), gated=draw(st.booleans()), tied_embeddings=draw(st.booleans()),
        mtp_layers=1 if mtp else None, learned_positions=draw(st.none() | st.integers(1, 4096)),
        sliding_window=sliding and dict(zip(("size", "layers"), sliding, strict=True)),
        moe=draw(st.none() | _moe(layers)), mla=mla,
        quantization=draw(st.none() | st.sampled_from([
            {"format": "awq", "group_size": 64}, {"format": "mxfp4", "scope": "experts"}, {"format": "fp8"},
        ])),
    )  # fmt: skip


@st.composite
def options(draw: st.DrawFn, card: GPU, **fixed: object) -> dict[str, object]:
    """Formats that a GPU computes in, tp, time model and launch latency: keywords of `Replica` and of the grid.

    fixed : those that are not random
    """
    activation = draw(st.sampled_from([dtype for dtype in ACTIVATIONS if dtype in card.dense_tflops]))

    def stored(dtypes: Iterable[str]) -> st.SearchStrategy[str]:
        return st.sampled_from([dtype for dtype in dtypes if compute_dtype(dtype, activation) in card.dense_tflops])

    return {
        "weight_dtype": draw(st.none() | stored(WEIGHT_DTYPES)), "activation_dtype": activation,
        "kv_dtype": draw(stored(WIDTH)), "lm_head_dtype": draw(st.none() | stored(WEIGHT_DTYPES)),
        "tp": draw(st.sampled_from(TPS)), "time_model": draw(st.sampled_from(TIME_MODELS)),
        "launch_latency": draw(st.sampled_from([0.0, 1e-6, 2e-5])),
    } | fixed  # fmt: skip


@st.composite
def servers(
    draw: st.DrawFn, some_models: st.SearchStrategy[Model] | None = None, **fixed: object
) -> tuple[GPU, Model, dict[str, object]]:
    """A GPU, a model, and settings that suit both: what a `Replica`, a grid or an estimate is made of."""
    card = draw(gpus)
    return card, draw(models() if some_models is None else some_models), draw(options(card, **fixed))
