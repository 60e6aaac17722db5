"""From a Hugging Face config.json to a `Model`: no download, and no guess beyond transformers' class defaults."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AliasChoices, AliasGenerator, BaseModel, ConfigDict, Field

from .catalog import Model
from .common.errors import unknown
from .common.yaml_records import Count, validated
from .config_keys import FAMILIES, SPELLINGS, Family, check_architecture, check_keys
from .files.reading import check_depth, given_file, parse_json, read_small
from .hugging_face_quantization import STATED, quantization

Index = Annotated[int, Field(ge=0)]
Layers = Annotated[int, Field(gt=0, lt=10**5)]  # they are counted one by one


class _Part(BaseModel):
    model_config = ConfigDict(  # fields that no size follows from are ignored
        frozen=True,
        strict=True,
        alias_generator=AliasGenerator(validation_alias=lambda field: AliasChoices(*SPELLINGS.get(field, (field,)))),
    )


class HfConfig(_Part):
    """The fields of a config.json that every model's sizes follow from."""

    hidden_size: Count
    num_hidden_layers: Layers
    num_attention_heads: Count
    num_nextn_predict_layers: Index | None = None
    num_key_value_heads: Count | None = None
    head_dim: Count | None = None
    intermediate_size: Count | None = None
    moe_intermediate_size: Count | None = None
    vocab_size: Count
    max_position_embeddings: Count | None = None
    word_embed_proj_dim: Count | None = None
    tie_word_embeddings: bool = False
    multi_query: bool = False
    new_decoder_architecture: bool = False
    sliding_window: Count | None = None
    use_sliding_window: bool = True
    max_window_layers: Index = 0
    sliding_window_pattern: Count | None = None
    layer_types: list[Literal["full_attention", "sliding_attention"]] | None = None

    @property
    def kv_heads(self) -> int:
        """KV heads [1]; Falcon's multi_query means one, whatever its files say beside it."""
        if self.multi_query and not self.new_decoder_architecture:
            return 1
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def window(self) -> dict[str, int] | None:
        """Size of the sliding window [token] and how many layers have it [1]."""
        layers = self.num_hidden_layers
        if not (self.sliding_window and self.use_sliding_window):
            return None
        if self.layer_types is not None:
            windowed = self.layer_types.count("sliding_attention")
        elif self.sliding_window_pattern:  # the last layer of each group of this size sees everything
            windowed = layers - layers // self.sliding_window_pattern
        else:  # Qwen: the first layers see everything
            windowed = layers - min(self.max_window_layers, layers)
        return {"size": self.sliding_window, "layers": windowed} if windowed else None


class HfExperts(_Part):
    """A config.json's mixture of experts, and which layers have one."""

    n_experts: Count
    num_experts_per_tok: Count
    n_shared_experts: Index | None = None
    first_k_dense_replace: Index = 0
    moe_layer_freq: Count = 1
    decoder_sparse_step: Count = 1
    mlp_only_layers: list[Index] = []

    def layers(self, n_layers: int) -> int:
        """Layers with experts [1]; a family sets one of the four rules and leaves the others neutral."""
        dense = set(self.mlp_only_layers)
        return sum(
            layer % self.moe_layer_freq == 0 and (layer + 1) % self.decoder_sparse_step == 0 and layer not in dense
            for layer in range(self.first_k_dense_replace, n_layers)
        )


class HfLatent(_Part):
    """A config.json's multi-head latent attention; a null q_lora_rank means full-rank queries."""

    q_lora_rank: Count | None
    kv_lora_rank: Count
    qk_nope_head_dim: Count
    qk_rope_head_dim: Count
    v_head_dim: Count


def from_hf_config(path_or_dict: str | Path | Mapping[str, object]) -> Model:
    """Model that a Hugging Face ``config.json`` describes; nothing is downloaded.

    Parameters
    ----------
    path_or_dict : str, Path or mapping
        The path of the file, or of a directory that holds a ``config.json``; or the parsed file.

    Returns
    -------
    Model
        The sizes that a catalog entry has, without a published parameter count.

    Raises
    ------
    ValueError
        In one line with the file, the field and the value, where a size is missing, is not a count, or the model type
        is unknown.
    """
    try:
        if isinstance(path_or_dict, Mapping):
            check_depth(dict(path_or_dict), "config dict")
            return _model(path_or_dict, "config dict", folder="", source="dict")
        if not isinstance(path_or_dict, str | Path):
            raise ValueError(f"expected the path of a config.json or a dict, found {type(path_or_dict).__name__}")
        path = Path(path_or_dict).expanduser()
        path = path / "config.json" if path.is_dir() else path
        return _model(_read_config(path), str(path), folder=path.resolve().parent.name, source=path.name)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; give a config.json on this machine, nothing is downloaded") from None
    except (OSError, RuntimeError) as error:  # a path too long, a folder without permission, a home of nobody
        raise ValueError(f"{str(path_or_dict)[:200]}: {getattr(error, 'strerror', None) or error}") from None


def _read_config(path: Path) -> dict[str, object]:
    config = parse_json(read_small(given_file(path)), str(path))
    if not isinstance(config, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(config).__name__}")
    return config


