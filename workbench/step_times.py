"""Time of one step of a serving engine, tabulated once from the grid: the kernels of a mixed batch, added up."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .catalog import GPU, Model
from .catalog import gpu as find_gpu
from .catalog import model as find_model
from .dtypes import WIDTH, element_bytes
from .grid import roofline_grid
from .kernels import TIME_MODELS
from .names import unknown
from .operators import ATTENTION, operator_set

#: Operators whose work depends on each sequence's context; that of the others follows from the tokens alone.
CONTEXT_OPERATORS = (*ATTENTION, "kv_b_proj")
#: Lengths of context that times are tabulated at, in equal ratios; between them they are interpolated [1].
CONTEXTS = 256
#: Largest settings: a table has a row for each.
LIMITS = {
    "max_num_seqs": 10**4, "max_num_batched_tokens": 2 * 10**5, "max_model_len": 10**7, "block_size": 10**7,
    "kv_tokens": 10**12, "gemm_rows": 10**6, "dequantize_rows": 10**6,
}  # fmt: skip


@dataclass(frozen=True)
class Server:
    """An engine on one GPU, with the names and the defaults of vLLM's settings.

    gpu, model : ids or catalog entries; weight_dtype, activation_dtype, kv_dtype, time_model : as for `roofline_grid`
    max_num_seqs : sequences in a step at most [1]; max_num_batched_tokens : tokens in a step at most [token]
    max_model_len : prompt and output of one request [token]
    chunked_prefill : a prompt may be spread over steps; without it max_num_batched_tokens must hold the longest
    block_size : tokens in a block of the KV cache; kv_tokens : size of the KV cache, None: never full [token]
    step_overhead, sequence_overhead : what each step, and each sequence in it, takes besides the kernels [s]
    gemm_efficiency : of kernels whose weights are narrower than the activations: they take the kernel model's time
        over this [1]
    gemm_rows : such a kernel unpacks all weights again for every so many tokens of a step; None: once [token]
    dequantize_rows : from so many tokens on, weights are unpacked to memory first, for an ordinary GEMM; None: never

    Raises ValueError for an unknown name or a number outside its range.
    """

    gpu: str | GPU
    model: str | Model
    weight_dtype: str | None = None
    activation_dtype: str = "fp16"
    kv_dtype: str = "fp16"
    time_model: str = "kernel"
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    max_model_len: int = 2048
    chunked_prefill: bool = True
    block_size: int = 16
    kv_tokens: int | None = None
    step_overhead: float = 0.0
    sequence_overhead: float = 0.0
    gemm_efficiency: float = 1.0
    gemm_rows: int | None = None
    dequantize_rows: int | None = None

    def __post_init__(self) -> None:
        _card(self.gpu), _model(self.model)
        if self.time_model not in TIME_MODELS:
            raise unknown("time_model", self.time_model, TIME_MODELS)
        for name, most in LIMITS.items():
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            optional = self.__dataclass_fields__[name].default is None
            if not (value is None and optional) and not (whole and 1 <= value <= most):
                raise ValueError(f"{name} = {value!r}: allowed are whole numbers from 1 to {most:,}")
        for name in ("step_overhead", "sequence_overhead", "gemm_efficiency"):
            value, low, high = getattr(self, name), *((1e-3, 10.0) if name == "gemm_efficiency" else (0.0, 10.0))
            if not isinstance(value, int | float | np.number) or isinstance(value, bool) or not low <= value <= high:
                raise ValueError(f"{name} = {value!r}: allowed are numbers from {low:g} to {high:g}")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens = {self.max_num_batched_tokens} is less than max_num_seqs ="
                f" {self.max_num_seqs}: every sequence needs a token of the step"
            )
        if not self.chunked_prefill and self.max_num_batched_tokens < self.max_model_len:
            raise ValueError(
                f"max_num_batched_tokens = {self.max_num_batched_tokens} is less than max_model_len ="
                f" {self.max_model_len}: without chunked_prefill a prompt must fit in one step"
            )
        if self.kv_tokens is not None and self.kv_tokens // self.block_size * self.block_size < self.max_model_len:
            raise ValueError(
                f"kv_tokens = {self.kv_tokens} has fewer whole blocks than max_model_len = {self.max_model_len} needs:"
                " a single request may need more than the whole cache"
            )

    def settings(self) -> dict[str, Any]:
        """The fields by name, GPU and model as ids."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        ids = {name: getattr(fields[name], "id", fields[name]) for name in ("gpu", "model")}
        return fields | ids


