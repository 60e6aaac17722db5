"""What kernel times do without, or borrow, where a GPU's catalog entry lacks a number."""

from collections.abc import Iterable, Iterator

from ..catalog import DEFAULT_ENGINE, KINDS, LINK_KINDS, NEAR_FORMATS, KernelFit, Model, kernel_fit
from ..catalog.fits import FORMATTED
from ..catalog.gpu_entries import GPU
from ..catalog.gpu_entries import gpu as find_gpu
from ..common.arguments import as_list, check_unique, one_of
from ..operators import COLLECTIVES, has_operator, kernel_of
from .collectives import joined_by_link
from .formats import OperandFormats
from .roofline import TIME_MODELS
from .times import LAWS


def kernel_kinds(model: Model, operators: Iterable[str], formats: OperandFormats) -> list[str]:
    """Kinds of kernel that some operators of a model and collectives run, each with its format: "gemm fp8"."""
    found = {
        f"{kind} {formats.kernel_format(name) if kind in FORMATTED else 'bf16'}"
        for name in operators
        if name in COLLECTIVES or has_operator(model, name)
        for kind in LAWS[kernel_of(model, name)].kinds
    }
    return sorted(found, key=lambda each: (KINDS.index(each.split()[0]), each))


def assumptions(
    gpus: Iterable[GPU], time_model: str = "kernel", kinds: Iterable[str] = KINDS, *, engine: str | None = None
) -> str:
    """What the times of some GPUs' kernels assume, for want of numbers in the catalog.

    Parameters
    ----------
    gpus, time_model : iterable of GPU, str
        Catalog entries; "kernel", or "ideal", which assumes nothing of kernels.
    kinds : iterable of str
        Kinds of kernel that are run, alone or with their format: "gemm", "gemm fp8".
    engine : str, optional
        As for `operator_time`.

    Returns
    -------
    str
        By GPU, whose fits it borrows and which terms are left out; empty where there is nothing to say.
    """
    cards = [find_gpu(gpu) for gpu in as_list("gpus", gpus)]
    run = [] if isinstance(kinds, list | tuple) and not kinds else _checked(kinds)
    kernel = one_of("time_model", time_model, TIME_MODELS) == "kernel"
    told = {card.id: list(_kernels(card, run, engine)) for card in cards if kernel}
    return joined(f"{name}: {'; '.join(found)}" for name, found in told.items() if found)


def _checked(kinds: Iterable[str]) -> list[str]:
    """Kinds of kernel, each once, with a format or without."""
    run = as_list("kinds", kinds)
    for each in run:
        kind, _, form = each.partition(" ") if isinstance(each, str) else (each, "", "")
        one_of("kinds", kind, KINDS)
        one_of("format of kinds", form or "bf16", NEAR_FORMATS)
    check_unique("kinds", run)
    return run


def fit_of(
    gpu: GPU, kernel: str, format: str, phase: str, engine: str | None = None, *, gpus: int = 1
) -> KernelFit | None:
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
    gpus : int
        GPUs that take part in a collective: beyond their own link they go by PCIe [1].

    Returns
    -------
    KernelFit or None
        None for a law without fitted parameters.
    """
    kinds = LAWS[kernel].kinds
    if not kinds:
        return None
    kind = kinds[phase == "decode" and len(kinds) > 1]
    pcie = kind in LINK_KINDS and not joined_by_link(gpu, gpus)
    return kernel_fit(gpu, kind, format if kind in FORMATTED else "bf16", engine, pcie=pcie)


def joined(texts: Iterable[str]) -> str:
    """What several answers assume, each sentence once."""
    return ". ".join(dict.fromkeys(sentence for text in texts for sentence in text.split(". ") if sentence))


def _kernels(gpu: GPU, run: list[str], engine: str | None) -> Iterator[str]:
    borrowed: dict[str, list[str]] = {}
    kinds = {each.split()[0] for each in run}
    for each in run:
        kind, _, form = each.partition(" ")
        used = kernel_fit(gpu, kind, form or "bf16", engine)
        if lent := _lent(gpu, used, form or "bf16", engine or DEFAULT_ENGINE):
            borrowed.setdefault(lent, []).append(each.removesuffix(" bf16"))
    yield from (f"{', '.join(kinds)} by {lent}" for lent, kinds in borrowed.items())
    if gpu.sm_count is None and kinds - {"elementwise", *LINK_KINDS}:
        yield "SM count unknown, so tiles make no further waves"
    if gpu.l2_mb is None and kinds & {"gemm", "unfused", "prefill", "mla_prefill", "linear_chunk"}:
        yield "L2 cache unknown, so activations come from memory"
    if gpu.exponential_rate is None and kinds & {"prefill", "mla_prefill"}:
        yield "rate of exponentials unknown, so softmax takes no time"


def _lent(gpu: GPU, used: KernelFit, form: str, engine: str) -> str:
    """Whose fit it is, where it is not the GPU's own of that engine and format."""
    record = used.record
    other = [record.engine] if record.engine != engine and used.gpu != gpu.id else []
    other += [f"in {record.format}"] if record.format != form and record.kind not in LINK_KINDS else []
    if used.gpu == gpu.id and record.engine != engine:
        return " ".join([f"{record.engine}'s fit", *other])
    return f"the fit of {used.gpu}{f' ({chr(32).join(other)})' if other else ''}" if used.gpu != gpu.id or other else ""
