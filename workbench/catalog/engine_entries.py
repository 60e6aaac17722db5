"""Engines: what the host of each adds to the kernels of a step, one YAML file each, every number with its source."""

from functools import cache
from importlib.resources.abc import Traversable
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ..common.errors import unknown
from ..common.yaml_records import Count, Record, Text
from .loading import Entry, describe_entry, entry_files, load_entry

#: The best measured engine: kernels are timed as its own unless another is named.
DEFAULT_ENGINE = "vllm"

#: What a scheduler does with prompts and a full KV cache: "recompute", prompts in chunks beside decoding sequences, the
#: latest preempted and computed again (vLLM); "max_utilization", the same, where a request starts when its whole prompt
#: has room (TensorRT-LLM); "guaranteed_no_evict", when its whole cache has (TensorRT-LLM by default); "prefill_first",
#: prompts in steps of their own, and a share of what may still be generated is left for it (SGLang).
POLICIES = ("recompute", "max_utilization", "guaranteed_no_evict", "prefill_first")

HostTime = Annotated[float, Field(ge=0, lt=1e6)]
Share = Annotated[float, Field(gt=0, le=1)]
Size = Annotated[float, Field(ge=0, lt=1e6, allow_inf_nan=False)]


class Caps(Record):
    """Of a step, the most tokens [token] and sequences [1] by default, on GPUs of at least some memory [GiB]."""

    max_num_batched_tokens: Count
    max_num_seqs: Count
    from_gib: Annotated[float, Field(ge=0)] = 0.0
    except_chips: Annotated[tuple[Text, ...], Field(strict=False)] = ()

    def __str__(self) -> str:
        where = f" from {self.from_gib:g} GiB" if self.from_gib else ""
        but = f", not {' or '.join(self.except_chips)}" if self.except_chips else ""
        return f"{self.max_num_batched_tokens:,} tokens, {self.max_num_seqs:,} sequences{where}{but}"

    __repr__ = __str__


class Reserve(Record):
    """Memory that an engine keeps for its largest step, by its own count: a constant and what grows."""

    mib: Size  #: whatever it runs [MiB]
    token_mib: Size  #: for each token of its largest step, CUDA graphs included [MiB]
    gpu_mib: Size  #: for each GPU of the replica [MiB]
    large_gpu_gib: Size  #: GPUs with more memory than this [GiB]
    least_gib: Size  #: keep no less than this [GiB]

    def bytes(self, memory: float, *, tokens: int, gpus: int) -> float:
        """What is kept free of each of `gpus` with `memory` [byte] for a step of `tokens` [byte]."""
        grown = self.mib + self.token_mib * tokens + self.gpu_mib * gpus
        least = self.least_gib if memory > 2**30 * self.large_gpu_gib else 0.0
        return max(2**20 * grown, 2**30 * least)


class EngineMemory(Record):
    """How an engine shares out the memory of a GPU."""

    #: Of "total" memory, for all that the server holds; of what is "free" beside weights and activations, for the KV
    #: cache; or of what is free when its process is up, for weights and KV cache, which stay ("static").
    of: Literal["total", "free", "static"]
    share: Share | None = None  #: of that, by default; None is all but `reserve` [1]
    reserve: Reserve | None = None  #: what the engine keeps where it has no `share`
    context_gib: Size  #: CUDA's context and libraries, as far as the share has to hold them [GiB]
    peers_gib: Size  #: further with more GPUs: NCCL's channels, buffers of its own all-reduce [GiB]
    graphs_gib: Size | None = None  #: CUDA graphs; None is not known [GiB]
    graphs_counted: bool = False  #: the share has to hold them
    #: Values in fp32 that are alive at once for each logit of the largest step: its own, and the sampler's [1].
    logit_copies: Annotated[float, Field(ge=0.5, le=100)]

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.share is None) == (self.reserve is None):
            raise ValueError(f"share = {self.share} and reserve = {self.reserve}: allowed is one of the two")
        if self.graphs_counted and self.graphs_gib is None:
            raise ValueError("graphs_gib is missing: with graphs_counted the share has to hold them")
        return self

    def workspace(self, gpus: int) -> float:
        """What the share of each GPU of a replica of `gpus` holds beside weights, activations and KV cache [byte]."""
        peers = self.peers_gib if gpus > 1 else 0.0
        graphs = self.graphs_gib if self.graphs_counted and self.graphs_gib else 0.0
        return 2**30 * (self.context_gib + peers + graphs)

    def __str__(self) -> str:
        what = {"total": "of the memory", "free": "of what is free", "static": "for weights and KV cache"}[self.of]
        share = "all but what a step takes" if self.share is None else f"{self.share:g}"
        text = f"{share} {what}; context {self.context_gib:g} GiB, with peers {self.peers_gib:g} GiB more"
        if self.graphs_gib is None:
            return text
        return f"{text}, CUDA graphs {self.graphs_gib:g} GiB{'' if self.graphs_counted else ' outside of it'}"

    __repr__ = __str__


