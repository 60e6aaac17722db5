"""Use cases as starting points: what a request is, how many come, how long readers wait, and whose numbers it is."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..common.errors import unknown
from ..common.yaml_records import Record
from .choices import Deployment, Goal, Setting


class UseCase(NamedTuple):
    """A title, the fields that it sets of each part of a view, and what the numbers are based on."""

    title: str
    setting: dict[str, Any]
    server: dict[str, Any]
    goal: dict[str, Any]
    basis: str


def _case(
    title: str, prompt: int, output: int, batch_size: int, ttft: float | None, tpot: float | None, rate: float,
    basis: str, cached_prefix: int = 0,
) -> UseCase:  # fmt: skip
    """A use case of a prompt and output [token], requests at a time [1], limits [s], requests per second [1/s]."""
    return UseCase(
        title, {"batch_size": batch_size, "seq_len": prompt, "output": output}, {"cached_prefix": cached_prefix},
        {"ttft": ttft, "tpot": tpot, "rate": rate}, basis,
    )  # fmt: skip


USE_CASES = {
    "chat": _case(
        "Chat", 1020, 129, 16, 0.45, 0.04, 4.0,
        "prompt and output are the medians of Azure's conversations (Splitwise, arXiv 2311.18677), TTFT and TPOT those"
        " of MLPerf Inference 5.0's Llama 2 70B interactive; batch and rate are round numbers",
    ),
    "rag": _case(
        "Answers from documents (RAG)", 4096, 256, 16, 2.0, 0.2, 2.0,
        "TTFT and TPOT are those of MLPerf Inference's Llama 2 70B server; all else is a round number",
    ),
    "code": _case(
        "Code completion", 1500, 13, 8, 0.45, 0.04, 8.0,
        "prompt and output are the medians of Azure's code completion (Splitwise, arXiv 2311.18677), TTFT and TPOT"
        " those of MLPerf Inference 5.0's Llama 2 70B interactive; batch and rate are round numbers",
    ),
    "agent": _case(
        "Agent with tools", 8596, 182, 8, 2.0, 0.04, 2.0,
        "prompt, output and the cached 59 % of the prompt are the means of Mooncake's trace of tools and agents"
        " (Qin et al., FAST 2025); limits, batch and rate are round numbers",
        cached_prefix=5072,
    ),
    "batch": _case("Batch, nobody waits", 1024, 1024, 128, None, None, 2.0, "all are round numbers, without limits"),
}  # fmt: skip

#: The parts of a view that a use case sets.
PARTS_SET: dict[str, type[Record]] = {"setting": Setting, "server": Deployment, "goal": Goal}


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
    for part, record in PARTS_SET.items():
        have = given.get(part, {})
        if not isinstance(have, Mapping | record):
            continue  # is refused
        defaults = {key: field.default for key, field in record.model_fields.items()}
        if any((defaults | dict(have))[key] != value for key, value in getattr(case, part).items()):
            return None
    return name


def basis_of(view: Any) -> list[str]:
    """What the numbers of a view's use case are based on, where it has one."""
    return [f"{use_case(view.preset).title}: {use_case(view.preset).basis}."] if view.preset else []
