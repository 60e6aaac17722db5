"""The kernels of `measure` in PyTorch, and how they are timed, on an NVIDIA (CUDA) or AMD (ROCm) GPU.

A run is one replay of a CUDA graph of several calls, between two events: what an engine that captures its decoding step
sees of each kernel, launch gaps and all. Every call has operands of its own, filled with random numbers (zeros switch
fewer transistors and run faster), and before each run the cache is filled with other data, so all operands come from
memory.
"""

import gc
import os
import platform
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from .cards import driver_and_clocks, supported_formats
from .forward import ForwardPass, compiled, quantized
from .plan import WARM_UPS, fewer
from .timed_kernels import Kernel, LeftOut

Call = Callable[[], object]

MIN_FLUSH = 512 * 2**20  # [byte]; the Infinity Cache of AMD's large GPUs, 256 MB, is not part of their L2
GPU_CEILINGS, CPU_CEILINGS = (8192, 2**30), (1024, 2**27)  # side of the matrix product [1], copy [byte]


def open_backend(device: str) -> "TorchBackend":
    """PyTorch on a device; ValueError, in one line, without PyTorch or without that device.

    A device is "cuda", "cuda:1" (an AMD GPU is called so, too), or "cpu".
    """
    if find_spec("torch") is None:
        raise ValueError("PyTorch is not installed: install torch with CUDA or ROCm (or use --dry-run)")
    torch: Any = import_module("torch")
    if device == "cpu":
        return CpuBackend(torch)
    if not device.startswith("cuda"):
        raise ValueError(f"unknown device {device!r}. Allowed: cuda, cuda:0, cuda:1, ..., cpu.")
    if not torch.cuda.is_available():
        raise ValueError(f"no GPU that PyTorch {torch.__version__} can use (try --dry-run, or --device cpu)")
    count = torch.cuda.device_count()
    number = device.removeprefix("cuda").removeprefix(":") or "0"
    if not number.isdecimal() or int(number) >= count:
        raise ValueError(f"no GPU {device!r}: PyTorch sees {', '.join(f'cuda:{i}' for i in range(count))}")
    return GpuBackend(torch, int(number))


