"""Engines: what the host of each adds to the kernels of a step, one YAML file each, every number with its source."""

from functools import cache
from importlib.resources.abc import Traversable
from typing import Annotated, Literal

from pydantic import Field

from ..common.errors import unknown
from ..common.yaml_records import Count, Record, Text
from .engine_memory import EngineMemory
from .loading import Entry, describe_entry, entry_files, load_entry

#: The best measured engine, whose kernels times are of unless another is named.
DEFAULT_ENGINE = "vllm"

#: What a scheduler does with prompts and a full KV cache: "recompute", prompts in chunks beside decoding sequences, the
#: latest preempted and computed again (vLLM, and TensorRT-LLM's MAX_UTILIZATION); "guaranteed_no_evict", a request
#: starts when its whole cache has room (TensorRT-LLM); "prefill_first", prompts in steps of their own (SGLang).
POLICIES = ("recompute", "guaranteed_no_evict", "prefill_first")

HostTime = Annotated[float, Field(ge=0, lt=1e6)]


class Caps(Record):
    """Of a step, the most tokens [token] and sequences [1] by default, on GPUs of at least some memory [GiB]."""

    max_num_batched_tokens: Count
    max_num_seqs: Count
    from_gib: Annotated[float, Field(ge=0)] = 0.0
    except_chips: Annotated[tuple[Text, ...], Field(strict=False)] = ()


class ServingEngine(Entry):
    """What an engine's host adds to the kernels of a step. Printed, it shows all with units."""

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
    policy: Literal["recompute", "guaranteed_no_evict", "prefill_first"] = "recompute"  #: of its scheduler: `POLICIES`
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
        Its id; an entry is handed back as it is.

    Returns
    -------
    ServingEngine
        The entry, which prints itself with units and sources.

    Raises
    ------
    ValueError
        Where the catalog has no such engine; the message has the nearest name.

    Examples
    --------
    >>> engine("vllm").layer_launch
    0.0
    """
    if isinstance(name, ServingEngine):
        return name
    if not isinstance(name, str) or name not in _engine_files():
        raise unknown("engine", name, _engine_files())
    return _engine(name)
