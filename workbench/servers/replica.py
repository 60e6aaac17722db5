"""A replica: the GPUs and formats that run one copy of a model, and what a real server is calibrated by."""

from dataclasses import dataclass
from functools import cached_property

from ..catalog import DEFAULT_ENGINE, GPU, Model
from ..catalog import engine as find_engine
from ..catalog import gpu as find_gpu
from ..catalog import model as find_model
from ..common.arguments import check_range, whole_number
from ..common.errors import CannotRun
from ..kernels import Formats, OperandFormats, Timing, link_rate, machine_size
from ..operators import operator_set, shard
from .network import NETWORK_US, Network

#: Spread of the experts' popularity (`operators.routing.experts_drawn`): random prompts and what comes of them touch
#: about 1.5 times fewer of 128 experts at 16 tokens than chances that are all alike. Fitted to published closed
#: loops of gpt-oss-120b, with the engines' hosts (`studies.fit_hosts`) [1].
EXPERT_SPREAD = 1.5


@dataclass(frozen=True)
class Calibration:
    """What a real server adds to its kernels, by default nothing; parameters and errors as for `Replica`.

    `launching` is what the host takes to launch a step's kernels while earlier ones run: no step takes less [s].
    """

    step_overhead: float = 0.0
    sequence_overhead: float = 0.0
    gemm_efficiency: float = 1.0
    gemm_rows: int | None = None
    dequantize_rows: int | None = None
    launching: float = 0.0

    def __post_init__(self) -> None:
        for name in ("step_overhead", "sequence_overhead"):
            object.__setattr__(self, name, check_range(name, getattr(self, name), 10, "seconds"))
        for name in ("gemm_rows", "dequantize_rows"):
            if (rows := getattr(self, name)) is not None:
                object.__setattr__(self, name, whole_number(name, rows))
        object.__setattr__(self, "gemm_efficiency", check_range("gemm_efficiency", self.gemm_efficiency, 10, low=1e-3))

    @property
    def host(self) -> bool:
        """Whether a step waits for the host."""
        return bool(self.step_overhead or self.sequence_overhead or self.launching)


def beyond_context(model: Model, max_model_len: int | None) -> list[str]:
    """What an answer assumes of a model whose context is unknown, or is passed by the engine's `max_model_len`."""
    if model.max_context is None:
        return [f"{model.id}: its context is unknown, sequences of any length fit"]
    if max_model_len is None or max_model_len <= model.max_context:
        return []
    return [f"{model.id}: sequences of up to {max_model_len:,} tokens, beyond its context of {model.max_context:,}"]


