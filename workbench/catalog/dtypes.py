"""Number formats: what an element costs in memory, and what a kernel computes in."""

from collections.abc import Iterable
from typing import NamedTuple

from ..common.arguments import one_of, plain, whole_number

#: Width of the plain formats [byte]. A format's rate is the GPU's (`GPU.peak_flop_rate`).
WIDTH: dict[str, float] = {
    "fp64": 8, "fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "fp8": 1, "int8": 1, "fp4": 0.5, "int4": 0.5,
}  # fmt: skip


class GroupFormat(NamedTuple):
    """A checkpoint format in which groups of weights along the input dimension share a scale."""

    element: str  #: plain format that kernels take one weight for
    group_size: int  #: weights that share one scale, unless the checkpoint says otherwise [1]
    group_bytes: float  #: what belongs to one group beside its weights: scales and zero points [byte]
    bits: int | None = None  #: of one weight, where they are not those of the plain format [bit]
    fixed: bool = False  #: the group's size is the format's own


#: Formats whose weights share scales. AWQ (Lin et al. 2023, arXiv 2306.00978) and GPTQ (Frantar et al. 2022, arXiv
#: 2210.17323) store an fp16 scale and a zero point of a weight's width per group; compressed-tensors' symmetric
#: integers (w4a16, w8a16) a 16-bit scale alone; the OCP microscaling formats MXFP4 and MXFP8 an 8-bit exponent per 32
#: weights; NVFP4 an fp8 scale per 16 (NVIDIA 2025); DeepSeek-V3 (arXiv 2412.19437, section 3.3) an fp32 scale for every
#: block of 128 x 128 fp8 weights; bitsandbytes' NF4 (Dettmers et al. 2023, arXiv 2305.14314) and its own fp4 an fp32
#: scale per 64, or an 8-bit one and an fp32 one per 256 of these ("nf4_double"); MLX an fp16 scale and an fp16 bias, as
#: torchao's int4 in bf16 ("int4_group"); llama.cpp's types what their blocks in ggml-common.h hold: q6_k 210 bytes for
#: 256 weights, 6.5625 bits.
GROUP_FORMATS: dict[str, GroupFormat] = {
    "awq": GroupFormat("int4", 128, 2.5),
    "gptq": GroupFormat("int4", 128, 2.5),
    "gptq2": GroupFormat("int4", 128, 2.25, 2),
    "gptq3": GroupFormat("int4", 128, 2.375, 3),
    "gptq8": GroupFormat("int8", 128, 3.0),
    "w4a16": GroupFormat("int4", 128, 2.0),
    "w8a16": GroupFormat("int8", 128, 2.0),
    "mxfp4": GroupFormat("fp4", 32, 1.0),
    "mxfp8": GroupFormat("fp8", 32, 1.0),
    "nvfp4": GroupFormat("fp4", 16, 1.0),
    "fp8_block": GroupFormat("fp8", 128 * 128, 4.0),
    "nf4": GroupFormat("int4", 64, 4.0),
    "nf4_double": GroupFormat("int4", 64, 1 + 4 / 256),
    "bnb_fp4": GroupFormat("int4", 64, 4.0),
    "bnb_fp4_double": GroupFormat("int4", 64, 1 + 4 / 256),
    "int4_group": GroupFormat("int4", 128, 4.0),
    **{f"mlx{bits}": GroupFormat("int4" if bits <= 4 else "int8", 64, 4.0, bits) for bits in (2, 3, 4, 5, 6, 8)},
    **{
        name: GroupFormat("int4" if bits <= 4 else "int8", block, size - block * bits / 8, bits, fixed=True)
        for name, (bits, block, size) in {
            "q4_0": (4, 32, 18), "q4_1": (4, 32, 20), "q5_0": (5, 32, 22), "q5_1": (5, 32, 24), "q8_0": (8, 32, 34),
            "q2_k": (2, 256, 84), "q3_k": (3, 256, 110), "q4_k": (4, 256, 144), "q5_k": (5, 256, 176),
            "q6_k": (6, 256, 210), "iq4_xs": (4, 256, 136), "iq4_nl": (4, 32, 18),
        }.items()
    },
}  # fmt: skip

#: Formats that weights may be stored in, and those that the KV cache may.
WEIGHT_DTYPES = (*WIDTH, *GROUP_FORMATS)
KV_DTYPES = (*WIDTH, "nvfp4")


def check_dtype(role: str, dtype: str, also: Iterable[str] = ()) -> str:
    """Return `dtype`, in small letters, if its role (weight, lm_head, activation, kv) has it, or raise ValueError."""
    by_role = {"weight": WEIGHT_DTYPES, "lm_head": WEIGHT_DTYPES, "kv": KV_DTYPES}
    allowed = dict.fromkeys((*by_role.get(role, WIDTH), *also))
    given = plain(dtype)
    small = given.lower() if isinstance(given, str) else None
    return str(one_of(f"{role}_dtype", small if small in allowed else dtype, allowed))


