"""A replica: the GPUs and formats that run one copy of a model, and what a real server is calibrated by."""

from dataclasses import dataclass

from ..catalog.gpu_entries import GPU
from ..catalog.gpu_entries import gpu as find_gpu
from ..catalog.model_entries import Model
from ..catalog.model_entries import model as find_model
from ..common.arguments import check_range, is_number, is_whole
from ..common.errors import unknown
from ..kernels.times import TIME_MODELS
from ..operators import parallel
from ..operators.formats import computes_in, formats
from ..operators.table import operator_set


@dataclass(frozen=True)
class Replica:
    """What runs one replica of a model.

    tp : GPUs that share every layer; pp : groups of them that each have some of the layers; ep : GPUs that each have
        some of the experts and everything else whole, with a share of the sequences (attention data parallel) [1]
    weight_dtype, activation_dtype, kv_dtype, lm_head_dtype, time_model, launch_latency [s] : as of `grid.roofline_grid`
    step_overhead, sequence_overhead : of the host, what the GPU waits for in every step, and for each sequence in it
        [s]
    gemm_efficiency : of kernels that widen their weights first (AWQ, GPTQ, fp8 weights with fp16 activations): they
        take the modelled time over this [1]
    gemm_rows : such a kernel widens all its weights again for every so many tokens of a step; None: once [token]
    dequantize_rows : from so many tokens on, the weights are widened to memory first, for an ordinary GEMM; None: never
        [token]

    gpu and model may be given as ids. The overheads and what widening costs are what a real server is calibrated by; by
    default it has none. Raises ValueError for an unknown name, a size that is no positive whole number or does not
    divide the model, and numbers out of their range.
    """

    gpu: GPU
    model: Model
    tp: int = 1
    pp: int = 1
    ep: int = 1
    weight_dtype: str | None = None
    activation_dtype: str = "fp16"
    kv_dtype: str = "fp16"
    lm_head_dtype: str | None = None
    time_model: str = "kernel"
    launch_latency: float = 0.0
    step_overhead: float = 0.0
    sequence_overhead: float = 0.0
    gemm_efficiency: float = 1.0
    gemm_rows: int | None = None
    dequantize_rows: int | None = None

    def __post_init__(self) -> None:
        for name, kind, find in (("gpu", GPU, find_gpu), ("model", Model, find_model)):
            if not isinstance(given := getattr(self, name), kind):
                object.__setattr__(self, name, find(given))
        if not isinstance(self.time_model, str) or self.time_model not in TIME_MODELS:
            raise unknown("time_model", self.time_model, TIME_MODELS)
        for name in ("tp", "pp", "ep", "gemm_rows", "dequantize_rows"):
            size = getattr(self, name)
            if not (is_whole(size) and size >= 1) and not (size is None and name in ("gemm_rows", "dequantize_rows")):
                raise ValueError(f"{name} = {size!r}: allowed are whole numbers from 1")
        if self.pp > self.model.n_layers:
            raise ValueError(f"pp = {self.pp}: {self.model.id} has {self.model.n_layers} layers")
        if self.ep > 1 and not (self.model.moe and self.model.moe.n_experts % self.ep == 0):
            experts = f"{self.model.moe.n_experts} experts" if self.model.moe else "no experts"
            raise ValueError(f"ep = {self.ep} does not divide the experts of {self.model.id}, which has {experts}")
        if self.ep > 1 and self.tp * self.pp > 1:
            raise ValueError(f"ep = {self.ep} goes with tp = pp = 1: every GPU has the attention of its own sequences")
        for name in ("launch_latency", "step_overhead", "sequence_overhead"):
            check_range(name, getattr(self, name), 10, "seconds")
        if not is_number(self.gemm_efficiency) or not 1e-3 <= self.gemm_efficiency <= 10:
            raise ValueError(f"gemm_efficiency = {self.gemm_efficiency!r}: allowed are numbers from 0.001 to 10")
        for operator in operator_set(self.model, "fused"):
            self.gpu.peak_flop_rate(computes_in(operator, self.dtypes))

    @property
    def gpus(self) -> int:
        """GPUs of the replica [1]."""
        return self.tp * self.pp * self.ep

    @property
    def dtypes(self) -> dict[str, str]:
        """Number format of each kind of operand."""
        return formats(self.model, self.weight_dtype, self.activation_dtype, self.kv_dtype, self.lm_head_dtype)

    @property
    def shard(self) -> Model:
        """What one of the `tp` GPUs runs, of all layers."""
        return parallel.shard(self.model, self.tp)
