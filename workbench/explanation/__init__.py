"""Measured kernels explained: assigned to the operators of a model, beside what is predicted for each."""

from .explaining import explain
from .given import own_file

__all__ = [
    "explain",
    "own_file",
]
