"""The catalog: GPUs, models and engines, one YAML file an entry, each number with its source; formats and fits."""

from .dtypes import GROUP_FORMATS, WEIGHT_DTYPES, WIDTH, compute_dtype, element_bytes
from .engine_entries import DEFAULT_ENGINE, ServingEngine, engine, engines
from .fits import KINDS, DecodeFit, ElementwiseFit, Evidence, GemmFit, KernelModel, PrefillFit
from .gpu_entries import GPU, KernelFit, Link, Memory, gpu, gpus, kernel_fit
from .model_entries import Mla, Model, Moe, Quantization, SlidingWindow, model, models

__all__ = [
    "DEFAULT_ENGINE",
    "GPU",
    "GROUP_FORMATS",
    "KINDS",
    "WEIGHT_DTYPES",
    "WIDTH",
    "DecodeFit",
    "ElementwiseFit",
    "Evidence",
    "GemmFit",
    "KernelFit",
    "KernelModel",
    "Link",
    "Memory",
    "Mla",
    "Model",
    "Moe",
    "PrefillFit",
    "Quantization",
    "ServingEngine",
    "SlidingWindow",
    "compute_dtype",
    "element_bytes",
    "engine",
    "engines",
    "gpu",
    "gpus",
    "kernel_fit",
    "model",
    "models",
]
