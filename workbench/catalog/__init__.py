"""The catalog: GPUs and models, one YAML file an entry, every number with its source; number formats and fits."""

from .dtypes import GROUP_FORMATS, WEIGHT_DTYPES, WIDTH, compute_dtype, element_bytes
from .fits import KINDS, DecodeFit, ElementwiseFit, Evidence, GemmFit, KernelModel, PrefillFit
from .gpu_entries import GPU, KernelFit, Link, Memory, gpu, gpus, kernel_fit
from .model_entries import Mla, Model, Moe, Quantization, SlidingWindow, model, models

__all__ = [
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
    "SlidingWindow",
    "compute_dtype",
    "element_bytes",
    "gpu",
    "gpus",
    "kernel_fit",
    "model",
    "models",
]
