"""How a checkpoint of Hugging Face's is quantized: every spelling of it, as formats by part of the model."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ..catalog import Model, PartFormat, Quantization
from ..catalog.dtypes import compute_dtype
from ..common.errors import shown
from ..common.matrices import embedding_weights, layer_matrices
from ..common.yaml_records import validated
from ..operators import OPERATORS
from .keys import STATED
from .methods import Form, Scheme, read_scheme
from .modules import ENDS, Match, match, pieces

#: Files beside a config.json that say how it is quantized: modelopt's, GPTQ's and AWQ's.
SIDECARS = ("hf_quant_config.json", "quantize_config.json", "quant_config.json")

#: In place of the format of all activations, where parts of the model have several.
BY_PART = "by part"


def quantization(
    config: Mapping[str, Any], sidecars: Mapping[str, Any], model: Model, where: str
) -> Quantization | None:
    """How the checkpoint of a config.json is quantized.

    Parameters
    ----------
    config : mapping
        The parsed file, of the language model, with what stands outside of it.
    sidecars : mapping
        Those of `SIDECARS` that lie beside it, parsed, by name.
    model : Model
        The sizes, without a quantization.
    where : str
        What a message begins with.

    Returns
    -------
    Quantization or None
        None where no file names one. Where some matrices of a part are stored otherwise, its format is that of most of
        its weights, with the mean width of all.

    Raises
    ------
    ValueError
        In one line, for a method or a number that is not known, a module that is not, and files that do not agree.
    """
    given_by = {key: config.get(key) for key in STATED} | {name: sidecars.get(name) for name in SIDECARS}
    stated = {
        name: given
        for name, given in given_by.items()
        if given is not None and not (isinstance(given, Mapping) and not given)
    }
    found: dict[str, Quantization] = {}
    for name, given in stated.items():
        place = f"{where}: {name}"
        if not isinstance(given, Mapping):
            raise ValueError(f"{place}: the entry = {shown(given)}: Input should be a valid dictionary")
        if scheme := read_scheme(name, given, model, place):
            found[name] = _by_part(scheme, config, model, place)
    if not found:
        return None
    first, *others = found
    merged = found[first]
    for other in others:
        for field in Quantization.model_fields:
            ours, theirs = getattr(merged, field), getattr(found[other], field)
            if ours is not None and theirs is not None and ours != theirs:
                raise ValueError(f"{where}: {field} is {ours} by {first} and {theirs} by {other}")
        own = {name: value for name in ("kv", "activation") if (value := getattr(found[other], name))}
        merged = merged.model_copy(update=own)
    return merged


# Of the whole checkpoint ------------------------------------------------------------------------------------------


def _by_part(scheme: Scheme, config: Mapping[str, Any], model: Model, where: str) -> Quantization:
    """A scheme as formats by part, from the format of every matrix of every layer."""
    said, plain = match(scheme.said, model, where), (PartFormat(format="bf16"), None)
    counts: dict[str, Counter[Form]] = {}
    for name, matrix in layer_matrices(model).items():
        operand = OPERATORS[name].operand if name in OPERATORS else "residual"
        if operand in ("residual", "activation"):
            continue
        part = "other" if operand == "weight" else operand
        default = None if scheme.experts_alone and part != "experts" else scheme.default
        counted = counts.setdefault(part, Counter())
        for tails, piece in pieces(name, model):
            for form, share in _shares(said, name, tails, default, config, model, where).items():
                counted[form or plain] += round(share * piece * matrix.weights)
    for part, covered in (("lm_head", scheme.head), ("embeddings", scheme.embeddings)):
        form = said.get(ENDS[part], scheme.default if covered else None)
        if part == "lm_head" and model.tied_embeddings:  # the embeddings' matrix, where those are narrow
            form = said.get(ENDS["embeddings"], scheme.default) if scheme.embeddings else None
        if form:
            counts[part] = Counter({form: embedding_weights(model)})
    stored = {part: _mean(counted) for part, counted in counts.items()}
    narrow = {form for counted in counts.values() for form in counted if form != plain}
    if not narrow and scheme.kv:
        return Quantization(format="bf16", kv=scheme.kv)
    if not narrow:
        raise ValueError(f"{where}: all modules are left out")
    layers: Counter[str] = Counter()
    for part, counted in counts.items():
        if part not in ("lm_head", "embeddings") and stored[part].format != "bf16":
            layers[part] = counted.total()
    activation, own = _activation(narrow), dict[str, str | None]()
    if activation == BY_PART:
        own = {part: _activation(form for form in counted if form != plain) for part, counted in counts.items()}
        if several := [part for part, one in own.items() if one == BY_PART]:
            raise ValueError(f"{where}: {several[0]}: activations in several formats: expected one for each part")
    most = max(layers, key=lambda part: layers[part]) if layers else None
    main = stored[most] if most else next(iter(narrow))[0]
    activation = own.get(most) if own and most else activation
    for part, one in own.items():
        if one != activation and stored[part].format != "bf16":
            stored[part] = stored[part].model_copy(update={"activation": one or "bf16"})
    others = {part: form for part, form in stored.items() if form != main or part in ("lm_head", "embeddings")}
    experts_alone = [*layers] == ["experts"] and all(form.format == "bf16" for form in others.values())
    fields: dict[str, Any] = main.model_dump() | {"kv": scheme.kv, "activation": activation}
    fields |= {"scope": "experts"} if experts_alone else {part: form.model_dump() for part, form in others.items()}
    return validated(Quantization, fields, f"{where}: quantization")


def _mean(counted: Mapping[Form, int]) -> PartFormat:
    """The format of most of some weights, with the mean of all, where there are others."""
    most = max(counted, key=lambda form: counted[form])[0]
    if len({form for form, _ in counted}) == 1:
        return most
    bits = sum(8 * form.width * count for (form, _), count in counted.items()) / sum(counted.values())
    return PartFormat(format=most.format, group_size=most.group_size, bits=bits)


def _activation(forms: Iterable[Form]) -> str | None:
    """The format of activations with which every product computes as its own would; `BY_PART` where none is."""
    pairs = {(form.format, activation) for form, activation in forms}
    asked = {activation for _, activation in pairs}
    if asked <= {None}:
        return None
    for one in ("fp4", "fp8", "int8"):
        if one in asked and all(own and compute_dtype(form, one) == compute_dtype(form, own) for form, own in pairs):
            return one
    return BY_PART


def _shares(
    said: Match, name: str, tails: list[str], default: Form | None, config: Mapping[str, Any], model: Model, where: str
) -> dict[Form | None, float]:
    """The formats of one matrix, or of a piece of it, each with its share of the layers that have it."""
    if name in ENDS:
        return {said.get(ENDS[name], default): 1.0}
    if not said.by_layer:
        return {said.get([f"layers.0.{tail}" for tail in tails], default): 1.0}
    if model.n_layers > 10_000:
        raise ValueError(f"{where}: names by layer of {model.n_layers:,} layers: allowed are up to 10,000")
    layers = _layers(name, config, model)
    own = Counter(said.get([f"layers.{i}.{tail}" for tail in tails], default) for i in layers)
    have = layer_matrices(model)[name].layers
    if len(layers) == have or len(own) == 1:
        return {form: count / len(layers) for form, count in own.items()}
    named = {
        form: count for form, count in own.items() if form != default
    }  # of all layers, those that have it are named
    if sum(named.values()) > have:
        raise ValueError(f"{where}: which layers have {name} is not known, so not how many are left out")
    return {form: count / have for form, count in named.items()} | {default: 1 - sum(named.values()) / have}


def _layers(name: str, config: Mapping[str, Any], model: Model) -> list[int]:
    """Layers that have a matrix, where the config says; else all of them."""
    every = list(range(model.n_layers))
    part, types = OPERATORS[name].operand, config.get("layer_types")
    kda = config.get("linear_attn_config")
    if isinstance(kda, Mapping) and isinstance(full := kda.get("full_attn_layers"), list):  # Kimi Linear's, from 1
        types = ["full_attention" if i + 1 in full else "linear_attention" for i in every]
    if part in ("attention", "linear_attention") and isinstance(types, list) and len(types) == len(every):
        return [i for i in every if (types[i] in ("linear_attention", "mamba")) == (part == "linear_attention")]
    dense = config.get("first_k_dense_replace")
    if part in ("mlp", "experts", "shared") and model.moe and isinstance(dense, int) and dense == model.dense_layers:
        return every[:dense] if part == "mlp" else every[dense:]
    return every
