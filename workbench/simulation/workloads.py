"""Workloads: when requests are sent, and how many tokens they bring and ask for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..common.arguments import is_number, is_whole

MAX_TOKENS = 10**7
MAX_REQUESTS = 10**8

Tokens = int | Sequence[int] | np.ndarray


@dataclass(frozen=True)
class Workload:
    """Requests in the order in which they are sent.

    sent_s : from the first, ascending [s]; all 0 for a closed loop
    prompt_tokens, output_tokens : of each request; cached_tokens of its prompt are found in the prefix cache [token]
    concurrency : requests that the client has open at once [1]; the next is sent when one ends. None: an open loop
    settings : what it was made of
    """

    sent_s: np.ndarray
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    cached_tokens: np.ndarray
    concurrency: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)

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

    rate : requests a second [1/s]; requests : how many [1], or `duration` : until when [s]
    prompt, output : tokens of every request, or a sample of lengths to draw from, each with equal chance [token]
    cached : tokens of every prompt that the prefix cache has, all but the last at most [token]; seed : of the draws
    """
    settings = {"arrivals": "poisson", "rate": rate, "seed": seed}
    return _open_loop(rate, 1.0, requests, duration, prompt, output, cached, seed, settings)


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

    burstiness : shape of the gamma distribution; 1 is Poisson, less is burstier: the coefficient of variation of the
        intervals is 1 / sqrt(burstiness) [1]; the rest as for `poisson`
    """
    _positive("burstiness", burstiness)
    settings = {"arrivals": "bursty", "rate": rate, "burstiness": burstiness, "seed": seed}
    return _open_loop(rate, burstiness, requests, duration, prompt, output, cached, seed, settings)


def closed_loop(
    concurrency: int, *, requests: int, prompt: Tokens, output: Tokens, cached: int = 0, seed: int = 0
) -> Workload:
    """`concurrency` users, each of whom sends the next request when the last one ends; arguments as for `poisson`."""
    rng = _generator(seed)
    n = _whole("requests", requests)
    settings = {"arrivals": "closed loop", "concurrency": concurrency, "seed": seed}
    prompts, outputs = _tokens("prompt", prompt, n, rng), _tokens("output", output, n, rng)
    found = _cached(cached, prompts)
    return Workload(np.zeros(n), prompts, outputs, found, _whole("concurrency", concurrency), settings)


def trace(
    frame: pd.DataFrame | None = None,
    *,
    sent_s: Any = None,
    prompt_tokens: Any = None,
    output_tokens: Any = None,
    cached_tokens: Any = 0,
) -> Workload:
    """A recorded trace, from a DataFrame with those columns (a load test's table) or from arrays.

    sent_s : when each was sent, in any order; counted from the first [s]; prompt_tokens, output_tokens,
    cached_tokens (optional) : [token]
    """
    if frame is not None:
        if not isinstance(frame, pd.DataFrame):
            raise ValueError(f"a {type(frame).__name__}: expected a DataFrame, or arrays by name: trace(sent_s=...)")
        for name in ("sent_s", "prompt_tokens", "output_tokens"):
            if name not in frame:
                columns = ", ".join(map(str, frame.columns)) or "none"
                raise ValueError(f"the trace has no column {name!r}: it has {columns}")
        sent_s, prompt_tokens, output_tokens = frame.sent_s, frame.prompt_tokens, frame.output_tokens
        cached_tokens = frame.get("cached_tokens", cached_tokens)
    try:
        sent = np.atleast_1d(np.asarray(sent_s, dtype=float))
    except (TypeError, ValueError):
        raise ValueError(f"sent_s = {sent_s!r}: expected times in seconds") from None
    if sent.ndim != 1 or not sent.size or not np.isfinite(sent).all():
        raise ValueError("sent_s: expected a list of finite times in seconds, at least one")
    order = np.argsort(sent, kind="stable")
    lengths = {}
    for name, given in (("prompt_tokens", prompt_tokens), ("output_tokens", output_tokens)):
        lengths[name] = _lengths(name, given)
        if lengths[name].size != sent.size:
            raise ValueError(f"{name} has {lengths[name].size} values for {sent.size} of sent_s")
    found = _cached(cached_tokens, lengths["prompt_tokens"])
    return Workload(
        sent[order] - sent[order[0]], lengths["prompt_tokens"][order], lengths["output_tokens"][order], found[order],
        settings={"arrivals": "trace"},
    )  # fmt: skip


def _open_loop(
    rate: float, shape: float, requests: int | None, duration: float | None, prompt: Tokens, output: Tokens,
    cached: int, seed: int, settings: dict[str, Any],
) -> Workload:  # fmt: skip
    _positive("rate", rate)
    if (requests is None) == (duration is None):
        raise ValueError("give either requests (how many) or duration (until when, in seconds)")
    rng = _generator(seed)
    if requests is not None:
        sent = np.cumsum(rng.gamma(shape, 1 / (rate * shape), _whole("requests", requests)))
    else:
        _positive("duration", duration)
        sent = _until(duration, rate, shape, rng)
    prompts, outputs = _tokens("prompt", prompt, sent.size, rng), _tokens("output", output, sent.size, rng)
    return Workload(sent - sent[0], prompts, outputs, _cached(cached, prompts), settings=settings)


def _until(duration: Any, rate: float, shape: float, rng: np.random.Generator) -> np.ndarray:
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
    try:
        numbers = np.atleast_1d(np.asarray(given, dtype=float))
    except (TypeError, ValueError):
        raise ValueError(f"{name} = {given!r}: expected whole numbers of tokens") from None
    wrong = numbers[~((numbers >= 1) & (numbers <= MAX_TOKENS) & (numbers == np.floor(numbers)))]
    if numbers.ndim != 1 or not numbers.size:
        raise ValueError(f"{name} = {given!r}: expected whole numbers of tokens, at least one")
    if wrong.size:
        raise ValueError(f"{name} = {wrong[0]:g}: allowed are whole numbers of tokens from 1 to {MAX_TOKENS:,}")
    return numbers.astype(np.int64)


def _cached(given: Any, prompts: np.ndarray) -> np.ndarray:
    """Cached tokens of each prompt; the last token of a prompt is always computed, as its logits are needed."""
    try:
        numbers = np.broadcast_to(np.asarray(given, dtype=float), prompts.shape)
    except (TypeError, ValueError):
        raise ValueError(f"cached tokens = {given!r}: expected a whole number, or one a request") from None
    if not ((numbers < np.inf) & (numbers >= 0) & (numbers == np.floor(numbers))).all():
        raise ValueError(f"cached tokens = {given!r}: expected whole numbers from 0")
    found: np.ndarray = np.minimum(numbers.astype(np.int64), prompts - 1)
    return found


def _generator(seed: Any) -> np.random.Generator:
    if not is_whole(seed) or seed < 0:
        raise ValueError(f"seed = {seed!r}: expected a whole number from 0")
    return np.random.default_rng(int(seed))


def _positive(name: str, value: Any) -> None:
    if not is_number(value) or not 0 < value < 1e12:
        raise ValueError(f"{name} = {value!r}: allowed are positive numbers below 1e12")


def _whole(name: str, value: Any) -> int:
    if not is_whole(value) or not 1 <= value <= MAX_REQUESTS:
        raise ValueError(f"{name} = {value!r}: allowed are whole numbers from 1 to {MAX_REQUESTS:,}")
    return int(value)
