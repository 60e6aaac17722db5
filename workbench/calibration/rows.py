"""Rows of timings: those that a fit can use, by kind of kernel, and those that are held out together."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..catalog.dtypes import WIDTH
from ..common.errors import unknown
from ..signatures import typed
from .kinds import FITTED

#: Columns that every row of timings needs; `operator_class` names the kind of kernel.
COMMON = ("operator_class", "dtype", "time_s")
#: Kinds of kernels by their other names in tables of timings.
ALIASES = {fitted.alias: kind for kind, fitted in FITTED.items() if fitted.alias}
#: Parts that are held out in turn, and the fewest rows that are fitted on [1].
FOLDS, FEWEST_ROWS = 3, 20
#: By name of an elementwise kernel in the timings, how often it moves the m n elements of m tokens of width n [1].
TRAFFIC = {
    "rms_norm": 2, "input_layernorm": 2, "post_attention_layernorm": 2, "add": 3, "silu_mul": 3, "mlp_act": 3,
}  # fmt: skip


@typed(timings=("gpu",))
def of_one_gpu(timings: pd.DataFrame, name: str | None = None) -> pd.DataFrame:
    """The rows of one GPU of a table of timings.

    Parameters
    ----------
    timings : pd.DataFrame
        From `timings.read`.
    name : str, optional
        The GPU's name in the table; None where it has one GPU.

    Returns
    -------
    pd.DataFrame
        Those rows, times in [s].

    Raises
    ------
    ValueError
        Where the table has several GPUs and none is named, or not the one that is named.
    """
    names = sorted(timings.gpu.unique())
    if name is None and len(names) > 1:
        raise ValueError(f"timings of {len(names)} GPUs ({', '.join(map(repr, names))}): choose one with --measured-on")
    if name is not None and name not in names:
        raise unknown("--measured-on", name, names)
    return timings if name is None else timings[timings.gpu == name]


@typed(timings=("operator_class", "name", "dtype", "batch_size", "m", "n", "k"))
def usable(timings: pd.DataFrame) -> pd.DataFrame:
    """A table of `timings.read` with the columns that a fit needs; rows that no fit can use are left out.

    Batched products of class "other" are unfused attention, one for every sequence and head; elementwise kernels get
    the bytes that they move. Rows of no fitted kind, without their sizes or without a format are left out.

    Parameters
    ----------
    timings : pd.DataFrame
        From `timings.read`.

    Returns
    -------
    pd.DataFrame
        For `fit`, with columns batch [1] and bytes [byte]. ``attrs["left_out"]`` says, a line each, how many rows are
        left out and why.
    """
    table = timings.copy()
    matmul = (table.operator_class == "other") & table[["m", "n", "k", "batch_size"]].notna().all(axis=1)
    table.loc[matmul, "operator_class"] = "unfused"
    table["batch"] = table.batch_size * table.get("n_heads", pd.Series(1.0, table.index)).fillna(1)
    name = table.name.str.split(":").str[-1]
    table["bytes"] = table.m * table.n * name.map(TRAFFIC) * table["dtype"].map(WIDTH)
    cached = table["dtype"].isin(["bf16/fp8", "fp16/fp8"]) & table.operator_class.str.contains("attention")
    kinds = table.operator_class.replace(ALIASES)
    why = pd.Series("", index=table.index)
    for kind, rows in table.groupby(kinds, sort=False):
        if kind not in FITTED:
            why[rows.index] = f"of class {rows.operator_class.iloc[0]!r}: no law is fitted to it"
            continue
        for column in FITTED[
            kind
        ].columns:  # without tp and ep "moe" is grouped products, without their layer's routing
            lack = rows[column].isna() if column in rows else pd.Series(True, index=rows.index)
            name = rows.operator_class.iloc[0]
            why[lack.index[lack & (why[rows.index] == "")]] = f"of class {name!r} without {column}"
    odd = (why == "") & ~(table["dtype"].isin(list(WIDTH)) | cached)
    formats = table["dtype"].where(table["dtype"] != "", "unknown")
    why = why.mask(odd, "in format " + formats + ": it has no width here")
    usable = table[why == ""]
    usable.attrs["left_out"] = [f"{n:,} rows {reason}" for reason, n in why[why != ""].value_counts().items()]
    return usable


class Group(NamedTuple):
    """What has a fit of its own: a kind of kernel in one format, of one engine and kernel library."""

    kind: str
    format: str
    engine: str
    version: str
    family: str

    def __str__(self) -> str:
        return f"{self.format} {self.kind} of {self.engine} {self.version}".rstrip()


#: Engine of a framework's name in timings, where it is not the name itself.
FRAMEWORKS = {"torch": "pytorch", "sarathi": "vllm", "": "pytorch"}
#: Format of a kernel by the dtype in timings, where no column says it; all others are 16 bit, or wider.
DTYPE_FORMATS = {"fp8": "fp8", "int8": "int8", "fp4": "nvfp4", "bf16/fp8": "fp8_cache", "fp16/fp8": "fp8_cache"}


def with_groups(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the columns of `Group`, from what its framework and dtype say where it lacks them."""
    texts = table["framework"].fillna("").str.lower() if "framework" in table else pd.Series("", index=table.index)
    parts = texts.str.replace(" ", "-").str.partition("-")
    given: dict[str, Any] = {
        "engine": parts[0].replace(FRAMEWORKS), "version": parts[2].mask(parts[2] == "", "not stated"),
        "family": "not stated", "format": table["dtype"].map(DTYPE_FORMATS).fillna("bf16"),
        "model": table["name"].fillna("").str.rpartition(":")[0] if "name" in table else "",
    }  # fmt: skip
    return table.assign(**{column: values for column, values in given.items() if column not in table})


