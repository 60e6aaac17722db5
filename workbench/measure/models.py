"""Sizes of the models that `measure` times: the catalog's, or a config.json's, read with the standard library alone.

They stand in for the catalog's `Model`, which needs more: operators read the same fields of both.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ..common.layers import LayerCounts
from ..common.names import found, written_names
from ..common.project import DATA
from ..files.reading import YAML, own_path
from ..hugging_face import config_path, folder_name, model_name, read_config
from ..hugging_face.reading import read_sizes


@dataclass(frozen=True)
class WindowSizes:
    """LayerCounts [1] whose queries see the last `size` tokens only [token]."""

    chunked = n_heads = n_kv_heads = head_dim = v_head_dim = shared_kv_layers = None

    size: int
    layers: int


@dataclass(frozen=True)
class ExpertSizes:
    """A mixture of experts: their number, those of a token, the size of one, and the layers that have them [1]."""

    dense_beside = latent_size = gated = None

    n_experts: int
    experts_per_token: int
    intermediate_size: int
    layers: int
    shared_intermediate_size: int | None = None

    @property
    def router_columns(self) -> int:
        """Scores of a token [1]."""
        return self.n_experts


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
class ModelSizes(LayerCounts):
    """What operators read of a model, sizes in [1]; None is what no model has that is timed."""

    attention_layers = mlp_layers = kv_heads_by_layer = intermediate_by_layer = v_head_dim = None
    values_are_keys = shared_kv_layers = linear_attention = indexer = per_layer_embedding = None
    attention_gate = False

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
    qk_norm: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_kv_heads", self.n_kv_heads or self.n_heads)


PART_SIZES: dict[str, Any] = {"sliding_window": WindowSizes, "moe": ExpertSizes, "mla": LatentSizes}
FIELDS = frozenset(ModelSizes.__dataclass_fields__) - {"id"}
#: What a model may have that is not timed: fields of it and of its parts.
UNTIMED = {
    "attention_layers", "mlp_layers", "kv_heads_by_layer", "intermediate_by_layer", "v_head_dim", "attention_gate",
    "values_are_keys", "shared_kv_layers", "linear_attention", "indexer", "per_layer_embedding", "chunked",
    "dense_beside", "latent_size", "shared_gate",
}  # fmt: skip


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
        if path.suffix in YAML:
            raise ValueError(f"{path}: measure takes models of the catalog, and config.json files")
        return from_config(config_path(path))
    return _entry(found("model", name, _other_names(), "workbench models"))


@cache
def _other_names() -> dict[str, list[str]]:
    """What else each model of the catalog is called."""
    return {name: written_names((DATA / "models" / f"{name}.yaml").read_text("utf-8")) for name in catalog_models()}


@cache
def _entry(name: str) -> ModelSizes:
    """A catalog entry: of its YAML the plain fields, a line each."""
    text = (DATA / "models" / f"{name}.yaml").read_text(encoding="utf-8")
    keys = re.findall(r"(\w+): ", re.sub(r"^(mla|notes): .*", "", text, flags=re.MULTILINE))
    if untimed := UNTIMED.intersection(keys):
        raise ValueError(f"{name} has {', '.join(sorted(untimed))}, which measure does not time")
    lines = (re.fullmatch(r"(\w+): (.+)", line) for line in text.splitlines())
    given = {line[1]: line[2] for line in lines if line and line[1] in FIELDS}
    return ModelSizes(**{key: _value(key, text) for key, text in given.items()}, id=name)


def _value(key: str, text: str) -> Any:
    """A number, a bool, or a part `{name: number, ...}`."""
    if key in PART_SIZES:
        return PART_SIZES[key](**{name: int(number) for name, number in re.findall(r"(\w+): (\d+)", text)})
    return {"true": True, "false": False}[text] if text in ("true", "false") else int(text)


# A config.json ----------------------------------------------------------------------------------------------------

#: What a config.json says that no kernel's time follows from.
PASSED = {"family", "max_context", "mtp_layers", "notes"}


def from_config(path: Path) -> ModelSizes:
    """The sizes that a Hugging Face config.json says; ValueError where no kernel of the model's is timed."""
    given, where = read_config(path), str(path)
    fields, _ = read_sizes(given, where)
    sizes = {key: _measured(key, value, where) for key, value in fields.items() if key not in PASSED}
    name = re.sub(r"[^a-z0-9._-]+", "-", model_name(given, folder_name(path)).lower())
    return ModelSizes(**{"tied_embeddings": False} | sizes, id=name)


def _measured(key: str, value: Any, where: str) -> Any:
    """A size, or a part, whose fields are all measured."""
    if key in FIELDS and isinstance(value, bool | int):
        return value
    part = PART_SIZES.get(key)
    given = {name: each for name, each in value.items() if each not in (None, False)} if isinstance(value, dict) else {}
    more = [name for name in given if part is None or name not in part.__dataclass_fields__]
    if part is None or more:
        raise ValueError(f"{where}: its {'.'.join((key, *more[:1])) if part else key}: no kernel of that is measured")
    return part(**given)
