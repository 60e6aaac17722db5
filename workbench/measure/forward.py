"""A whole forward pass of a decoder with random weights in PyTorch, as an engine runs it.

Fused QKV and gate-up GEMMs, attention of PyTorch, elementwise kernels fused by its compiler, greedy sampling. Nothing
in it waits for the host, so that it can be captured in a CUDA graph; but where experts have no grouped GEMM it does.
"""

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

from .timed_kernels import Kernel

LARGEST_FP8 = 448.0  # of e4m3


def quantized(x: Any, fp8: Any) -> tuple[Any, Any]:
    """Rows in fp8, each with its own scale."""
    scale = x.abs().amax(-1, keepdim=True).float().clamp(min=1e-6) / LARGEST_FP8
    return (x.float() / scale).to(fp8), scale


def _norm_added(x: Any, residual: Any, weight: Any) -> tuple[Any, Any]:
    residual = x + residual
    wide = residual.float()
    return (wide * (wide.pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt()).to(residual.dtype) * weight, residual


def _gated(x: Any) -> Any:
    gate, up = x.chunk(2, -1)
    return gate * gate.sigmoid() * up


def _rotated(x: Any, cos: Any, sin: Any) -> Any:
    half = x.shape[-1] // 2
    rotated = x.roll(half, -1)
    return x * cos + rotated * sin


def compiled(torch: Any, function: Callable[..., Any], device: str) -> Callable[..., Any]:
    """One kernel of an elementwise function, where PyTorch can compile; on a CPU, as it stands."""
    if not device.startswith("cuda"):
        return function
    settings = import_module("torch._dynamo").config
    for name in ("cache_size_limit", "recompile_limit"):  # a shape is a version of its own
        if hasattr(settings, name):
            setattr(settings, name, 4096)
    fused: Callable[..., Any] = torch.compile(function, dynamic=False)
    return fused


class ForwardPass:
    """One model in one format, and its passes."""

    def __init__(self, torch: Any, device: str, kernel: Kernel, *, grouped: bool):
        """Fill the weights with random numbers; PyTorch chooses the kernel of attention."""
        model = kernel.model
        assert model is not None
        self.torch, self.device, self.model, self.grouped = torch, device, model, grouped
        self.format, self.id = kernel.dtype, model.id
        self.sdpa = torch.nn.functional.scaled_dot_product_attention
        self.dtype = torch.float16 if kernel.dtype == "fp16" else torch.bfloat16
        self.fp8 = None
        if kernel.dtype == "fp8":
            hip = torch.version.hip and "gfx94" in torch.cuda.get_device_properties(0).gcnArchName
            self.fp8 = torch.float8_e4m3fnuz if hip else torch.float8_e4m3fn
        names: dict[str, Callable[..., Any]] = {
            "quantize": quantized,
            "norm": _norm_added,
            "gate": _gated,
            "rotate": _rotated,
        }
        self.run = {name: compiled(torch, function, device) for name, function in names.items()}
        torch.manual_seed(0)
        h, vocabulary = model.hidden_size, model.vocab_size
        self.embedding, self.last_norm = self._random(vocabulary, h), self._random(h)
        self.positions = self._random(model.learned_positions, h) if model.learned_positions else None
        self.head = self.embedding if model.tied_embeddings else self._random(vocabulary, h)
        self.layers = [self._layer(number) for number in range(model.n_layers)]

    def runs(self, kernel: Kernel) -> bool:
        """Whether a pass is of this model and format."""
        return kernel.model == self.model and kernel.model.id == self.id and kernel.dtype == self.format

    def _random(self, *shape: int) -> Any:
        return self.torch.empty(shape, device=self.device, dtype=self.dtype).normal_(0, 0.02)

    def _weight(self, n: int, k: int) -> Any:
        """A matrix of a layer; in fp8 with a scale for each row."""
        weight = self._random(n, k)
        if self.fp8 is None:
            return weight
        rows, scale = quantized(weight, self.fp8)
        return rows, scale.t().contiguous()

    def _layer(self, number: int) -> dict[str, Any]:
        """The weights of a layer: dense MLPs come first, then experts; windows first, then full attention."""
        model, h, heads = self.model, self.model.hidden_size, self.model.n_heads
        window = model.sliding_window
        layer: dict[str, Any] = {"norm": self._random(h), "mlp_norm": self._random(h)}
        layer["window"] = window.size if window and number < window.layers else None
        if mla := model.mla:
            if mla.q_lora_rank:
                layer["q_a"] = self._weight(mla.q_lora_rank, h)
            layer["q"] = self._weight(heads * mla.qk_head_dim, mla.q_lora_rank or h)
            layer["kv_a"] = self._weight(mla.latent_dim, h)
            layer["kv_b"] = self._random(heads, mla.qk_nope_head_dim + mla.v_head_dim, mla.kv_lora_rank)
        else:
            layer["qkv"] = self._weight((heads + 2 * model.n_kv_heads) * model.head_dim, h)
        layer["o"] = self._weight(h, heads * (mla.v_head_dim if mla else model.head_dim))
        up = 2 if model.gated else 1
        if model.moe and number >= model.dense_layers:
            moe, shared = model.moe, model.moe.shared_intermediate_size
            layer["router"] = self._random(moe.n_experts, h)
            layer["experts_up"] = self._random(moe.n_experts, up * moe.intermediate_size, h)
            layer["experts_down"] = self._random(moe.n_experts, h, moe.intermediate_size)
            if shared:
                layer["up"], layer["down"] = self._weight(up * shared, h), self._weight(h, shared)
        else:
            layer["up"] = self._weight(up * model.intermediate_size, h)
            layer["down"] = self._weight(h, model.intermediate_size)
        return layer

    def call(self, kernel: Kernel) -> Callable[[], Any]:
        """A pass on tokens and caches of its own."""
        torch, model, prompt = self.torch, self.model, kernel.operator_class == "forward_prefill"
        batch, length = kernel.batch_size, kernel.seq_len_kv
        sizes = [(model.mla.latent_dim,)] if model.mla else 2 * [(model.n_kv_heads, model.head_dim)]
        caches = [[self._random(batch, length, *size) for size in sizes] for _ in self.layers]
        tokens = torch.randint(0, model.vocab_size, (batch, kernel.seq_len_q), device=self.device)
        dim = model.mla.qk_rope_head_dim if model.mla else model.head_dim
        angles = [self._random(kernel.seq_len_q, 1, dim) for _ in range(2)]
        return lambda: self._step(tokens, caches, length - kernel.seq_len_q, prompt, angles)

    def _step(self, tokens: Any, caches: list[list[Any]], start: int, prompt: bool, angles: list[Any]) -> Any:
        batch, new = tokens.shape
        x = self.embedding[tokens]
        if self.positions is not None:
            x = x + self.positions[start : start + new]
        x = x.reshape(batch * new, -1)
        residual = self.torch.zeros_like(x)
        attend = self._latent_attention if self.model.mla else self._attention
        for layer, cache in zip(self.layers, caches, strict=True):
            y, residual = self.run["norm"](x, residual, layer["norm"])
            y = self._linear(attend(layer, y.reshape(batch, new, -1), cache, start, prompt, angles), layer["o"])
            y, residual = self.run["norm"](y, residual, layer["mlp_norm"])
            x = self._mlp(layer, y)
        x, _ = self.run["norm"](x, residual, self.last_norm)
        last = x.reshape(batch, new, -1)[:, -1]
        return self.torch.matmul(last, self.head.t()).argmax(-1)

    def _linear(self, x: Any, weight: Any) -> Any:
        """In 16 bit; in fp8 with a scale a token, quantized on the way."""
        x = x.reshape(-1, x.shape[-1])
        if self.fp8 is None:
            return self.torch.matmul(x, weight.t())
        (rows, scales), (a, scale) = weight, self.run["quantize"](x, self.fp8)
        options = {"out_dtype": self.dtype, "use_fast_accum": self.torch.version.hip is None}
        return self.torch._scaled_mm(a, rows.t(), scale_a=scale, scale_b=scales, **options)

    def _rotate(self, x: Any, angles: list[Any]) -> Any:
        return x if self.positions is not None else self.run["rotate"](x, *angles)

    def _attention(self, layer: Any, x: Any, cache: list[Any], start: int, prompt: bool, angles: list[Any]) -> Any:
        model, (batch, new, _) = self.model, x.shape
        heads = model.n_heads, model.n_kv_heads, model.n_kv_heads
        qkv = self._linear(x, layer["qkv"]).reshape(batch, new, sum(heads), model.head_dim)
        q, k, v = qkv.split(heads, 2)
        q, k = self._rotate(q, angles), self._rotate(k, angles)
        for stored, fresh in zip(cache, (k, v), strict=True):
            stored[:, start : start + new] = fresh
        seen = slice(None) if prompt or layer["window"] is None else slice(-layer["window"], None)
        keys, values = (stored[:, seen].transpose(1, 2) for stored in cache)
        options = {"enable_gqa": True} if model.n_heads != model.n_kv_heads else {}
        out = self.sdpa(q.transpose(1, 2), keys, values, is_causal=prompt, **options)
        return out.transpose(1, 2).reshape(batch * new, -1)

    def _latent_attention(
        self, layer: Any, x: Any, cache: list[Any], start: int, prompt: bool, angles: list[Any]
    ) -> Any:
        """Expanded to heads in a prompt; absorbed in decode, where all heads share the latent cache."""
        torch, model, mla, (batch, new, _) = self.torch, self.model, self.model.mla, x.shape
        assert mla is not None
        down = self._linear(x, layer["q_a"]) if "q_a" in layer else x
        q = self._linear(down, layer["q"]).reshape(batch, new, model.n_heads, mla.qk_head_dim)
        q_plain, q_rope = q.split((mla.qk_nope_head_dim, mla.qk_rope_head_dim), -1)
        q_rope = self._rotate(q_rope, angles)
        latent = self._linear(x, layer["kv_a"]).reshape(batch, new, 1, -1)
        c, k_rope = latent.split((mla.kv_lora_rank, mla.qk_rope_head_dim), -1)
        k_rope = self._rotate(k_rope, angles)
        cache[0][:, start : start + new] = torch.cat((c, k_rope), -1).squeeze(2)
        up = layer["kv_b"]
        if prompt:
            wide = torch.matmul(c.reshape(batch * new, -1), up.reshape(-1, mla.kv_lora_rank).t())
            k, v = wide.reshape(batch, new, model.n_heads, -1).split((mla.qk_nope_head_dim, mla.v_head_dim), -1)
            k = torch.cat((k, k_rope.expand(-1, -1, model.n_heads, -1)), -1)
            q = torch.cat((q_plain, q_rope), -1)
            out = self.sdpa(*(each.transpose(1, 2) for each in (q, k, v)), is_causal=True)
            return out.transpose(1, 2).reshape(batch * new, -1)
        absorbed = torch.matmul(
            q_plain.reshape(batch * new, model.n_heads, -1).transpose(0, 1), up[:, : mla.qk_nope_head_dim]
        )
        absorbed = absorbed.transpose(0, 1).reshape(batch, new, model.n_heads, -1)
        queries = torch.cat((absorbed, q_rope), -1).reshape(batch, new * model.n_heads, -1)
        scores = torch.softmax(torch.matmul(queries, cache[0].transpose(1, 2)) / math.sqrt(mla.qk_head_dim), -1)
        out = torch.matmul(scores, cache[0][..., : mla.kv_lora_rank]).reshape(batch * new, model.n_heads, -1)
        out = torch.matmul(out.transpose(0, 1), up[:, mla.qk_nope_head_dim :].transpose(1, 2))
        return out.transpose(0, 1).reshape(batch * new, -1)

    def _act(self, x: Any) -> Any:
        return self.run["gate"](x) if self.model.gated else self.torch.nn.functional.gelu(x)

    def _mlp(self, layer: Any, x: Any) -> Any:
        out = self._experts(layer, x) if "router" in layer else None
        if "up" not in layer:
            return out
        dense = self._linear(self._act(self._linear(x, layer["up"])), layer["down"])
        return dense if out is None else out + dense

    def _experts(self, layer: Any, x: Any) -> Any:
        """Each token's experts, their rows sorted by expert."""
        torch, moe = self.torch, self.model.moe
        assert moe is not None
        weights, chosen = torch.matmul(x, layer["router"].t()).softmax(-1).topk(moe.experts_per_token)
        order = chosen.flatten().argsort()
        rows = torch.zeros(moe.n_experts, device=x.device, dtype=torch.int64)
        rows = rows.scatter_add(0, chosen.flatten(), torch.ones_like(chosen.flatten()))
        tokens = order // moe.experts_per_token
        y = self._grouped(x[tokens], layer["experts_up"], rows)
        y = self._grouped(self._act(y), layer["experts_down"], rows) * weights.flatten()[order].unsqueeze(-1)
        return torch.zeros_like(x).index_add(0, tokens, y)

    def _grouped(self, x: Any, experts: Any, rows: Any) -> Any:
        if self.grouped and x.dtype == self.torch.bfloat16:
            return self.torch._grouped_mm(x, experts.transpose(-1, -2), offs=rows.cumsum(0).to(self.torch.int32))
        parts = x.split(rows.tolist())
        return self.torch.cat([part @ expert.t() for part, expert in zip(parts, experts, strict=True) if len(part)])
