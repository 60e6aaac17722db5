"""What a fit of one GPU is on another: shares of the datasheet's rates carry over, as far as the power limit allows.

Where products run into the power limit, the clock falls until they do not, and the share of the peak that is left says
how much power a card has. A card of less power reaches less of its peak, and one of more power reaches more.
"""

from typing import Any

from ..common.yaml_records import Record
from .dtypes import KERNEL_FORMATS, WIDTH

#: Board power over the rate of large 16-bit products, by chip: what a FLOP takes, memory and all, where the power limit
#: holds [J]. The best rates of torch.matmul in bf16, and fp16 on T4, are of zzc0721/torch-performance-test-data on
#: GitHub (RTX A6000 123 TFLOP/s at 300 W, L40S 269 at 350 W, T4 42.7 at 70 W, H100 PCIe 496 at 350 W, RTX PRO 6000 417
#: at 600 W); A100 PCIe has 220 at 250 W (An et al. 2024, Fire-Flyer AI-HPC, arXiv 2408.14158). AD104 is taken for
#: AD102: L4 so sustains 55 at 72 W, where 53-59 are measured; A10 sustains 62 at 150 W, where no more is.
ENERGY = {
    "TU104": 1.64e-12, "GA100": 1.14e-12, "GA102": 2.43e-12, "AD102": 1.3e-12, "AD104": 1.3e-12, "GH100": 0.705e-12,
    "GB202": 1.44e-12,
}  # fmt: skip
#: Limits of a fitted lead of the L2 cache over memory, as in `catalog.fits.L2Speedup` [1].
LEAST_LEAD, MOST_LEAD = 1.0, 10.0


def power_share(gpu: Any, form: str = "bf16") -> float | None:
    """Share of a format's peak that a GPU's power limit sustains, above 1 with power to spare; None: not known [1].

    Half the width takes half the energy.
    """
    energy, peak = ENERGY.get(gpu.chip) if gpu.chip else None, _peak(gpu, form)
    if energy is None or peak is None or gpu.tdp_w is None:
        return None
    energy = energy * WIDTH[KERNEL_FORMATS[form].computes] / WIDTH["bf16"]
    return float(gpu.tdp_w / (energy * peak))


def _peak(gpu: Any, form: str) -> float | None:
    """Of what a format computes in, any of 16 bits in 16 bits; None where the vendor prints none [FLOP/s]."""
    computes = KERNEL_FORMATS[form].computes
    if WIDTH[computes] == WIDTH["bf16"]:
        return float(gpu.peak_16_bit)
    return gpu.peak_flop_rate(computes) if computes in gpu.dense_tflops else None


def scaled(parameters: Record, lender: Any, borrower: Any, form: str = "bf16") -> Any:
    """A fit of the lender, as the borrower's datasheet has it.

    Launches and shares of the bandwidth stay. Of the peak, the borrower reaches the lender's share, or what its own
    power limit allows, if that is less. If the lender runs into its limit, a borrower with more power to its peak
    reaches more, at most what the lender would without a limit: the share of kernels too short to feel it, or what it
    makes of the power it has. Where the energy of a FLOP is not known, a peak that the vendor raised more than that of
    16 bits is reached as far as there is more power. A latency in cycles follows the boost clock; what it costs in
    FLOPs, and the reuse that feeds the tensor cores, those of an SM and clock; the
    L2 cache's lead over memory SMs, clock and bandwidth: where they are known of both.

    Parameters
    ----------
    parameters : Record
        Of any kind of kernel, such as `GemmFit`.
    lender, borrower : GPU
        The GPU that they were fitted on, and the one that they are to serve.
    form : str
        Format of the kernel, a key of `catalog.dtypes.KERNEL_FORMATS`.

    Returns
    -------
    Record
        Of the same kind.
    """
    if lender.id == borrower.id:
        return parameters
    fields = parameters.model_dump()
    known = fields.get("compute_fraction") is not None
    changed: dict[str, Any] = _of_the_peak(fields, lender, borrower, form) if known else {}
    if borrower.boost_mhz is None or lender.boost_mhz is None:
        return parameters.model_copy(update=changed)
    clocks = borrower.boost_mhz / lender.boost_mhz
    if "walk_ns" in fields:
        changed["walk_ns"] = fields["walk_ns"] / clocks
    if borrower.sm_count is None or lender.sm_count is None:
        return parameters.model_copy(update=changed)
    cycles = clocks * borrower.sm_count / lender.sm_count
    per_cycle = borrower.peak_16_bit / lender.peak_16_bit / cycles
    changed |= {name: per_cycle * fields[name] for name in ("fill_depth", "half_tile") if name in fields}
    if fields.get("l2_speedup") is not None:
        lead = fields["l2_speedup"] * cycles * lender.bandwidth / borrower.bandwidth
        changed["l2_speedup"] = min(MOST_LEAD, max(LEAST_LEAD, lead))
    return parameters.model_copy(update=changed)


def _of_the_peak(fields: dict[str, Any], lender: Any, borrower: Any, form: str) -> dict[str, float]:
    """Of a fit's fields, those that say what share of the peak it reaches, under another power limit."""
    share, boost = fields["compute_fraction"], fields.get("boost", 0.0)
    lenders, own = power_share(lender, form), power_share(borrower, form)
    unlimited, sustained = share / (1 - boost), share
    if own is None:
        return {"compute_fraction": share / (_raised(lender, borrower, form) if lenders is None else 1)}
    if lenders is not None and lenders < 1:
        unlimited, sustained = max(unlimited, share / lenders), share * max(1.0, own / lenders)
    unlimited = min(1.0, unlimited)
    sustained = min(unlimited, own, sustained)
    changed = {"compute_fraction": sustained}
    return changed | {"boost": 1 - sustained / unlimited} if "boost" in fields else changed


def _raised(lender: Any, borrower: Any, form: str) -> float:
    """How much more a format's peak over that of 16 bits is than the lender's, beyond the power for it; at least 1."""
    theirs, own = _peak(lender, form), _peak(borrower, form)
    same = lender.architecture.split()[0] == borrower.architecture.split()[0]
    if not same or theirs is None or own is None or lender.tdp_w is None or borrower.tdp_w is None:
        return 1.0
    raised = own / borrower.peak_16_bit / (theirs / lender.peak_16_bit)
    power = borrower.tdp_w / borrower.peak_16_bit / (lender.tdp_w / lender.peak_16_bit)
    return float(max(1.0, raised / max(1.0, power)))
