"""A number or an array of numbers, which broadcast as numpy does: the type of every size, cost and time."""

from typing import Any

Array = Any
