"""Figures that serve any log. Matplotlib is imported when something is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import numbers
from .candidates import plot_candidates as plot_candidates
from .colors import COLORS, MARKERS, color_of, reference_style
from .colors import REFERENCE_STYLES as REFERENCE_STYLES
from .given import VALUES, by_name, check_table, checked_axes, finite_by_name, new_axes, pyplot

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_WATCHED = {
    "estimate": "estimate of V(π)",
    "mean_weight": "mean weight",
    "ess_share": "effective share of rounds",
    "entropy": "entropy of π(·|x), nats",
    "effective_items": "effective items",
    "kl_from_logging": "KL(π₀ ‖ π), nats",
    "unsupported_mass": "unsupported mass",
}
_LOG_STYLES = {"held_out": "-", "train": "--"}


def plot_curves(
    curves: Mapping[str, Sequence[float]],
    references: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw policy values by epoch, one line an objective, with the reference lines.

    Parameters
    ----------
    curves : mapping of str to sequence of float
        Value before the first epoch and after each, by objective. Infinite values are left out.
    references : mapping of str to float, optional
        From `World.reference_values`.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    curves = by_name("curves", curves, "sequences of values")
    lines = {
        name: numbers(f"curves[{name!r}]", values, ndim=1, check_finite=False)
        for name, values in curves.items()
    }
    references = finite_by_name("references", references)
    ax = new_axes(7, 4) if ax is None else checked_axes(ax)
    for (name, values), marker in zip(lines.items(), cycle(MARKERS), strict=False):
        values = np.where(np.isfinite(values), values, np.nan)
        ax.plot(range(len(values)), values, color=color_of(name), marker=marker, ms=4, label=name)
    draw_references(ax, references)
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
        What `evaluate` returns, by policy, all with ``difference=True`` or none.
    references : mapping of str to float, optional
        Values to mark with vertical lines, such as the logging policy's.
    true_values : mapping of str to float, optional
        True value, or difference, of each policy, in a world that has one.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    for name, table in by_name("tables", tables, "tables of evaluate").items():
        check_table(f"tables[{name!r}]", table, (), "of evaluate")
    values = {name for table in tables.values() for name in VALUES if name in table}
    if len(values) != 1:
        raise ValueError(
            f"the tables must all have one of the columns {list(VALUES)}; they have "
            f"{sorted(values)}. Make them with evaluate, all with difference=True or none."
        )
    (value,) = values
    columns = (value, "ci_lower", "ci_upper")
    tables = {
        name: check_table(f"tables[{name!r}]", table, columns, "of evaluate")
        for name, table in tables.items()
    }
    references, true_values = (
        finite_by_name("references", references),
        finite_by_name("true_values", true_values),
    )
    for name in true_values:
        if name not in tables:
            raise ValueError(f"true_values has {name!r}, but the tables are of {[*tables]}.")
    ax = new_axes(7, 1 + 0.7 * len(tables)) if ax is None else checked_axes(ax)
    for group, (policy, table) in enumerate(tables.items()):
        offsets = np.linspace(-0.25, 0.25, len(table)) if len(table) > 1 else [0]
        for offset, (estimator, row), marker in zip(
            offsets, table.iterrows(), cycle(MARKERS), strict=False
        ):
            style: dict[str, Any] = {"color": color_of(str(estimator)), "label": str(estimator)}
            error: Any = [[row[value] - row.ci_lower], [row.ci_upper - row[value]]]
            if np.min(error) < 0:  # percentiles of the bootstrap may leave the estimate outside
                bar = row.ci_lower, row.ci_upper
                ax.plot(bar, [group + offset] * 2, lw=2, color=style["color"])
                error = None
            ax.errorbar(row[value], group + offset, xerr=error, fmt=marker, ms=5, lw=2, **style)
        if policy in true_values:
            ends = [group - 0.38, group + 0.38]
            ax.plot([true_values[policy]] * 2, ends, "k", lw=2, label="true value")
    for name, at in references.items():
        ax.axvline(at, **reference_style(name))
    ax.set_yticks(range(len(tables)), tables)
    ax.invert_yaxis()
    ax.set_xlabel(f"estimated {VALUES[value]}, with interval")
    handles, labels = ax.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    ax.legend(once.values(), once, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax


def draw_references(ax: Axes, references: Mapping[str, float]) -> None:
    """Draw horizontal lines for the policies that every learned policy is compared with.

    Parameters
    ----------
    ax : matplotlib Axes
    references : mapping of str to float
        From `World.reference_values`.
    """
    checked_axes(ax)
    for name, value in finite_by_name("references", references, optional=False).items():
        ax.axhline(value, **reference_style(name))


def plot_calibration(calibration: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw how often items were shown against how likely they were estimated to be.

    Parameters
    ----------
    calibration : DataFrame
        Of `estimate_propensities`: one row a bin.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        Both axes are logarithmic, since a weight is wrong by the ratio of the two. The bars are
        1.96 standard errors; calibrated estimates are on the diagonal.
    """
    columns = ("predicted", "observed", "std_error")
    whose = "that estimate_propensities(…) has"
    calibration = check_table("calibration", calibration, columns, whose)
    ax = new_axes(4.5, 4) if ax is None else checked_axes(ax)
    ends = [calibration[["predicted", "observed"]].min().min(), 1]
    ax.plot(ends, ends, color="0.35", lw=1, ls="--", label="calibrated")
    ax.errorbar(
        calibration.predicted,
        calibration.observed,
        yerr=1.96 * calibration.std_error,
        fmt="o",
        ms=5,
        color=COLORS["dr"],
        label="bins",
    )
    ax.set(xscale="log", yscale="log")
    ax.set_xlabel("estimated propensity")
    ax.set_ylabel("share that was shown")
    ax.legend(frameon=False)
    return ax


def plot_watch(tables: Mapping[str, pd.DataFrame]) -> np.ndarray:
    """Draw what `Watch` saw, a panel a column: one colour a fit, and one line style a log.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        The `table` of a `Watch`, by objective.

    Returns
    -------
    array of matplotlib Axes, of shape (7,)
        Where the mean weight should be, at 1, there is a grey line. Infinite values are left out.
    """
    plt = pyplot()
    for name, table in by_name("tables", tables, "tables of Watch").items():
        check_table(f"tables[{name!r}]", table, tuple(_WATCHED), "of a Watch, its .table,")
        two_levels = {*table.index.names} == {"log", "epoch"}
        if not two_levels or not set(table.index.unique("log")) <= {*_LOG_STYLES}:
            raise ValueError(
                f"tables[{name!r}] must have the logs {[*_LOG_STYLES]} in its index, in levels "
                "'log' and 'epoch'."
            )
    axes = plt.subplots(2, 4, figsize=(10, 4.8), layout="constrained")[1]
    *panels, corner = axes.flat
    for ax, (column, label) in zip(panels, _WATCHED.items(), strict=True):
        for name, table in tables.items():
            for log, rows in table[column].groupby(level="log", sort=False):
                values = rows.droplevel("log").replace([np.inf, -np.inf], np.nan)
                style = {"color": color_of(name) or "0.2", "ls": _LOG_STYLES[log]}
                ax.plot(values, label=f"{name}, {log.replace('_', '-')} rounds", **style)
        if column == "mean_weight":
            ax.axhline(1, color="0.35", lw=1, ls=":")
        if column == "unsupported_mass":
            ax.set_ylim(0, 1)
        ax.set(xlabel="epoch", ylabel=label)
    corner.axis("off")
    corner.legend(*panels[0].get_legend_handles_labels(), loc="center", frameon=False)
    return np.array(panels)
