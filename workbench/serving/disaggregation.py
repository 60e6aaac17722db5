"""Disaggregated serving: replicas that only take in prompts, others that only decode, and the KV cache sent between."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..common.arguments import LEAST, check_range, whole_number, whole_numbers
from ..common.errors import shown
from ..kernels.unknowns import joined
from ..servers.drafts import Draft
from ..servers.memory import kv_bytes_per_sequence
from ..servers.replica import Replica
from ..servers.server import Server
from .estimation import estimate

#: What a `Server` brings to its estimate besides its replica.
SERVER_SETTINGS = ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "gpu_memory_utilization")


def disaggregate(
    prefill: Replica,
    decode: Replica,
    *,
    prompt: int,
    output: int,
    link_gbs: float,
    gpus: int,
    batch_size: int | Iterable[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256),
    prefill_batch: int | None = None,
    cached_prefix: int = 0,
    draft: Draft | None = None,
) -> pd.DataFrame:
    """What replicas for prompts and replicas for decoding do together, in the best numbers of the two.

    Parameters
    ----------
    prefill, decode : Replica or Server
        Of the same model and KV cache's format. A `Server` brings its sizes of steps, caches and memory as well.
    prompt, output : int
        Of a request; its first output token comes of the prefill [token].
    link_gbs : float
        Between a GPU of the one and one of the other, in one direction [GB/s].
    gpus : int
        That all replicas take together at most [1].
    batch_size : int or list of int
        Sequences at a time in a decoding replica [1].
    prefill_batch : int, optional
        Prompts at a time in a replica for prompts; None: one for each group (`dp`) and stage (`pp`) [1].
    cached_prefix : int
        As for `estimate`, of replicas for prompts; the whole cache is sent [token].
    draft : Draft, optional
        Of the decoding replicas, as for `estimate`.

    Returns
    -------
    pandas.DataFrame
        A row for every batch size: ttft_s, made of prefill_s and transfer_s, what of sending the cache a user waits for
        [s]; tpot_s [s]; requests per second of a replica, prefill_rate and decode_rate [1/s]; prefill_replicas,
        decode_replicas and their gpus [1], the numbers with the most tokens per second and GPU, and of these the
        fewest; tokens_per_second of all of them and tokens_per_second_per_gpu [1/s]; and of the decoding replica in
        continuous batching of prompts and tokens alike, by the same batch size: colocated_ttft_s, colocated_tpot_s [s]
        and colocated_tokens_per_second_per_gpu [1/s]. NaN where a batch does not fit. The attribute `kv_bytes` is the
        cache of a prompt [byte], `assumed` as of `estimate`.

    Raises
    ------
    ValueError
        For replicas of two models or formats of the cache, a server with a draft of its own, fewer GPUs than one of
        each takes, and what `estimate` refuses.

    Notes
    -----
    With a prefill of p and a cache that takes t to send, of L layers, each sent while later ones are computed, a user
    waits for max(t / L, t - p (L - 1) / L) more. As many GPUs send at once as the smaller of the two groups has (tp x
    pp). Neither queues nor a layout of the cache that the two do not share are in it. Patel et al. 2024, *Splitwise*,
    arXiv 2311.18677; Zhong et al. 2024, *DistServe*, arXiv 2401.09670.
    """
    for name, each in (("prefill", prefill), ("decode", decode)):
        if not isinstance(each, Replica):
            raise ValueError(f"{name} = {shown(each)}: expected a serving.Replica or a simulation.Server")
        if getattr(each, "draft", None) is not None:
            raise ValueError(f"{name} = a server with a draft: give it as draft, of the decoding replicas")
    for what, own, other in (
        ("model", prefill.model.id, decode.model.id), ("kv_dtype", prefill.kv_dtype, decode.kv_dtype)
    ):  # fmt: skip
        if own != other:
            raise ValueError(f"{what} = {own} of prefill and {other} of decode: expected the same")
    prompt, output = whole_number("prompt", prompt), whole_number("output", output, low=2)
    rate = 1e9 * check_range("link_gbs", link_gbs, np.inf, "GB/s", low=LEAST)
    if (most := whole_number("gpus", gpus)) < prefill.gpus + decode.gpus:
        raise ValueError(f"gpus = {most}: a replica of each takes {prefill.gpus} + {decode.gpus}")
    filling = prefill.dp_ranks * prefill.pp
    prompts = filling if prefill_batch is None else whole_number("prefill_batch", prefill_batch)
    batches = whole_numbers("batch_size", batch_size)

    taken = _estimate(prefill, [prompts], prompt, 1, cached_prefix=cached_prefix)
    alone = _estimate(decode, batches, prompt, output, draft=draft)
    together = _estimate(
        decode, batches, prompt, output, draft=draft, schedule="continuous", cached_prefix=cached_prefix
    )
    kv_bytes = cache_bytes(prefill, prompt)
    sending = min(prefill.tp * prefill.pp, decode.tp * decode.pp)
    sent = kv_bytes / (rate * sending)
    seconds = taken.ttft.item()
    waited = seen_of_transfer(seconds, sent, prefill.model.n_layers)
    prefill_rate = min(prompts / seconds, prefill.dp_ranks / sent)
    decode_rates = np.minimum(batches / ((output - 1) * alone.tpot.values), decode.dp_ranks / sent)

    rows = []
    for place, (size, decode_rate) in enumerate(zip(batches.tolist(), decode_rates.tolist(), strict=True)):
        x, y = best_ratio(prefill_rate, decode_rate, prefill.gpus, decode.gpus, most)
        used = x * prefill.gpus + y * decode.gpus
        done = output * min(x * prefill_rate, y * decode_rate) if used else np.nan
        rows.append({
            "batch_size": size, "ttft_s": seconds + waited, "prefill_s": seconds, "transfer_s": waited,
            "tpot_s": float(alone.tpot[place]), "prefill_rate": prefill_rate, "decode_rate": decode_rate,
            "prefill_replicas": x, "decode_replicas": y, "gpus": used, "tokens_per_second": done,
            "tokens_per_second_per_gpu": done / used if used else np.nan,
            "colocated_ttft_s": float(together.ttft[place]),
            "colocated_tpot_s": float(together.tpot[place]),
            "colocated_tokens_per_second_per_gpu": float(together.tokens_per_second[place]) / decode.gpus,
        })  # fmt: skip
    table = pd.DataFrame(rows)
    table.attrs = {"kv_bytes": kv_bytes, "assumed": joined([taken.attrs["assumed"], alone.attrs["assumed"]])}
    return table


def cache_bytes(replica: Replica, prompt: int) -> float:
    """KV cache of one prompt, of all layers and heads, each once [byte]."""
    one = replace(replica, tp=1, pp=1, ep=1, dp=1, redundant_experts=0, expert_skew=0.0)
    return float(kv_bytes_per_sequence(one, prompt))


def seen_of_transfer(prefill: float, sent: float, layers: int) -> float:
    """What a user waits for of a cache that takes `sent` [s], each layer's on its way while later ones compute [s]."""
    return max(sent / layers, sent - prefill * (layers - 1) / layers)


