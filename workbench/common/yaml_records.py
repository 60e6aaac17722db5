"""Records read from YAML: frozen, strict, and refused in one line that names the place, the field and the value."""

from collections.abc import Generator
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import LINE, shown, unknown

Count = Annotated[int, Field(gt=0, lt=10**13)]
Number = Annotated[float, Field(gt=0, lt=1e13, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class Record(BaseModel):
    """A frozen record: no field beyond the known ones, no string where a number belongs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __iter__(self) -> Generator[tuple[str, Any], None, None]:
        """Its fields, without what is kept of properties."""
        yield from ((name, getattr(self, name)) for name in type(self).model_fields)


RecordT = TypeVar("RecordT", bound=BaseModel)


def validated(kind: type[RecordT], fields: object, where: str) -> RecordT:
    """Build a record, or raise ValueError with the place, the field, the value and what is wrong with it."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise ValueError(f"{where}: {describe_error(kind, error)}") from None


def describe_error(kind: type[BaseModel], error: ValidationError) -> str:
    """The first of a record's errors, in one line."""
    errors = error.errors()
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    field = ".".join(" ".join(str(part).split())[:80] for part in first["loc"]) or "the entry"
    if field == "the entry" and first["type"] == "value_error":  # how its fields fit together; the message has values
        return first["msg"].removeprefix("Value error, ")[:2000]
    if first["type"] == "extra_forbidden" and (fields := _fields_beside(kind, first["loc"])):
        return str(unknown("field", field, fields))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    given = "" if first["type"] == "missing" else f" = {shown(first['input'])}"
    said = f": {first['msg'].removeprefix('Value error, ')[:2000]}{more}"
    return f"{field}{given if len(field + given + said) < LINE else ''}{said}"


def _fields_beside(kind: Any, place: tuple[int | str, ...]) -> list[str]:
    """The fields of a record, or of its part that has an unknown one at a place; none where that is no record."""
    for name in (part for part in place[:-1] if not isinstance(part, int)):
        annotation = kind.model_fields[name].annotation if name in kind.model_fields else None
        parts = [part for part in (annotation, *get_args(annotation)) if isinstance(part, type)]
        kind = next((part for part in parts if issubclass(part, BaseModel)), None)
        if kind is None:
            return []
    return [".".join([*map(str, place[:-1]), field]) for field in kind.model_fields]
