"""Checks at the door: arrays, data frame columns and policies, with errors that name the cure."""

from __future__ import annotations

from typing import Any

import numpy as np


def action_probabilities(
    policy: Any, context: np.ndarray, action_context: np.ndarray
) -> np.ndarray:
    """Ask any kind of policy for its probabilities, (n, n_actions), and check them.

    `policy` is None (uniform), an object with ``predict_proba`` or a function, both of
    ``(context, action_context)``.
    """
    shape = (len(context), len(action_context))
    if policy is None:
        return np.full(shape, 1 / shape[1])
    predict = getattr(policy, "predict_proba", policy)
    if not callable(predict):
        raise TypeError(
            f"a policy is an object with predict_proba(context, action_context), or a function "
            f"of the same arguments; got {type(policy).__name__}."
        )
    pi = np.asarray(predict(context, action_context))
    if pi.shape != shape:
        raise ValueError(
            f"the policy returned shape {pi.shape}; expected (n, n_actions) = {shape}."
        )
    total = pi.sum(axis=1)
    bad = ~((pi >= 0).all(axis=1) & (np.abs(total - 1) < 1e-4))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"the policy's row {row} is no probability distribution (sum {total[row]:.4g}, "
            f"min {pi[row].min():.4g}). Did it return logits? Apply a softmax first."
        )
    return pi


def row_chunks(n_rounds: int, n_actions: int, max_elements: int = 2**23) -> list[slice]:
    """Slices of rows such that a (rows, n_actions) array stays below `max_elements`."""
    step = max(1, max_elements // n_actions)
    return [slice(start, min(start + step, n_rounds)) for start in range(0, n_rounds, step)]


def feature_matrix(name: str, values: Any) -> np.ndarray:
    array = numbers(name, values, ndim=2)
    if array.shape[1] == 0:
        raise ValueError(f"{name} has no columns; pass at least one feature, or a column of ones.")
    return array


def numbers(name: str, values: Any, ndim: int, check_finite: bool = True) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "bifu":
        raise ValueError(
            f"{name} must be numeric; got dtype {array.dtype}. "
            "Encode categories first, for example with pandas.get_dummies."
        )
    if array.ndim != ndim:
        raise ValueError(
            f"{name} must have {ndim} dimension{'s' * (ndim > 1)}; got shape {array.shape}."
        )
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    if check_finite and not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        where = f"row {place[0]}" + (f", column {place[1]}" if ndim == 2 else "")
        raise ValueError(f"{name} must be finite; {where} has {array[place]}. Drop or impute it.")
    return array


def integers(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must hold integers; got dtype {array.dtype}. "
            f"Convert it with {name}.astype(int) if its values are whole numbers."
        )
    if array.ndim != 1:
        raise ValueError(f"{name} must have 1 dimension; got shape {array.shape}.")
    return array.astype(np.int64, copy=False)


def check_rows(name: str, column: np.ndarray, good: np.ndarray, must_be: str, cure: str) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(f"{name} must be {must_be}; row {row} has {column[row]}. {cure}")


def frame_column(frame: Any, name: str, role: str) -> np.ndarray:
    if name not in frame.columns:
        raise ValueError(
            f"{role}: the data frame has no column {name!r}; it has {list(frame.columns)}."
        )
    return frame[name].to_numpy()


def numeric_frame_column(frame: Any, name: str, role: str) -> np.ndarray:
    column = frame_column(frame, name, role)
    if column.dtype.kind not in "bifu":
        raise ValueError(
            f"{role}: column {name!r} has dtype {column.dtype}; encode it as numbers first, "
            "for example with pandas.get_dummies."
        )
    return column


def item_row_numbers(logged: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Translate item ids to row numbers of the item table."""
    row_of = {item: row for row, item in enumerate(ids.tolist())}
    if len(row_of) < len(ids):
        raise ValueError("item_id is not unique in items; keep one row per item.")
    rows = [row_of.get(item, -1) for item in logged.tolist()]
    if -1 in rows:
        row = rows.index(-1)
        raise ValueError(
            f"action: row {row} has item {logged[row]!r}, which is not in items. "
            "Add its features, or drop the row."
        )
    return np.array(rows, dtype=np.int64)