def by_group(table: pd.DataFrame, fewest: int = FEWEST_ROWS) -> tuple[dict[Group, pd.DataFrame], list[str]]:
    """The rows of each group, checked, and why one has too few for a fit; ValueError if every one has."""
    enough: dict[Group, pd.DataFrame] = {}
    skipped = []
    if missing := [name for name in COMMON if name not in table]:
        raise ValueError(f"timings have no column {', '.join(missing)}: needed are {', '.join(COMMON)}")
    kinds = table.operator_class.replace(ALIASES)
    if "seq_len_q" in table:  # a prompt of one token runs the decode kernel
        kinds = kinds.mask((kinds == "prefill") & (table.seq_len_q == 1), "decode")
    if not kinds.isin(list(FITTED)).any():
        raise ValueError(f"no timings to fit: operator_class has none of {', '.join([*FITTED, *ALIASES])}")
    table = with_groups(table).assign(kind=pd.Categorical(kinds, [*FITTED]))
    groups = table.groupby(list(Group._fields), observed=True, sort=True)
    for key, rows in groups:
        group = Group(*map(str, key))
        kind, fitted = group.kind, FITTED[group.kind]
        columns = fitted.columns
        rows = rows.astype({"kind": str})
        if missing := [name for name in columns if name not in rows]:
            raise ValueError(f"timings have no column {', '.join(missing)}: {kind} needs {', '.join(columns)}")
        for name in (*columns, "time_s"):
            values = pd.to_numeric(rows[name], errors="coerce")
            if not (bad := rows[~((values > 0) & np.isfinite(values))]).empty:
                raise ValueError(f"{name} = {bad[name].iloc[0]} in a {kind} row: expected positive numbers")
        if len(rows) < fewest or len(rows.drop_duplicates(list(columns))) < min(FOLDS, fewest):
            skipped.append(f"{len(rows)} rows of {group}: a fit needs {fewest}, of {FOLDS} sizes")
        else:
            enough[group] = rows
    if not enough:
        raise ValueError(skipped[0])
    return enough, skipped


def held_together(kind: str, rows: pd.DataFrame, by: str = "shape") -> list[str]:
    """Columns in which rows agree that are held out together: the kind's, or where they have too few shapes, all sizes.

    One model's rows, of one head shape, so are judged at other batch sizes and lengths alone. By "model" it is the
    model, where rows name three or more.
    """
    if by == "model" and rows.model.nunique() >= FOLDS:
        return ["model"]
    fitted = FITTED[kind]
    groups = [column for column in fitted.groups if column in rows]
    return groups if len(rows.drop_duplicates(groups)) >= FOLDS else list(fitted.columns)


def folds(rows: pd.DataFrame, groups: list[str]) -> Iterator[np.ndarray]:
    """Masks that hold out every row once, rows of one group together; the same for the same rows."""
    group = rows.groupby(groups, sort=True, dropna=False).ngroup().to_numpy()
    fold = np.random.default_rng(0).permutation(group.max() + 1)[group] % FOLDS
    return (fold == i for i in range(FOLDS))