def plain_width(dtype: str, name: str = "dtype") -> float:
    """Width of a plain format [byte]; ValueError for any other, by the argument's name."""
    return WIDTH[one_of(name, dtype, WIDTH)]


def element_bytes(dtype: str, group_size: int | None = None) -> float:
    """Memory that one element takes, with its share of the group's scales.

    Parameters
    ----------
    dtype : str
        A key of `WIDTH` or `GROUP_FORMATS`.
    group_size : int, optional
        Weights per scale, where it is not the format's usual number [1].

    Returns
    -------
    float
        Width of an element, plus bytes of a group / weights of a group [byte].

    Examples
    --------
    >>> element_bytes("awq")  # groups of 128: 0.5 + 2.5 / 128
    0.51953125
    """
    if one_of("dtype", dtype, WEIGHT_DTYPES) in WIDTH:
        return WIDTH[dtype]
    form = GROUP_FORMATS[dtype]
    size = form.group_size if group_size is None else whole_number("group_size", group_size)
    return (WIDTH[form.element] if form.bits is None else form.bits / 8) + form.group_bytes / size


class KernelFormat(NamedTuple):
    """What a kernel of a format computes in, and the width of its operands [byte]."""

    computes: str  #: a key of `WIDTH`
    stored: float  #: weights, or the KV cache, with their scales
    activation: float  #: what they are multiplied with


#: Formats that kernels differ by. "bf16" is any 16-bit format; "_wo", for weight only, widens its weights to 16 bits;
#: "fp8_cache" is attention in 16 bits over an 8-bit cache.
KERNEL_FORMATS: dict[str, KernelFormat] = {
    "bf16": KernelFormat("bf16", 2, 2),
    "fp8": KernelFormat("fp8", 1, 1),
    "fp8_block": KernelFormat("fp8", 1 + 4 / 128**2, 1),
    "fp8_cache": KernelFormat("bf16", 1, 2),
    "int8": KernelFormat("int8", 1, 1),
    "int8_wo": KernelFormat("bf16", 1, 2),
    "int4_wo": KernelFormat("bf16", 0.5 + 2.5 / 128, 2),
    "mxfp4_wo": KernelFormat("bf16", 0.5 + 1 / 32, 2),
    "mxfp4_fp8": KernelFormat("fp8", 0.5 + 1 / 32, 1),
    "nvfp4": KernelFormat("fp4", 0.5 + 1 / 16, 0.5 + 1 / 16),
}


def kernel_format(stored: str, activation: str, *, cache: bool = False) -> str:
    """Kind of kernel, by formats, that multiplies a stored operand with activations.

    Parameters
    ----------
    stored : str
        Format of the stored operand, one of `WEIGHT_DTYPES`.
    activation : str
        Format of the activations, a key of `WIDTH`.
    cache : bool
        The operand is the KV cache, which attention reads.

    Returns
    -------
    str
        A key of `catalog.fits.NEAR_FORMATS`.

    Examples
    --------
    >>> kernel_format("awq", "fp16"), kernel_format("fp8", "fp8"), kernel_format("fp8", "bf16", cache=True)
    ('int4_wo', 'fp8', 'fp8_cache')
    """
    computes = compute_dtype(stored, activation)
    plain = GROUP_FORMATS[stored].element if stored in GROUP_FORMATS else stored
    eight, sixteen = WIDTH["fp8"], WIDTH["fp16"]
    if WIDTH[computes] >= sixteen:
        narrow = "fp8_cache" if cache else {"int4": "int4_wo", "fp4": "mxfp4_wo"}.get(plain, "int8_wo")
        return narrow if WIDTH[plain] < sixteen else "bf16"
    if cache or WIDTH[plain] == WIDTH[computes] == eight:
        return "fp8_block" if stored == "fp8_block" else "fp8" if cache else computes
    return {"fp8": "mxfp4_fp8", "fp4": "nvfp4"}.get(computes, "int8")


def compute_dtype(stored: str, activation: str) -> str:
    """Format in which a matmul of a stored operand (weight or KV cache) with activations runs.

    The narrower operand is widened first. Of two formats of the same width the activation's is taken.

    Parameters
    ----------
    stored : str
        Format of the stored operand, one of `WEIGHT_DTYPES`.
    activation : str
        Format of the activations, a key of `WIDTH`.

    Returns
    -------
    str
        A key of `WIDTH`.

    Examples
    --------
    >>> compute_dtype("awq", "fp16"), compute_dtype("fp8", "fp8")
    ('fp16', 'fp8')
    """
    stored, activation = one_of("stored", stored, WEIGHT_DTYPES), one_of("activation", activation, WIDTH)
    plain = GROUP_FORMATS[stored].element if stored in GROUP_FORMATS else stored
    return plain if WIDTH[plain] > WIDTH[activation] else activation
