"""What each tab shows of a view: one function a tab, of which only the visible one's is called."""

from collections.abc import Callable
from typing import Any

import xarray as xr

from .pictures import roofline_tab
from .servers import served
from .view import View

#: Tabs that draw the view's grid; the others are given an empty one.
ON_GRID = ("roofline", "measured", "published")


def frontier_tab(view: View, ds: xr.Dataset) -> dict[str, Any]:
    """Throughput against speed."""
    return {}


def plan_tab(view: View, ds: xr.Dataset) -> dict[str, Any]:
    """What a rate and a service level take."""
    return {}


def measured_tab(view: View, ds: xr.Dataset, brought: dict[str, Any]) -> dict[str, Any]:
    """What the reader measured; `brought` is what was uploaded, by what it is for."""
    return {}


#: The sections of each tab, merged into the picture: `(view, grid) -> dict`; measured's also takes what was brought.
TAB_SECTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "roofline": roofline_tab, "server": served, "frontier": frontier_tab, "plan": plan_tab, "measured": measured_tab,
    "published": roofline_tab,
}  # fmt: skip
