"""Sizes of the models that `measure` times: the catalog's, or a config.json's, read with the standard library alone.

They stand in for the catalog's `Model`, which needs more: operators read the same fields of both.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from ..common.errors import shown, unknown
from ..common.names import found, written_names
from ..common.project import DATA
from ..config_keys import FAMILIES, SPELLINGS, Family, check_architecture, check_keys
from ..files.reading import given_file, own_path, parse_json, read_small


@dataclass(frozen=True)
class WindowSizes:
    """Layers [1] whose queries see the last `size` tokens only [token]."""

    size: int
    layers: int


@dataclass(frozen=True)
class ExpertSizes:
    """A mixture of experts: their number, those of a token, the size of one, and the layers that have them [1]."""

    n_experts: int
    experts_per_token: int
    intermediate_size: int
    layers: int
    shared_intermediate_size: int | None = None


@dataclass(frozen=True)
class LatentSizes:
    """Multi-head latent attention: ranks and head sizes [1]."""

    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    q_lora_rank: int | None = None

    @property
    def qk_head_dim(self) -> int:
        """Size of a head's query and key [1]."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    @property
    def latent_dim(self) -> int:
        """Elements that the cache keeps of a token in one layer [1]."""
        return self.kv_lora_rank + self.qk_rope_head_dim


