"""The catalog: GPUs, models and engines, one YAML file an entry, each number with its source; formats and fits."""

from .choosing import catalog_fits
from .dtypes import GROUP_FORMATS, WEIGHT_DTYPES, WIDTH, compute_dtype, element_bytes
from .engine_entries import DEFAULT_ENGINE, POLICIES, EngineMemory, Reserve, ServingEngine, engine, engines
from .fits import (
    FITS,
    KINDS,
    LINK_KINDS,
    NEAR_FORMATS,
    CollectiveFit,
    DecodeFit,
    ElementwiseFit,
    Fit,
    GemmFit,
    LinearChunkFit,
    LinearStepFit,
    MoeFit,
    PrefillFit,
    read_fits,
)
from .gpu_entries import GPU, KernelFit, Link, Memory, gpu, gpus, kernel_fit
from .model_entries import Model, model, models
from .model_parts import Indexer, LinearAttention, Mla, Moe, PerLayerEmbedding, SlidingWindow
from .quantization import PartFormat, Quantization

__all__ = [
    "DEFAULT_ENGINE",
    "FITS",
    "GPU",
    "GROUP_FORMATS",
    "KINDS",
    "LINK_KINDS",
    "NEAR_FORMATS",
    "POLICIES",
    "WEIGHT_DTYPES",
    "WIDTH",
    "CollectiveFit",
    "DecodeFit",
    "ElementwiseFit",
    "EngineMemory",
    "Fit",
    "GemmFit",
    "Indexer",
    "KernelFit",
    "LinearAttention",
    "LinearChunkFit",
    "LinearStepFit",
    "Link",
    "Memory",
    "Mla",
    "Model",
    "Moe",
    "MoeFit",
    "PartFormat",
    "PerLayerEmbedding",
    "PrefillFit",
    "Quantization",
    "Reserve",
    "ServingEngine",
    "SlidingWindow",
    "catalog_fits",
    "compute_dtype",
    "element_bytes",
    "engine",
    "engines",
    "gpu",
    "gpus",
    "kernel_fit",
    "model",
    "models",
    "read_fits",
]