@dataclass(frozen=True)
class Replica:
    """What runs one replica of a model.

    Parameters
    ----------
    gpu, model : GPU, Model, or str
        Catalog entries or their ids.
    tp : int
        GPUs that share the attention and the dense layers (tensor parallel) [1].
    pp : int
        Stages of a pipeline, each of tp x dp GPUs with some of the layers [1].
    ep : int
        GPUs, or groups of them, that the routed experts are spread over: each expert is shared by tp x dp / ep of them
        [1].
    dp : int, optional
        Groups of tp GPUs that each serve a share of the sequences, in steps that they take together (attention data
        parallel); of a dense model, copies behind one queue. None: ep / tp, and 1 at least [1].
    weight_dtype, activation_dtype, kv_dtype, lm_head_dtype, time_model, launch_latency
        As for `roofline_grid`; the latency in [s].
    step_overhead, sequence_overhead : float, optional
        Of the host, what the GPU waits for in every step, and for each sequence in it [s]. Where neither is given, they
        are those of the engine with `time_model` "kernel", and 0 with "ideal"; where one is, the other is 0.
    gemm_efficiency : float
        Of kernels that widen their weights first (AWQ, GPTQ, fp8 weights with fp16 activations): they take the modelled
        time over this [1].
    gemm_rows : int, optional
        Tokens of a step for which such a kernel widens all its weights once; None: all of them [token].
    dequantize_rows : int, optional
        Tokens of a step from which on the weights are widened to memory first, for an ordinary GEMM; None: never
        [token].
    engine : str, optional
        Whose kernels run and whose host takes time in a step (`catalog.engine`): "vllm", "sglang", "trtllm" or
        "pytorch"; None: the kernels of "vllm" alone.
    network_gbs, network_us : float, optional
        Of the network between machines, for replicas that pass one: rate of each GPU in one direction [GB/s], and what
        a message takes besides [us] (`servers.network.NETWORK_US`).
    expert_skew : float
        Exponent of the power law by which tokens choose experts, such as 1.2; 0: at random [1].
    redundant_experts : int
        Second copies of the most loaded experts, of every layer, which `ep` spreads as well [1].
    expert_spread : float
        How much more popular some experts are than others, the standard deviation of its logarithm; 0: all alike [1].

    Raises
    ------
    ValueError
        For an unknown name, a size that is not a positive whole number, and numbers out of their range; as a
        `CannotRun` for sizes that do not divide the model, a format that the GPU has no peak for, GPUs without a link
        between them, and more of them than a machine has, without a network.
    """

    gpu: GPU
    model: Model
    tp: int = 1
    pp: int = 1
    ep: int = 1
    dp: int | None = None
    weight_dtype: str | None = None
    activation_dtype: str | None = None
    kv_dtype: str | None = None
    lm_head_dtype: str | None = None
    time_model: str = "kernel"
    launch_latency: float = 0.0
    step_overhead: float | None = None
    sequence_overhead: float | None = None
    gemm_efficiency: float = 1.0
    gemm_rows: int | None = None
    dequantize_rows: int | None = None
    engine: str | None = DEFAULT_ENGINE
    network_gbs: float | None = None
    network_us: float = NETWORK_US
    expert_skew: float = 0.0
    redundant_experts: int = 0
    expert_spread: float = EXPERT_SPREAD

    def __post_init__(self) -> None:
        object.__setattr__(self, "gpu", find_gpu(self.gpu))
        object.__setattr__(self, "model", find_model(self.model))
        object.__setattr__(self, "engine", None if self.engine is None else find_engine(self.engine).id)
        for name in ("tp", "pp", "ep"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        if self.pp > self.model.n_layers:
            raise ValueError(f"pp = {self.pp}: {self.model.id} has {self.model.n_layers} layers")
        object.__setattr__(self, "dp", max(self.ep // self.tp, 1) if self.dp is None else whole_number("dp", self.dp))
        object.__setattr__(self, "expert_skew", check_range("expert_skew", self.expert_skew, 10))
        object.__setattr__(self, "expert_spread", check_range("expert_spread", self.expert_spread, 3))
        copies = whole_number("redundant_experts", self.redundant_experts, low=0)
        object.__setattr__(self, "redundant_experts", copies)
        self._check_experts()
        self._check_network()
        for checked in ("timing", "calibration", "formats", "peaks", "shard"):
            getattr(self, checked)
        for name, value in (*vars(self.timing).items(), *vars(self.calibration).items()):
            if getattr(self, name, None) is not None:
                object.__setattr__(self, name, value)
        link_rate(self.gpu, min(self.gpus, machine_size(self.gpu)))

    def _check_experts(self) -> None:
        """Refuse experts that cannot be spread as asked."""
        moe = self.model.moe
        for name, none in (("ep", 1), ("redundant_experts", 0), ("expert_skew", 0)):
            if not moe and (asked := getattr(self, name)) != none:
                raise CannotRun(f"{name} = {asked:g}: {self.model.id} has no experts", "no experts to spread")
        if not moe:
            return
        if self.tp * self.dp_ranks % self.ep:
            raise CannotRun(
                f"ep = {self.ep} does not divide tp x dp = {self.tp * self.dp_ranks}, the GPUs that have the experts",
                "ep does not divide the GPUs",
            )
        if self.redundant_experts > (moe.n_experts if self.ep > 1 else 0):
            allowed = f"up to {moe.n_experts}, a second copy of each" if self.ep > 1 else "0 without ep"
            raise ValueError(f"redundant_experts = {self.redundant_experts}: allowed are {allowed}")
        if (experts := moe.n_experts + self.redundant_experts) % self.ep:
            more = f" and {self.redundant_experts} copies" if self.redundant_experts else ""
            raise CannotRun(
                f"ep = {self.ep} does not divide the experts of {self.model.id}, which has {moe.n_experts} experts"
                f"{more}: {-experts % self.ep} more redundant_experts would do",
                "ep does not divide the experts",
            )

    def _check_network(self) -> None:
        """Refuse more GPUs than a machine has without a network between machines."""
        if self.network_gbs is not None or self.network_us != NETWORK_US:
            network = Network(1.0 if self.network_gbs is None else self.network_gbs, self.network_us)
            object.__setattr__(self, "network_us", network.us)
            object.__setattr__(self, "network_gbs", self.network_gbs and network.gbs)
        if self.network_gbs is None and self.gpus > (most := machine_size(self.gpu)):
            raise CannotRun(
                f"tp x dp x pp = {self.gpus}: a machine of {self.gpu.id} has {most}. Give network_gbs, the rate of the"
                " network between machines for each GPU and direction (50 for 400 Gbit/s)",
                "more GPUs than a machine has",
            )

    @property
    def network(self) -> Network | None:
        """What joins its machines; None where they are not said to be joined."""
        return None if self.network_gbs is None else Network(self.network_gbs, self.network_us)

    @cached_property
    def timing(self) -> Timing:
        """How its kernels are timed."""
        return Timing(self.time_model, self.launch_latency, self.engine, fused=self.engine is not None)

    @cached_property
    def calibration(self) -> Calibration:
        """What a real server adds to its kernels."""
        kernels = (self.gemm_efficiency, self.gemm_rows, self.dequantize_rows)
        given = (self.step_overhead, self.sequence_overhead)
        own = any(seconds is not None for seconds in given)
        if own or self.engine is None or self.timing.time_model == "ideal":
            step, sequence = (0.0 if seconds is None else seconds for seconds in given)
            return Calibration(step, sequence, *kernels)
        host = find_engine(self.engine)
        launching = host.layer_launch * self.model.n_layers
        return Calibration(host.step_overhead, host.sequence_overhead, *kernels, launching)

    @cached_property
    def formats(self) -> OperandFormats:
        """Number format of each kind of operand."""
        asked = Formats(self.weight_dtype, self.activation_dtype, self.kv_dtype, self.lm_head_dtype)
        return asked.of(self.model, [self.gpu])

    @cached_property
    def operators(self) -> list[str]:
        """Operators of a step, in order."""
        return operator_set(self.model, "fused")

    @cached_property
    def peaks(self) -> dict[str, float]:
        """Dense peak of the format that each operator computes in [FLOP/s]."""
        return {name: self.gpu.peak_flop_rate(self.formats.computes_in(name)) for name in self.operators}

    @cached_property
    def shard(self) -> Model:
        """What one of the `tp` GPUs runs, of all layers, and of the experts that it has."""
        return shard(self.model, self.tp, self.expert_gpus if self.model.moe else None)

    @property
    def dp_ranks(self) -> int:
        """Groups of GPUs that each have sequences of their own [1]."""
        assert self.dp
        return self.dp

    @property
    def joined_gpus(self) -> int:
        """GPUs that exchange with each other: all, but copies of a dense model each by themselves [1]."""
        return self.gpus if self.model.moe else self.tp * self.pp

    @property
    def expert_gpus(self) -> int:
        """GPUs that share each routed expert [1]."""
        return self.tp * self.dp_ranks // self.ep

    @property
    def gpus(self) -> int:
        """GPUs of the replica [1]."""
        return self.tp * self.dp_ranks * self.pp


def host_assumed(replica: Replica) -> str:
    """What an answer assumes of the engine's host, where its time is not given."""
    calibration, own = replica.calibration, (replica.step_overhead, replica.sequence_overhead) != (None, None)
    if own or not calibration.host:
        return ""
    each = f"its host adds {1e3 * calibration.step_overhead:g} ms to a step"
    parts = [each, f"{1e6 * calibration.sequence_overhead:g} us for a sequence"][
        : 1 + bool(calibration.sequence_overhead)
    ]
    if calibration.launching:
        parts = [f"{1e6 * calibration.launching / replica.model.n_layers:g} us launch a layer of kernels"]
    return f"{replica.engine}: {' and '.join(parts)}"
