"""The T4 report (kshyp/varcas, profiles/roofline, 2026): its formulas, its load tests and what it prints of them."""

from random import Random
from typing import Any

import numpy as np

from ..common.arguments import check_broadcast, check_range, one_of, positive_numbers
from ..common.arrays import Array
from ..operators import PHASES

# The static half --------------------------------------------------------------------------------------------------

#: What it assumes of Llama-2-7B-AWQ and of the Tesla T4: sizes [1], peak [FLOP/s], bandwidth [byte/s].
T4_ASSUMED = {
    "h": 4096, "i": 11008, "layers": 32, "vocabulary": 32000, "parameters": 6.7e9, "bytes_per_element": 0.5,
    "peak_flop_rate": 65e12, "bandwidth": 320e9,
}  # fmt: skip


def t4_report(phase: str, batch_size: Array, seq_len: Array) -> dict[str, Array]:
    """Compute rows of the T4 report's static tables by its own cost model.

    Parameters
    ----------
    phase : str
        "prefill" of `seq_len` tokens, or "decode" of one token at that context.
    batch_size : array_like
        Sequences [1].
    seq_len : array_like
        Prompt or context of each [token].

    Returns
    -------
    dict of numpy.ndarray
        flops [FLOP], bytes [byte], intensity [FLOP/byte], performance [FLOP/s], time [s] of a forward pass and
        tokens_per_second [1/s], with the dims of the inputs, broadcast.

    Notes
    -----
    It counts two MLP matrices where Llama has three, half of the attention FLOPs and lm_head for every token of a
    prompt, and keeps the KV cache in the weights' 4 bits.

    References
    ----------
    kshyp/varcas, profiles/roofline/roofline_static.py, 2026.
    """
    phase = one_of("phase", phase, PHASES)
    a, b, s = T4_ASSUMED, positive_numbers("batch_size", batch_size), positive_numbers("seq_len", seq_len)
    check_broadcast(batch_size=b, seq_len=s)
    h, i, layers, v, width = a["h"], a["i"], a["layers"], a["vocabulary"], a["bytes_per_element"]
    tokens = b * s if phase == "prefill" else b
    flops = 2 * tokens * h * (4 * h + s) * layers + 4 * tokens * h * i * layers + 2 * tokens * h * v
    moved = a["parameters"] * width + (
        16 * b * s * h * layers if phase == "prefill" else 2 * b * s * h * layers * width
    )
    time = np.maximum(flops / a["peak_flop_rate"], moved / a["bandwidth"])
    return {
        "flops": flops, "bytes": moved, "intensity": flops / moved, "performance": flops / time, "time": time,
        "tokens_per_second": tokens / time,
    }  # fmt: skip


#: What it computes, batch sizes and tokens by phase, and what it prints of that.
T4_BATCH_SIZES = [1, 4, 8, 16]
T4_TOKENS = {"prefill": [64, 128, 256, 512, 1024], "decode": [128, 256, 512, 1024, 2048]}
PRINTED_ROWS = {"prefill": [128, 512], "decode": [512, 2048]}  # of batch sizes 1 and 4
#: Its two static tables as printed, by phase, then batch size and tokens: FLOP/byte, TFLOP/s, % of peak, ms, tokens/s.
PRINTED_TABLES: dict[str, dict[tuple[int, int], tuple[float, ...]]] = {
    "prefill": {
        (1, 128): (367, 65.0, 100, 20.4, 6273), (1, 512): (1211, 65.0, 100, 82.4, 6213),
        (4, 128): (381, 65.0, 100, 81.1, 6313), (4, 512): (1229, 65.0, 100, 329.6, 6215),
    },
    "decode": {
        (1, 512): (3.06, 0.98, 1.5, 10.68, 94), (1, 2048): (3.00, 0.96, 1.5, 11.31, 88),
        (4, 512): (4.88, 1.56, 2.4, 13.24, 302), (4, 2048): (6.00, 1.92, 3.0, 14.12, 283),
    },
}  # fmt: skip
PRINTED_INTENSITY = {"prefill": [150.0, 1200.0], "decode": [3.0, 5.0]}  # FLOP/byte

#: Memory traffic of a decoding step that it prints, by part [MB].
T4_TRAFFIC = {"KV cache": 0.524, "weights": 50.0, "activations": 0.010, "total": 50.0}