class TorchBackend:
    """What CPU and GPU have in common: the operands and calls of each kernel."""

    gpu: str
    memory: float
    gemm_size: int
    copy_bytes: int
    graphs = False  #: whether calls are captured in a graph

    def __init__(self, torch: Any, device: str):
        """Remember PyTorch and the name that it has for the device."""
        self.torch, self.device = torch, device
        self.framework = f"torch {torch.__version__}"
        self.dtypes = {"fp16": torch.float16, "bf16": torch.bfloat16}
        self.sdpa_backend = "FLASH_ATTENTION"
        self.grouped = False  #: whether `torch._grouped_mm` runs there, in bf16
        self.passes: ForwardPass | None = None  #: the model whose passes were timed last

    def supports(self, dtype: str) -> bool:
        """Whether the device has matrix products in that format."""
        return dtype in self.dtypes

    def facts(self) -> list[str]:
        """Comment lines about the machine."""
        return [f"machine: {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs", f"gpu: {self.gpu}"]

    def random(self, kernel: Kernel, *shape: int) -> Any:
        """Normally distributed numbers in the kernel's format."""
        dtype = self.dtypes[kernel.dtype]
        if kernel.dtype == "fp8":
            return self.torch.randn(shape, device=self.device, dtype=self.torch.float16).to(dtype)
        return self.torch.randn(shape, device=self.device, dtype=dtype)

    def call(self, kernel: Kernel) -> Call:
        """A call of the kernel on operands of its own; results go into tensors made beforehand, where PyTorch can."""
        if kernel.model:
            return self._forward(kernel)
        if kernel.operator_class == "elementwise":
            return self._elementwise(kernel)
        if kernel.operator_class == "moe":
            return self._experts(kernel)
        if kernel.operator_class == "mla_decode":
            return self._latent(kernel)
        if kernel.operator_class.startswith(("attention", "mla")):
            return self._attention(kernel)
        if kernel.dtype == "fp8":
            return self._scaled_mm(kernel)
        matmul, m, n, k = self.torch.matmul, kernel.m, kernel.n, kernel.k
        batch = (kernel.batch_size * kernel.n_heads,) if kernel.batch_size else ()
        a, out = self.random(kernel, *batch, m, k), self.random(kernel, *batch, m, n)
        # a weight is stored n x k, as are the keys; values (pv) are k x n
        stored = (k, n) if kernel.operator == "pv" else (n, k)
        b = self.random(kernel, *batch, *stored)
        b = b if kernel.operator == "pv" else b.transpose(-1, -2)
        return lambda: matmul(a, b, out=out)

    def _scaled_mm(self, kernel: Kernel) -> Call:
        """In fp8, with a scale for every row of activations and of weights, as engines quantize on the way."""
        torch, one = self.torch, {"device": self.device, "dtype": self.torch.float32}
        a, b = self.random(kernel, kernel.m, kernel.k), self.random(kernel, kernel.n, kernel.k).t()
        scales = {"scale_a": torch.ones((kernel.m, 1), **one), "scale_b": torch.ones((1, kernel.n), **one)}
        fast = torch.version.hip is None  # fast accumulation, as engines use it, is NVIDIA's
        return lambda: torch._scaled_mm(a, b, **scales, out_dtype=torch.bfloat16, use_fast_accum=fast)

    def _experts(self, kernel: Kernel) -> Call:
        """A grouped GEMM over the experts that get tokens, each of which chooses at random."""
        rows = self._routed(kernel)
        if self.grouped and kernel.dtype == "bf16":
            a, ends = self.random(kernel, int(rows.sum()), kernel.k), rows.cumsum(0).to(self.torch.int32)
            b = self.random(kernel, len(rows), kernel.n, kernel.k).transpose(-1, -2)
            return lambda: self.torch._grouped_mm(a, b, offs=ends)
        most, matmul = int(rows.max()), self.torch.matmul  # padded to the busiest
        a, out = (self.random(kernel, len(rows), most, width) for width in (kernel.k, kernel.n))
        b = self.random(kernel, len(rows), kernel.n, kernel.k).transpose(-1, -2)
        return lambda: matmul(a, b, out=out)

    def _routed(self, kernel: Kernel) -> Any:
        """Rows of each expert that gets any; the same each time."""
        torch, most = self.torch, 2**16
        generator = torch.Generator(device=self.device).manual_seed(0)
        rows = torch.zeros(kernel.n_experts, device=self.device, dtype=torch.int64)
        for start in range(0, kernel.m, most):
            tokens = min(most, kernel.m - start)
            liked = torch.rand((tokens, kernel.n_experts), device=self.device, generator=generator)
            chosen = liked.topk(kernel.experts_per_token).indices
            rows += torch.bincount(chosen.flatten(), minlength=kernel.n_experts)
        return rows[rows > 0]

    def _latent(self, kernel: Kernel) -> Call:
        """Absorbed latent attention as plain products: all heads share a sequence's latent keys and values."""
        torch, heads = self.torch, kernel.n_heads * kernel.seq_len_q
        q = self.random(kernel, kernel.batch_size, heads, kernel.head_dim)
        cache = self.random(kernel, kernel.batch_size, kernel.seq_len_kv, kernel.head_dim)
        values, keys = cache[..., : kernel.v_head_dim], cache.transpose(1, 2)
        return lambda: torch.matmul(torch.softmax(torch.matmul(q, keys), -1), values)

    def _forward(self, kernel: Kernel) -> Call:
        """A whole forward pass; its model's weights stay until another model's come."""
        graph = self.graphs and kernel.operator == "forward"
        if graph and kernel.model and kernel.model.moe and not (self.grouped and kernel.dtype == "bf16"):
            raise LeftOut("no grouped GEMM of experts that a graph could hold (bf16, compute capability 9.0): --eager")
        if self.passes is None or not self.passes.runs(kernel):
            self.passes = None
            gc.collect()
            self._release()
            self.passes = ForwardPass(self.torch, self.device, kernel, grouped=self.grouped)
        return self.passes.call(kernel)

    def _attention(self, kernel: Kernel) -> Call:
        """Fused attention; candidates of a Medusa tree see the whole cache, their mask among themselves is left out."""
        several = ("CUDNN_ATTENTION", "EFFICIENT_ATTENTION", "MATH")  # flash kernels have no values of another size
        chosen = self._attention_by(*(several if kernel.v_head_dim else (self.sdpa_backend,)))
        sdpa = self.torch.nn.functional.scaled_dot_product_attention
        batch, dim = kernel.batch_size, kernel.head_dim
        q = self.random(kernel, batch, kernel.seq_len_q, kernel.n_heads, dim).transpose(1, 2)
        k = self.random(kernel, batch, kernel.seq_len_kv, kernel.n_kv_heads, dim).transpose(1, 2)
        v = self.random(kernel, batch, kernel.seq_len_kv, kernel.n_kv_heads, kernel.v_size).transpose(1, 2)
        options: dict[str, bool] = {"is_causal": kernel.operator_class.endswith("prefill")}
        if kernel.n_kv_heads != kernel.n_heads:
            options["enable_gqa"] = True

        def attention() -> object:
            with chosen():
                return sdpa(q, k, v, **options)

        return attention

    def _attention_by(self, *names: str) -> Callable[[], Any]:
        """A context in which attention is one of these kernels of PyTorch, by its own order."""
        backend = import_module("torch.nn.attention")
        chosen = [getattr(backend.SDPBackend, name) for name in names]
        return lambda: backend.sdpa_kernel(chosen)

    def _elementwise(self, kernel: Kernel) -> Call:
        torch, functional = self.torch, self.torch.nn.functional
        if kernel.operator == "quantize":
            x = torch.randn((kernel.m, kernel.n), device=self.device, dtype=torch.bfloat16)
            fused, fp8 = compiled(torch, quantized, self.device), self.dtypes["fp8"]
            return lambda: fused(x, fp8)
        a, b, out = (self.random(kernel, kernel.m, kernel.n) for _ in range(3))
        weight = self.random(kernel, kernel.n)
        calls: dict[str, Call] = {
            "add": lambda: torch.add(a, b, out=out),
            "rms_norm": lambda: functional.rms_norm(a, (kernel.n,), weight),
            "silu_mul": lambda: torch.mul(functional.silu(a), b, out=out),
            "copy": lambda: out.copy_(a),
        }
        return calls[kernel.operator]

    def times(self, kernel: Kernel, calls: int, runs: int) -> list[float]:
        """Times of one call [s], a mean over `calls` in each of `runs`; raises MemoryError or RuntimeError."""
        try:
            with self.torch.inference_mode():
                made = [self.call(kernel) for _ in range(calls)]
                timed = self._host_times if kernel.operator.endswith("eager") else self._times
                return timed(made, runs)
        except self.torch.cuda.OutOfMemoryError:
            raise MemoryError from None
        finally:
            gc.collect()  # a graph and its operands
            self._release()

    def _times(self, calls: list[Call], runs: int) -> list[float]:
        """As the device times them [s]: by the wall clock, where it runs a call before it returns."""
        return self._host_times(calls, runs)

    def _host_times(self, calls: list[Call], runs: int) -> list[float]:
        """By the wall clock, launched one by one [s]."""

        def once() -> float:
            began = time.perf_counter()
            for call in calls:
                call()
            self._wait()
            return time.perf_counter() - began

        once()  # warms up
        return [once() / len(calls) for _ in range(fewer(runs, once()))]

    def _release(self) -> None:
        pass

    def _wait(self) -> None:
        pass


