"""Methods of quantization by the names that checkpoints of Hugging Face's give them, and what each says."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ..catalog import Model, PartFormat
from ..catalog.dtypes import GROUP_FORMATS
from ..common.errors import shown, unknown
from ..common.yaml_records import validated

#: A stored format, and what activations are narrowed to before they meet it; None: they stay in 16 bit.
Form = tuple[PartFormat, str | None]


class Scheme(NamedTuple):
    """What a file says: the format of all linear modules, and other formats by name; None is 16 bit."""

    default: Form | None
    said: Mapping[str, Form | None] = {}
    kv: str | None = None
    head: bool = False  #: the default is the head's, too
    embeddings: bool = False  #: and the embedding's
    experts_alone: bool = False  #: the default is the routed experts' alone


#: Keys of lists of modules that stay in 16 bit.
LEFT_OUT = (
    "modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules", "llm_int8_skip_modules", "skip_modules",
)  # fmt: skip
#: modelopt's quant_algo: format, and format of activations.
ALGORITHMS: dict[str, tuple[str, str | None]] = {
    "FP8": ("fp8", "fp8"), "FP8_PER_CHANNEL_PER_TOKEN": ("fp8", "fp8"), "FP8_PB_WO": ("fp8_block", "fp8"),
    "FP8_BLOCK_SCALES": ("fp8_block", "fp8"), "FP8_PB_REAL": ("fp8_block", "fp8"), "NVFP4": ("nvfp4", "fp4"),
    "NVFP4_AWQ": ("nvfp4", "fp4"), "W4A16_NVFP4": ("nvfp4", None), "W4A8_NVFP4_FP8": ("nvfp4", "fp8"),
    "MXFP8": ("mxfp8", "fp8"), "W4A8_MXFP4_FP8": ("mxfp4", "fp8"), "W4A16_MXFP4": ("mxfp4", None),
    "W4A16_AWQ": ("awq", None), "INT4_AWQ": ("awq", None), "W4A8_AWQ": ("awq", "fp8"), "W4A16_GPTQ": ("gptq", None),
    "W8A16": ("int8", None), "W8A8_SQ_PER_CHANNEL": ("int8", "int8"),
}  # fmt: skip
#: torchao's configurations: format, and format of activations.
TORCHAO: dict[str, tuple[str, str | None]] = {
    "Int4WeightOnlyConfig": ("int4_group", None), "int4_weight_only": ("int4_group", None),
    "Int8WeightOnlyConfig": ("int8", None), "int8_weight_only": ("int8", None),
    "Int8DynamicActivationInt8WeightConfig": ("int8", "int8"),
    "int8_dynamic_activation_int8_weight": ("int8", "int8"),
    "Float8WeightOnlyConfig": ("fp8", None), "float8_weight_only": ("fp8", None),
    "Float8DynamicActivationFloat8WeightConfig": ("fp8", "fp8"),
    "float8_dynamic_activation_float8_weight": ("fp8", "fp8"),
}  # fmt: skip


def read_scheme(name: str, given: Mapping[str, Any], model: Model, where: str) -> Scheme | None:
    """What one file or key says, by its method."""
    given = _plain(given)
    _dense(given, where)
    inner = given.get("quantization")
    if isinstance(inner, Mapping) and ("quant_algo" in inner or "kv_cache_quant_algo" in inner):
        return _modelopt(inner, model, where)
    method = given.get("quant_method") or given.get("quant_type" if name == "quant_config.json" else "quant_method")
    if method is None:
        method = _unnamed(name, given)
    if method is None:
        raise ValueError(f"{where}: quant_method: Field required")
    if not isinstance(method, str) or method.lower() not in METHODS:
        raise unknown("quant_method", method, METHODS, where)
    return METHODS[method.lower()](given, model, where)


def _dense(given: Mapping[str, Any], where: str) -> None:
    """ValueError for weights of which only some are stored, as those of 2:4 sparsity."""
    sparse = given.get("sparsity_config")
    form = sparse.get("format") or sparse.get("sparsity_structure") if isinstance(sparse, Mapping) else None
    if form not in (None, "dense"):
        raise ValueError(f"{where}: sparsity_config: {shown(form)}: not read, no Model holds sparse weights")
    if given.get("format") == "marlin-24":
        raise ValueError(f"{where}: format = 'marlin-24': not read, no Model holds sparse weights")


def _plain(value: Any) -> Any:
    """Arrays as lists, in mappings of mappings, too."""
    if isinstance(value, Mapping):
        return {str(key): _plain(own) for key, own in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def _unnamed(name: str, given: Mapping[str, Any]) -> str | None:
    """The method of a file that does not name it, by what else it says."""
    if "quant_algo" in given:
        return "modelopt"
    if "config_groups" in given:
        return "compressed-tensors"
    if given.get("load_in_4bit") or given.get("load_in_8bit"):
        return "bitsandbytes"
    if {"w_bit", "q_group_size"} & given.keys() or name == "quant_config.json":
        return "awq"
    if name == "quantize_config.json":
        return "gptq"
    return "mlx" if "bits" in given and "group_size" in given else None


def _number(given: Mapping[str, Any], *keys: str, default: int, allowed: Iterable[int] = (), where: str) -> int:
    """A whole number under the first of some keys that a file has."""
    allowed = tuple(allowed)
    for key in keys:
        if (value := given.get(key)) is not None:
            if isinstance(value, bool) or not isinstance(value, int) or (allowed and value not in allowed):
                expected = f"Input should be {' or '.join(map(str, allowed))}" if allowed else "expected a whole number"
                raise ValueError(f"{where}: {key} = {shown(value)}: {expected}")
            return value
    return default


def _form(name: str, size: int | None, activation: str | None, model: Model, where: str) -> Form:
    """A format with its group, -1 for one of a whole row, of the hidden size."""
    known = GROUP_FORMATS.get(name)
    size = model.hidden_size if size == -1 else size
    own = size if size is not None and known and not known.fixed and size != known.group_size else None
    if known and size is not None and (name.startswith(("awq", "gptq")) or own):
        own = size
    return validated(PartFormat, {"format": name, "group_size": own}, where), activation


def _left_out(given: Mapping[str, Any]) -> dict[str, Form | None]:
    """Modules that stay in 16 bit, by name."""
    return {name: None for key in LEFT_OUT for name in _names(given.get(key))}


def _names(value: Any) -> list[str]:
    """The names in a list of names, a list of such lists, a mapping by name, or in one name; none in None."""
    if isinstance(value, list | tuple | dict):
        return [name for each in value for name in _names(each)]
    return [] if value is None or value == "" else [str(value)]


def _awq(given: Mapping[str, Any], model: Model, where: str) -> Scheme:
    bits = _number(given, "bits", "w_bit", default=4, allowed=(4,), where=where)
    size = _number(given, "group_size", "q_group_size", default=128, where=where)
    assert bits == 4
    return Scheme(_form("awq", size, None, model, where), _left_out(given))


def _gptq(given: Mapping[str, Any], model: Model, where: str) -> Scheme:
    def form(own: Mapping[str, Any]) -> Form | None:
        own = {**given, **own}
        if own.get("bits") is None and own.get("w_bit") is None:
            raise ValueError(f"{where}: bits: Field required")
        bits = _number(own, "bits", "w_bit", default=4, allowed=(2, 3, 4, 8, 16), where=where)
        size = _number(own, "group_size", "q_group_size", default=128, where=where)
        return None if bits == 16 else _form("gptq" if bits == 4 else f"gptq{bits}", size, None, model, where)

    said = _left_out(given)
    for key, each in (*_items(given, "dynamic", where), *_items(given, "extra_config", where)):
        plain = key[2:] if key[:2] in ("-:", "+:") else key
        pattern = plain if given.get("dynamic") is None else f"re:.*{plain.removeprefix('.*')}"
        said[pattern] = None if key.startswith("-:") else form(each)
    default, listed = form({}), _names(given.get("modules_in_block_to_quantize"))
    if listed:
        said, default = said | dict.fromkeys(listed, default), None
    return Scheme(default, said, head=given.get("lm_head") is True)


def _items(given: Mapping[str, Any], key: str, where: str) -> list[tuple[str, Mapping[str, Any]]]:
    """What a file says of some modules each."""
    each = given.get(key) or {}
    if not isinstance(each, Mapping) or not all(isinstance(own, Mapping) for own in each.values()):
        raise ValueError(f"{where}: {key} = {shown(each)}: expected an object of objects")
    return [(str(name), own) for name, own in each.items()]


def _fp8(given: Mapping[str, Any], model: Model, where: str) -> Scheme:
    name, size = "fp8", None
    if (block := given.get("weight_block_size")) is not None:
        block = _names(block)
        if len(block) != 2 or not all(side.isdecimal() and int(side) for side in block):
            raise ValueError(f"{where}: weight_block_size = {shown(block)}: expected two numbers, such as [128, 128]")
        name, size = "fp8_block", int(block[0]) * int(block[1])
    return Scheme(_form(name, size, "fp8", model, where), _left_out(given))


def _mxfp4(given: Mapping[str, Any], model: Model, where: str) -> Scheme:
    form, out = _form("mxfp4", None, None, model, where), _left_out(given)
    return Scheme(form, out, experts_alone=model.moe is not None)


def _bitsandbytes(given: Mapping[str, Any], model: Model, where: str) -> Scheme:
    four, eight = given.get("load_in_4bit"), given.get("load_in_8bit")
    if bool(four) == bool(eight):
        raise ValueError(f"{where}: load_in_4bit = {shown(four)}, load_in_8bit = {shown(eight)}: expected one of them")
    kind = given.get("bnb_4bit_quant_type") or "fp4"  # as the class has it
    if kind not in ("fp4", "nf4"):
        raise unknown("bnb_4bit_quant_type", kind, ("fp4", "nf4"), where)
    four = ("bnb_" * (kind == "fp4")) + kind + "_double" * bool(given.get("bnb_4bit_use_double_quant"))
    name = "int8" if eight else four
    return Scheme(_form(name, None, None, model, where), _left_out(given))


def _mlx(given: Mapping[str, Any], model: Model, where: str) -> Scheme:
    def form(own: Mapping[str, Any]) -> Form:
        if (mode := own.get("mode", "affine")) != "affine":
            if mode not in ("mxfp4", "nvfp4", "mxfp8"):
                raise unknown("mode", mode, ("affine", "mxfp4", "nvfp4", "mxfp8"), where)
            return _form(str(mode), None, None, model, where)
        bits = _number(own, "bits", default=4, allowed=(2, 3, 4, 5, 6, 8), where=where)
        return _form(f"mlx{bits}", _number(own, "group_size", default=64, where=where), None, model, where)

    said: dict[str, Form | None] = {}
    for name, own in given.items():
        if isinstance(own, Mapping):
            said[name] = form({**given, **own})
        elif own is False:
            said[name] = None
    return Scheme(form(given), said, head=True, embeddings=True)


def _modelopt(given: Mapping[str, Any], model: Model, where: str) -> Scheme | None:
    out = _left_out(given)
    kv = _cache(given, where)
    if given.get("config_groups") and "quant_algo" not in given:
        return _compressed(given, model, where)

    def form(own: Mapping[str, Any]) -> Form:
        algorithm = str(own.get("quant_algo")).upper()
        if algorithm not in ALGORITHMS:
            raise unknown("quant_algo", own.get("quant_algo"), ALGORITHMS, where)
        name, activation = ALGORITHMS[algorithm]
        fixed = name in ("nvfp4", "mxfp4", "mxfp8", "fp8", "int8", "fp8_block")
        size = None if fixed else _number(own, "group_size", default=128, where=where)
        return _form(name, size, activation, model, where)

    if given.get("quant_algo") is None:  # a cache in 8 bits beside weights in 16
        return Scheme((PartFormat(format="bf16"), None), kv=kv) if kv else None
    layers = given.get("quantized_layers")
    if str(given["quant_algo"]).upper() != "MIXED_PRECISION":
        return Scheme(form(given), out, kv)
    if not isinstance(layers, Mapping) or not layers:
        raise ValueError(f"{where}: quantized_layers: Field required with quant_algo MIXED_PRECISION")
    return Scheme(None, {name: form(own) for name, own in _items(given, "quantized_layers", where)}, kv)


def _cache(given: Mapping[str, Any], where: str) -> str | None:
    """The format of the KV cache, where a file names one."""
    if algorithm := given.get("kv_cache_quant_algo"):
        known = {"FP8": "fp8", "INT8": "int8", "NVFP4": "nvfp4", "NONE": None}
        if str(algorithm).upper() not in known:
            raise unknown("kv_cache_quant_algo", algorithm, known, where)
        return known[str(algorithm).upper()]
    if not isinstance(scheme := given.get("kv_cache_scheme"), Mapping):
        return None
    bits, kind = scheme.get("num_bits"), scheme.get("type")
    if (bits, kind) not in ((8, "float"), (8, "int"), (4, "float"), (4, "int")):
        raise ValueError(f"{where}: kv_cache_scheme: num_bits = {shown(bits)} of type {shown(kind)}: expected 4 or 8")
    if (bits, kind, scheme.get("group_size")) == (4, "float", 16):
        return "nvfp4"
    return f"{'fp' if kind == 'float' else 'int'}{bits}"


def _compressed(given: Mapping[str, Any], model: Model, where: str) -> Scheme:
    """compressed-tensors' groups: what each of them quantizes, and how; what is ignored stays in 16 bit."""
    if not (groups := _items(given, "config_groups", where)):
        raise ValueError(f"{where}: config_groups: Field required")
    default, said = None, {}
    for group, own in groups:
        form = _group(own, model, f"{where}: {group}")
        for target in _names(own.get("targets", ["Linear"])):
            if target in ("Linear", "RoutedExperts", "FusedMoE"):
                default = form
            else:
                said[target] = form
    return Scheme(default, _left_out(given) | said, _cache(given, where), head=True)


