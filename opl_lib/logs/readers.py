"""What a log is read from: a data frame, or the dictionary of an obp dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..arrays import why_no_number


def frame_column(frame: Any, name: str, role: str) -> np.ndarray:
    if hasattr(frame, "collect"):
        raise TypeError(f"{role}: this data frame is lazy; call .collect() first.")
    if name not in frame.columns:
        raise ValueError(
            f"{role}: the data frame has no column {name!r}; it has {list(frame.columns)}."
        )
    column = frame[name].to_numpy()
    if column.ndim != 1:
        raise ValueError(
            f"{role}: the data frame has several columns called {name!r}; rename them."
        )
    return column


def numeric_frame_column(frame: Any, name: str, role: str) -> np.ndarray:
    column = frame_column(frame, name, role)
    if column.dtype.kind not in "bifu":
        why = why_no_number(column, "It is text or a category: encode it as numbers")
        raise ValueError(f"{role}: column {name!r} has dtype {column.dtype}{why}")
    return column


def frame_matrix(frame: Any, names: Sequence[str], role: str) -> np.ndarray:
    """Numeric columns side by side, (n, number of names)."""
    if isinstance(names, str):
        raise ValueError(f"{role} must be a list of column names; got the string {names!r}.")
    if len(names) == 0:
        raise ValueError(f"{role} must name at least one column.")
    return np.column_stack([numeric_frame_column(frame, name, role) for name in names])


def optional_columns(frame: Any, names: Mapping[str, str | None]) -> dict[str, np.ndarray]:
    """Those of the columns that have a name, by their roles."""
    named = {role: name for role, name in names.items() if name is not None}
    return {role: frame_column(frame, name, role) for role, name in named.items()}


def item_columns(
    frame: Any,
    action: str,
    items: Any,
    item_id: str | None,
    item_features: Sequence[str] | None,
) -> dict[str, Any]:
    """The logged items as row numbers of the item features, and these."""
    logged = frame_column(frame, action, "action")
    if not hasattr(items, "columns"):
        for name, value in (("item_id", item_id), ("item_features", item_features)):
            if value is not None:
                raise ValueError(
                    f"{name}={value!r} names columns of items, but items is no data frame. Pass "
                    f"one, or leave {name} out: of an array, the action column holds row numbers."
                )
        return {"action": logged, "action_context": items}
    if item_id is None:
        raise ValueError(
            "items is a data frame: say with item_id=… which column identifies an item."
        )
    ids = frame_column(items, item_id, "item_id")
    if item_features is None:
        item_features = [name for name in items.columns if name != item_id]
    return {
        "action": item_row_numbers(logged, ids),
        "action_context": frame_matrix(items, item_features, "item_features"),
    }


def item_row_numbers(logged: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Translate item ids to row numbers of the item table."""
    row_of = {item: row for row, item in enumerate(ids.tolist())}
    if len(row_of) < len(ids):
        place: dict[Any, int] = {}
        for row, item in enumerate(ids.tolist()):
            if item in place:
                raise ValueError(
                    "item_id is not unique in items; keep one row per item: "
                    f"rows {place[item]} and {row} are both {item!r}."
                )
            place[item] = row
    rows = [row_of.get(item, -1) for item in logged.tolist()]
    if -1 in rows:
        row = rows.index(-1)
        raise ValueError(
            f"action: row {row} has item {logged[row]!r}, which is not in items. "
            "Add its features, or drop the row."
        )
    return np.array(rows, dtype=np.int64)


def obp_columns(
    bandit_feedback: Mapping[str, Any], action_context: np.ndarray | None
) -> dict[str, Any]:
    """The columns of an obp dictionary, with item features in the place of its own."""
    required = ("context", "action", "reward", "pscore", "action_context")
    columns = {key: bandit_feedback.get(key) for key in (*required, "position")}
    if action_context is not None:
        columns["action_context"] = action_context
    missing = [key for key in required if columns[key] is None]
    if missing:
        cure = " Pass item features as action_context=…" if "action_context" in missing else ""
        raise ValueError(
            f"the obp dictionary lacks {', '.join(missing)}; it has {sorted(bandit_feedback)}."
            + cure
        )
    return columns
