"""Servers: a replica, its steps and its memory, drafts that guess ahead, and the settings of its scheduler."""

from .drafts import Draft, draft_model, expected_tokens, medusa, mtp
from .replica import Replica
from .server import Server
from .steps import step, step_time

__all__ = [
    "Draft",
    "Replica",
    "Server",
    "draft_model",
    "expected_tokens",
    "medusa",
    "mtp",
    "step",
    "step_time",
]
