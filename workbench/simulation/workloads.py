"""Workloads: when requests are sent, and how many tokens they bring and ask for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..common.arguments import LEAST, check_range, numbers, whole_number
from ..common.errors import shown
from .frames import check_columns, check_known, sending_times

MOST_TOKENS = 10**7
MAX_REQUESTS = 10**7

Tokens = int | Sequence[int] | np.ndarray


@dataclass(frozen=True)
class Workload:
    """Requests in the order in which they are sent.

    Parameters
    ----------
    sent_s : numpy.ndarray
        When each is sent, from the first, ascending [s]; all 0 for a closed loop.
    prompt_tokens, output_tokens : numpy.ndarray
        Of each request [token].
    cached_tokens : numpy.ndarray
        Of each prompt, found in the prefix cache [token].
    concurrency : int, optional
        Requests that the client has open at once [1]; the next is sent when one ends. None: an open loop.
    settings : dict
        What it was made of.
    block_hashes : sequence of sequences of int, optional
        Of each prompt, a number for every `block_tokens` tokens from its first, the same in two prompts where those
        tokens and all before them are the same. They may end before the prompt does: ``[[0]] * len(workload)``, of
        prompts that begin with the same `block_tokens`, and go on each in its own way.
    block_tokens : int, optional
        [token]
    """

    sent_s: np.ndarray
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    cached_tokens: np.ndarray
    concurrency: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    block_hashes: Sequence[Sequence[int]] | None = None
    block_tokens: int | None = None

    def __post_init__(self) -> None:
        sent = sending_times(self.sent_s)
        arrays = {"sent_s": sent} | {n: _lengths(n, getattr(self, n)) for n in ("prompt_tokens", "output_tokens")}
        arrays["cached_tokens"] = _cached(self.cached_tokens, arrays["prompt_tokens"])
        for name, array in arrays.items():
            if array.shape != sent.shape:
                raise ValueError(f"{name} has {array.size} values for {sent.size} of sent_s")
            object.__setattr__(self, name, array)
        if sent[0] < 0 or (np.diff(sent) < 0).any():
            raise ValueError("sent_s: expected ascending times from 0")
        if self.concurrency is not None:
            object.__setattr__(self, "concurrency", whole_number("concurrency", self.concurrency, high=MAX_REQUESTS))
        if (self.block_hashes is None) != (self.block_tokens is None):
            raise ValueError("block_hashes and block_tokens go together: give both or neither")
        if self.block_hashes is not None:
            object.__setattr__(self, "block_tokens", whole_number("block_tokens", self.block_tokens, high=MOST_TOKENS))
            object.__setattr__(
                self, "block_hashes", _hashes(self.block_hashes, arrays["prompt_tokens"], int(self.block_tokens or 1))
            )
        if not isinstance(self.settings, dict):
            raise ValueError(f"settings = {shown(self.settings)}: expected a dict")

    def __len__(self) -> int:
        """Number of requests [1]."""
        return len(self.sent_s)


def poisson(
    rate: float,
    *,
    requests: int | None = None,
    duration: float | None = None,
    prompt: Tokens,
    output: Tokens,
    cached: int = 0,
    seed: int = 0,
) -> Workload:
    """Independent arrivals: intervals are exponential.

    Parameters
    ----------
    rate : float
        Requests a second [1/s].
    requests : int, optional
        How many [1]; or give `duration`.
    duration : float, optional
        Until when [s]; or give `requests`.
    prompt, output : int or sequence of int
        Tokens of every request, or a sample of lengths to draw from, each with equal chance [token].
    cached : int
        Tokens of every prompt that the prefix cache has, all but the last at most [token].
    seed : int
        Of the draws.

    Returns
    -------
    Workload
        An open loop; the first request is sent at 0.

    Raises
    ------
    ValueError
        For a number outside its range.
    """
    return _open_loop(
        {"arrivals": "poisson"}, rate, shape=1.0, requests=requests, duration=duration, prompt=prompt, output=output,
        cached=cached, seed=seed,
    )  # fmt: skip


def bursty(
    rate: float,
    *,
    burstiness: float,
    requests: int | None = None,
    duration: float | None = None,
    prompt: Tokens,
    output: Tokens,
    cached: int = 0,
    seed: int = 0,
) -> Workload:
    """Arrivals in bursts: intervals are gamma distributed, as in vLLM's `bench serve --burstiness`.

    Parameters
    ----------
    rate : float
        As for `poisson` [1/s].
    burstiness : float
        Shape of the gamma distribution [1]; 1 is Poisson, less is burstier: the coefficient of variation of the
        intervals is 1 / sqrt(burstiness).
    requests, duration, prompt, output, cached, seed
        As for `poisson`.

    Returns
    -------
    Workload
        An open loop; the first request is sent at 0.

    Raises
    ------
    ValueError
        For a number outside its range.
    """
    shape = check_range("burstiness", burstiness, 1e6, low=1e-3)
    return _open_loop(
        {"arrivals": "bursty", "burstiness": shape}, rate, shape=shape, requests=requests, duration=duration,
        prompt=prompt, output=output, cached=cached, seed=seed,
    )  # fmt: skip


def closed_loop(
    concurrency: int, *, requests: int, prompt: Tokens, output: Tokens, cached: int = 0, seed: int = 0
) -> Workload:
    """Users, each of whom sends the next request when the last one has ended.

    Parameters
    ----------
    concurrency : int
        How many users [1].
    requests : int
        How many of all users [1].
    prompt, output, cached, seed
        As for `poisson`.

    Returns
    -------
    Workload
        A closed loop.

    Raises
    ------
    ValueError
        For a number outside its range.
    """
    n, users = (
        whole_number(name, value, high=MAX_REQUESTS)
        for name, value in (("requests", requests), ("concurrency", concurrency))
    )
    rng = _generator(seed)
    settings = {"arrivals": "closed loop", "concurrency": users, "seed": int(seed)}
    prompts, outputs = _tokens("prompt", prompt, n, rng), _tokens("output", output, n, rng)
    return Workload(np.zeros(n), prompts, outputs, _cached(cached, prompts), users, settings)


def trace(
    frame: pd.DataFrame | None = None,
    *,
    sent_s: Any = None,
    prompt_tokens: Any = None,
    output_tokens: Any = None,
    cached_tokens: Any = 0,
    block_hashes: Any = None,
    block_tokens: int | None = None,
) -> Workload:
    """A recorded trace, from a DataFrame (a load test's table) or from arrays.

    Parameters
    ----------
    frame : pandas.DataFrame, optional
        With the others as columns, cached_tokens and block_hashes where it has them.
    sent_s : array_like
        When each request was sent, in any order, in seconds or as dates; counted from the first [s].
    prompt_tokens, output_tokens : array_like
        Of each request [token].
    cached_tokens : array_like
        Of each prompt, found in the prefix cache; a number is that of every prompt [token].
    block_hashes : sequence of sequences of int, optional
        Of each prompt, a number for every `block_tokens` tokens, as of `Workload`: the prefix caching of the server
        finds those that are alike. Mooncake's traces have them as `hash_ids`, of 512 tokens.
    block_tokens : int, optional
        What each of them is of [token]; default: what the frame's ``attrs`` say.

    Returns
    -------
    Workload
        An open loop; the first request is sent at 0.

    Raises
    ------
    ValueError
        For a column that is missing, what is not a time or a number of tokens, and arrays of different lengths.
    """
    if frame is not None:
        check_columns(frame)
        if not (sent_s is prompt_tokens is output_tokens is None):
            raise ValueError("trace takes a frame, or sent_s, prompt_tokens and output_tokens: give one of them")
        check_known(frame)
        sent_s, prompt_tokens, output_tokens = frame.sent_s, frame.prompt_tokens, frame.output_tokens
        block_tokens = frame.attrs.get("block_tokens") if block_tokens is None else block_tokens
        cached_tokens = frame.get("cached_tokens", cached_tokens)
        block_hashes = frame.get("block_hashes", block_hashes)
    sent = sending_times(sent_s)
    lengths = {}
    for name, given in (("prompt_tokens", prompt_tokens), ("output_tokens", output_tokens)):
        lengths[name] = _lengths(name, given)
        if lengths[name].size != sent.size:
            raise ValueError(f"{name} has {lengths[name].size} values for {sent.size} of sent_s")
    found = _cached(cached_tokens, lengths["prompt_tokens"])
    order = np.argsort(sent, kind="stable")
    return Workload(
        sent[order] - sent[order[0]], lengths["prompt_tokens"][order], lengths["output_tokens"][order], found[order],
        block_hashes=None if block_hashes is None else _in_order(block_hashes, order), block_tokens=block_tokens,
        settings={"arrivals": "trace"},
    )  # fmt: skip


def _open_loop(
    settings: dict[str, Any], rate: float, *, shape: float, requests: int | None, duration: float | None,
    prompt: Tokens, output: Tokens, cached: int, seed: int,
) -> Workload:  # fmt: skip
    rate = check_range("rate", rate, low=LEAST)
    if (requests is None) == (duration is None):
        raise ValueError("give either requests (how many) or duration (until when, in seconds)")
    rng = _generator(seed)
    if requests is not None:
        sent = np.cumsum(rng.gamma(shape, 1 / (rate * shape), whole_number("requests", requests, high=MAX_REQUESTS)))
    else:
        sent = _until(check_range("duration", duration, unit="seconds", low=LEAST), rate, shape, rng)
    prompts, outputs = _tokens("prompt", prompt, sent.size, rng), _tokens("output", output, sent.size, rng)
    settings |= {"rate": rate, "seed": int(seed)}
    return Workload(sent - sent[0], prompts, outputs, _cached(cached, prompts), settings=settings)


def _until(duration: float, rate: float, shape: float, rng: np.random.Generator) -> np.ndarray:
    """Arrivals before `duration` [s], at least one."""
    if rate * duration > MAX_REQUESTS:
        raise ValueError(f"rate x duration = {rate * duration:g}: allowed are up to {MAX_REQUESTS:,} requests")
    sent = np.empty(0)
    while not sent.size or sent[-1] < duration:
        more = rng.gamma(shape, 1 / (rate * shape), int(duration * rate) + 10)
        sent = np.concatenate([sent, (sent[-1] if sent.size else 0.0) + np.cumsum(more)])
    return sent[: max(int(np.searchsorted(sent, duration)), 1)]


def _tokens(name: str, given: Tokens, n: int, rng: np.random.Generator) -> np.ndarray:
    sample = _lengths(name, given)
    return np.full(n, sample[0]) if sample.size == 1 else rng.choice(sample, n)


def _lengths(name: str, given: Any) -> np.ndarray:
    allowed = f"allowed are whole numbers of tokens from 1 to {MOST_TOKENS:,}"
    sizes = np.atleast_1d(numbers(name, given, allowed, low=1, high=MOST_TOKENS, whole=True))
    if sizes.ndim != 1 or not sizes.size:
        raise ValueError(f"{name} = {shown(given)}: expected whole numbers of tokens, at least one")
    return sizes.astype(np.int64)


def _cached(given: Any, prompts: np.ndarray) -> np.ndarray:
    """Cached tokens of each prompt; the last token of a prompt is always computed, as its logits are needed."""
    tokens = numbers("cached tokens", given, "expected whole numbers from 0", low=0, whole=True)
    if tokens.shape not in ((), prompts.shape):
        raise ValueError(f"cached tokens = {shown(given)}: expected a whole number, or one a request")
    found: np.ndarray = np.minimum(tokens, prompts - 1).astype(np.int64)
    return found


def _is_list(value: Any) -> bool:
    """Whether it has elements, as an array of no dimension has none."""
    return isinstance(value, Iterable) and getattr(value, "ndim", 1) > 0


def _in_order(block_hashes: Any, order: np.ndarray) -> list[Any]:
    each = list(block_hashes) if _is_list(block_hashes) else []
    if len(each) != order.size:
        raise ValueError(f"block_hashes: expected a list for each of {order.size} requests, not {len(each)}")
    return [each[i] for i in order]


def _hashes(given: Any, prompts: np.ndarray, tokens: int) -> tuple[tuple[int, ...], ...]:
    """Hashes of each prompt as whole numbers, no more than it has runs of so many tokens."""
    each = _in_order(given, np.arange(prompts.size))
    found = tuple(tuple(keys) if _is_list(keys) else (keys, None) for keys in each)
    for i, keys in enumerate(found):
        if not all(isinstance(key, int | np.integer) for key in keys):
            raise ValueError(f"block_hashes[{i}] = {shown(each[i])}: expected whole numbers")
        if len(keys) > (most := -(-int(prompts[i]) // tokens)):
            raise ValueError(
                f"block_hashes[{i}] has {len(keys)} numbers: {prompts[i]} tokens are {most} times {tokens}"
            )
    return found


def _generator(seed: Any) -> np.random.Generator:
    return np.random.default_rng(whole_number("seed", seed, low=0, high=2**128 - 1))