def _group(own: Mapping[str, Any], model: Model, where: str) -> Form:
    """The format of one group of compressed-tensors."""
    weights, inputs = own.get("weights"), own.get("input_activations")
    if not isinstance(weights, Mapping):
        raise ValueError(f"{where}: weights = {shown(weights)}: expected an object with num_bits and type")
    bits, kind = weights.get("num_bits"), weights.get("type", "int")
    size, block = weights.get("group_size"), weights.get("block_structure")
    if isinstance(block, list) and len(block) == 2 and (bits, kind) == (8, "float"):
        size = int(block[0]) * int(block[1])
    size = _number({"group_size": size}, "group_size", default=-1, where=where)
    exact = weights.get("symmetric", True)
    names: dict[tuple[Any, Any], str] = {
        (8, "float"): "fp8_block" if block else "mxfp8" if size == 32 else "fp8",
        (4, "float"): "nvfp4" if size == 16 else "mxfp4",
        (8, "int"): "int8" if size == -1 else "w8a16" if exact else "gptq8", (4, "int"): "w4a16" if exact else "gptq",
        (3, "int"): "gptq3", (2, "int"): "gptq2",
    }  # fmt: skip
    if (bits, kind) not in names:
        raise ValueError(
            f"{where}: num_bits = {shown(bits)} of type {shown(kind)}: expected float 4 or 8, int 2, 3, 4 or 8"
        )
    name, activation = names[bits, kind], None
    if isinstance(inputs, Mapping):
        activation = f"{'fp' if inputs.get('type', 'int') == 'float' else 'int'}{inputs.get('num_bits')}"
        if activation not in ("fp8", "int8", "fp4"):
            raise ValueError(f"{where}: {activation} activations: not modelled, only fp8, int8 and fp4 are")
    grouped = name in GROUP_FORMATS and name not in ("nvfp4", "mxfp4", "mxfp8")
    return _form(name, size if grouped else None, activation, model, where)


