"""What a log is read from: a data frame, or the dictionary of an obp dataset."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Mapping, Set
from typing import Any

import numpy as np

from ..arrays import as_array, first, where, why_no_number
from .eligible import Eligible
from .identity import example, identities, kind_of
from .joining import concatenated

_CURES = {
    "reward": (
        "If it has not arrived yet, it is neither 0 nor a row to drop by itself: leave out all "
        "rounds that are younger than the wait, with and without a reward. If nothing came of the "
        "round, it is 0."
    ),
    "pscore": (
        "Drop the row if it is one of few; else leave pscore=… out, and estimate it: "
        "opl.estimate_propensities."
    ),
}


def check_frame(name: str, frame: Any, may_be_empty: bool = False) -> None:
    """Raise unless this is a data frame with rows."""
    if hasattr(frame, "collect"):
        raise TypeError(f"{name}: this data frame is lazy; call .collect() first.")
    columns = None if isinstance(frame, type) else getattr(frame, "columns", None)
    named = columns is not None and all(isinstance(column, Hashable) for column in columns)
    if not (named and hasattr(frame, "__getitem__") and hasattr(frame, "__len__")):
        raise TypeError(
            f"{name} must be a data frame, such as pandas.DataFrame(…); got "
            f"{getattr(frame, '__name__', type(frame).__name__)}. What else holds columns may have "
            "a method to_pandas or compute."
        )
    if len(frame) == 0 and not may_be_empty:
        raise ValueError(f"the log is empty: {name} has no rows. Check the filter that made it.")


def is_frame(values: Any) -> bool:
    """Whether somebody passes a data frame in the place of an array."""
    return hasattr(values, "columns") and not isinstance(values, type)


def frame_column(frame: Any, name: Any, role: str) -> np.ndarray:
    """A column of a data frame by its name."""
    try:
        known = isinstance(name, Hashable) and name in frame.columns
    except Exception:  # what the data frame's library cannot compare
        known = False
    if not known and not isinstance(name, str | int | tuple | None):
        raise TypeError(f"{role} must be the name of one column; got {name!r}.")
    if not known:
        raise ValueError(
            f"{role}: the data frame has no column {name!r}; it has {list(frame.columns)}."
        )
    column = frame[name]
    if not callable(getattr(column, "to_numpy", None)):
        raise TypeError(
            f"{role}: a column of this data frame, {type(frame).__name__}, has no method to_numpy. "
            "Convert the frame, as with .to_pandas() or .compute()."
        )
    try:
        values = column.to_numpy()
    except Exception as error:  # of the data frame's library, as of polars for Int128
        raise ValueError(
            f"{role}: column {name!r}, of {getattr(column, 'dtype', 'unknown type')}, cannot be "
            f"read as an array: {error}. Convert it, as to integers of 64 bits or to text."
        ) from error
    if values.ndim == 1:
        return as_array(role, column) if values.dtype.kind == "O" else values
    if not hasattr(column, "columns"):
        raise ValueError(f"{role}: column {name!r} has several values a row; make columns of them.")
    n_levels = getattr(frame.columns, "nlevels", 1)
    if n_levels > 1 and not (isinstance(name, tuple) and len(name) == n_levels):
        raise ValueError(
            f"{role}: the columns of the data frame have names of {n_levels} levels, and {name!r} "
            f"is a part of one: pass all of it, as in {frame[[name]].columns[0]!r}."
        )
    raise ValueError(f"{role}: the data frame has several columns called {name!r}; rename them.")


def numeric_frame_column(frame: Any, name: Any, role: str) -> np.ndarray:
    """A column of finite numbers."""
    column = frame_column(frame, name, role)
    if column.dtype.kind not in "bifu":
        why = why_no_number(column, "It is text or a category: encode it as numbers")
        raise ValueError(f"{role}: column {name!r} has dtype {column.dtype}{why}")
    if not np.isfinite(column).all():
        place = first(~np.isfinite(column))
        cure = _CURES.get(role, "Drop the row or impute the value.")
        raise ValueError(
            f"{role}: column {name!r} must be finite; {where(place)} has {column[place]}. {cure}"
        )
    return column


def column_names(names: Iterable[Any], role: str) -> list[Any]:
    """A list of names of columns."""
    if isinstance(names, str):
        raise ValueError(f"{role} must be a list of column names; got the string {names!r}.")
    if isinstance(names, bytes | Mapping | Set) or not isinstance(names, Iterable):
        raise TypeError(f"{role} must be a list of column names; got {type(names).__name__}.")
    names = list(names)
    if len(names) == 0:
        raise ValueError(f"{role} must name at least one column.")
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ValueError(f"{role} names the column {name!r} twice.")
    return names


def optional_columns(frame: Any, names: Mapping[str, str | None]) -> dict[str, np.ndarray]:
    """Those of the columns that have a name, by their roles."""
    named = {role: name for role, name in names.items() if name is not None}
    return {role: frame_column(frame, name, role) for role, name in named.items()}


def features_of_items(items: Any, item_id: Any, item_features: Any, eligible: Any) -> Any:
    """Columns of items that are features: where none are named, neither are dates of `eligible`."""
    if item_features is None and eligible is None and is_frame(items):
        _warn_of_dates(items)
    if item_features is not None or not (is_frame(items) and _names_dates(eligible)):
        return item_features
    check_frame("items", items)
    return [name for name in items.columns if name not in (item_id, *eligible)]


def on_offer(eligible: Any, items: Any, timestamp: np.ndarray | None) -> Any:
    """The eligible items by two date columns of the items' table; what else is passed, itself."""
    if not _names_dates(eligible):
        return eligible
    if not is_frame(items):
        raise ValueError(
            f"eligible={tuple(eligible)!r} names columns of items, but items is no data frame. "
            "Pass one, or a boolean mask of shape (n_rounds, n_actions)."
        )
    if timestamp is None:
        raise ValueError(
            f"eligible={tuple(eligible)!r} are dates of items: say with timestamp=… which column "
            "has those of the rounds."
        )
    start, end = (frame_column(items, name, "eligible, of items") for name in eligible)
    try:
        return Eligible.of_dates(timestamp, start, end)
    except ValueError as error:
        raise ValueError(f"eligible, the start and end of items: {error}") from error


