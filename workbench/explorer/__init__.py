"""The explorer: GPUs, models and phases on one page of charts that move together, in JupyterLab and as a web page.

`explore` makes the widget; a `View` is all that it shows, and `grid`, `code` and `params` are what it stands for.
"""

from ..common.extras import check_libraries

check_libraries("anywidget", "ipywidgets")

from .choices import Deployment, Goal, Heat, Pin, Setting, Settings
from .export import code, params
from .published_charts import chart_ranges
from .view import View, drawn, grid
from .widget import Explorer, explore

__all__ = [
    "Deployment", "Explorer", "Goal", "Heat", "Pin", "Setting", "Settings", "View", "chart_ranges", "code", "drawn",
    "explore", "grid", "params",
]  # fmt: skip
