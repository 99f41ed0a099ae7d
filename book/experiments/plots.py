"""Figures of the experiments' tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from opl_lib.plotting import REFERENCE_STYLES, color_of

from .compare import over_seeds

_AXIS_NAMES = {"n_rounds": "rounds in the log", "n_actions": "items", "batch_size": "batch size"}


def plot_sweep(
    panels: Mapping[str, pd.DataFrame],
    x: str,
    values: str | Sequence[str] = "softmax_value",
    points: pd.DataFrame | None = None,
) -> np.ndarray:
    """Draw tables of the experiments: values over a setting, one colour an objective.

    Lines are means over seeds, and bands their 95 % Student-t intervals. The grey lines are the
    means of the reference values over the same seeds.

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
    size = {"figsize": (2 + 2.5 * len(panels), 3.6), "layout": "constrained"}
    fig, axes = plt.subplots(1, len(panels), sharey=True, squeeze=False, **size)
    for ax, (title, table), column in zip(axes[0], panels.items(), columns, strict=True):
        for objective, rows in table.groupby("objective", sort=False):
            color = color_of(objective)
            found = over_seeds(rows.set_index(x)[column])
            mean, half = found["mean"], found["half_width"]
            ax.plot(mean, color=color, marker="o", ms=3, label=objective)
            ax.fill_between(mean.index, mean - half, mean + half, color=color, alpha=0.2, lw=0)
            if points is not None:
                there = points[points["objective"] == objective]
                style = {"fmt": "D", "ms": 5, "lw": 1, "mfc": "white", "color": color}
                bars = there["half_width"]
                ax.errorbar(there[x], there["policy_value"], bars, label="published", **style)
        for name, style in REFERENCE_STYLES.items():
            label = name.replace("_", " ")
            ax.plot(table.groupby(x)[name].mean(), color="0.35", lw=1, ls=style, label=label)
        ticks = sorted(table[x].unique())
        ax.set(title=title, xlabel=_AXIS_NAMES.get(x, x), xscale="log")
        ax.set_xticks(ticks, [f"{t / 1000:g}k" if t >= 1000 else f"{t:g}" for t in ticks])
        ax.tick_params(axis="x", rotation=45)
        ax.minorticks_off()
    axes[0, 0].set_ylabel("policy value V(π)")
    shown = [pair for ax in axes[0] for pair in zip(*ax.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in shown}
    last = ["published", *(name.replace("_", " ") for name in REFERENCE_STYLES)]
    names = sorted(handles, key=lambda name: last.index(name) if name in last else -1)
    fig.legend([handles[name] for name in names], names, loc="outside right", frameon=False)
    return axes[0]