class ServingEngine(Entry):
    """What an engine's host adds to kernels, and what its server does by default. Printed, it shows all with units."""

    step_ms: HostTime = 0.0  #: to every step that the GPU waits for [ms]
    sequence_us: HostTime = 0.0  #: to it for every sequence in the step [us]
    #: Of launching a layer's kernels one by one, while the GPU runs earlier ones: a step takes no less than that of all
    #: its layers; 0 where CUDA graphs launch them together [us].
    layer_us: HostTime = 0.0
    #: Mean of what a request takes to the scheduler, exponentially distributed: network, server, tokens [ms].
    request_ms: HostTime = 0.0
    elementwise_kernels: Annotated[float, Field(ge=0, le=10)] = 4.0  #: that a layer waits for, such as norms [1]
    #: Of a product, it tries the kernels that all engines' fits are of, and takes the fastest.
    autotunes: bool = False
    #: Activations are quantized within the kernel before a product, not by one of their own, which fits of GEMMs have.
    fuses_quantization: bool = False
    #: Activations are quantized by a kernel of their own, as elementwise ones are, not as in the fits of GEMMs.
    quantizes_apart: bool = False
    policy: Literal["recompute", "max_utilization", "guaranteed_no_evict", "prefill_first"] = (
        "recompute"  #: of its scheduler: `POLICIES`
    )
    prefix_caching: bool = True  #: finds blocks of the KV cache again, by default
    caps: Annotated[tuple[Caps, ...], Field(strict=False, min_length=1)]  #: of a step, by default; the last that fits
    memory: EngineMemory  #: how it shares out a GPU's memory
    covers: Text  #: what is in these times
    #: Kernel libraries that it runs, whose fits serve where it has none of its own.
    families: Annotated[tuple[Text, ...], Field(strict=False, min_length=1)]
    version: Text  #: of the engine, as measured
    date: Text  #: of the measurements
    error_percent: Annotated[float, Field(ge=0)] | None = None  #: of a step's time, on measurements held out [%]
    sources: dict[str, str] = Field(min_length=1)  #: of each number
    notes: Text | None = None  #: what else a reader has to know

    @property
    def step_overhead(self) -> float:
        """What a step takes besides its kernels [s]."""
        return self.step_ms * 1e-3

    @property
    def sequence_overhead(self) -> float:
        """What it takes besides for each of its sequences [s]."""
        return self.sequence_us * 1e-6

    def caps_of(self, chip: str | None, memory: float | None) -> Caps:
        """The default caps on a GPU of some chip and memory [byte]."""
        gib = (memory or 0.0) / 2**30
        return [each for each in self.caps if each.from_gib <= gib and chip not in each.except_chips][-1]

    @property
    def layer_launch(self) -> float:
        """What launching the kernels of a layer takes, beside which earlier ones run [s]."""
        return self.layer_us * 1e-6

    def __str__(self) -> str:
        off = "" if self.error_percent is None else f"{self.error_percent:g} %"
        rows = {
            "a step": f"{self.step_ms:g} ms", "a sequence": f"{self.sequence_us:g} us",
            "launching a layer": self.layer_us and f"{self.layer_us:g} us", "covers": self.covers,
            "a request on its way": self.request_ms and f"{self.request_ms:g} ms on average",
            "elementwise kernels": f"{self.elementwise_kernels:g} a layer",
            "quantization": self.fuses_quantization and "of activations within the kernel before",
            "products": self.autotunes and "by the fastest of all engines' fits",
            "scheduler": f"{self.policy}{', finds blocks again' if self.prefix_caching else ''}",
            "a step holds": "; ".join(map(str, self.caps)),
            "memory": self.memory,
            "version": f"{self.version}, {self.date}", "error, held out": off,
        }  # fmt: skip
        return describe_entry(f"Engine {self.id}: {self.name}", rows, self)

    __repr__ = __str__


@cache
def _engine(name: str) -> ServingEngine:
    return load_entry(ServingEngine, _engine_files()[name])


@cache
def _engine_files() -> dict[str, Traversable]:
    return entry_files("engines")


def engines() -> list[str]:
    """Ids of all engines in the catalog.

    Returns
    -------
    list of str
        In alphabetical order.
    """
    return list(_engine_files())


def engine(name: str | ServingEngine) -> ServingEngine:
    """An engine of the catalog.

    Parameters
    ----------
    name : str or ServingEngine
        Its id, or the entry itself.

    Returns
    -------
    ServingEngine
        The entry, which prints itself with units and sources.

    Raises
    ------
    ValueError
        Where the catalog has no such engine; the message has the nearest name. For an entry that was changed: kernels
        and servers know engines by their ids, and take what is to be otherwise as options (`step_overhead`...).

    Examples
    --------
    >>> engine("vllm").layer_launch
    0.0
    """
    if isinstance(name, ServingEngine):
        if name.id not in _engine_files() or name != _engine(name.id):
            raise ValueError(
                f"engine = a changed {name.id}: expected the catalog's own; give what is otherwise as an option,"
                " such as step_overhead or max_num_seqs"
            )
        return name
    if not isinstance(name, str) or name not in _engine_files():
        raise unknown("engine", name, _engine_files())
    return _engine(name)
