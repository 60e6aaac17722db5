"""GPUs as their vendors describe them, one YAML file each, every number with its source.

Entries are frozen and print themselves with units. Vendor numbers stay as printed (GB/s, TFLOP/s); the properties
convert them to SI. What a vendor does not publish is absent, never 0.
"""

from functools import cache
from os import PathLike
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import AfterValidator, Field

from ..common.arguments import LEAST, check_range, one_of, plain
from ..common.errors import CannotRun, shown, unknown
from ..common.yaml_records import Count, Number, Record, Text, validated
from .choosing import SAME_ARCHITECTURE, Candidate, catalog_fits, gpus_apart, lending, nearest_fit, own_fits
from .dtypes import WIDTH
from .engine_entries import DEFAULT_ENGINE, engines
from .engine_entries import engine as find_engine
from .fits import KINDS, LINK_KINDS, NEAR_FORMATS, Fit
from .links import link_reason, nearest_link_fit
from .loading import Entry, FieldPlace, catalog_entry, describe_entry, entry_files, find_entry, what_if, with_unit
from .scaling import scaled

#: Exponentials that an SM computes in a clock (CUDA C++ Programming Guide, throughput of arithmetic instructions: 16 of
#: fp32's special functions for compute capability 7.x to 10.0 and 12.x, 32 for 10.3), by architecture [1].
EXPONENTIALS = dict.fromkeys(("volta", "turing", "ampere", "ada", "hopper", "blackwell"), 16) | {"blackwell ultra": 32}


def _known_dtypes(table: dict[str, float]) -> dict[str, float]:
    for dtype in table:
        if dtype not in WIDTH:
            raise unknown("dtype", dtype, WIDTH)
    return table


class Memory(Record):
    """Device memory: the vendor's capacity [GB], what the driver reports of it [GiB], and its bandwidth [GB/s]."""

    capacity_gb: Number | None = None
    reported_gib: Number | None = None
    bandwidth_gbs: Number
    type: Text | None = None


class Link(Record):
    """All of a GPU's links to other GPUs together [GB/s]; `max_gpus` [1]: it joins no more (a bridge, a pod)."""

    name: Text
    gbs_per_direction: Number | None = None
    max_gpus: Count | None = None


