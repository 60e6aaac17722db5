"""Roofline Workbench: roofline analysis of LLM inference as labelled arrays.

>>> import workbench as wb
>>> ds = wb.roofline_grid("a100-80gb-pcie", "llama-7b", phase="decode", batch_size=[1, 16], seq_len=1024)
>>> ds.bound.sel(operator="qkv_proj").values.ravel()
array([0, 0], dtype=int8)
"""

from .catalog import GPU, Model, gpu, gpus, model, models
from .grid import forward_pass, roofline_grid
from .hf import from_hf_config

__all__ = ["GPU", "Model", "forward_pass", "from_hf_config", "gpu", "gpus", "model", "models", "roofline_grid"]
