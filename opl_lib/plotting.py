"""Figures of the book; the only module that imports matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Okabe and Ito's palette, which survives colour blindness: one colour an objective, everywhere.
COLORS = {
    "ips": "#D55E00",
    "dr": "#0072B2",
    "regression": "#009E73",
    "dm": "#CC79A7",
    "snips": "#E69F00",
    "squared_error": "#56B4E9",
}
_REFERENCE_STYLES = {
    "optimum": "-",
    "best constant item": "-.",
    "logging": "--",
    "uniform": ":",
}


def plot_curves(
    curves: Mapping[str, Sequence[float]],
    references: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw policy values by epoch, one line an objective, with the reference lines.

    Parameters
    ----------
    curves : mapping of str to sequence of float
        Value before the first epoch and after each, by objective.
    references : mapping of str to float, optional
        From `SyntheticWorld.reference_values`.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    ax = plt.subplots(figsize=(7, 4))[1] if ax is None else ax
    for name, values in curves.items():
        ax.plot(range(len(values)), values, color=COLORS.get(name), marker="o", ms=3, label=name)
    draw_references(ax, references or {})
    ax.set_xlabel("epoch")
    ax.set_ylabel("policy value V(π)")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax


def plot_estimates(
    tables: Mapping[str, pd.DataFrame],
    references: Mapping[str, float] | None = None,
    true_values: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw estimates with their intervals, one group a policy and one colour an estimator.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        What `evaluate` returns, by policy.
    references : mapping of str to float, optional
        Values to mark with vertical lines, such as the logging policy's.
    true_values : mapping of str to float, optional
        True value of each policy, in a world that has one.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    ax = plt.subplots(figsize=(7, 1 + 0.7 * len(tables)))[1] if ax is None else ax
    for group, (policy, table) in enumerate(tables.items()):
        offsets = np.linspace(-0.25, 0.25, len(table)) if len(table) > 1 else [0]
        for offset, (estimator, row) in zip(offsets, table.iterrows(), strict=True):
            style = {"color": COLORS.get(estimator), "label": estimator}
            error = [[row.policy_value - row.ci_lower], [row.ci_upper - row.policy_value]]
            ax.errorbar(row.policy_value, group + offset, xerr=error, fmt="o", ms=5, lw=2, **style)
        if policy in (true_values or {}):
            ends = [group - 0.38, group + 0.38]
            ax.plot([true_values[policy]] * 2, ends, "k", lw=2, label="true value")
    for name, value in (references or {}).items():
        ax.axvline(value, color="0.35", lw=1, ls=_REFERENCE_STYLES.get(name, "--"), label=name)
    ax.set_yticks(range(len(tables)), tables)
    ax.invert_yaxis()
    ax.set_xlabel("estimated policy value V(π), with interval")
    handles, labels = ax.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    ax.legend(once.values(), once, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax


def draw_references(ax: Axes, references: Mapping[str, float]) -> None:
    """Horizontal lines for the policies that every learned policy is compared with."""
    for name, value in references.items():
        ax.axhline(value, color="0.35", lw=1, ls=_REFERENCE_STYLES.get(name, "--"), label=name)
