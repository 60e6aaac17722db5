"""How an engine sizes its KV cache: what share of a GPU's memory it may fill, and what that has to hold besides."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ..common.yaml_records import Record

Share = Annotated[float, Field(gt=0, le=1)]
Size = Annotated[float, Field(ge=0, lt=1e6, allow_inf_nan=False)]


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
