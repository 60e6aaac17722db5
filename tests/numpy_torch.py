"""As much of PyTorch as the kernels and forward passes of `measure` call, on numpy arrays in float64."""

import contextlib
from types import SimpleNamespace

import numpy as np


class Tensor(np.ndarray):
    """An array with the methods of a tensor."""

    def transpose(self, first, second):
        return np.swapaxes(self, first, second)

    def t(self):
        return np.swapaxes(self, -1, -2)

    def normal_(self, mean, deviation):
        self[...] = np.random.default_rng(self.size).normal(mean, deviation, self.shape)
        return self

    def split(self, sizes, dim=0):
        return np.split(self, np.cumsum(sizes)[:-1], dim)

    def chunk(self, count, dim):
        return np.split(self, count, dim)

    def roll(self, shift, dim):
        return np.roll(self, shift, dim).view(Tensor)

    def float(self):
        return self

    contiguous = float

    def amax(self, dim, keepdim=False):
        return np.max(self, dim, keepdims=keepdim)

    def clamp(self, min):
        return np.maximum(self, min)

    def to(self, dtype):
        return self if dtype == "fp8" else self.astype(dtype)

    def pow(self, power):
        return self**power

    def abs(self):
        return np.abs(self)

    def mean(self, dim, keepdim=False):
        return np.mean(np.asarray(self), dim, keepdims=keepdim).view(Tensor)

    def rsqrt(self):
        return 1 / np.sqrt(self)

    def sigmoid(self):
        return 1 / (1 + np.exp(-self))

    def softmax(self, dim):
        return softmax(self, dim)

    def unsqueeze(self, dim):
        return np.expand_dims(self, dim).view(Tensor)

    def expand(self, *sizes):
        shape = [old if new == -1 else new for old, new in zip(self.shape, sizes, strict=True)]
        return np.broadcast_to(self, shape).view(Tensor)

    def argsort(self):
        return np.argsort(np.asarray(self), kind="stable").view(Tensor)

    def argmax(self, dim):
        return np.argmax(np.asarray(self), dim)

    def topk(self, count):
        chosen = np.argsort(-np.asarray(self), -1, kind="stable")[..., :count]
        values = np.take_along_axis(np.asarray(self), chosen, -1)
        return Top(values.view(Tensor), chosen.view(Tensor))

    def scatter_add(self, dim, index, values):
        out = self.copy()
        np.add.at(out, np.asarray(index), values)
        return out

    def index_add(self, dim, index, values):
        return self.scatter_add(dim, index, values)

    @property
    def device(self):
        return "cpu"


class Top(tuple):
    def __new__(cls, values, indices):
        return super().__new__(cls, (values, indices))

    indices = property(lambda self: self[1])


def softmax(x, dim):
    e = np.exp(x - np.max(x, dim, keepdims=True))
    return e / e.sum(dim, keepdims=True)


def attention(q, k, v, is_causal=False, enable_gqa=False):
    k, v = (np.repeat(x, q.shape[1] // k.shape[1], 1) for x in (k, v))
    scores = np.matmul(q, np.swapaxes(k, -1, -2)) / np.sqrt(q.shape[-1])
    if is_causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    return np.matmul(softmax(scores, -1), v).view(Tensor)


class NumpyTorch:
    float16 = bfloat16 = float32 = np.float64
    float8_e4m3fn = "fp8"
    int32 = int64 = np.int64
    __version__ = "numpy"
    version = SimpleNamespace(hip=None)
    nn = SimpleNamespace(functional=SimpleNamespace(scaled_dot_product_attention=attention, gelu=np.tanh))
    cuda = SimpleNamespace(OutOfMemoryError=type("OutOfMemoryError", (RuntimeError,), {}))
    inference_mode = staticmethod(contextlib.nullcontext)

    def __init__(self):
        self.random, self.products = np.random.default_rng(1), []

    def manual_seed(self, seed):
        self.random = np.random.default_rng(seed)

    def randn(self, shape, device, dtype):
        return self.random.normal(size=shape).astype(dtype).view(Tensor)

    def rand(self, shape, device, generator):
        return generator.random(shape).view(Tensor)

    def Generator(self, device):
        return SimpleNamespace(manual_seed=np.random.default_rng)

    def randint(self, low, high, shape, device):
        return self.random.integers(low, high, shape).view(Tensor)

    def empty(self, shape, device, dtype):
        return np.empty(shape).view(Tensor)

    def ones(self, shape, device, dtype):
        return np.ones(shape).view(Tensor)

    def zeros(self, *shape, device, dtype):
        return np.zeros(shape, dtype).view(Tensor)

    def zeros_like(self, x):
        return np.zeros_like(x)

    def ones_like(self, x):
        return np.ones_like(x)

    def bincount(self, x, minlength):
        return np.bincount(x, minlength=minlength).view(Tensor)

    def cat(self, parts, dim=0):
        return np.concatenate(parts, dim).view(Tensor)

    def softmax(self, x, dim):
        return softmax(x, dim)

    def matmul(self, a, b, out=None):
        result = np.matmul(a, b, out=out)
        self.products.append((a, b, result))
        return result

    def _scaled_mm(self, a, b, scale_a, scale_b, out_dtype, use_fast_accum):
        assert scale_a.shape == (a.shape[0], 1)
        assert scale_b.shape == (1, b.shape[1])
        return self.matmul(a, b) * scale_a * scale_b

    def _grouped_mm(self, a, b, offs):
        parts = np.split(a, offs[:-1])
        return np.concatenate([np.matmul(part, each) for part, each in zip(parts, b, strict=True)]).view(Tensor)
