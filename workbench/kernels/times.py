"""Kernel times: the law of each kind of kernel, and the time of a call by the ideal roofline or by its law.

Every time is at least the ideal roofline's (but for operands `replayed` from a cache), never falls when a kernel
has more work, and tends to the ideal time over the achievable fraction as the work grows (in attention, with the time
of the softmax). The parameters are fitted (`calibration`) and kept in the catalog (`catalog.fits`); the constants here
are the same for all GPUs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from ..catalog import DEFAULT_ENGINE, GPU, LINK_KINDS, engines, kernel_fit
from ..catalog import engine as find_engine
from ..common.arguments import check_range, one_of
from ..common.arrays import Array
from ..operators import Cost
from .attention import attention_seconds
from .collectives import ideal_collective, linked_seconds
from .elementwise import ELEMENTWISE_KERNELS, elementwise_seconds
from .gemm import gemm_seconds
from .linear_attention import linear_attention_seconds
from .mla import mla_floor, mla_seconds
from .moe import moe_seconds
from .roofline import check_time_model, ideal_time

#: What a wall clock sees of launching a kernel eagerly in PyTorch, beyond the kernel's own launch [s]: the intercept of
#: the unfused attention rows of Chen's microbenchmark on an A100 (github.com/aakashvarma/transformer_batch_analysis),
#: less `launch_us` of gemm. In no time unless `launch_latency` asks for it.
EAGER_LAUNCH = 26e-6


@dataclass(frozen=True)
class Timing:
    """How calls are timed; ValueError for an unknown time model, and a latency outside 0 to 1 s."""

    time_model: str = "ideal"  #: "ideal", each kernel on its roof, or "kernel", by its law
    launch_latency: float = 0.0  #: what every call takes besides [s]
    engine: str | None = None  #: whose kernels run, one of `catalog.engines()`; None is the best measured
    #: As in a step of that engine, which fuses elementwise kernels and quantization; not as a benchmark times each one.
    fused: bool = False

    def __post_init__(self) -> None:
        check_time_model(self.time_model)
        one_of("engine", self.engine, (None, *engines()))
        one_of("fused", self.fused, (True, False))
        object.__setattr__(self, "launch_latency", check_range("launch_latency", self.launch_latency, 1, "seconds"))


Fits = Callable[..., Any]


class Law(NamedTuple):
    """What a kind of kernel takes: by its law, and at least; both of (gpu, cost, peak_flop_rate [FLOP/s]) [s].

    The law takes the fits first, a function that gives the parameters of a kind for the GPU, engine and format, and of
    a collective over `pcie` where a GPU's own link does not reach.
    """

    seconds: Callable[[Fits, GPU, Cost, Array], Array]
    kinds: tuple[str, ...] = ()  #: whose fits it takes: of a prompt, and of a decoding step where that is another one
    ideal: Callable[[GPU, Cost, Array], Array] = lambda gpu, call, peak: ideal_time(
        call.flops, call.bytes, peak, gpu.bandwidth
    )
    floor: Callable[[GPU, Cost, Array], Array] | None = None  #: None: the ideal


#: The law of each kind of kernel, by `Cost.kernel`.
LAWS: dict[str, Law] = {
    "gemm": Law(lambda fits, gpu, call, peak: gemm_seconds(fits("gemm"), gpu, call, peak), ("gemm",)),
    "unfused": Law(lambda fits, gpu, call, peak: gemm_seconds(fits("unfused"), gpu, call, peak), ("unfused",)),
    "attention": Law(
        lambda fits, gpu, call, peak: attention_seconds(fits("prefill"), fits("decode"), gpu, call, peak),
        ("prefill", "decode"),
    ),
    "mla": Law(
        lambda fits, gpu, call, peak: mla_seconds(fits("mla_prefill"), fits("mla_decode"), gpu, call, peak),
        ("mla_prefill", "mla_decode"),
        floor=mla_floor,
    ),
    "linear_attention": Law(
        lambda fits, gpu, call, peak: linear_attention_seconds(
            fits("linear_step"), fits("linear_chunk"), gpu, call, peak
        ),
        ("linear_chunk", "linear_step"),
    ),
    "moe": Law(lambda fits, gpu, call, peak: moe_seconds(fits("moe"), gpu, call, peak), ("moe",)),
    "elementwise": Law(
        lambda fits, gpu, call, _: elementwise_seconds(fits("elementwise"), gpu, call.bytes - call.elsewhere),
        ("elementwise",),
    ),
    **{kind: Law(linked_seconds, (kind,), ideal_collective) for kind in LINK_KINDS},
}


def operator_time(
    gpu: GPU, call: Cost, peak_flop_rate: Array, time_model: str = "kernel", *, engine: str | None = None,
    fused: bool = False,
) -> Array:  # fmt: skip
    """Time of one kernel call, or of one collective.

    Parameters
    ----------
    gpu, call : GPU, Cost
        Catalog entry, and what the call works on.
    peak_flop_rate : float or ndarray
        Of the format that it computes in [FLOP/s].
    time_model : str
        "kernel" or "ideal".
    engine : str, optional
        Whose kernels run, one of `catalog.engines()`; None is the best measured.
    fused : bool
        As in a step of the engine: quantization and elementwise kernels as it fuses them (`catalog.ServingEngine`).

    Returns
    -------
    float or ndarray
        [s], with the dims of the work.
    """
    law = LAWS[call.kernel]
    if time_model == "ideal":
        return law.ideal(gpu, call, peak_flop_rate)

    def seconds(kernels_of: str | None) -> Array:
        def fits(kind: str, *, pcie: bool = False) -> Any:
            fit = kernel_fit(gpu, kind, call.format, kernels_of, pcie=pcie).fit
            return _in_a_step(fit, gpu, kind, kernels_of) if fused else fit

        return law.seconds(fits, gpu, call, peak_flop_rate)

    tried = [engine]
    if fused and call.kernel == "gemm" and find_engine(engine or DEFAULT_ENGINE).autotunes:
        tried += [other for other in engines() if other != engine and find_engine(other).fuses_quantization]
    floor = (law.floor or law.ideal)(gpu, call, peak_flop_rate)
    return np.maximum(reduce(np.minimum, map(seconds, tried)), floor)


def _in_a_step(fit: Any, gpu: GPU, kind: str, engine: str | None) -> Any:
    """A fit as an engine's step has it: fewer elementwise kernels, quantization within the kernel before a product."""
    own = find_engine(engine or DEFAULT_ENGINE)
    if kind == "elementwise":
        return fit.model_copy(update={"launch_us": fit.launch_us * own.elementwise_kernels / ELEMENTWISE_KERNELS})
    if kind == "gemm" and own.fuses_quantization and fit.quantize_fraction is not None:
        wide = kernel_fit(gpu, "gemm", "bf16", engine).fit  # a benchmark's launch has that of quantizing in it
        least = min((fit, wide), key=lambda each: each.launch_us + each.loop_us)
        latency = {name: getattr(least, name) for name in ("launch_us", "loop_us", "loop_depth")}
        return fit.model_copy(update=latency | {"quantize_fraction": None, "quantize_us": 0.0})
    return fit


def timed(gpu: GPU, call: Cost, peak_flop_rate: Array, timing: Timing, *, calls: int = 1) -> Array:
    """Time of several calls of a kernel, each with what launching it takes besides.

    Parameters
    ----------
    gpu, call, peak_flop_rate
        As for `operator_time`.
    timing : Timing
        The time model and the latency of a launch.
    calls : int
        How many [1].

    Returns
    -------
    float or ndarray
        Of all of them together [s].
    """
    seconds = operator_time(gpu, call, peak_flop_rate, timing.time_model, engine=timing.engine, fused=timing.fused)
    if timing.launch_latency:
        seconds = seconds + timing.launch_latency
    return seconds if calls == 1 else calls * seconds
