"""Checks at the door: arrays, data frame columns and policies, with errors that name the cure."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np


def for_items(policy: Any, action_context: np.ndarray) -> Any:
    """Let a policy that can do so encode the items once, before it is asked chunk by chunk."""
    encode = getattr(policy, "for_items", None)
    return policy if encode is None else encode(action_context)


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
            f"the policy returned no probability distribution in row {row} of the {len(pi)} it was "
            f"asked for (sum {total[row]:.4g}, min {pi[row].min():.4g}). Did it return logits? "
            "Apply a softmax first."
        )
    return pi


def reward_predictions(
    reward_model: Any, context: np.ndarray, action_context: np.ndarray
) -> np.ndarray:
    """Ask a reward model for its predictions, (n, n_actions), and check them."""
    predict = getattr(reward_model, "predict_reward", None)
    if not callable(predict):
        raise TypeError(
            "a reward model has a method predict_reward(context, action_context); "
            f"{type(reward_model).__name__} has none. "
            "Wrap a scikit-learn estimator in opl.SklearnRewardModel."
        )
    q_hat = np.asarray(predict(context, action_context))
    shape = (len(context), len(action_context))
    if q_hat.shape != shape:
        raise ValueError(
            f"the reward model returned shape {q_hat.shape}; expected (n, n_actions) = {shape}."
        )
    if not np.isfinite(q_hat).all():
        row = int(np.argmin(np.isfinite(q_hat).all(axis=1)))
        raise ValueError(
            f"the reward model's predictions are not all finite, first in row {row} of the "
            f"{len(q_hat)} it was asked for."
        )
    return q_hat


def check_number(
    name: str, value: Any, kind: type, least: float | None = None, above: float | None = None
) -> None:
    """Raise unless `value` is a finite number of a kind, of at least `least` and above `above`."""
    allowed = isinstance(value, kind) and not isinstance(value, bool) and np.isfinite(value)
    if allowed and least is not None:
        allowed = value >= least
    if allowed and above is not None:
        allowed = value > above
    if not allowed:
        what = "an integer" if kind is Integral else "a finite number"
        bound = f"of at least {least}" if above is None else f"above {above}"
        raise ValueError(f"{name} must be {what} {bound}; got {value!r}.")


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
    array = _array(name, values)
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
    array = _array(name, values)
    if array.dtype.kind == "f" and np.isnan(array).any():
        row = int(np.argmax(np.isnan(array)))
        raise ValueError(f"{name} is missing in row {row}. Drop the row.")
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must hold integers; got dtype {array.dtype}. "
            f"Convert it with {name}.astype(int) if its values are whole numbers."
        )
    if array.ndim != 1:
        raise ValueError(f"{name} must have 1 dimension; got shape {array.shape}.")
    return array.astype(np.int64, copy=False)


def labels(name: str, values: Any) -> np.ndarray:
    """A column of sortable labels without missing values, (n,)."""
    array = _array(name, values)
    if array.ndim != 1:
        raise ValueError(f"{name} must have 1 dimension; got shape {array.shape}.")
    if array.dtype.kind == "O":
        missing = np.array([_is_missing(value) for value in array])
    else:
        missing = array != array
    if missing.any():
        row = int(np.argmax(missing))
        raise ValueError(f"{name} is missing in row {row}. Drop the row or fill the value.")
    if array.dtype.kind == "O":
        try:
            np.sort(array)
        except TypeError as error:
            raise ValueError(
                f"{name} cannot be sorted: {error}. Convert it to one type."
            ) from error
    return array


def round_down_to_one(pscore: np.ndarray) -> np.ndarray:
    """Take probabilities that rounding has put just above 1 for 1."""
    just_above = (pscore > 1) & (pscore < 1 + 1e-6)
    return np.where(just_above, pscore.dtype.type(1), pscore) if just_above.any() else pscore


def _is_missing(value: Any) -> bool:
    """None, NaN, NaT or pandas.NA: what is not equal to itself, or will not say."""
    try:
        return value is None or bool(value != value)
    except TypeError:
        return True


def _array(name: str, values: Any) -> np.ndarray:
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        row = int(np.argwhere(np.ma.getmaskarray(values))[0][0])
        raise ValueError(f"{name} is masked in row {row}. Drop or fill masked values.")
    return np.asarray(values)


def check_rows(name: str, column: np.ndarray, good: np.ndarray, must_be: str, cure: str) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(f"{name} must be {must_be}; row {row} has {column[row]}. {cure}")


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
