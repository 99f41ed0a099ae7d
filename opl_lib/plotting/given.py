"""What is given to be drawn, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..arrays import check_rows, numbers
from ..checks import check_number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

VALUES = {"policy_value": "policy value V(π)", "difference": "difference V(π) − V(π₀)"}


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


def check_table(name: str, table: Any, columns: Sequence[str], whose: str) -> pd.DataFrame:
    """A data frame, of some rows, with floating-point numbers in some columns; or raise."""
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"{name} must be the data frame {whose}; got {type(table).__name__}.")
    if len(table) == 0:
        raise ValueError(f"{name} has no rows: there is nothing to draw.")
    found = {}
    for column in columns:
        if column not in table:
            raise ValueError(f"{name} must be the data frame {whose} with a column {column!r}.")
        what = f"{name}[{column!r}]"
        values = table[column]
        kind = getattr(values, "dtype", None)
        if isinstance(kind, pd.api.extensions.ExtensionDtype) and pd.api.types.is_numeric_dtype(
            kind
        ):
            values = values.astype("float64")  # pandas' NA becomes NaN, a gap
        found[column] = numbers(what, values, ndim=1, check_finite=False)
        if column == "std_error":
            check_rows(what, found[column], ~(found[column] < 0), "at least 0", "Correct it.")
    return table.assign(**found)


def pyplot() -> Any:
    """`matplotlib.pyplot`, which is imported when something is drawn."""
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'figures need matplotlib, which is not installed: pip install "opl-lib[plotting]".'
        ) from error
    return plt


def checked_axes(ax: Any) -> Axes:
    if not isinstance(ax, pyplot().Axes):
        raise TypeError(f"ax must be Axes of matplotlib; got {type(ax).__name__}.")
    return ax


def new_axes(width: float, height: float) -> Axes:
    """Axes of a figure of their own, of a size in inches."""
    axes: Axes = pyplot().subplots(figsize=(width, height))[1]
    return axes
