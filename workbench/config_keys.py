"""Keys of a config.json that a `Model` does not hold: those that change its arithmetic are refused, not passed over."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .common.errors import shown

#: What such keys are called; `qk_head_dim` is a sum of others, and a vision tower's config is beside the model.
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
#: Modules that stay in 16 bit in every quantized checkpoint; in mxfp4, which is the experts' alone, attention too.
PLAIN_MODULES = re.compile(r"lm_head|embed|norm|gate$|router|vis(ion|ual)|mtp|nextn")
#: The linear modules of a layer: of Llama and its kin, Mixtral, DeepSeek (two), Phi-3, OPT, Phi, GPT-2 and Falcon.
_GATED, _LATENT = "gate_proj up_proj down_proj", "kv_a_proj_with_mqa kv_b_proj o_proj"
LINEAR_MODULES = tuple(
    frozenset(names.split())
    for names in (
        f"q_proj k_proj v_proj o_proj {_GATED}", "q_proj k_proj v_proj o_proj w1 w2 w3",
        f"q_a_proj q_b_proj {_LATENT} {_GATED}", f"q_proj {_LATENT} {_GATED}", "qkv_proj o_proj gate_up_proj down_proj",
        "q_proj k_proj v_proj out_proj fc1 fc2", "q_proj k_proj v_proj dense fc1 fc2",
        "c_attn attn.c_proj c_fc mlp.c_proj", "query_key_value dense dense_h_to_4h dense_4h_to_h",
    )
)  # fmt: skip


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


def check_modules(config: Any, method: str, where: str, *, experts: bool) -> None:
    """Raise ValueError for modules that a quantization leaves out and that no `Model` tells from the others.

    Parameters
    ----------
    config : mapping
        The quantization_config.
    method : str
        Its quant_method.
    where : str
        What the message begins with.
    experts : bool
        Whether the model has any.
    """
    for key in ("modules_to_not_convert", "ignored_layers", "ignore", "dynamic"):
        for name in _names(config.get(key)):
            plain = re.sub(r"^(re|-|\+):|\$$", "", name)
            if not PLAIN_MODULES.search(plain) and not (method == "mxfp4" and "self_attn" in plain):
                raise ValueError(f"{where}: {key} = {shown(name)}: a part in a format of its own is not modelled")
    listed = _names(config.get(key := "modules_in_block_to_quantize"))
    if listed and not any(all(_is_listed(module, listed, experts) for module in each) for each in LINEAR_MODULES):
        raise ValueError(f"{where}: {key} = {shown(listed)}: not all linear modules: the rest is not modelled")


def _plain(value: Any) -> Any:
    """An array as a list, a number of numpy as Python's."""
    return value.tolist() if hasattr(value, "tolist") else value


def _names(value: Any) -> list[str]:
    """The names in a list of names, a list of such lists, a mapping by name, or in one name; none in None."""
    given = _plain(value)
    if isinstance(given, list | tuple | dict):
        return [name for each in given for name in _names(each)]
    return [] if given is None or given == "" else [str(given)]


def _is_listed(module: str, names: Iterable[str], experts: bool) -> bool:
    """Whether a module is among the names; one of the MLP has to be there as the experts', where a model has them."""
    within = experts and module in {*_GATED.split(), "w1", "w2", "w3", "gate_up_proj"}
    pattern = re.compile((r"(?<!shared_)experts\.(.*\.)?" if within else r"(^|\.)") + rf"{re.escape(module)}$")
    return any(pattern.search(name) for name in names)
