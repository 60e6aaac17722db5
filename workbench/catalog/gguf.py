"""llama.cpp's files of mixed types: which matrices are stored in more bits than the rest.

The rules are those of `llama_tensor_get_type` (llama.cpp, src/llama-quant.cpp) without an importance matrix, for models
of any but 8 experts, whose few attention weights get more bits. They come to the bits a weight that its README prints
of Llama 2 7B (q4_k_m 4.84, q5_k_m 5.68, q6_k 6.56) and 3.1 8B (4.89, 5.70, 6.56; iq4_xs 4.46, iq4_nl 4.68).
"""

from collections.abc import Mapping

#: By file type: the type of most matrices, and what others are stored in: (type, of which layers).
MIXES: dict[str, tuple[str, Mapping[str, tuple[str, str]]]] = {
    "q2_k": ("q2_k", {"v_proj": ("q4_k", "all"), "o_proj": ("q3_k", "all"), "down_proj": ("q3_k", "all")}),
    "q3_k_m": ("q3_k", {"v_proj": ("q4_k", "all"), "o_proj": ("q4_k", "all"), "down_proj": ("q4_k", "all")}),
    "q4_k_s": ("q4_k", {"v_proj": ("q5_k", "first four"), "down_proj": ("q5_k", "first eighth")}),
    "q4_k_m": ("q4_k", {"v_proj": ("q6_k", "some"), "down_proj": ("q6_k", "some")}),
    "q5_k_s": ("q5_k", {}),
    "q5_k_m": ("q5_k", {"v_proj": ("q6_k", "some"), "down_proj": ("q6_k", "some")}),
    **{
        name: (name, {"v_proj": ("q5_k", "all if shared"), "down_proj": ("q5_k", "first eighth")})
        for name in ("iq4_xs", "iq4_nl")
    },
    **{name: (name, {}) for name in ("q4_0", "q4_1", "q5_0", "q5_1", "q6_k", "q8_0")},
}


def layer_share(which: str, n_layers: int, queries: float) -> float:
    """Share of a model's layers that a rule means: "all", "first four", "first eighth", or "some" of them [1].

    "some" are the first and the last eighth, and of the others every third; "all if shared" are all where each KV head
    serves four heads of `queries` or more [1], else none.
    """
    eighth = n_layers // 8
    some = sum(i < eighth or i >= 7 * n_layers // 8 or (i - eighth) % 3 == 2 for i in range(n_layers))
    meant = {"all": n_layers, "first four": min(4, n_layers), "first eighth": eighth, "some": some}
    return (meant | {"all if shared": n_layers if queries >= 4 else 0})[which] / n_layers


def head_format(name: str) -> str:
    """The type of the head, and of an embedding that is the head: q6_k, or that of an 8-bit file."""
    return "q8_0" if name == "q8_0" else "q6_k"
