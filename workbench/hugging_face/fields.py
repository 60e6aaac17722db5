"""ConfigFields of a config.json: whole numbers, flags and lists, each checked as it is read."""

from collections.abc import Mapping
from typing import Any

from ..common.errors import shown
from .families import Family
from .keys import SPELLINGS, STATED, as_plain

#: Most layers of a model [1]: they are counted one by one. Most of any size [1].
MOST_LAYERS, MOST_OF_ANY = 10**5, 10**9
#: Fields whose null says something, and not that the class's default holds.
NULLABLE = {
    "sliding_window",
    "q_lora_rank",
    "head_dim",
    "num_key_value_heads",
    "n_shared_experts",
    "attention_chunk_size",
}


class ConfigFields:
    """The fields of a config.json with the defaults of its family; remembers which were read.

    Parameters
    ----------
    given : mapping
        Of the language model.
    family : Family
        Of the model.
    where : str
        What messages begin with.
    """

    def __init__(self, given: Mapping[str, Any], family: Family, where: str) -> None:
        """Objects within, of `family.parts`, have their fields as "part.field"."""
        parts = {name: given[name] for name in family.parts if isinstance(given.get(name), Mapping)}
        inner = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}
        self.given: dict[str, Any] = {**given, **inner}
        self.family, self.where = family, where
        self.read = {*STATED, *family.parts, *family.harmless}

    def name(self, field: str) -> str:
        """What messages call a field: as the file spells it, else as its family does."""
        keys = self._keys(field)
        return next((key for key in keys if self.given.get(key) is not None), keys[0])

    def _keys(self, field: str) -> tuple[str, ...]:
        own = self.family.keys.get(field)
        keys = SPELLINGS.get(field, (field,))
        return (own, *(key for key in keys if key != own)) if own else keys

    def get(self, field: str, default: Any = None) -> Any:
        """The value as given, else the family's default, else `default`; ValueError for two values of one thing."""
        keys = self._keys(field)
        self.read.update(keys)
        there = {key: value for key in keys if (value := as_plain(self.given.get(key))) is not None}
        if there:
            first, *others = there
            if field not in self.family.keys:
                for other in others:
                    if there[other] != there[first]:
                        raise self.error(first, f"{other} = {shown(there[other])} says otherwise", there[first])
            return there[first]
        if field in NULLABLE and any(key in self.given for key in keys):
            return None
        return self.family.defaults.get(field, default)

    def count(self, field: str, default: int | None = None, *, least: int = 1, most: int = MOST_OF_ANY) -> Any:
        """A whole number from `least` on, or the default where there is none."""
        value = self.get(field, default)
        if self.family.listed and isinstance(value, list) and value and value.count(value[0]) == len(value):
            value = value[0]  # the same of all layers
        if value is None or (type(value) is int and least <= value <= most):
            return value
        raise self.error(
            self.name(field), f"expected a whole number from {least}" + f" to {most}" * (most < MOST_OF_ANY), value
        )

    def need(self, field: str, *, least: int = 1, most: int = MOST_OF_ANY) -> int:
        """A whole number that has to be there."""
        value = self.count(field, least=least, most=most)
        if value is None:
            raise ValueError(f"{self.where}: {self.name(field)}: Field required")
        return int(value)

    def flag(self, field: str, default: bool = False) -> bool:
        """True or false."""
        value = self.get(field, default)
        if type(value) is not bool:
            raise self.error(self.name(field), "expected true or false", value)
        return value

    def items(self, field: str, kinds: type | tuple[str, ...], length: int | None = None) -> list[Any] | None:
        """A list of values of one type, or of some of `kinds`, of a given length."""
        value = self.get(field)
        if value is None:
            return None
        if not isinstance(value, list | tuple):
            raise self.error(self.name(field), "expected a list", value)
        for at, item in enumerate(value):
            if not (type(item) is kinds if isinstance(kinds, type) else isinstance(item, str) and item in kinds):
                allowed = kinds.__name__ if isinstance(kinds, type) else " or ".join(map(repr, kinds))
                raise self.error(f"{self.name(field)}.{at}", f"expected {allowed}", item)
        if length is not None and len(value) != length:
            raise ValueError(f"{self.where}: {self.name(field)}: must have {length} entries, found {len(value)}")
        return list(value)

    def must(self, field: str, *allowed: Any) -> None:
        """ValueError where a field has another value than those that a `Model` can hold."""
        value = self.get(field, allowed[0])
        if not any(type(value) is type(each) and value == each for each in allowed):
            raise self.error(self.name(field), f"not modelled, only {' or '.join(map(repr, allowed))} is", value)

    def error(self, name: str, why: str, value: Any) -> ValueError:
        """The error for a value, in one line."""
        return ValueError(f"{self.where}: {name} = {shown(value)}: {why}")