# The load tests ---------------------------------------------------------------------------------------------------

#: The report's load tests (kshyp/varcas, profiles/roofline, raw records of 2026-02-11), by run: vLLM 0.15.1 on a T4,
#: Llama-2-7B-AWQ, --quantization awq --max-model-len 2048 --enforce-eager, prefix caching on, one or two clients.
#: Requests sent, with a first token and finished [1]; percentiles over those with a first token (TTFT) and over the
#: finished (TPOT) [s]; tokens_per_second of the finished until the last of them ended [1/s]. The load generator counts
#: four characters as a token. The runs with two clients record one of them: their engine's log shows 200 requests open
#: at once, where one client opens 100. The second run is labelled "CUDA graphs" in the repository, but its engine logs
#: enforce_eager=True.
T4_LOAD_TESTS: dict[str, dict[str, float]] = {
    "max_num_seqs=1": {
        "max_num_seqs": 1, "rate": 20, "duration": 45, "clients": 2, "sent": 869, "started": 6, "finished": 5,
        "tpot_p50": 0.0272, "ttft_p50": 15.5, "ttft_p99": 42.6, "tokens_per_second": 24.9,
    },
    "max_num_seqs=8": {
        "max_num_seqs": 8, "rate": 20, "duration": 40, "clients": 1, "sent": 767, "started": 64, "finished": 56,
        "tpot_p50": 0.0357, "ttft_p50": 16.4, "ttft_p99": 35.7, "tokens_per_second": 201.0,
    },
    "max_num_seqs=8, 50/s": {
        "max_num_seqs": 8, "rate": 50, "duration": 35, "clients": 1, "sent": 1695, "started": 54, "finished": 46,
        "tpot_p50": 0.0384, "ttft_p50": 14.4, "ttft_p99": 33.1, "tokens_per_second": 175.8,
    },
    "max_num_seqs=8, two clients": {
        "max_num_seqs": 8, "rate": 20, "duration": 45, "clients": 2, "sent": 866, "started": 36, "finished": 31,
        "tpot_p50": 0.0407, "ttft_p50": 19.8, "ttft_p99": 43.7, "tokens_per_second": 99.1,
    },
    "default": {
        "max_num_seqs": 256, "rate": 20, "duration": 60, "clients": 1, "sent": 1214, "started": 190, "finished": 93,
        "tpot_p50": 0.279, "ttft_p50": 0.803, "ttft_p99": 50.7, "tokens_per_second": 172.4,
    },
}  # fmt: skip

#: vLLM's kernel for `--quantization awq`, which runs AWQ on GPUs before Ampere: it unpacks all weights for every 16
#: rows (csrc/quantization/awq/gemm_kernels.cu, m16nXk32), and from 256 rows on they are unpacked to memory first
#: (model_executor/layers/quantization/awq.py) [token].
VLLM_AWQ = {"gemm_rows": 16, "dequantize_rows": 256}

#: That server, for `simulation.Server`. `kv_tokens` is from the engine's log. Two numbers are calibrated, on the TPOT
#: of the run with one sequence (gemm_efficiency) and of the two with eight and one client (sequence_overhead). Nothing
#: is left to an engine's defaults: with all that fit, what a preempted request finds again of its blocks is 0.5 %.
T4_SERVER: dict[str, Any] = {
    "gpu": "t4", "model": "llama-2-7b-awq", "max_model_len": 2048, "max_num_batched_tokens": 2048, "kv_tokens": 18608,
    **VLLM_AWQ, "gemm_efficiency": 0.596, "sequence_overhead": 1.28e-3,
    "engine": None, "policy": "recompute", "prefix_caching": True,
}  # fmt: skip
#: What `serving.estimate` must know of it to be as slow.
T4_CALIBRATED = {
    key: T4_SERVER[key] for key in ("gemm_efficiency", "gemm_rows", "dequantize_rows", "sequence_overhead", "engine")
}

#: Of the default run: requests running at a time [1] and tokens generated per second [1/s] by the engine's log, and the
#: requests' mean prompt and mean limit of their answers [token].
T4_RUNNING, T4_ENGINE_RATE, T4_PROMPT, T4_ASKED_TOKENS = 98, (300.0, 400.0), 20, 150