def best_ratio(
    prefill_rate: float, decode_rate: float, prefill_gpus: int, decode_gpus: int, most: int
) -> tuple[int, int]:
    """Numbers of replicas with the most requests per GPU, of at most some GPUs, and of those the fewest; 0 for none."""
    if not (np.isfinite(prefill_rate) and np.isfinite(decode_rate)):
        return 0, 0
    x = np.arange(1, (most - decode_gpus) // prefill_gpus + 1)[:, None]
    y = np.arange(1, (most - prefill_gpus) // decode_gpus + 1)
    used = x * prefill_gpus + y * decode_gpus
    each = np.where(used <= most, np.minimum(x * prefill_rate, y * decode_rate) / used, 0.0)
    fewest = np.where(each >= each.max() * (1 - 1e-12), used, np.inf)
    i, j = np.unravel_index(fewest.argmin(), fewest.shape)
    return int(i) + 1, int(j) + 1


def _estimate(replica: Replica, batches: Any, prompt: int, output: int, **options: Any) -> xr.Dataset:
    """The estimate of a replica or a server, by batch size alone."""
    own = set(Replica.__dataclass_fields__) - {"gpu", "model", "tp"}
    given = {name: getattr(replica, name) for name in own}
    if isinstance(replica, Server):
        given |= {name: getattr(replica, name) for name in SERVER_SETTINGS}
    ds = estimate(replica.gpu, replica.model, batches, prompt, output, replica.tp, **given, **options)
    return ds.isel(gpu=0, model=0, prompt=0, output=0, tp=0, drop=True)
