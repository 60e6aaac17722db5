"""Simulation: requests through an engine's scheduler, every step timed by the kernel model."""

from ..servers.server import Server
from .client import simulate
from .workloads import Workload, bursty, closed_loop, poisson, trace

__all__ = [
    "Server",
    "Workload",
    "bursty",
    "closed_loop",
    "poisson",
    "simulate",
    "trace",
]
