"""Measured kernels explained: assigned to the operators of a model, beside what is predicted for each."""

from .explaining import explain

__all__ = [
    "explain",
]
