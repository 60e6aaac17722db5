"""What kernel times do without, or borrow, where a GPU's catalog entry lacks a number."""

from collections.abc import Iterable, Iterator

from ..catalog import KINDS, kernel_fit
from ..catalog.gpu_entries import GPU
from ..catalog.gpu_entries import gpu as find_gpu
from ..common.arguments import as_list, one_of
from .roofline import TIME_MODELS


def assumptions(gpus: Iterable[GPU], time_model: str = "kernel") -> str:
    """What the times of some GPUs' kernels assume, for want of numbers in the catalog.

    Parameters
    ----------
    gpus, time_model : iterable of GPU, str
        Catalog entries; "kernel", or "ideal", which assumes nothing of kernels.

    Returns
    -------
    str
        By GPU, whose fits it borrows and which terms are left out; empty where there is nothing to say.
    """
    cards = [find_gpu(gpu) for gpu in as_list("gpus", gpus)]
    kernel = one_of("time_model", time_model, TIME_MODELS) == "kernel"
    told = {card.id: list(_kernels(card)) for card in cards if kernel}
    return ". ".join(f"{name}: {'; '.join(found)}" for name, found in told.items() if found)


def _kernels(gpu: GPU) -> Iterator[str]:
    borrowed: dict[str, list[str]] = {}
    for kind in KINDS:
        if (lender := kernel_fit(gpu, kind).gpu) != gpu.id:
            borrowed.setdefault(lender, []).append(kind)
    yield from (f"{', '.join(kinds)} by the fit of {lender}" for lender, kinds in borrowed.items())
    if gpu.sm_count is None:
        yield "SM count unknown, so tiles make no waves"
    if gpu.l2_mb is None:
        yield "L2 cache unknown, so activations come from memory"
    if not {"fp16", "bf16"} & gpu.dense_tflops.keys():
        yield f"no 16-bit peak, so softmax at that of {[*gpu.dense_tflops][-1]}"