def _torchao(given: Mapping[str, Any], model: Model, where: str) -> Scheme:
    kind, data = given.get("quant_type"), given.get("quant_type_kwargs")
    if isinstance(kind, Mapping):
        own = kind.get("default", kind)
        kind, data = (own.get("_type"), own.get("_data")) if isinstance(own, Mapping) else (own, None)
    data = data if isinstance(data, Mapping) else {}
    if not isinstance(kind, str) or kind not in TORCHAO:
        raise unknown("quant_type", kind, TORCHAO, where)
    name, activation = TORCHAO[kind]
    size = _number(data, "group_size", default=128, where=where) if name in GROUP_FORMATS else None
    return Scheme(_form(name, size, activation, model, where), _left_out(given))


#: quant_method: how it is read.
METHODS: dict[str, Callable[[Mapping[str, Any], Model, str], Scheme | None]] = {
    "awq": _awq, "gptq": _gptq, "auto-round": _gptq, "fp8": _fp8, "fbgemm_fp8": _fp8, "mxfp4": _mxfp4,
    "bitsandbytes": _bitsandbytes, "compressed-tensors": _compressed, "modelopt": _modelopt, "modelopt_fp4": _modelopt,
    "torchao": _torchao, "mlx": _mlx,
}  # fmt: skip
