"""The columns of one kernel timing: of the table that `timings.read` returns and of the CSV that `measure` writes."""

#: Who measured, on what, and which kernel. `name` is the source's own, `dtype` the format that the kernel computes in
#: (``bf16/fp8``: with an fp8 KV cache). Empty where the source does not say.
TEXTS = ("source", "gpu", "framework", "operator_class", "name", "dtype")

#: Sizes [1]: (m x k) times (k x n), and the tensors of an attention kernel. Empty where unknown or not applicable.
SIZES = ("m", "n", "k", "batch_size", "seq_len_q", "seq_len_kv", "n_heads", "n_kv_heads", "head_dim")

#: All columns of a table of timings; `time_s` is the time of one kernel call [s], a median where the source has several
#: runs.
TIMING_COLUMNS = (*TEXTS, *SIZES, "time_s")

#: Classes of kernels. "gemm" is one matrix product of m, n, k; "attention_prefill" and "attention_decode" are fused
#: attention, in decode of `seq_len_q` new tokens over a longer context; "elementwise" works on m tokens of width n;
#: "other" is the rest, such as batched matrix products (`batch_size`, m, n, k; unfused attention also its heads).
OPERATOR_CLASSES = ("gemm", "attention_prefill", "attention_decode", "elementwise", "other")