#: Context of its mean decoding step, by the answers asked for [token]; those that finished are the shorter ones.
T4_CONTEXT = T4_PROMPT + T4_ASKED_TOKENS // 2

#: What the report prints of that run and what its records hold, by metric: unit, target, printed, recorded, and what
#: the printed number is. Of 1,214 requests sent within 59.931 s 190 got a first token and 93 finished.
T4_METRICS: dict[str, tuple[str, str, float | None, float, str]] = {
    "requests sent": ("1/s", "20", 20.26, 1214 / 59.931, "the printed rate is that of the sends"),
    "requests finished": ("1/s", "20", 20.26, 93 / 60, "printed as met"),
    "finished of those sent": ("%", "> 99", 100, 100 * 93 / 1214, "1,121 without an output count as successes"),
    "with a first token": ("%", "", None, 100 * 190 / 1214, "all that the TTFT is about"),
    "tokens of finished requests": ("1/s", "", 173.6, 10405 / 59.931, "the engine's log has 300 to 400 of all"),
    "TTFT p50": ("ms", "< 1000", 803, 803.3, "of the requests with a first token"),
    "TTFT p99": ("ms", "< 10000", 50674, 50674.452, "of the requests with a first token"),
    "TPOT p50": ("ms", "< 300", 279, 279.169, "of the finished; four characters count as a token"),
    "TPOT p99": ("ms", "< 500", 343, 343.468, "of the finished"),
    "latency p50": ("ms", "", 33848, 33848.315, "of the finished"),
    "latency p99": ("ms", "", 55000, 55564.1, "of the finished"),
    "mean prompt": ("token", "", 50, 20.3, "50 is the load generator's target"),
    "mean output": ("token", "", 150, 10405 / 93, "of the finished, the shorter ones; 150 is the target"),
}  # fmt: skip

#: Where the time of an average request goes, as the report prints it [token], [ms].
T4_BREAKDOWN = {
    "prompt [token]": 50, "output [token]": 150, "prefill alone [ms]": 50, "first token, queue and prefill [ms]": 800,
    "decode [ms]": 41850, "total [ms]": 42650,
}  # fmt: skip

#: Requests that one client of those tests has open at once: the default limit of aiohttp's connector [1].
T4_IN_FLIGHT = 100

#: Tokens that the load generator counts for one that the engine generates, four characters each [1]: the sum over the
#: finished requests that ran to their limit, which `t4_requests` knows.
T4_COUNTED_TOKENS = 1.108


def t4_requests(rate: float, duration: float) -> dict[str, Any]:
    """Draw the requests of one client of the report's load tests, for `simulation.trace`.

    Parameters
    ----------
    rate : float
        Requests sent per second [1/s].
    duration : float
        How long the client sends [s].

    Returns
    -------
    dict
        sent_s, when each is sent [s]; output_tokens, the limit that each asks for, drawn from a log-normal distribution
        (mean 150, standard deviation 80, from 20 to 800) [token]; prompt_tokens, about 20 [token], of which
        cached_tokens, the first block, are in the prefix cache, as few prompts repeat.

    Notes
    -----
    By the load generator's own sequence of draws, with its seed 42. The gaps agree with the recorded ones to 1 ms, but
    in the "default" run. About a quarter of the answers end before their limit.

    References
    ----------
    kshyp/varcas, varcas_load_harness.py, 2026.
    """
    rate = check_range("rate", rate, 1e6, low=1e-6)
    duration = check_range("duration", duration, 1e6, "seconds")
    draw = Random(42)
    sent, outputs, now = [], [], draw.expovariate(rate)
    while now < duration:
        draw.uniform(0, 1)
        _lognormal(draw, 50, 30)  # the prompt's target, which texts shorter than it do not reach
        sent.append(now)
        outputs.append(int(min(max(_lognormal(draw, 150, 80), 20), 800)))
        now += draw.expovariate(rate)
    return {"sent_s": np.array(sent), "output_tokens": outputs, "prompt_tokens": [20] * len(sent), "cached_tokens": 16}


def _lognormal(draw: Random, mean: float, deviation: float) -> float:
    variance = np.log(1 + (deviation / mean) ** 2)
    return draw.lognormvariate(np.log(mean) - variance / 2, np.sqrt(variance))
