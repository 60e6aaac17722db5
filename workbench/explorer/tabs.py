"""What each tab shows of a view: one function a tab, of which only the visible one's is called."""

from collections.abc import Callable, Iterator
from typing import Any

import xarray as xr

from .frontier import frontier_steps
from .pictures import roofline_tab
from .planning import plan_steps
from .servers import server_steps
from .view import View

#: Tabs that draw the view's grid; the others are given an empty one.
ON_GRID = ("roofline", "measured", "published")


def measured_tab(view: View, ds: xr.Dataset, brought: dict[str, Any]) -> dict[str, Any]:
    """What the reader measured; `brought` is what was uploaded, by what it is for."""
    return {}


#: The sections of each tab, merged into the picture: `(view, grid) -> dict`; measured's also takes what was brought.
TAB_SECTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "roofline": roofline_tab, "measured": measured_tab, "published": roofline_tab,
}  # fmt: skip
#: Of tabs that take longer than a reader waits: the same sections, each time more complete, and the first one at once.
TAB_STEPS: dict[str, Callable[[View], Iterator[dict[str, Any]]]] = {
    "server": server_steps, "frontier": frontier_steps, "plan": plan_steps,
}  # fmt: skip
