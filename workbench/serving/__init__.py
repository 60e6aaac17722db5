"""Serving: steps of an engine, memory, latency, drafts, and the capacity that a service level takes."""

from .capacity import plan, plan_text
from .drafts import Draft, draft_model, expected_tokens, medusa, mtp
from .estimation import estimate
from .replica import Replica
from .steps import step, step_time

__all__ = [
    "Draft",
    "Replica",
    "draft_model",
    "estimate",
    "expected_tokens",
    "medusa",
    "mtp",
    "plan",
    "plan_text",
    "step",
    "step_time",
]