class GPU(Entry):
    """One accelerator as its vendor describes it; what is not published is None. Printed, it shows all with units."""

    vendor: Text  #: its maker
    architecture: Text  #: as the vendor calls it, and so the next two
    form_factor: Text | None = None  #: board or module
    chip: Text | None = None  #: die
    year: Count | None = None  #: of the launch
    #: Dense peak by format, with fp32 accumulation and without sparsity [TFLOP/s].
    dense_tflops: Annotated[dict[str, Number], AfterValidator(_known_dtypes)]
    fp16_accumulate_tflops: Number | None = None  #: rate with fp16 accumulation, where it differs [TFLOP/s]
    memory: Memory  #: capacity_gb [GB], reported_gib [GiB], bandwidth_gbs [GB/s] and type
    l2_mb: Number | None = None  #: L2 cache [MB]
    llc_or_sram_mb: Number | None = None  #: last-level cache or on-chip SRAM [MB]
    sm_count: Count | None = None  #: streaming multiprocessors or compute units [1]
    boost_mhz: Number | None = None  #: boost clock [MHz]
    tensor_clock_mhz: Number | None = None  #: clock that the tensor peak is printed for, where it is another [MHz]
    link: Link | None = None  #: name, gbs_per_direction [GB/s] and max_gpus [1]
    pcie: Text | None = None  #: generation and lanes, such as "4.0 x16"
    tdp_w: Number | None = None  #: power limit [W]
    fits: Annotated[tuple[Fit, ...], Field(strict=False)] = ()  #: fits of one's own, which go before the catalog's
    confidence: Literal["datasheet", "whitepaper", "secondary", "unverified"]  #: how sure the entry is
    provenance: Text  #: how it was taken from its documents
    weaker_fields: Text | None = None  #: which fields are less sure
    sources: dict[str, str] = Field(min_length=1)  #: the documents that the numbers are from
    notes: Text | None = None  #: what else a reader has to know

    @property
    def bandwidth(self) -> float:
        """Memory bandwidth [byte/s]."""
        return self.memory.bandwidth_gbs * 1e9

    @property
    def memory_bytes(self) -> float | None:
        """Memory as its driver reports it to programs, or else the vendor's GB of 10^9; None where neither is known."""
        vendors = self.memory.capacity_gb and 1e9 * self.memory.capacity_gb
        return 2**30 * self.memory.reported_gib if self.memory.reported_gib else vendors

    def peak_flop_rate(self, dtype: str = "fp16") -> float:
        """Dense peak in a format, a key of `WIDTH`, with fp32 accumulation and without sparsity [FLOP/s].

        Raises ValueError where the format is unknown or the vendor prints no such rate.
        """
        if one_of("dtype", dtype, WIDTH) not in self.dense_tflops:
            listed = ", ".join(sorted(self.dense_tflops))
            raise CannotRun(
                f"{self.id} has no {dtype} peak: its catalog entry lists {listed}."
                " Choose dtypes that compute in one of those.",
                f"no {dtype} peak",
            )
        return self.dense_tflops[dtype] * 1e12

    @property
    def peak_16_bit(self) -> float:
        """Dense peak in fp16, or in bf16, or in the last format of an entry that has neither [FLOP/s]."""
        return self.peak_flop_rate(
            next((d for d in ("fp16", "bf16") if d in self.dense_tflops), [*self.dense_tflops][-1])
        )

    @property
    def exponential_rate(self) -> float | None:
        """Exponentials of all SMs at the boost clock [1/s]; None where SMs, clock or their rate are not known."""
        name = self.architecture.lower()
        a_clock = EXPONENTIALS.get(name) or EXPONENTIALS.get(name.split()[0])
        if a_clock is None or self.sm_count is None or self.boost_mhz is None:
            return None
        return 1e6 * a_clock * self.sm_count * self.boost_mhz

    def ridge_point(self, dtype: str = "fp16") -> float:
        """Operational intensity at which the two ceilings meet, `peak_flop_rate` / `bandwidth` [FLOP/byte]."""
        return self.peak_flop_rate(dtype) / self.bandwidth

    def override(
        self, *, peak_tflops: float | None = None, bandwidth_gbs: float | None = None, memory_gib: float | None = None
    ) -> Self:
        """A copy with another 16-bit peak [TFLOP/s], memory bandwidth [GB/s] or memory that its driver reports [GiB].

        Its notes say so. Kernel times scale with the ceilings: those two are for drawing, not for predictions.
        """
        given = {"peak_tflops": peak_tflops, "bandwidth_gbs": bandwidth_gbs, "memory_gib": memory_gib}
        own = {
            name: check_range(f"override of {self.id}: {name}", value, low=LEAST)
            for name, value in given.items() if value is not None
        }  # fmt: skip
        entry = self.model_dump()
        changes = []
        if (peak := own.get("peak_tflops")) is not None:
            changes.append(f"peak {peak:g} TFLOP/s")
            entry["dense_tflops"] |= {d: peak for d in ("fp16", "bf16") if d in self.dense_tflops}
        if (bandwidth := own.get("bandwidth_gbs")) is not None:
            changes.append(f"bandwidth {bandwidth:g} GB/s")
            entry["memory"]["bandwidth_gbs"] = bandwidth
        if (memory := own.get("memory_gib")) is not None:
            changes.append(f"memory {memory:g} GiB")
            entry["memory"]["reported_gib"] = memory
        if changes:
            entry["notes"] = " ".join(filter(None, [f"Overridden: {', '.join(changes)}.", self.notes]))
        return validated(type(self), entry, f"override of {self.id}")

    def __str__(self) -> str:
        flops = ", ".join(f"{dtype} {rate:g}" for dtype, rate in self.dense_tflops.items())
        rows = {
            "dense peak": f"{flops} TFLOP/s (TOP/s for int8, int4)",
            "fp16, fp16 accumulate": with_unit(self.fp16_accumulate_tflops, "TFLOP/s"),
            "bandwidth": f"{self.memory.bandwidth_gbs:g} GB/s",
            "ridge point": ", ".join(
                f"{dtype} {self.ridge_point(dtype):.1f}"
                for dtype in ("fp16", "bf16", "fp8")
                if dtype in self.dense_tflops
            )
            + " FLOP/byte",
            "memory": with_unit(self.memory.capacity_gb, f"GB {self.memory.type or ''}".strip()),
            "memory reported": with_unit(self.memory.reported_gib, "GiB"),
            "L2 cache": with_unit(self.l2_mb, "MB"),
            "last-level cache / SRAM": with_unit(self.llc_or_sram_mb, "MB"),
            "SMs / CUs": with_unit(self.sm_count, ""),
            "boost clock": with_unit(self.boost_mhz, "MHz"),
            "tensor clock": with_unit(self.tensor_clock_mhz, "MHz"),
            "link": self.link
            and f"{self.link.name}, {with_unit(self.link.gbs_per_direction, 'GB/s per direction') or 'rate unknown'}"
            f"{f', joins {self.link.max_gpus}' if self.link.max_gpus else ''}",
            "PCIe": self.pcie,
            "power": with_unit(self.tdp_w, "W"),
            "kernel times": "; ".join(_kernel_fits(self)),
        }
        return describe_entry(f"GPU {self.id}: {self.name} ({self.vendor}, {self.architecture})", rows, self)

    __repr__ = __str__


