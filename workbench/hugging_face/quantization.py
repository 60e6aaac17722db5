"""A config.json's quantization: in what format the checkpoint stores its weights."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import AliasChoices, AliasGenerator, BaseModel, ConfigDict

from ..common.errors import shown
from ..common.yaml_records import validated
from .keys import SPELLINGS, as_plain

#: quant_method: the catalog's fields for it.
QUANTIZATION: dict[str, dict[str, object]] = {
    "awq": {"format": "awq", "group_size": 128},
    "gptq": {"format": "gptq", "group_size": 128},
    "fp8": {"format": "fp8"},
    "mxfp4": {"format": "mxfp4", "scope": "experts"},
}


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


class HfQuantization(BaseModel):
    """A config.json's quantization_config."""

    model_config = ConfigDict(  # fields that no size follows from are ignored
        frozen=True,
        strict=True,
        alias_generator=AliasGenerator(validation_alias=lambda field: AliasChoices(*SPELLINGS.get(field, (field,)))),
    )

    quant_method: Literal["awq", "gptq", "fp8", "mxfp4"]
    bits: Literal[4] = 4  # written for AWQ and GPTQ only
    group_size: int | None = None


def quantization_entry(
    config: Mapping[str, object], hidden_size: int, where: str, *, experts: bool
) -> dict[str, object] | None:
    """The catalog's fields for a quantization_config; None where there is none."""
    if config.get("quantization_config") is None:
        return None
    given = validated(HfQuantization, config["quantization_config"], f"{where}: quantization_config")
    entry = QUANTIZATION[given.quant_method]
    check_modules(config["quantization_config"], given.quant_method, f"{where}: quantization_config", experts=experts)
    if "group_size" not in entry or given.group_size is None:
        return entry
    return entry | {"group_size": hidden_size if given.group_size == -1 else given.group_size}  # -1: one per column


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


def _names(value: Any) -> list[str]:
    """The names in a list of names, a list of such lists, a mapping by name, or in one name; none in None."""
    given = as_plain(value)
    if isinstance(given, list | tuple | dict):
        return [name for each in given for name in _names(each)]
    return [] if given is None or given == "" else [str(given)]


def _is_listed(module: str, names: Iterable[str], experts: bool) -> bool:
    """Whether a module is among the names; one of the MLP has to be there as the experts', where a model has them."""
    within = experts and module in {*_GATED.split(), "w1", "w2", "w3", "gate_up_proj"}
    pattern = re.compile((r"(?<!shared_)experts\.(.*\.)?" if within else r"(^|\.)") + rf"{re.escape(module)}$")
    return any(pattern.search(name) for name in names)
