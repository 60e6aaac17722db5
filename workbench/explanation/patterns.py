"""What a kernel's name says of it beside products and attention: what it finishes, and what is no operator."""

import re

#: Kernels that finish what the one before them began, and no call of their own.
FINISHERS = {
    "gemm": re.compile(r"split_?k_?reduc|reduce_splitk", re.I),
    "attention": re.compile(r"combine|merge_?(attn_)?states|reduce_segments|attention_v2_reduce|mha\w*_reduce", re.I),
}
#: What a trace has besides the operators of a model, by what its name says.
BESIDES = {
    "a collective": re.compile(r"nccl|all_?reduce|all_?gather|reduce_?scatter|cross_device_reduce|all_?to_?all", re.I),
    "sampling": re.compile(
        r"argmax|argmin|multinomial|topk|top_k|sort|sampl|random|exponential|distribution_|penal", re.I
    ),
    "a copy to or from the GPU": re.compile(r"memcpy|memset|h2d|d2h", re.I),
}
#: The sum of what the GPUs of a layer put out.
REDUCE = re.compile(r"all_?reduce|cross_device_reduce", re.I)
#: Kernels that can be elementwise outside of layers: the look-up of embeddings, positions, the last norm.
AROUND = re.compile(
    r"^aten::|^Torch-Compiled Region|CompiledFxGraph|cpp_fused|embed|index|gather|norm|rotary|rope|cos|sin|elementwise"
    r"|vectorized|copy|cat|mul|add|div|pow|mean|sum|rsqrt|exp|arange|neg|fill|full|zero|ones|empty|triu|tril|mask|where"
    r"|slice|view|reshape|unsqueeze|transpose|strided|to$|type|select|resize|expand|permute|clone|contiguous|silu|gelu"
    r"|softmax|split|chunk|squeeze|lift|detach|alias|repeat|tanh|sub|compare|scan",
    re.I,
)
#: GPUs of an all-reduce whose kernel was compiled for their number (vLLM, SGLang).
REDUCED_OVER = re.compile(r"cross_device_reduce_\dstage<[^,<>]+, ?(\d+)")
