"""Figures of the book; the only module that imports matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

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
    ax: Axes | None = None,
) -> Axes:
    """Draw estimates with their intervals, one group a policy.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        What `evaluate` returns, by policy.
    references : mapping of str to float, optional
        Values to mark with vertical lines, such as the logging policy's.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    n_rows = sum(len(table) for table in tables.values())
    ax = plt.subplots(figsize=(7, 0.8 + 0.32 * n_rows))[1] if ax is None else ax
    labels = []
    for policy, table in tables.items():
        for estimator, row in table.iterrows():
            y = len(labels)
            color = COLORS.get(estimator, "black")
            ax.plot([row.ci_lower, row.ci_upper], [y, y], color=color, lw=2)
            ax.plot(row.policy_value, y, "o", color=color)
            labels.append(f"{policy} · {estimator}")
    for name, value in (references or {}).items():
        ax.axvline(value, color="0.35", lw=1, ls=_REFERENCE_STYLES.get(name, "--"), label=name)
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.set_xlabel("estimated policy value, with interval")
    if references:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0), frameon=False, ncols=2)
    return ax


def draw_references(ax: Axes, references: Mapping[str, float]) -> None:
    """Horizontal lines for the policies that every learned policy is compared with."""
    for name, value in references.items():
        ax.axhline(value, color="0.35", lw=1, ls=_REFERENCE_STYLES.get(name, "--"), label=name)
