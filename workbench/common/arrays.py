"""A number or an array of numbers, which broadcast as numpy does: the type of every size, cost and time."""

from typing import TYPE_CHECKING, Any, TypeAlias

__all__ = ["Array", "np"]

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = float | np.ndarray[Any, Any]
else:
    try:
        import numpy as np

        Array = float | np.ndarray
    except ImportError:
        from . import scalars as np

        Array = float
