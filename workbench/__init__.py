"""Roofline Workbench: roofline analysis of LLM inference as labelled arrays.

>>> import workbench as wb
>>> ds = wb.roofline_grid("a100-80gb-pcie", "llama-7b", phase="decode", batch_size=[1, 16], seq_len=1024)
>>> ds.bound.sel(operator="qkv_proj").values.ravel()
array([0, 0], dtype=int8)

Names and submodules are imported when they are first used (PEP 562), so that `python -m workbench.measure` runs on a
GPU machine that has PyTorch and none of the other dependencies. `dir(wb)` lists them all before.
"""

TYPE_CHECKING = False  # without `typing`: a command must come to its first line at once

__all__ = [
    "GPU",
    "Model",
    "best",
    "estimates",
    "explain",
    "explore",
    "forward_pass",
    "from_hf_config",
    "gpu",
    "gpus",
    "measured",
    "measurements",
    "model",
    "models",
    "pareto",
    "roofline_grid",
    "table",
]

if TYPE_CHECKING:
    from .catalog import GPU, Model, gpu, gpus, model, models
    from .explanation import explain
    from .explorer import explore
    from .grid import forward_pass, roofline_grid
    from .hugging_face import from_hf_config
    from .search import best, estimates, pareto
    from .tables import measured, measurements, table
else:
    _HOME = {
        "GPU": "catalog", "Model": "catalog", "gpu": "catalog", "gpus": "catalog", "model": "catalog",
        "models": "catalog", "explain": "explanation", "explore": "explorer", "forward_pass": "grid",
        "from_hf_config": "hugging_face", "roofline_grid": "grid", "best": "search", "estimates": "search",
        "pareto": "search", "measured": "tables", "measurements": "tables", "table": "tables",
    }  # fmt: skip

    def __getattr__(name: str) -> object:
        import sys
        from importlib import import_module
        from importlib.util import find_spec

        if name not in _HOME and (name.startswith("_") or not find_spec(f"{__name__}.{name}")):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = import_module(f"{__name__}.{_HOME.get(name, name)}")
        if name in _HOME:
            value = globals()[name] = getattr(value, name)
        if "xarray" in sys.modules:  # what has a Dataset has `ds.wb`
            import_module(f"{__name__}.accessor")
        return value

    def __dir__() -> list[str]:
        from pkgutil import iter_modules

        private = {name for name in globals() if name.startswith("__")}
        return sorted({*private, *__all__, *(module.name for module in iter_modules(__path__))})