@dataclass(frozen=True)
class ModelSizes:
    """What operators read of a model, sizes in [1]."""

    hidden_size: int
    intermediate_size: int
    n_layers: int
    n_heads: int
    head_dim: int
    vocab_size: int
    n_kv_heads: int = 0  #: 0: as many as there are query heads
    gated: bool = True
    tied_embeddings: bool = False
    learned_positions: int | None = None
    sliding_window: WindowSizes | None = None
    moe: ExpertSizes | None = None
    mla: LatentSizes | None = None
    id: str = field(default="tiny", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_kv_heads", self.n_kv_heads or self.n_heads)

    @property
    def dense_layers(self) -> int:
        """Layers with one ordinary MLP [1]."""
        return self.n_layers - (self.moe.layers if self.moe else 0)

    @property
    def kv_elements_per_token(self) -> int:
        """Elements that one token adds to the cache over all layers [1]."""
        if self.mla:
            return self.n_layers * self.mla.latent_dim
        return self.n_layers * 2 * self.n_kv_heads * self.head_dim


PART_SIZES: dict[str, Any] = {"sliding_window": WindowSizes, "moe": ExpertSizes, "mla": LatentSizes}
FIELDS = frozenset(ModelSizes.__dataclass_fields__) - {"id"}


@cache
def catalog_models() -> tuple[str, ...]:
    """Ids of the catalog's models, in alphabetical order."""
    names = (file.name for file in (DATA / "models").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def find_model(name: "str | ModelSizes") -> ModelSizes:
    """A model of the catalog, or that of a config.json (or of a folder that holds one); ValueError if there is none."""
    if isinstance(name, ModelSizes):
        return name
    if name not in catalog_models() and (path := own_path(name)):
        return from_config(path / "config.json" if path.is_dir() else path)
    return _entry(found("model", name, _other_names(), "workbench models"))


@cache
def _other_names() -> dict[str, list[str]]:
    """What else each model of the catalog is called."""
    return {name: written_names((DATA / "models" / f"{name}.yaml").read_text("utf-8")) for name in catalog_models()}


@cache
def _entry(name: str) -> ModelSizes:
    """A catalog entry: of its YAML the plain fields, a line each."""
    text = (DATA / "models" / f"{name}.yaml").read_text(encoding="utf-8")
    lines = (re.fullmatch(r"(\w+): (.+)", line) for line in text.splitlines())
    given = {line[1]: line[2] for line in lines if line and line[1] in FIELDS}
    return ModelSizes(**{key: _value(key, text) for key, text in given.items()}, id=name)


def _value(key: str, text: str) -> Any:
    """A number, a bool, or a part `{name: number, ...}`."""
    if key in PART_SIZES:
        return PART_SIZES[key](**{name: int(number) for name, number in re.findall(r"(\w+): (\d+)", text)})
    return {"true": True, "false": False}[text] if text in ("true", "false") else int(text)


# A config.json ----------------------------------------------------------------------------------------------------


MOST_LAYERS = 10**5  # they are counted one by one


class _Config:
    """The fields of a config.json with the defaults of its family; remembers which were read."""

    def __init__(self, given: Mapping[str, Any], family: Family, where: str):
        self.given, self.family, self.where = {**family.defaults, **given}, family, where
        self.read = {"quantization_config"}

    def get(self, name: str, default: Any = None, *, least: int = 1) -> Any:
        """A whole number from `least` on, or the default where there is none."""
        value = self._found(name)
        if value is None:
            return default
        if type(value) is not int or not least <= value < 10**9:
            raise ValueError(f"{self.where}: {name} = {shown(value)}: expected a whole number from {least}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """A bool."""
        value = self._found(name)
        if value is not None and type(value) is not bool:
            raise ValueError(f"{self.where}: {name} = {shown(value)}: expected true or false")
        return default if value is None else value

    def listed(self, name: str) -> list[Any] | None:
        """A list."""
        value = self._found(name)
        if value is not None and type(value) is not list:
            raise ValueError(f"{self.where}: {name} = {shown(value)}: expected a list")
        return value

    def _found(self, name: str) -> Any:
        keys = SPELLINGS.get(name, (name,))
        self.read |= set(keys)
        return next((self.given[key] for key in keys if self.given.get(key) is not None), None)

    def need(self, name: str) -> Any:
        """A field that has to be there."""
        value = self.get(name)
        if value is None:
            raise ValueError(f"{self.where}: {name}: Field required")
        return value

    def experts(self, layers: int) -> ExpertSizes | None:
        """The mixture of experts, and which layers have one."""
        if self.family.expert_size is None:
            return None
        size, shared = self.need(self.family.expert_size), self.get("n_shared_experts", 0, least=0)
        first, dense = self.get("first_k_dense_replace", 0, least=0), self.listed("mlp_only_layers") or []
        every, step = self.get("moe_layer_freq", 1), self.get("decoder_sparse_step", 1)
        last = min(layers, MOST_LAYERS)
        sparse = (i % every == 0 and (i + 1) % step == 0 and i not in dense for i in range(first, last))
        counts = self.need("n_experts"), self.need("num_experts_per_tok"), size, sum(sparse)
        return ExpertSizes(*counts, shared * size or None) if counts[-1] else None

    def window(self, layers: int) -> WindowSizes | None:
        """The sliding window, and how many layers have it."""
        size, types = self.get("sliding_window"), self.listed("layer_types")
        uses, full = self.flag("use_sliding_window", True), self.get("max_window_layers", 0, least=0)
        pattern = self.get("sliding_window_pattern")
        windowed = layers - (layers // pattern if pattern else min(full, layers))
        windowed = windowed if types is None else types.count("sliding_attention")
        return WindowSizes(size, windowed) if size and uses and windowed else None

    def latent(self) -> LatentSizes | None:
        """Multi-head latent attention."""
        if not self.family.latent:
            return None
        names = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
        return LatentSizes(**{name: self.need(name) for name in names}, q_lora_rank=self.get("q_lora_rank"))


def from_config(path: Path) -> ModelSizes:
    """The sizes that a Hugging Face config.json says, with transformers' defaults of its model type."""
    where = str(path)
    try:
        given = parse_json(read_small(given_file(path)), where)
    except FileNotFoundError:
        raise ValueError(f"{where}: no such file") from None
    kind = given.get("model_type") if isinstance(given, dict) else None
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ValueError(f"{where}: {unknown('model_type', kind if isinstance(kind, str) else None, FAMILIES)}")
    check_architecture(given.get("architectures"), kind, where)
    family = FAMILIES[kind]
    if family.nested:
        outer = {key: given[key] for key in ("quantization_config", "tie_word_embeddings") if key in given}
        if not isinstance(inner := given.get(family.nested), dict):
            raise ValueError(f"{where}: {family.nested}: expected an object, found {type(inner).__name__}")
        config = _Config(outer | inner, family, where)
    else:
        config = _Config(given, family, where)
    return _sizes(config, str(given.get("_name_or_path") or path.resolve().parent.name or kind))


def _sizes(config: _Config, name: str) -> ModelSizes:
    family, layers, heads = config.family, config.need("num_hidden_layers"), config.need("num_attention_heads")
    hidden, experts, latent = config.need("hidden_size"), config.experts(layers), config.latent()
    width = config.get("intermediate_size") or hidden * (family.mlp_ratio or 0)
    if experts and experts.layers == layers:  # no layer has a dense MLP
        width = experts.intermediate_size
    positions = config.get("max_position_embeddings", 0)
    new, kv = config.flag("new_decoder_architecture", False), config.get("num_key_value_heads", heads)
    kv = 1 if config.flag("multi_query", False) and not new else kv
    head_dim = config.get("head_dim") or hidden // heads
    sizes = ModelSizes(
        hidden, width or config.need("intermediate_size"), layers, heads,
        latent.qk_head_dim if latent else head_dim, config.need("vocab_size"), heads if latent else kv, family.gated,
        config.flag("tie_word_embeddings", False),
        None if family.extra_positions is None else positions + family.extra_positions,
        config.window(layers), experts, latent, re.sub(r"[^a-z0-9._-]+", "-", PurePosixPath(name).name.lower()),
    )  # fmt: skip
    config.get("num_nextn_predict_layers", least=0)
    check_keys(config.given, config.read, config.where, "not read, and changes the arithmetic")
    if not sizes.head_dim or layers >= MOST_LAYERS:
        raise ValueError(f"{config.where}: {heads} heads of {hidden} in {layers} layers: no model has these")
    if heads % sizes.n_kv_heads:
        raise ValueError(f"{config.where}: n_heads {heads} is not a multiple of n_kv_heads {sizes.n_kv_heads}")
    return sizes
