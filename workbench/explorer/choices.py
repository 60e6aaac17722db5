"""The parts of a view: what times depend on, the one setting, its server, the reader's goal, a pinned point."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ..catalog.engine_entries import DEFAULT_ENGINE, engines
from ..common.arguments import one_of
from ..common.yaml_records import Count, Number, Record
from .bounds import Label, at_most

MemoryShare = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class Settings(Record):
    """What a time depends on besides GPU, model, operator, phase and sizes.

    Attributes
    ----------
    tp : int
        GPUs that share every layer; every number is then per GPU [1].
    weight_dtype, activation_dtype, kv_dtype, time_model : str
        As for `grid.roofline_grid`.
    launch_latency_us : float
        Added to every kernel call [us].
    peak_tflops : float, optional
        A ceiling to draw in place of the datasheets' [TFLOP/s]; times are predicted with the datasheet's.
    """

    tp: int = Field(default=1, gt=0, le=1024)
    weight_dtype: Label | None = None
    activation_dtype: Label | None = None
    kv_dtype: Label | None = None
    time_model: Label = "ideal"
    launch_latency_us: float = Field(default=0.0, ge=0, lt=1e6, allow_inf_nan=False)
    peak_tflops: Number | None = None


class Setting(Record):
    """The one setting that bars and tables are of, and the request that servers are asked.

    Attributes
    ----------
    batch_size : int
        Sequences in the batch [1].
    seq_len : int
        Length of each, and so the prompt of a request [token].
    output : int
        Output of a request [token].
    """

    batch_size: Count = 1
    seq_len: Count = 1024
    output: Count = 128


class Deployment(Record):
    """How the server of the one setting is deployed, besides tp: as for `serving.estimate`, whose defaults it has.

    Attributes
    ----------
    ep, pp : int
        GPUs that experts are spread over, stages of a pipeline [1].
    dp : int, optional
        Groups of tp GPUs that share the sequences [1].
    network_gbs : float, optional
        Between machines [GB/s].
    engine : str, optional
        Whose kernels and host; None is the kernels alone.
    cached_prefix : int
        Tokens of every prompt that the cache has [token].
    draft : str, optional
        Speculative decoding, as ``--draft`` of the command line: "llama-3.2-1b:4:0.7", "mtp:1:0.85", "medusa:16".
    max_num_batched_tokens, max_num_seqs : int, optional
        Tokens and sequences in a step at most; None is the engine's [1].
    gpu_memory_utilization : float, optional
        MemoryShare of the memory that the server may use; None is the engine's [1].
    price : float or dict of str to float, optional
        Of a GPU for an hour, one or by GPU, in whatever currency; None counts GPU-hours.
    time_model : str
        "kernel", as `serving.estimate` has it, or "ideal".
    """

    ep: int = Field(default=1, gt=0, le=1024)
    dp: Annotated[int, Field(gt=0, le=1024)] | None = None
    pp: int = Field(default=1, gt=0, le=1024)
    network_gbs: Number | None = None
    engine: Label | None = DEFAULT_ENGINE
    cached_prefix: int = Field(default=0, ge=0, lt=10**13)
    draft: Label | None = None
    max_num_batched_tokens: Count | None = None
    max_num_seqs: Count | None = None
    gpu_memory_utilization: MemoryShare | None = None
    price: Number | Annotated[dict[Label, Number], at_most(100)] | None = None
    time_model: Literal["kernel", "ideal"] = "kernel"

    @model_validator(mode="after")
    def _known(self) -> Self:
        one_of("engine", self.engine, (None, *engines()))
        return self


class Goal(Record):
    """What the reader wants of a server: the limits of its service level, and how many requests come.

    Attributes
    ----------
    ttft, tpot : float, optional
        Longest time to first token, and for each token after it [s].
    rate : float, optional
        Requests that arrive [1/s].
    percentile : float
        Percent of the requests that must keep each limit [%].
    considered : str
        GPUs that a plan is of: those of the "view", the "priced", which have a price of their own, or "all".
    """

    ttft: Number | None = None
    tpot: Number | None = None
    rate: Number | None = None
    percentile: float = Field(default=95.0, gt=0, lt=100, allow_inf_nan=False)
    considered: Literal["view", "priced", "all"] = "view"


class Heat(Record):
    """What the heat map is of.

    Attributes
    ----------
    variable : str
        A variable of the grid, or "roof", the share of the roof.
    gpu, model, operator, phase : str, optional
        Of the view; None is the first, of operators the whole step where there is one.
    """

    variable: Label = "time"
    gpu: Label | None = None
    model: Label | None = None
    operator: Label | None = None
    phase: Label | None = None


class Pin(Settings):
    """One pinned point, with the settings under which it was pinned.

    Attributes
    ----------
    gpu, model, phase : str
        Of the point.
    operator : str, optional
        Of the point; None is the whole step.
    batch_size, seq_len, candidates : int
        Sequences [1], length [token], candidates [1].
    """

    gpu: Label
    model: Label
    operator: Label | None = None
    phase: Label
    batch_size: Count
    seq_len: Count
    candidates: Count | None = None
