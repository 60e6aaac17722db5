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
#: at 600 W); A100 PCIe has 220 at 250 W (An et al. 2024, Fire-Flyer AI-HPC, arXiv 2408.14158). Smaller chips are taken
#: for the largest of their kind: L4 (AD104) so sustains 55 at 72 W, where 53-59 are measured; A10 sustains 62 at 150 W,
#: where no more is.
ENERGY = {
    "TU104": 1.64e-12, "GA100": 1.14e-12, "GA102": 2.43e-12, "GA106": 2.43e-12, "AD102": 1.3e-12, "AD103": 1.3e-12,
    "AD104": 1.3e-12, "GH100": 0.705e-12, "GB202": 1.44e-12, "GB203": 1.44e-12,
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


def per_cycle(lender: Any, borrower: Any, form: str = "bf16") -> float | None:
    """FLOPs of the borrower's SMs in a clock over those of the lender's, in a format; None where not known [1]."""
    rates: list[float] = []
    for gpu in (lender, borrower):
        peak = _peak(gpu, form)
        if peak is None or gpu.sm_count is None or gpu.boost_mhz is None:
            return None
        rates.append(peak / (gpu.sm_count * gpu.boost_mhz))
    return rates[1] / rates[0]


def scaled(parameters: Record, lender: Any, borrower: Any, form: str = "bf16") -> Any:
    """A fit of the lender, as the borrower's datasheet has it.

    Launches and shares of the bandwidth stay. Latencies in cycles follow the boost clock, and as FLOPs those of an SM
    in a clock: what a FLOP takes besides its share of the peak, the depth of a pipeline, and the reuse that feeds it.
    The L2 cache's lead over memory follows SMs, clock and bandwidth; all where they are known of both. The power limit
    comes last: no more of the peak is reached than it sustains, and if the lender runs into its own, a borrower with
    more power to its peak reaches more, at most what the lender would without a limit: the share of kernels too short
    to feel it, or what it makes of the power it has.

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
    changed: dict[str, Any] = {}
    if fields.get("compute_fraction") is not None:
        changed |= _of_the_peak(fields, lender, borrower, form)
    if (depth := per_cycle(lender, borrower, form)) is not None:
        changed |= {name: depth * fields[name] for name in ("fill_depth", "half_tile") if name in fields}
    if borrower.boost_mhz is None or lender.boost_mhz is None:
        return parameters.model_copy(update=changed)
    clocks = borrower.boost_mhz / lender.boost_mhz
    if "walk_ns" in fields:
        changed["walk_ns"] = fields["walk_ns"] / clocks
    if fields.get("l2_speedup") is not None and borrower.sm_count and lender.sm_count:
        cycles = clocks * borrower.sm_count / lender.sm_count
        lead = fields["l2_speedup"] * cycles * lender.bandwidth / borrower.bandwidth
        changed["l2_speedup"] = min(MOST_LEAD, max(LEAST_LEAD, lead))
    return parameters.model_copy(update=changed)


def _of_the_peak(fields: dict[str, Any], lender: Any, borrower: Any, form: str) -> dict[str, float]:
    """Of a fit's fields, those that say what share of the peak it reaches."""
    share, boost = fields["compute_fraction"], fields.get("boost", 0.0)
    lenders, own = power_share(lender, form), power_share(borrower, form)
    faster = per_cycle(lender, borrower, form)
    if own == lenders and faster in (None, 1):  # a what-if that leaves power and products as they were
        return {}
    unlimited, spare = share / (1 - boost), 1.0
    if lenders is not None and own is not None and lenders < 1:
        unlimited, spare = max(unlimited, share / lenders), max(1.0, own / lenders)
    unlimited, sustained = (
        1 / (1 + (1 / min(1.0, part) - 1) * (1.0 if faster is None else faster)) for part in (unlimited, share)
    )
    sustained = min(unlimited, spare * sustained, *([] if own is None else [own]))
    changed = {"compute_fraction": sustained}
    return changed | {"boost": 1 - sustained / unlimited} if "boost" in fields else changed