def _warn_of_dates(items: Any) -> None:
    dates = [name for name in items.columns if frame_column(items, name, "items").dtype.kind == "M"]
    if len(dates) == 2:
        warnings.warn(
            f"items: the dates {dates[0]!r} and {dates[1]!r} are taken for features. If they say "
            f"from when and until when an item is on offer, pass eligible={tuple(dates)!r}: else "
            "the log is one in which all items could be shown at any time. If they do not, name "
            "the features in item_features=….",
            UserWarning,
            stacklevel=4,
        )


def _names_dates(eligible: Any) -> bool:
    pair = isinstance(eligible, tuple | list) and len(eligible) == 2
    return pair and all(isinstance(name, str) for name in eligible)


def item_row_numbers(logged: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Translate item ids to row numbers of the item table."""
    logged, ids = _comparable(identities("action", logged), identities("item_id of items", ids))
    row_of: dict[Any, int] = {}
    for row, item in enumerate(ids.tolist()):
        if row_of.setdefault(item, row) != row:
            raise ValueError(
                "item_id is not unique in items; keep one row per item: "
                f"rows {row_of[item]} and {row} are both {item!r}."
            )
    rows = [row_of.get(item, -1) for item in logged.tolist()]
    if -1 in rows:
        row = rows.index(-1)
        raise ValueError(
            f"action: row {row} has item {example(logged, row)}, which is not in items. "
            + _cure(logged.tolist()[row], row_of)
        )
    return np.array(rows, dtype=np.int64)


def _comparable(logged: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if kind_of(logged) != kind_of(ids):
        raise ValueError(
            f"action holds {kind_of(logged)}, such as {example(logged)}, and item_id holds "
            f"{kind_of(ids)}, such as {example(ids)}: ids of another type are never equal. Convert "
            "one of them, as with .astype(str) or .astype(int)."
        )
    if kind_of(ids) not in ("dates", "durations"):
        return logged, ids
    both = concatenated([logged, ids])  # in one unit
    if both is None:
        raise ValueError(f"action is {logged.dtype} and item_id {ids.dtype}; convert one of them.")
    return both[: len(logged)], both[len(logged) :]


def _cure(item: Any, known: Mapping[Any, int]) -> str:
    if isinstance(item, str):
        for other in known:
            if other.strip() == item.strip():
                return (
                    f"{other!r} is, with other blanks around it: remove those of both columns, as "
                    "with .str.strip()."
                )
    return "Add its features, or drop the row."


def obp_columns(
    bandit_feedback: Mapping[str, Any], action_context: np.ndarray | None
) -> dict[str, Any]:
    """The columns of an obp dictionary, with item features in the place of its own."""
    if not isinstance(bandit_feedback, Mapping):
        raise TypeError(
            "bandit_feedback must be the dictionary of an obp dataset, as from "
            f"obtain_batch_bandit_feedback(); got {type(bandit_feedback).__name__}."
        )
    required = ("context", "action", "reward", "pscore", "action_context")
    columns = {key: bandit_feedback.get(key) for key in (*required, "position", "eligible")}
    if action_context is not None:
        columns["action_context"] = action_context
    missing = [key for key in required if columns[key] is None]
    if missing:
        cure = " Pass item features as action_context=…" if "action_context" in missing else ""
        raise ValueError(
            f"the obp dictionary lacks {', '.join(missing)}; it has {list(bandit_feedback)}." + cure
        )
    return columns
