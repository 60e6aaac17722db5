"""What assigned kernels work on, and what both time models predict for each of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..calibration.rows import TRAFFIC
from ..catalog import GPU, kernel_fit
from ..catalog.dtypes import WIDTH
from ..kernels import Formats, OperandFormats, operator_time
from ..kernels.elementwise import elementwise_seconds
from ..kernels.gemm import quantize_seconds
from ..operators import COLLECTIVES, OPERATORS, Conventions, Cost, Step
from .assignment import WHOLE_PASS, StepSizes
from .shapes import Shapes

#: What the work of a kernel and its predicted times are called, in the tables of this wing.
WORK_COLUMNS = ("flops", "bytes", "time", "ideal_time", "peak_flop_rate")
#: Phase of kernels whose sequences are unknown: their tokens are each a sequence of one.
ANY = "any"


@dataclass(frozen=True)
class Predictor:
    """On what GPU, in which formats and by which kernels the predicted calls run."""

    gpu: GPU
    formats: Formats  #: as a user asks for them
    engine: str | None = None
    time_model: str = "kernel"

    def formats_of(self, shapes: Shapes, dtype: str, *, head: bool = False) -> OperandFormats:
        """Formats of a model's operands, where a kernel computes in a format ("bf16/fp8": over an fp8 cache).

        The kernel may be the `head` itself, which of narrow weights is otherwise left in 16 bits.
        """
        asked, (computes, _, cached) = self.formats, dtype.partition("/")
        if shapes.model.quantization is None and computes in WIDTH:
            wide = computes if WIDTH[computes] >= 2 else "bf16" if "bf16" in self.gpu.dense_tflops else "fp16"
            asked = replace(
                asked, weight=asked.weight or computes, activation=asked.activation or computes,
                kv=asked.kv or cached or wide, lm_head=asked.lm_head or (computes if head else None),
            )  # fmt: skip
        return asked.of(shapes.part, [self.gpu])


def step_of(settings: pd.DataFrame) -> Step:
    """Steps of so many sequences, new tokens and tokens of context, one a row; the new ones see each other causally."""
    sizes = {name: settings[name].to_numpy(dtype=float) for name in ("sequences", "new", "context")}
    return Step(sizes["sequences"], sizes["new"], sizes["context"], sizes["context"] - sizes["new"], sizes["new"])


def worked(
    rows: pd.DataFrame, operator: str, shapes: Shapes, computed: Predictor, dtype: str, *, alone: bool = True
) -> pd.DataFrame:
    """Work of calls of one operator in one format, and their predicted times.

    Parameters
    ----------
    rows : pd.DataFrame
        A row a call: sequences [1]; new and context [token].
    operator, shapes, computed, dtype : str, Shapes, Predictor, str
        What runs, of which model, how, and in which format.
    alone : bool
        The kernel alone, without what quantizes its activations before it, which the law of a product has with it.

    Returns
    -------
    pd.DataFrame
        Columns `WORK_COLUMNS`: flops [FLOP], bytes [byte], time and ideal_time [s], peak_flop_rate [FLOP/s].
    """
    if operator == WHOLE_PASS:
        return _whole_pass(rows, shapes, computed, dtype)
    formats = computed.formats_of(shapes, dtype, head=operator == "lm_head")
    peak = computed.gpu.peak_flop_rate(formats.computes_in(operator))
    cost = cost_of(operator, step_of(rows), shapes, formats)
    if cost is None:
        return pd.DataFrame(np.nan, rows.index, list(WORK_COLUMNS))
    times = {
        name: operator_time(computed.gpu, cost, peak, time_model, engine=computed.engine)
        for name, time_model in (("time", computed.time_model), ("ideal_time", "ideal"))
    }
    if alone and cost.kernel == "gemm" and computed.time_model == "kernel":
        fit: Any = kernel_fit(computed.gpu, "gemm", cost.format, computed.engine).fit
        times["time"] = np.maximum(times["time"] - quantize_seconds(fit, computed.gpu, cost), times["ideal_time"])
    values: Mapping[str, Any] = {"flops": cost.flops, "bytes": cost.bytes, **times, "peak_flop_rate": peak}
    return pd.DataFrame({name: np.broadcast_to(each, len(rows)) for name, each in values.items()}, rows.index)


def _whole_pass(rows: pd.DataFrame, shapes: Shapes, computed: Predictor, dtype: str) -> pd.DataFrame:
    """All operators of a forward pass, each times its calls; the logits are those of a prompt's last token."""
    formats, total = computed.formats_of(shapes, dtype), pd.DataFrame(0.0, rows.index, list(WORK_COLUMNS))
    prompt = rows.new.eq(rows.context) & rows.new.gt(1)
    for name in shapes.fused:
        sized = rows.assign(new=rows.new.mask(prompt, 1)) if name == "lm_head" else rows
        cost = cost_of(name, step_of(sized.iloc[:1]), shapes, formats)
        if cost is not None:
            total += worked(sized, name, shapes, computed, dtype, alone=False) * cost.calls
    return total.assign(peak_flop_rate=computed.gpu.peak_flop_rate(formats.computes_in(shapes.fused[0])))