def gpus() -> list[str]:
    """Ids of all GPUs in the catalog.

    Returns
    -------
    list of str
        In alphabetical order.
    """
    return list(entry_files("gpus"))


def gpu(name: str | PathLike[str] | GPU, **changes: Any) -> GPU:
    """A GPU of the catalog, one of your own, or either with other numbers.

    Parameters
    ----------
    name : str, path or GPU
        Its id, or any other name that is clear, such as what its driver calls it; the path of a YAML file like those
        of the catalog; or an entry.
    **changes
        What if: fields of the entry, or of its memory and link by their own names. `fits` may be the path of a file
        of fits. The id then says what was changed. Kernel times go by the fits of the unchanged GPU, scaled as for
        a GPU that has none.

    Returns
    -------
    GPU
        The entry, which prints itself with units and sources.

    Raises
    ------
    ValueError
        Where the catalog has no such GPU or several, and for an unknown field; the message has the nearest names.

    Examples
    --------
    >>> gpu("NVIDIA RTX A6000").ridge_point()
    201.5625
    >>> gpu("h100", bandwidth_gbs=4800).id
    'h100-sxm (modified: bandwidth_gbs=4800)'
    """
    card = find_entry(GPU, "GPU", "gpus", name)
    if isinstance(file := changes.get("fits"), str | PathLike):
        changes["fits"] = own_fits(file)
    return what_if(card, changes, _of_the_other_memory)


def _of_the_other_memory(changed: set[FieldPlace]) -> dict[FieldPlace, Any]:
    """What the driver reports is of the size that it was."""
    size, reported = ("memory", "capacity_gb"), ("memory", "reported_gib")
    return {reported: None} if size in changed and reported not in changed else {}


class KernelFit(NamedTuple):
    """Parameters of one kind of kernel, and where they are from."""

    fit: Any  #: the record of the kind, such as `GemmFit`
    gpu: str  #: id of the GPU that they were fitted on
    why: str  #: why it is that one
    record: Fit  #: engine, version, format, source, rows and error of the fit
    #: To expect of it on this GPU: the held-out one, or that of another GPU's fit within the architecture; NaN where no
    #: timings of the architecture and format show it [%].
    error_percent: float

    @property
    def label(self) -> str:
        """GPU, engine and version, kernel library and format, in one word."""
        label = f"{self.gpu}/{self.record.engine}-{self.record.version}/{self.record.family}/{self.record.format}"
        return label.replace(" ", "-")