def _model(given: Mapping[str, object], where: str, *, folder: str, source: str) -> Model:
    model_type = given.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        short = None if model_type is None else str(model_type)[:80]
        raise ValueError(f"{where}: {unknown('model_type', short, FAMILIES)}")
    family = FAMILIES[model_type]
    name = given.get("_name_or_path")
    name = (PurePosixPath(name).name if isinstance(name, str) else "") or folder or model_type
    fields = {"id": name.lower(), "name": name, "family": model_type, "sources": {"config": source}}
    config = {**family.defaults, **_language_model(given, family, where)}
    check_architecture(given.get("architectures"), model_type, where)
    check_keys(config, _read_keys(family), where, f"not read in a {model_type}, and changes its arithmetic")
    sizes = validated(Model, fields | _sizes(config, family, where), where)
    return sizes.model_copy(update={"quantization": quantization(config, {}, sizes, where)})


def _language_model(given: Mapping[str, object], family: Family, where: str) -> Mapping[str, object]:
    if family.nested is None:
        return given
    part = given.get(family.nested)
    if not isinstance(part, Mapping):
        raise ValueError(f"{where}: {family.nested}: expected an object, found {type(part).__name__}")
    outer = (*STATED, "tie_word_embeddings")
    return {**{key: given[key] for key in outer if key in given}, **part}


def _sizes(config: Mapping[str, object], family: Family, where: str) -> dict[str, object]:
    """The catalog's fields from the file's; the schema of `Model` then checks how they fit together."""
    hf = validated(HfConfig, config, where)
    _check(hf, family, where)
    latent = validated(HfLatent, config, where) if family.latent else None
    experts = _experts(config, hf, family, where)
    mlp = hf.intermediate_size or hf.hidden_size * (family.mlp_ratio or 0)
    if experts and experts["layers"] == hf.num_hidden_layers:  # no layer has a dense MLP
        mlp = getattr(hf, str(family.expert_size))
    head_dim = hf.head_dim or hf.hidden_size // hf.num_attention_heads
    positions = (hf.max_position_embeddings or 0) + (family.extra_positions or 0)
    return {
        "hidden_size": hf.hidden_size,
        "intermediate_size": mlp,
        "n_layers": hf.num_hidden_layers,
        "n_heads": hf.num_attention_heads,
        "n_kv_heads": hf.num_attention_heads if latent else hf.kv_heads,
        "head_dim": latent.qk_nope_head_dim + latent.qk_rope_head_dim if latent else head_dim,
        "vocab_size": hf.vocab_size,
        "gated": family.gated,
        "tied_embeddings": hf.tie_word_embeddings,
        "learned_positions": None if family.extra_positions is None else positions,
        "max_context": hf.max_position_embeddings,
        "sliding_window": hf.window,
        "moe": experts,
        "mla": latent and latent.model_dump(),
        "mtp_layers": hf.num_nextn_predict_layers or None,
    }


def _read_keys(family: Family) -> set[str]:
    """Keys of a config.json that a family's sizes are read from."""
    parts: list[type[BaseModel]] = [HfConfig, *[HfExperts] * bool(family.expert_size), *[HfLatent] * family.latent]
    read = {key for part in parts for field in part.model_fields for key in SPELLINGS.get(field, (field,))}
    return read - {"moe_intermediate_size"} | {*STATED, family.expert_size or "hidden_size"}


def _check(hf: HfConfig, family: Family, where: str) -> None:
    hidden, heads, layers = hf.hidden_size, hf.num_attention_heads, hf.num_hidden_layers
    width, types = hf.word_embed_proj_dim, hf.layer_types
    whole = hf.head_dim or family.latent or hidden % heads == 0
    required = {
        "intermediate_size": hf.intermediate_size or family.mlp_ratio,
        "max_position_embeddings": hf.max_position_embeddings or family.extra_positions is None,
        family.expert_size: family.expert_size is None or getattr(hf, family.expert_size),
        f"head_dim (as {heads} heads do not divide hidden_size {hidden})": whole,
    }
    problems = [f"{field}: Field required" for field, present in required.items() if not present]
    if width not in (None, hidden):
        problems.append(f"word_embed_proj_dim = {width}: must be hidden_size {hidden}, no projection is modelled")
    if types is not None and len(types) != layers:
        problems.append(f"layer_types: must have num_hidden_layers {layers} entries, found {len(types)}")
    if problems:
        raise ValueError(f"{where}: {problems[0]}")


def _experts(config: Mapping[str, object], hf: HfConfig, family: Family, where: str) -> dict[str, int | None] | None:
    if family.expert_size is None:
        return None
    experts = validated(HfExperts, config, where)
    size, layers = getattr(hf, family.expert_size), experts.layers(hf.num_hidden_layers)
    if not layers:
        return None
    return {
        "n_experts": experts.n_experts,
        "experts_per_token": experts.num_experts_per_tok,
        "intermediate_size": size,
        "layers": layers,
        "shared_intermediate_size": (experts.n_shared_experts or 0) * size or None,
    }
