"""Serving: latency and cost of a batch, whether it fits, and the capacity that a service level takes."""

from ..servers import memory, steps
from ..servers.drafts import Draft, draft_model, expected_tokens, medusa, mtp
from ..servers.replica import Replica
from ..servers.steps import step, step_time
from .capacity import plan
from .disaggregation import disaggregate
from .estimation import estimate
from .plan_table import plan_text

__all__ = [
    "Draft",
    "Replica",
    "disaggregate",
    "draft_model",
    "estimate",
    "expected_tokens",
    "medusa",
    "memory",
    "mtp",
    "plan",
    "plan_text",
    "step",
    "step_time",
    "steps",
]
