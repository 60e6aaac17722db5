"""The catalog: GPUs and models, one YAML file an entry, every number with its source; number formats and fits."""

from .choosing import DEFAULT_ENGINE, ENGINES, catalog_fits
from .dtypes import GROUP_FORMATS, WEIGHT_DTYPES, WIDTH, compute_dtype, element_bytes
from .fits import FITS, KINDS, NEAR_FORMATS, DecodeFit, ElementwiseFit, Fit, GemmFit, PrefillFit, read_fits
from .gpu_entries import GPU, KernelFit, Link, Memory, gpu, gpus, kernel_fit
from .model_entries import Mla, Model, Moe, Quantization, SlidingWindow, model, models

__all__ = [
    "DEFAULT_ENGINE",
    "ENGINES",
    "FITS",
    "GPU",
    "GROUP_FORMATS",
    "KINDS",
    "NEAR_FORMATS",
    "WEIGHT_DTYPES",
    "WIDTH",
    "DecodeFit",
    "ElementwiseFit",
    "Fit",
    "GemmFit",
    "KernelFit",
    "Link",
    "Memory",
    "Mla",
    "Model",
    "Moe",
    "PrefillFit",
    "Quantization",
    "SlidingWindow",
    "catalog_fits",
    "compute_dtype",
    "element_bytes",
    "gpu",
    "gpus",
    "kernel_fit",
    "model",
    "models",
    "read_fits",
]
