"""What kernel times do without, or borrow, where a GPU's catalog entry lacks a number."""

from collections.abc import Iterable, Iterator

from ..catalog import KINDS, LINK_KINDS, KernelFit, kernel_fit
from ..catalog.gpu_entries import GPU
from ..catalog.gpu_entries import gpu as find_gpu
from ..common.arguments import as_list, checked_names, one_of
from ..operators import OPERATORS
from .roofline import TIME_MODELS
from .times import LAWS


def kernel_kinds(operators: Iterable[str]) -> list[str]:
    """Kinds of kernel that some operators and collectives run, in the order of `KINDS`."""
    named = [*operators]
    rows = {name: OPERATORS[name] for name in named if name in OPERATORS}
    scores = {row.view for row in rows.values() if row.operand == "kv"}
    found = {"unfused": "unfused" in scores} | dict.fromkeys(("prefill", "decode"), "fused" in scores)
    found |= {
        "gemm": any(row.operand not in ("kv", "experts") for name, row in rows.items() if name != "elementwise"),
        "moe": any(row.routed for row in rows.values()),
        "elementwise": "elementwise" in rows,
    }
    found |= {kind: kind in named for kind in LINK_KINDS}
    return [kind for kind in KINDS if found.get(kind)]


def assumptions(gpus: Iterable[GPU], time_model: str = "kernel", kinds: Iterable[str] = KINDS) -> str:
    """What the times of some GPUs' kernels assume, for want of numbers in the catalog.

    Parameters
    ----------
    gpus, time_model : iterable of GPU, str
        Catalog entries; "kernel", or "ideal", which assumes nothing of kernels.
    kinds : iterable of str
        Kinds of kernel that are run (`kernel_kinds`).

    Returns
    -------
    str
        By GPU, whose fits it borrows and which terms are left out; empty where there is nothing to say.
    """
    cards = [find_gpu(gpu) for gpu in as_list("gpus", gpus)]
    none = isinstance(kinds, list | tuple) and not kinds
    run = set() if none else set(checked_names("kinds", kinds, KINDS))
    kernel = one_of("time_model", time_model, TIME_MODELS) == "kernel"
    told = {card.id: list(_kernels(card, run)) for card in cards if kernel}
    return joined(f"{name}: {'; '.join(found)}" for name, found in told.items() if found)


def fit_of(gpu: GPU, kernel: str, format: str, phase: str, engine: str | None = None) -> KernelFit | None:
    """The fit that a kernel's times are computed with.

    Parameters
    ----------
    gpu : GPU
        Catalog entry.
    kernel : str
        A key of `LAWS`.
    format : str
        A key of `catalog.fits.NEAR_FORMATS`.
    phase : str
        "prefill" or "decode".
    engine : str, optional
        As for `operator_time`.

    Returns
    -------
    KernelFit or None
        None for a law without fitted parameters.
    """
    kinds = LAWS[kernel].kinds
    return kernel_fit(gpu, kinds[phase == "decode" and len(kinds) > 1], format, engine) if kinds else None


def joined(texts: Iterable[str]) -> str:
    """What several answers assume, each sentence once."""
    return ". ".join(dict.fromkeys(sentence for text in texts for sentence in text.split(". ") if sentence))


def _kernels(gpu: GPU, kinds: set[str]) -> Iterator[str]:
    borrowed: dict[str, list[str]] = {}
    for kind in KINDS:
        if kind in kinds and (lender := kernel_fit(gpu, kind).gpu) != gpu.id:
            borrowed.setdefault(lender, []).append(kind)
    yield from (f"{', '.join(kinds)} by the fit of {lender}" for lender, kinds in borrowed.items())
    if gpu.sm_count is None and kinds - {"elementwise", *LINK_KINDS}:
        yield "SM count unknown, so tiles make no further waves"
    if gpu.l2_mb is None and kinds & {"gemm", "unfused", "prefill"}:
        yield "L2 cache unknown, so activations come from memory"
    if not {"fp16", "bf16"} & gpu.dense_tflops.keys() and kinds & {"prefill", "decode"}:
        yield f"no 16-bit peak, so softmax at that of {[*gpu.dense_tflops][-1]}"
