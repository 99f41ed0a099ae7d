"""The figure of a choice among candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .colors import COLORS, reference_style
from .given import VALUES, check_table, checked_axes, new_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def plot_candidates(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw candidates of a choice: estimated gain, its standard error, and the lower bound.

    Parameters
    ----------
    table : DataFrame
        `table` of what `learn` or `select` found.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    columns = ("difference", "std_error", "lower_bound")
    table = check_table("table", table, columns, "of learn or select")
    ax = new_axes(7, 0.8 + 0.3 * len(table)) if ax is None else checked_axes(ax)
    rows = np.arange(len(table))
    trusted = table.trusted.to_numpy(bool) if "trusted" in table else np.ones(len(table), bool)
    for some, color in ((trusted, COLORS["dr"]), (~trusted, "0.6")):
        style: dict[str, Any] = {"fmt": "o", "ms": 5, "lw": 2, "color": color}
        xerr = table.std_error[some]
        ax.errorbar(table.difference[some], rows[some], xerr=xerr, **style)
    bound = table.lower_bound.where(np.isfinite(table.lower_bound))
    ax.plot(bound[trusted], rows[trusted], "|", color="k", ms=10, label="lower bound")
    ax.axvline(0, **reference_style("logging"))
    ax.set_yticks(rows, table.index, parse_math=False)  # a name may have a dollar in it
    ax.invert_yaxis()
    ax.set_xlabel(f"estimated {VALUES['difference']} ± standard error")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax
