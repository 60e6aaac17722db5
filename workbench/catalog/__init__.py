"""The catalog: GPUs and models, one YAML file an entry, every number with its source; number formats and fits."""

from .dtypes import GROUP_FORMATS, WEIGHT_DTYPES, WIDTH, compute_dtype, element_bytes
from .fits import KINDS, KernelModel
from .gpu_entries import GPU, KernelFit, gpu, gpus, kernel_fit
from .hugging_face import from_hf_config
from .model_entries import Model, model, models

__all__ = [
    "GPU",
    "GROUP_FORMATS",
    "KINDS",
    "WEIGHT_DTYPES",
    "WIDTH",
    "KernelFit",
    "KernelModel",
    "Model",
    "compute_dtype",
    "element_bytes",
    "from_hf_config",
    "gpu",
    "gpus",
    "kernel_fit",
    "model",
    "models",
]