class GpuBackend(TorchBackend):
    """An NVIDIA or AMD GPU."""

    gemm_size, copy_bytes = GPU_CEILINGS
    graphs = True

    def __init__(self, torch: Any, number: int):
        """Look at the card, and set memory aside to empty its cache with."""
        super().__init__(torch, f"cuda:{number}")
        torch.cuda.set_device(number)
        self.number, self.card = number, torch.cuda.get_device_properties(number)
        self.gpu = self.card.name
        cache = getattr(self.card, "L2_cache_size", 0)
        self.other = torch.ones(max(4 * cache, MIN_FLUSH) // 4, dtype=torch.int32, device=self.device)
        self.memory = 0.9 * torch.cuda.mem_get_info(number)[0]
        self.dtypes = supported_formats(torch, self.card)
        self.sdpa_backend = "FLASH_ATTENTION" if "bf16" in self.dtypes else "EFFICIENT_ATTENTION"
        self.grouped = hasattr(torch, "_grouped_mm") and not torch.version.hip and self.card.major >= 9

    def facts(self) -> list[str]:
        """Comment lines about the machine; clocks are those right after the large matrix products."""
        version, card = self.torch.version, self.card
        platform_version = f"ROCm {version.hip}" if version.hip else f"CUDA {version.cuda}"
        architecture = card.gcnArchName if version.hip else f"compute capability {card.major}.{card.minor}"
        return [
            *super().facts(),
            f"card: {architecture}, {card.multi_processor_count} SMs or CUs, {card.total_memory / 1e9:.1f} GB",
            f"versions: {self.framework}, {platform_version}, Python {platform.python_version()}",
            f"driver and clocks: {driver_and_clocks(self.number) if not version.hip else 'not asked (ROCm)'}",
            f"cache: {self.other.nbytes / 2**20:.0f} MiB written and read before each run, so operands are in memory",
            f"attention: {self.sdpa_backend} of scaled_dot_product_attention; runs are replays of CUDA graphs",
            f"experts: {'torch._grouped_mm in bf16' if self.grouped else 'products padded to the busiest expert'}",
            "fp8: torch._scaled_mm, a scale a token and an output; the quantization is `quantize`, timed apart",
        ]

    def _flush(self) -> None:
        """Fill the cache with clean lines of other data: dirty ones would be written back on the kernel's time."""
        self.other.add_(1)
        self.other.max()

    def _times(self, calls: list[Call], runs: int) -> list[float]:
        cuda = self.torch.cuda
        for call in calls:  # loads modules and chooses algorithms, outside of the graph
            call()
        cuda.synchronize()
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            for call in calls:
                call()
        began = time.perf_counter()
        for _ in range(WARM_UPS):
            graph.replay()
        cuda.synchronize()
        runs = fewer(runs, (time.perf_counter() - began) / WARM_UPS)
        events = [(cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)) for _ in range(runs)]
        for start, stop in events:
            self._flush()  # takes long enough for the replay to be queued before the GPU gets there
            start.record()
            graph.replay()
            stop.record()
        cuda.synchronize()
        return [start.elapsed_time(stop) * 1e-3 / len(calls) for start, stop in events]

    def _release(self) -> None:
        self.torch.cuda.empty_cache()

    def _wait(self) -> None:
        self.torch.cuda.synchronize()


class CpuBackend(TorchBackend):
    """The CPU, to try the benchmark out; its times say nothing about a GPU."""

    gemm_size, copy_bytes = CPU_CEILINGS
    memory = 4e9

    def __init__(self, torch: Any):
        """Take the CPU."""
        super().__init__(torch, "cpu")
        self.gpu = "cpu"

    def facts(self) -> list[str]:
        """Comment lines about the machine."""
        return [
            *super().facts(),
            "device: CPU, no GPU: the benchmark was only tried out",
            f"versions: {self.framework}",
        ]
