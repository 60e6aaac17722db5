"""Records read from YAML: frozen, strict, and refused in one line that names the place, the field and the value."""

from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .names import unknown

Count = Annotated[int, Field(gt=0, lt=10**13)]
Number = Annotated[float, Field(gt=0, lt=1e13, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class Record(BaseModel):
    """A frozen record: no field beyond the known ones, no string where a number belongs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


RecordT = TypeVar("RecordT", bound=BaseModel)


class _UniqueKeys(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe loader that refuses a key given twice, where YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", node.start_mark)
        mapping: dict[object, object] = super().construct_mapping(node, deep)
        return mapping


def read_yaml(path: Traversable | Path) -> object:
    """Parse one YAML file; a broken one raises ValueError with its name and line."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path}{line}: not valid YAML ({getattr(error, 'problem', None) or error})") from None


def read_mapping(path: Traversable | Path) -> dict[str, object]:
    """Parse one YAML file that holds a mapping of fields."""
    fields = read_yaml(path)
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: expected a mapping of fields, found {type(fields).__name__}")
    return fields


def validated(kind: type[RecordT], fields: object, where: str) -> RecordT:
    """Build a record, or raise ValueError with the place, the field, the value and what is wrong with it."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise ValueError(f"{where}: {describe_error(kind, error)}") from None


def describe_error(kind: type[BaseModel], error: ValidationError) -> str:
    """The first of a record's errors, in one line."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "the entry"
    if field == "the entry" and first["type"] == "value_error":  # how its fields fit together; the message has values
        return first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return str(unknown("field", field, kind.model_fields))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    given = "" if first["type"] == "missing" else f" = {_short(first['input'])}"
    return f"{field}{given}: {first['msg'].removeprefix('Value error, ')}{more}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."
