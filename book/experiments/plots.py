"""Figures of the experiments' tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from opl_lib.plotting import REFERENCE_STYLES, color_of

from .compare import over_seeds
from .display import label

_MARKERS = {"ips": "o", "dr": "s", "regression": "^"}
_AXIS_NAMES = {"n_rounds": "rounds in the log", "n_actions": "items", "batch_size": "batch size"}


def plot_sweep(
    panels: Mapping[str, pd.DataFrame],
    x: str,
    values: str | Sequence[str] = "softmax_value",
    points: pd.DataFrame | None = None,
) -> np.ndarray:
    """Draw tables of the experiments: values over a setting, one colour an objective.

    Lines are means over seeds, and bands their 95 % Student-t intervals. The grey lines are the
    means of the reference values over the same seeds. An optimum far above all that was learned
    is written at the top in place of its line, which would press the others together.

    Parameters
    ----------
    panels : mapping of str to DataFrame
        Tables as `run` makes them, one row a cell and seed, by the title of their panel.
    x : str
        The setting that varies, a column of numbers above 0; its axis is logarithmic.
    values : str or sequence of str
        The column to draw, the same in all panels or one for each.
    points : DataFrame, optional
        Published values, with columns called `x`, ``objective``, ``policy_value`` and
        ``half_width``, of an error bar; each is drawn where its objective is.

    Returns
    -------
    array of matplotlib Axes, of shape (n_panels,)
    """
    columns = [values] * len(panels) if isinstance(values, str) else values
    size = {"figsize": (1 + 2 * len(panels), 3.7), "layout": "constrained"}
    fig, axes = plt.subplots(1, len(panels), sharey=True, squeeze=False, **size)
    for ax, (title, table), column in zip(axes[0], panels.items(), columns, strict=True):
        for objective, rows in table.groupby("objective", sort=False):
            color = color_of(objective)
            found = over_seeds(rows.set_index(x)[column])
            mean, half = found["mean"], found["half_width"]
            marker = _MARKERS.get(objective, "o")
            ax.plot(mean, color=color, marker=marker, ms=4, label=label(objective))
            ax.fill_between(mean.index, mean - half, mean + half, color=color, alpha=0.2, lw=0)
            if points is not None:
                there = points[points["objective"] == objective]
                style = {"fmt": "D", "ms": 5, "lw": 1, "mfc": "white", "color": color}
                bars = there["half_width"]
                ax.errorbar(there[x], there["policy_value"], bars, label="published", **style)
        for name, style in REFERENCE_STYLES.items():
            if name != "optimum":
                of_worlds = table.groupby(x)[name].mean()
                ax.plot(of_worlds, color="0.35", lw=1, ls=style, label=label(name))
        ticks = sorted(table[x].unique())
        ax.set(title=label(title), xlabel=_AXIS_NAMES.get(x, x), xscale="log")
        ax.set_xticks(ticks, [f"{t / 1000:g}k" if t >= 1000 else f"{t:g}" for t in ticks])
        ax.tick_params(axis="x", rotation=45)
        ax.minorticks_off()
    _show_optimum(axes[0], [table.groupby(x)["optimum"].mean() for table in panels.values()])
    axes[0, 0].set_ylabel("policy value V(π)")
    shown = [pair for ax in axes[0] for pair in zip(*ax.get_legend_handles_labels(), strict=True)]
    handles = {name: handle for handle, name in shown}
    if points is not None:  # drawn in three colours
        handles["published"] = Line2D([], [], color="0.35", ls="", marker="D", mfc="white")
    last = ["published", *(label(name) for name in REFERENCE_STYLES)]
    names = sorted(handles, key=lambda name: last.index(name) if name in last else -1)
    columns = min(len(names), 4)
    place = {"loc": "outside lower center", "ncols": columns, "frameon": False}
    fig.legend([handles[name] for name in names], names, **place)
    return axes[0]


def _show_optimum(axes: np.ndarray, optima: Sequence[pd.Series]) -> None:
    """A line where it lies near the others, words where it would press them together."""
    low, high = axes[0].get_ylim()
    if min(optimum.min() for optimum in optima) < high + 0.2 * (high - low):
        for ax, optimum in zip(axes, optima, strict=True):
            style = {"color": "0.35", "lw": 1, "ls": REFERENCE_STYLES["optimum"]}
            ax.plot(optimum, label="optimum", **style)
        return
    axes[0].set_ylim(low, high + 0.1 * (high - low))
    for ax, optimum in zip(axes, optima, strict=True):
        ends = [f"{optimum.iloc[i]:.2f}" for i in (0, -1)]
        words = f"optimum {' to '.join(dict.fromkeys(ends))} ↑"
        ax.text(0.5, 0.98, words, ha="center", va="top", transform=ax.transAxes)