def calls_in_a_pass(operator: str, shapes: Shapes) -> int:
    """Calls of an operator in a forward pass of a model [1]."""
    if operator == WHOLE_PASS:
        return 1
    cost = cost_of(operator, Step(1, 1, 1, 1), shapes, Formats().of(shapes.part))
    return cost.calls if cost else 0


def cost_of(operator: str, step: Step, shapes: Shapes, formats: OperandFormats) -> Cost | None:
    """Work of one call of an operator on one GPU of the model's."""
    if operator in COLLECTIVES:
        return COLLECTIVES[operator](shapes.model, step, formats.widths, shapes.tp)
    cost = OPERATORS[operator](shapes.part, step, formats.widths, Conventions())
    return cost and replace(cost, format=formats.kernel_format(operator))


def elementwise_alone(rows: pd.DataFrame, computed: Predictor) -> pd.DataFrame:
    """Elementwise kernels one by one, of m tokens of width n, by what each reads and writes; their FLOPs are unknown.

    Parameters
    ----------
    rows : pd.DataFrame
        name, m, n and dtype of each.
    computed : Predictor
        The GPU and whose kernels.

    Returns
    -------
    pd.DataFrame
        Columns `WORK_COLUMNS`, NaN where the name says no traffic (`calibration.TRAFFIC`).
    """
    name, wide = rows["name"].str.rpartition(":")[2], rows["dtype"].map(WIDTH)
    moved = (rows.m * rows.n * name.map(TRAFFIC) * wide).to_numpy(dtype=float)
    ideal = moved / computed.gpu.bandwidth
    fit: Any = kernel_fit(computed.gpu, "elementwise", "bf16", computed.engine).fit
    law = np.maximum(elementwise_seconds(fit, computed.gpu, moved, 1), ideal)
    peak = [computed.gpu.peak_flop_rate(each) for each in rows["dtype"].where(wide.notna(), "fp16")]
    values = {
        "flops": np.nan, "bytes": moved, "time": law if computed.time_model == "kernel" else ideal,
        "ideal_time": ideal, "peak_flop_rate": peak,
    }  # fmt: skip
    return pd.DataFrame(values, rows.index)


def labels(setting: StepSizes | None, tokens: float) -> tuple[str, float, float, int]:
    """Phase, batch size [1], sequence length [token] and candidates [1] of a kernel in a step, 0 if unknown."""
    if setting is None:
        return (ANY, tokens, 1, 1) if tokens == tokens else (ANY, 0, 0, 1)
    if setting.new == setting.context > 1:
        return "prefill", setting.batch_size, setting.context, 1
    return "decode", setting.batch_size, setting.context, setting.new
