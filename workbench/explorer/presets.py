"""Use cases as starting points: what a request is, how many come, what their readers wait for, and whose numbers it is."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..common.errors import unknown
from .choices import Deployment, Goal, Setting


class UseCase(NamedTuple):
    """A name, the fields of a view that it sets, and what each number is based on."""

    title: str
    setting: dict[str, Any]
    server: dict[str, Any]
    goal: dict[str, Any]
    basis: str


USE_CASES = {
    "chat": UseCase(
        "Chat", {"batch_size": 16, "seq_len": 512, "output": 256}, {"cached_prefix": 0},
        {"ttft": 0.5, "tpot": 0.05, "rate": 4.0}, "round numbers",
    ),
}  # fmt: skip

#: The parts of a view that a use case sets.
PARTS = {"setting": Setting, "server": Deployment, "goal": Goal}


def use_case(name: str) -> UseCase:
    """The use case of a name; ValueError with the nearest for an unknown one."""
    if name not in USE_CASES:
        raise unknown("use case", name, USE_CASES)
    return USE_CASES[name]


def still_named(given: Mapping[str, Any]) -> Any:
    """The use case that the fields of a view say they are of, or None where one that it sets differs."""
    name = given.get("preset")
    if not isinstance(name, str):
        return name
    case = use_case(name)
    for part, record in PARTS.items():
        have = given.get(part, {})
        if not isinstance(have, Mapping | record):
            continue  # is refused
        defaults = {key: field.default for key, field in record.model_fields.items()}
        if any((defaults | dict(have))[key] != value for key, value in getattr(case, part).items()):
            return None
    return name
