"""Keys of a config.json: what a model type implies, how fields are spelt, and which keys no `Model` holds.

Of the last, those that change its arithmetic are refused, not passed over.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .common.errors import shown


class Family(NamedTuple):
    """What a `model_type` implies: transformers' class defaults, and what config.json does not say."""

    defaults: Mapping[str, object] = {}  # of the fields that published files leave out
    gated: bool = True
    mlp_ratio: int | None = None  # MLP size over hidden size, where the file may leave the MLP size out
    expert_size: str | None = None  # the field with the MLP size of one expert
    latent: bool = False
    extra_positions: int | None = None  # rows of the position table beyond the context; None: no such table
    nested: str | None = None  # the object inside config.json that holds the language model


_TIED: dict[str, object] = {"tie_word_embeddings": True}
_QWEN: dict[str, object] = {"use_sliding_window": False, "sliding_window": 4096}
_QUERY_RANK: dict[str, object] = {"q_lora_rank": 1536}
_GEMMA3 = _TIED | {
    "vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131072,
    "sliding_window": 4096, "sliding_window_pattern": 6,
}  # fmt: skip

#: model_type: what transformers' configuration_<model_type>.py fills in. The RefinedWeb types are Falcon's first ones.
FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": Family({"num_key_value_heads": 8, "sliding_window": 4096}),
    "mixtral": Family({"num_key_value_heads": 8}, expert_size="intermediate_size"),
    "qwen2": Family(_QWEN | {"num_key_value_heads": 32, "max_window_layers": 28}),
    "qwen3": Family(_QWEN | {"num_key_value_heads": 32, "max_window_layers": 28, "head_dim": 128}),
    "qwen3_moe": Family(_QWEN | {"num_key_value_heads": 4}, expert_size="moe_intermediate_size"),
    "gemma2": Family(
        _TIED | {"num_key_value_heads": 4, "head_dim": 256, "sliding_window": 4096, "sliding_window_pattern": 2}
    ),
    "gemma3": Family(_GEMMA3, nested="text_config"),
    "gemma3_text": Family(_GEMMA3),
    "phi": Family(gated=False),
    "phi3": Family(),
    "gpt2": Family(_TIED, gated=False, mlp_ratio=4, extra_positions=0),
    "opt": Family(_TIED, gated=False, extra_positions=2),  # positions are counted from row 2 of the table
    "falcon": Family(_TIED | {"multi_query": True}, gated=False, mlp_ratio=4),
    "RefinedWeb": Family(_TIED | {"new_decoder_architecture": True}, gated=False, mlp_ratio=4),
    "RefinedWebModel": Family(_TIED, gated=False, mlp_ratio=4),
    "deepseek_v2": Family(_QUERY_RANK, expert_size="moe_intermediate_size", latent=True),
    "deepseek_v3": Family(_QUERY_RANK | {"first_k_dense_replace": 3}, expert_size="moe_intermediate_size", latent=True),
    "gpt_oss": Family(
        {"num_key_value_heads": 8, "head_dim": 64, "sliding_window": 128, "sliding_window_pattern": 2},
        expert_size="intermediate_size",
    ),
}

#: Field: its spellings, the one that wins first. Other fields have one.
SPELLINGS = {
    "hidden_size": ("hidden_size", "n_embd", "n_embed"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer"),
    "num_attention_heads": ("num_attention_heads", "n_head"),
    "num_key_value_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "intermediate_size": ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"),
    "max_position_embeddings": ("max_position_embeddings", "n_positions"),
    "sliding_window_pattern": ("_sliding_window_pattern", "sliding_window_pattern"),
    "n_experts": ("num_local_experts", "n_routed_experts", "num_experts"),
    "num_experts_per_tok": ("num_experts_per_tok", "experts_per_token"),
}

#: What keys that change arithmetic are called. `qk_head_dim` is a sum of others; a vision tower is beside the model.
CHANGING = re.compile(
    r"expert|moe_|window|lora_|head_dim|intermediate_size|quant|compress|sparse|mamba|ssm_|^conv_|_conv$|^linear_(?!bias)"
    r"|vision|audio|text_config|layer_types|block_(configs|types?)$|per_layer|cross_attention|kv_shared|attention_chunk"
    r"|^index_|draft|eagle|medusa|pruned|mtp"
)
HARMLESS = re.compile(r"^qk_head_dim$|_token_(id|index)$|router_dtype$|_loss_coeff?$")
#: Of a second spelling, the key that it repeats; with another value it is refused.
SAME = {"sliding_window_size": "sliding_window"}
#: Model types whose classes are called otherwise: Falcon's first ones.
CLASSES = {"falcon": ("falcon", "rw"), "RefinedWeb": ("rw", "falcon"), "RefinedWebModel": ("rw", "falcon")}


def check_architecture(classes: object, model_type: str, where: str) -> None:
    """Raise ValueError for a class that is not the model type's: custom code, a draft head, a classifier.

    Parameters
    ----------
    classes : object
        Of the file, under "architectures".
    model_type : str
        Of the file.
    where : str
        What the message begins with.
    """
    known = CLASSES.get(model_type, (model_type.replace("_", "").removesuffix("text").lower(),))
    for name in classes[:1] if isinstance(classes, list) else ():
        stem = re.fullmatch(r"(\w+?)(ForCausalLM|ForConditionalGeneration|LMHeadModel|Model)", str(name))
        if not stem or stem[1].lower() not in known:
            raise ValueError(f"{where}: architectures = {shown(name)}: not a {model_type} language model")


def check_keys(config: Mapping[str, object], read: Iterable[str], where: str, why: str) -> None:
    """Raise ValueError for a key that changes the arithmetic, is set, and is not read.

    Parameters
    ----------
    config : mapping
        Of the language model.
    read : iterable of str
        Keys that are read.
    where, why : str
        What the message begins and ends with.
    """
    for key, value in config.items():
        if key in read or HARMLESS.search(str(key)) or not CHANGING.search(str(key)):
            continue
        given = _plain(value)
        unset = given is None or (isinstance(given, int | float | str | list | tuple | dict) and not given)
        if not unset and (key not in SAME or given != config.get(SAME[key])):
            name = " ".join(str(key).split())[:80]
            raise ValueError(f"{where}: {name} = {shown(value)}: {why}")


def _plain(value: Any) -> Any:
    """An array as a list, a number of numpy as Python's."""
    return value.tolist() if hasattr(value, "tolist") else value