def kernel_fit(
    card: str | GPU, kind: str, format: str = "bf16", engine: str | None = None, *, family: str | None = None,
    pcie: bool = False,
) -> KernelFit:  # fmt: skip
    """Parameters that a GPU's kernel times are computed with.

    Its own of that engine and format, or else the nearest: those of another engine that runs the same kernel library,
    those of its architecture (of the same chip, or of the nearest ridge point), those of the most measured GPU of the
    catalog; those of the nearest format (`catalog.fits.NEAR_FORMATS`). Collectives go by the generation of the link
    (`choosing.nearest_link_fit`), whatever the format.

    Parameters
    ----------
    card : str or GPU
        The GPU whose kernels are timed.
    kind : str
        One of `KINDS`.
    format : str
        Of the kernel, one of `catalog.fits.NEAR_FORMATS`.
    engine : str, optional
        That runs it, one of `engines()`; None is the best measured, `DEFAULT_ENGINE`.
    family : str, optional
        Kernel library; None is the one that the engine runs there, as far as timings show it.
    pcie : bool
        Of a collective: it goes over PCIe although the GPU has a link of its own, which does not reach all.

    Returns
    -------
    KernelFit
        The parameters, the GPU that they were fitted on, why it is that one, and the error to expect.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    card, kind = gpu(card), one_of("kind", kind, KINDS)
    form = one_of("format", format, NEAR_FORMATS)
    engine = one_of("engine", DEFAULT_ENGINE if engine is None else engine, engines())
    pcie, family = one_of("pcie", pcie, (True, False)), plain(family)
    if not isinstance(family, str | None):
        raise ValueError(f"family = {shown(family)}: expected the name of a kernel library")
    if card.fits or card.id not in entry_files("gpus") or card is not catalog_entry(GPU, "gpus", card.id):
        own = [Candidate(card, fit) for fit in card.fits if fit.kind == kind]
        return borrowed_fit(card, kind, form, engine, [*own, *_candidates(kind)], family, pcie=pcie)
    return _catalog_fit(card.id, kind, form, engine, family, pcie)


@cache
def _catalog_fit(name: str, kind: str, form: str, engine: str, family: str | None, pcie: bool) -> KernelFit:
    return borrowed_fit(gpu(name), kind, form, engine, _candidates(kind), family, pcie=pcie)


def borrowed_fit(
    card: GPU, kind: str, form: str, engine: str, candidates: list[Candidate], family: str | None = None, *,
    pcie: bool = False,
) -> KernelFit:  # fmt: skip
    """The nearest of some candidates, as `kernel_fit` gives that of the catalog's."""
    if kind in LINK_KINDS:
        lender, fit = nearest_link_fit(card, kind, engine, candidates, family, pcie=pcie)
    else:
        lender, fit = nearest_fit(card, kind, form, engine, candidates, family)
    link = link_reason(card, lender, pcie=pcie) if kind in LINK_KINDS else None
    parts = lending(card, lender, fit, form, engine, link)
    error = fit.error_percent if lender.id == card.id else fit.elsewhere_percent
    if fit.format != form or (gpus_apart(card, lender) > SAME_ARCHITECTURE and kind not in LINK_KINDS):
        error = None
    parameters = fit.parameters if kind == "unfused" else scaled(fit.parameters, lender, card, fit.format)
    apart = engine in engines() and find_engine(engine).quantizes_apart
    if apart and getattr(parameters, "quantize_fraction", None) is not None:
        own = kernel_fit(card, "elementwise", engine=engine)
        kernel = {"quantize_fraction": own.fit.bandwidth_fraction, "quantize_us": own.fit.launch_us}
        parameters = parameters.model_copy(update=kernel)
        parts.append(f"activations quantized by an elementwise kernel, of {own.gpu}")
    why = ", ".join(parts) or "fitted on this GPU"
    return KernelFit(parameters, lender.id, why, fit, np.nan if error is None else error)


@cache
def _candidates(kind: str) -> list[Candidate]:
    return [Candidate(gpu(name), fit) for name in gpus() for fit in catalog_fits(name) if fit.kind == kind]


def _kernel_fits(card: GPU) -> list[str]:
    """Where the parameters of each kind of kernel are from, kinds of one origin together."""
    origins: dict[str, list[str]] = {}
    for kind in KINDS:
        origins.setdefault(kernel_fit(card, kind).why, []).append(kind)
    return [f"{', '.join(kinds)}: {why}" for why, kinds in origins.items()]
