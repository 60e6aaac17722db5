"""Keys of a config.json: how fields are spelt, and which keys no `Model` holds.

Of the last, those that change its arithmetic are refused, not passed over.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from ..common.errors import shown
from .families import FAMILIES

#: Field: its spellings, the one that wins first. Other fields have one, and that of their family (`Family.keys`).
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
    "num_nextn_predict_layers": ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules"),
    "moe_layer_freq": ("moe_layer_freq", "moe_frequency"),
    "rope_scaling": ("rope_parameters", "rope_scaling"),
}

#: Keys that say how the checkpoint is quantized (`checkpoint`).
STATED = ("quantization_config", "quantization", "compression_config")

#: What keys that change arithmetic are called. `qk_head_dim` is a sum of others; a vision tower is beside the model.
CHANGING = re.compile(
    r"expert|moe_|window|lora_|head_dim|intermediate_size|quant|compress|sparse|mamba|ssm_|^conv_|_conv$|^linear_(?!bias)"
    r"|vision|audio|text_config|layer_types|block_(configs|types?)$|per_layer|cross_attention|kv_shared|attention_chunk"
    r"|^index_|^hybrid_|^swa_|cla$|draft|eagle|medusa|pruned|mtp"
)
HARMLESS = re.compile(
    r"^qk_head_dim$|_token_(id|index)$|router_dtype$|_loss_(coeff?|weight)$|^mtp_transformer_layers$|^context_window_size$"
)
#: Of a second spelling, the key that it repeats; with another value it is refused.
SAME = {
    "sliding_window_size": "sliding_window", "moe_shared_expert_intermediate_size": "moe_intermediate_size",
    "moe_intermediate_size": "intermediate_size",
}  # fmt: skip
#: Model types whose language models are of a class called "...Model", as those of others without a head are.
HEADED = ("bloom", "chatglm")
#: What keys and classes of draft heads are called, which guess for another model and are no model of their own.
DRAFT = re.compile(r"draft|eagle|medusa|dflash|dspark|domino|speculat|mtp_config", re.IGNORECASE)


def check_named(given: Mapping[str, object], where: str) -> None:
    """Raise ValueError for a file without a model type, and for that of a draft head, which may have none."""
    kind = given.get("model_type")
    drafts = [key for key in given if DRAFT.search(str(key))] if kind is None else []
    if drafts or (isinstance(kind, str) and (DRAFT.search(kind) or kind.endswith("_mtp"))):
        key = drafts[0] if drafts else "model_type"
        name = " ".join(str(key).split())[:80]
        raise ValueError(f"{where}: {name} = {shown(given[key])}: a draft head, not a language model")
    if kind is None:
        raise ValueError(f"{where}: model_type: Field required")


def check_architecture(classes: object, model_type: str, stems: Collection[str], where: str) -> None:
    """Raise ValueError for a class that is not the model type's: custom code, a draft head, a classifier, an embedder.

    Parameters
    ----------
    classes : object
        Of the file, under "architectures".
    model_type : str
        Of the file.
    stems : collection of str
        What its classes are called before "ForCausalLM", in small letters without "_".
    where : str
        What the message begins with.
    """
    for name in classes[:1] if isinstance(classes, list) else ():
        stem = re.fullmatch(r"(\w+?)(ForCausalLM|ForConditionalGeneration|LMHeadModel|Model)", str(name))
        if not stem or stem[1].lower().replace("_", "") not in stems:
            draft = "a draft head, " if DRAFT.search(str(name)) or str(name).endswith("MTP") else ""
            raise ValueError(f"{where}: architectures = {shown(name)}: {draft}not a {model_type} language model")
        if stem[2] == "Model" and model_type in FAMILIES and model_type not in HEADED:
            raise ValueError(f"{where}: architectures = {shown(name)}: an embedder, without a language model's head")


def check_keys(
    config: Mapping[str, object], defaults: Mapping[str, object], read: Collection[str], where: str, model_type: str
) -> None:
    """Raise ValueError for a key that changes the arithmetic, is set, and is not read.

    Parameters
    ----------
    config : mapping
        Of the language model.
    defaults : mapping
        Of its class.
    read : collection of str
        Keys that are read.
    where, model_type : str
        What the message begins with and names.
    """
    for key, value in config.items():
        draft = ", as of a draft head" if DRAFT.search(str(key)) else ""
        if key in read or HARMLESS.search(str(key)) or not (draft or CHANGING.search(str(key))):
            continue
        given = as_plain(value)
        unset = given is None or (isinstance(given, int | float | str | list | tuple | dict) and not given)
        if not unset and (key not in SAME or given != {**defaults, **config}.get(SAME[key])):
            name = " ".join(str(key).split())[:80]
            raise ValueError(
                f"{where}: {name} = {shown(value)}: not read in a {model_type}, and changes its arithmetic{draft}"
            )


def as_plain(value: Any) -> Any:
    """An array as a list, a number of numpy as Python's."""
    return value.tolist() if hasattr(value, "tolist") else value
