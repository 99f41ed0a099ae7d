"""What is given to be drawn, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..arrays import numbers
from ..checks import check_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def by_name(name: str, values: Any, what: str) -> Mapping[str, Any]:
    """Things to draw, at least one, by names that are text."""
    if not isinstance(values, Mapping) or not values:
        raise TypeError(
            f"{name} must be a dictionary from names to {what}, with at least one; got "
            f"{type(values).__name__}."
        )
    for key in values:
        if not isinstance(key, str):
            raise TypeError(f"{name} must have names that are text; got {key!r}.")
    return values


def finite_by_name(name: str, values: Any, optional: bool = True) -> Mapping[str, float]:
    """Finite numbers by name, in a dictionary or a pandas Series; nothing of nothing."""
    import pandas as pd

    if isinstance(values, pd.Series):
        values = values.to_dict()
    if (optional and values is None) or (isinstance(values, Mapping) and not values):
        return {}
    for key, value in by_name(name, values, "numbers").items():
        check_number(f"{name}[{key!r}]", value)
    return {key: float(value) for key, value in values.items()}


def check_table(name: str, table: Any, columns: Sequence[str], whose: str) -> None:
    """Raise unless this is a data frame, of some rows, with numbers in some columns."""
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"{name} must be the data frame {whose}; got {type(table).__name__}.")
    if len(table) == 0:
        raise ValueError(f"{name} has no rows: there is nothing to draw.")
    for column in columns:
        if column not in table:
            raise ValueError(f"{name} must be the data frame {whose} with a column {column!r}.")
        numbers(f"{name}[{column!r}]", table[column], ndim=1, check_finite=False)


def checked_axes(ax: Any) -> Axes:
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be Axes of matplotlib; got {type(ax).__name__}.")
    return ax
