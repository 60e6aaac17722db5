"""What the name of a GPU kernel says of its class and number format."""

import re
from functools import lru_cache

#: What a kernel's name says of its class; the first match counts. (?>...) is never tried again: a name may be long.
KERNEL_CLASSES = {
    "other": r"(?:^|::|\s)(?:transpose|permute)\w*(?:$|[\s<(])|routing(?!_?gemm)|topkgating|reshape_and_cache",
    "elementwise": r"^triton_(?:poi|red|per)_",
    "attention_decode": r"splitkv|split_kv|paged_attention|pagedattention|flash_decod|masked_multihead|mmha|xqa"
    r"|unified_attention_3d|batchdecode|^(?>.*?decode).*attention",
    "attention_prefill": r"flash_fwd|flash_?attn|fmha|attention|attn_fwd|prefill",
    "gemm": r"gemm|gemv|cublas|nvjet|cijk_|matmul|marlin|fused_moe_kernel|triton_tem_\w*mm",
}  # fmt: skip
#: The last class, of names that are none of those: a dict has each key once, and `triton_poi_` goes first.
ELEMENTWISE = r"elementwise|norm|silu|gelu|act_and_mul|rotary|rope|softmax"
KERNEL_DTYPES = {
    "fp8": r"e4m3|e5m2|fp8|float8|^cijk_\w*?_f8", "bf16": r"bf16|bfloat16|df16b|^cijk_\w*?_b[bs]s_",
    "fp16": r"fp16|f16|float16|half|h884|h1688|h16816|hgemm|^cijk_\w*?_h[hs]s_",
    "fp32": r"sgemm|fp32|f32|float|^cijk_\w*?_sb?_",
}  # fmt: skip
#: Parts of names that say nothing of the kernel: the library that it is from, and which KV caches it could read.
NOT_THE_KERNEL = re.compile(r"fbgemm(?:_gpu)?::|\([\w:]*kvcachedatatype\)\d+")


@lru_cache(4096)  # the same few kernels make up a profile
def guess_kernel(kernel: str) -> dict[str, str]:
    """Name, class and format of a kernel, as far as its name tells.

    >>> guess_kernel("ampere_bf16_s16816gemm_bf16_128x64_ldg8_f2f_tn")["operator_class"]
    'gemm'
    """
    lower = NOT_THE_KERNEL.sub("", kernel.lower())
    patterns = (*KERNEL_CLASSES.items(), ("elementwise", ELEMENTWISE))
    kind = next((label for label, pattern in patterns if re.search(pattern, lower)), "other")
    dtype = next((label for label, pattern in KERNEL_DTYPES.items() if re.search(pattern, lower)), "")
    return {"name": kernel, "operator_class": kind, "dtype": dtype}
