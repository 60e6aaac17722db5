"""What each tab shows of a view: one function a tab, of which only the visible one's is called."""

from collections.abc import Callable, Iterator
from typing import Any

import xarray as xr

from .brought import Brought
from .frontier import frontier_steps
from .pictures import roofline_tab
from .planning import plan_steps
from .published_charts import chart_list
from .servers import server_steps
from .view import View

#: Tabs that draw the view's grid; the others are given an empty one.
ON_GRID = ("roofline", "published")


def measured_tab(view: View, ds: xr.Dataset, brought: Brought) -> dict[str, Any]:
    """What the reader measured."""
    return {"measured": brought.section(view)}


def published_tab(view: View, ds: xr.Dataset) -> dict[str, Any]:
    """The charts that there are, and the chosen one as it is printed."""
    return {"charts": chart_list(), **(roofline_tab(view, ds) if view.figure else {})}


#: The sections of each tab, merged into the picture: `(view, grid) -> dict`; measured's also takes what was brought.
TAB_SECTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "roofline": roofline_tab, "measured": measured_tab, "published": published_tab,
}  # fmt: skip
#: Of tabs that take longer than a reader waits: the same sections, each time more complete, and the first one at once.
TAB_STEPS: dict[str, Callable[[View], Iterator[dict[str, Any]]]] = {
    "server": server_steps, "frontier": frontier_steps, "plan": plan_steps,
}  # fmt: skip