class StepTimes:
    """The parts that a step's time is the sum of.

    linear : by the tokens in the step, every operator but those below, and the step's overhead [s]
    head : by the sequences in the step, lm_head and the sequences' overhead [s]
    decode, prefill : the attention (`CONTEXT_OPERATORS`) of decoding sequences and of parts of prompts [s]
    """

    def __init__(self, server: Server) -> None:
        """Tabulate the times of a server's steps."""
        model = _model(server.model)
        operators = operator_set(model, "fused")
        on_context = [name for name in operators if name in CONTEXT_OPERATORS]
        on_tokens = [name for name in operators if name not in (*CONTEXT_OPERATORS, "lm_head")]
        tokens = np.arange(1, server.max_num_batched_tokens + 1)
        times = _times(server, on_tokens, "decode", tokens, 1)[:, :, 0]
        narrow = np.isin(on_tokens, _weight_only(server, model, on_tokens))
        if narrow.any():
            names = [name for name, yes in zip(on_tokens, narrow, strict=True) if yes]
            times[narrow] = _narrow_weights(server, names, times[narrow], tokens)
        self.linear: list[float] = [0.0, *(times.sum(0) + server.step_overhead).tolist()]
        sequences = np.arange(1, server.max_num_seqs + 1)
        heads = _times(server, ["lm_head"], "decode", sequences, 1)[0, :, 0]
        self.head: list[float] = [0.0, *(heads + sequences * server.sequence_overhead).tolist()]
        self.contexts = np.unique(np.geomspace(1, server.max_model_len, CONTEXTS).round()).astype(int)
        self._decode = _times(server, on_context, "decode", sequences, self.contexts).sum(0)
        self._prefill = _times(server, on_context, "prefill", np.array([1]), self.contexts).sum(0)[0]

    def decode(self, sequences: int, context: Any) -> Any:
        """Attention of so many sequences, each over the mean context [token], a number or an array of steps [s]."""
        return np.interp(context, self.contexts, self._decode[sequences - 1])

    def prefill(self, chunks: list[tuple[int, int]]) -> float:
        """Attention of parts of prompts, each from a token up to another, in one launch [s].

        A part takes what the prompt up to its end takes more than up to its start, but no less than by itself.
        """
        launch = float(self._prefill[0])
        starts, ends = np.array(chunks).T
        whole = np.interp(ends, self.contexts, self._prefill)
        before = np.where(starts > 0, np.interp(starts, self.contexts, self._prefill), 0.0)
        alone = np.interp(ends - starts, self.contexts, self._prefill)
        return launch + float((np.maximum(whole - before, alone) - launch).sum())


def _card(gpu: str | GPU) -> GPU:
    return gpu if isinstance(gpu, GPU) else find_gpu(gpu)


def _model(model: str | Model) -> Model:
    return model if isinstance(model, Model) else find_model(model)


def _times(server: Server, operators: list[str], phase: str, batch: np.ndarray, lengths: Any, **dtypes: Any) -> Any:
    """Times x calls [s] by (operator, batch size, length)."""
    ds = _grid(server, operators, phase, batch, lengths, **dtypes)
    return (ds.time * ds.calls).transpose("operator", "batch_size", "seq_len").values


def _grid(server: Server, operators: list[str], phase: str, batch: np.ndarray, lengths: Any, **dtypes: Any) -> Any:
    formats: dict[str, Any] = {"weight_dtype": server.weight_dtype, "activation_dtype": server.activation_dtype}
    formats |= {"kv_dtype": server.kv_dtype} | dtypes
    return roofline_grid(
        server.gpu, server.model, operators, phase, batch, lengths, time_model=server.time_model, **formats
    ).isel(gpu=0, model=0, phase=0)


def _weight_only(server: Server, model: Model, operators: list[str]) -> list[str]:
    """Operators that multiply activations with narrower weights, which their kernel unpacks."""
    stored = model.quantization if not server.weight_dtype else None
    dtype = server.weight_dtype or (stored.format if stored else "fp16")
    if element_bytes(dtype) >= WIDTH[server.activation_dtype]:
        return []
    if stored and stored.scope == "experts":
        return [name for name in operators if name in ("moe_gate_up_proj", "moe_down_proj")]
    return [name for name in operators if name not in ("router", "elementwise")]


def _narrow_weights(server: Server, operators: list[str], times: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Times of weight-only kernels by (operator, tokens), with the server's efficiency, rows and way out [s].

    A kernel of `gemm_rows` takes as long as that many tokens do, for each such part of the step. With weights unpacked
    first, an ordinary GEMM follows a kernel that reads the weights as stored and writes them in the activations' width.
    """
    rows = min(server.gemm_rows or tokens[-1], tokens[-1])
    passes = np.ceil(tokens / rows)
    result: np.ndarray = passes * times[:, np.minimum(tokens, rows) - 1] / server.gemm_efficiency
    if server.dequantize_rows is not None and server.dequantize_rows <= tokens[-1]:
        plain = {"weight_dtype": server.activation_dtype}
        moved = 0
        for formats in ({}, plain):
            ds = _grid(server, operators, "decode", np.array([1]), 1, **formats)
            moved = moved + (ds.bytes * ds.calls).values[:, :, 0]
        unpacked = (
            _times(server, operators, "decode", tokens, 1, **plain)[:, :, 0] + moved / _card(server.gpu).bandwidth
        )
        result = np.where(tokens >= server.dequantize_rows, unpacked, result)
    return result
