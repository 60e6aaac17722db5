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
HARMLESS = {"qk_head_dim"}
#: Model types whose classes are called otherwise: Falcon's first ones.
CLASSES = {"falcon": ("falcon", "rw"), "RefinedWeb": ("rw", "falcon"), "RefinedWebModel": ("rw", "falcon")}
#: Modules that stay in 16 bit in every quantized checkpoint; in mxfp4, which is the experts' alone, attention too.
PLAIN_MODULES = re.compile(r"lm_head|embed|norm|gate$|router|vis(ion|ual)|mtp|nextn")


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


def check_keys(config: Mapping[str, object], read: Iterable[str], message: str) -> None:
    """Raise ValueError for a key that changes the arithmetic, is set, and is not read.

    Parameters
    ----------
    config : mapping
        Of the language model.
    read : iterable of str
        Keys that are read.
    message : str
        With braces where key and value go.
    """
    for key, value in config.items():
        if key in HARMLESS or key in read or not CHANGING.search(str(key)):
            continue
        if value is not None and value not in (0, "", [], {}):
            raise ValueError(message.format(f"{key} = {shown(value)}"))


def check_modules(config: Any, method: str, where: str) -> None:
    """Raise ValueError for modules that a quantization leaves out and that no `Model` tells from the others.

    Parameters
    ----------
    config : mapping
        The quantization_config.
    method : str
        Its quant_method.
    where : str
        What the message begins with.
    """
    for key in ("modules_to_not_convert", "ignored_layers", "ignore", "dynamic", "modules_in_block_to_quantize"):
        modules = config.get(key) or ()
        for name in modules if isinstance(modules, list | tuple | dict) else [modules]:
            if not PLAIN_MODULES.search(str(name)) and not (method == "mxfp4" and "self_attn" in str(name)):
                raise ValueError(f"{where}: {key} = {shown(name)}: a part in a format of its own is not modelled")
