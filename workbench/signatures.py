"""Arguments as a function annotates them: how tables, charts, load tests and studies check what they are given."""

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import Parameter, signature
from types import GenericAlias
from typing import Any, ParamSpec, TypeVar, get_type_hints

import numpy as np
import pandas as pd
from pydantic import ConfigDict, create_model

from .common.yaml_records import validated

P = ParamSpec("P")
R = TypeVar("R")


def typed(**needed: Iterable[str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function take only what it annotates, in pydantic's strict mode; anything else is refused in one line.

    Parameters
    ----------
    **needed : iterable of str
        By argument, the variables of a Dataset or the columns of a table that it must have.

    Returns
    -------
    callable
        What decorates the function.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        asked, hints = signature(function), get_type_hints(function, include_extras=True)
        fields: Any = {}
        for name, each in asked.parameters.items():
            if each.kind != Parameter.VAR_KEYWORD and name != "self":
                several = each.kind == Parameter.VAR_POSITIONAL
                fields[name] = (GenericAlias(tuple, (hints[name], ...)) if several else hints[name], ...)
        settings = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True, protected_namespaces=())
        called = function.__name__ if "self" not in asked.parameters else function.__qualname__.partition(".")[0]
        kind = create_model(called, __config__=settings, **fields)

        @wraps(function)
        def door(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = asked.bind(*args, **kwargs)
            bound.apply_defaults()
            given = {
                name: value if "ndarray" in str(hints.get(name)) else _plain(value)
                for name, value in bound.arguments.items()
            }
            bound.arguments |= dict(validated(kind, given, called))
            for name, names in needed.items():
                table = bound.arguments[name]
                for missing in [each for each in names if table is not None and each not in table]:
                    raise ValueError(f"{name} has no {missing!r}: it has {', '.join(map(str, table))[:200] or 'none'}")
            return function(*bound.args, **bound.kwargs)

        return door

    return decorate


def _plain(value: Any, depth: int = 4) -> Any:
    """Numbers and text of numpy as Python's own, alone or inside lists and dicts; arrays as lists."""
    if isinstance(value, np.generic | np.ndarray | pd.Series | pd.Index) and not isinstance(value, np.ma.MaskedArray):
        return value.tolist()
    if type(value) in (list, tuple) and depth:
        return type(value)(_plain(each, depth - 1) for each in value)
    if type(value) is dict and depth:
        return {key: _plain(each, depth - 1) for key, each in value.items()}
    return value
