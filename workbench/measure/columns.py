"""The columns of one kernel timing: of the table that `timings.read` returns and of the CSV that `measure` writes."""

#: Who measured, on what, and which kernel. `name` is the source's own, `dtype` the format that the kernel computes in
#: (``bf16/fp8``: with an fp8 KV cache). Empty where the source does not say.
TEXTS = ("source", "gpu", "framework", "operator_class", "name", "dtype")

#: Sizes [1]: (m x k) times (k x n), and the tensors of an attention kernel, whose values are of `v_head_dim` where keys
#: are of another `head_dim`. Empty where unknown or not applicable.
SIZES = (
    "m", "n", "k", "batch_size", "seq_len_q", "seq_len_kv", "n_heads", "n_kv_heads", "head_dim", "v_head_dim",
    "n_experts", "experts_per_token",
)  # fmt: skip

#: All columns of a table of timings; `time_s` is the time of one kernel call [s], a median where the source has several
#: runs.
TIMING_COLUMNS = (*TEXTS, *SIZES, "time_s")

#: Classes of kernels.
#:
#: - "gemm": one matrix product of m, n, k.
#: - "attention_prefill", "attention_decode": fused attention, in decode of `seq_len_q` new tokens over longer contexts.
#: - "mla_prefill", "mla_decode": latent attention, expanded to heads in a prompt; absorbed in decode, where all heads
#:   share one latent key of `head_dim`, whose first `v_head_dim` elements are the value.
#: - "moe": a grouped GEMM of routed experts, n and k of one expert; m tokens choose `experts_per_token` of `n_experts`.
#: - "elementwise": on m tokens of width n; "quantize" to fp8 with a scale a token is one.
#: - "forward_prefill", "forward_decode": a whole forward pass of `seq_len_q` new tokens, in decode over a cache of
#:   `seq_len_kv` with them; `name` is the model's, then "forward" (a CUDA graph) or "forward_eager".
#: - "all_reduce", "all_gather", "reduce_scatter", "all_to_all": collectives; what they move is in columns of their own.
#: - "other": the rest, such as batched matrix products (`batch_size`, m, n, k; unfused attention also its heads).
OPERATOR_CLASSES = (
    "gemm", "attention_prefill", "attention_decode", "mla_prefill", "mla_decode", "moe", "elementwise",
    "forward_prefill", "forward_decode", "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "other",
)  # fmt: skip
