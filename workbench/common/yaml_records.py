"""Records read from YAML: frozen, strict, and refused in one line that names the place, the field and the value."""

from collections import Counter
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import shown, unknown

Count = Annotated[int, Field(gt=0, lt=10**13)]
Number = Annotated[float, Field(gt=0, lt=1e13, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]

MAX_BYTES = 4 * 2**20  # the largest file of the project has 60 kB
MAX_DEPTH = 32  # levels of nesting; an entry has 4


class Record(BaseModel):
    """A frozen record: no field beyond the known ones, no string where a number belongs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


RecordT = TypeVar("RecordT", bound=BaseModel)


class _UniqueKeys(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe loader that refuses a key given twice, where YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        for key, times in Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)).items():
            if times > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", node.start_mark)
        mapping: dict[object, object] = super().construct_mapping(node, deep)
        return mapping


def _check_tree(text: str) -> None:
    """Refuse what makes gigabytes of a few lines (aliases) or overflows the loader's stack (deep nesting)."""
    depth = 0
    for event in yaml.parse(text, Loader=_UniqueKeys):
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", mark)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"nested over {MAX_DEPTH} levels deep", mark)


def read_yaml(path: Traversable | Path) -> object:
    """Parse one YAML file; ValueError with its name and line where it is broken, too large or not a plain tree."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path}: larger than {MAX_BYTES >> 20} MB, so not one of the files read here")
    try:
        text = content.decode("utf-8")
        _check_tree(text)
        return yaml.load(text, Loader=_UniqueKeys)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or a 13th month
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ValueError(f"{path}{line}: not valid YAML ({problem})") from None


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
    field = ".".join(" ".join(str(part).split()) for part in first["loc"]) or "the entry"
    if field == "the entry" and first["type"] == "value_error":  # how its fields fit together; the message has values
        return first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return str(unknown("field", field, kind.model_fields))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    given = "" if first["type"] == "missing" else f" = {shown(first['input'])}"
    return f"{field}{given}: {first['msg'].removeprefix('Value error, ')}{more}"
