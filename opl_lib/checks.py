"""Checks at the door: arrays and settings, with errors that name the cure."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterable
from numbers import Integral, Number, Real
from typing import Any

import numpy as np

# A mean or a standard deviation of a feature beyond this is far from unit scale.
_MAX_SCALE = 10
# Scores are single-precision numbers: divided by less than this they could be infinite.
MIN_TEMPERATURE = 1e-38
# An array of rows by items is never larger than this: 64 MiB of double-precision numbers.
MAX_ELEMENTS = 2**23


def check_number(
    name: str,
    value: Any,
    kind: type = Real,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    finite: bool = True,
) -> None:
    """Raise unless `value` is a number of a kind and within bounds, and finite if that is asked."""
    bounds = []
    allowed = isinstance(value, kind) and not isinstance(value, bool) and value == value
    if allowed and finite and not isinstance(value, Integral):
        allowed = math.isfinite(value)
    if least is not None:
        bounds.append(f"of at least {least}")
        allowed = allowed and value >= least
    if above is not None:
        bounds.append(f"above {above}")
        allowed = allowed and value > above
    if most is not None:
        bounds.append(f"at most {most}")
        allowed = allowed and value <= most
    if not allowed:
        what = "an integer" if kind is Integral else "a finite number" if finite else "a number"
        raise ValueError(
            f"{name} must be {what} {' and '.join(bounds)}".rstrip() + f"; got {value!r}."
        )


def read_only(array: np.ndarray) -> np.ndarray:
    """A copy that nobody can write to; of what nobody can write to, the array itself."""
    if array.flags.writeable or array.base is not None:
        array = array.copy(order="K")
        array.flags.writeable = False
    return array


def row_chunks(n_rounds: int, n_actions: int, max_elements: int | None = None) -> list[slice]:
    """Slices of rows such that a (rows, n_actions) array stays below `max_elements`."""
    step = max(1, (max_elements or MAX_ELEMENTS) // max(1, n_actions))
    return [slice(start, min(start + step, n_rounds)) for start in range(0, n_rounds, step)]


def feature_matrix(name: str, values: Any) -> np.ndarray:
    array = numbers(name, values, ndim=2)
    if array.shape[1] == 0:
        raise ValueError(f"{name} has no columns; pass at least one feature, or a column of ones.")
    return array


def numbers(name: str, values: Any, ndim: int, check_finite: bool = True) -> np.ndarray:
    array = _array(name, values)
    if array.dtype.kind not in "bifu":
        why = why_no_number(array, "Encode categories")
        raise ValueError(f"{name} must be numeric; got dtype {array.dtype}{why}")
    if array.ndim != ndim:
        raise ValueError(
            f"{name} must have {ndim} dimension{'s' * (ndim > 1)}; got shape {array.shape}."
        )
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    if check_finite and not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{name} must be finite; {_where(place)} has {array[place]}. Drop or impute it."
        )
    return array


def why_no_number(array: np.ndarray, encode: str) -> str:
    """The end of a message: the first entry that is no number, and the cure; `encode` for text."""
    encode += " first, for example with pandas.get_dummies."
    if array.dtype.kind != "O":
        return f". {encode}"
    for place, value in np.ndenumerate(array):
        if _is_missing(value):
            return f"; {_where(place)} is missing ({value}). Drop the row or impute the value."
        if isinstance(value, Number) and not isinstance(value, Real):
            return f"; {_where(place)} has {value!r}. Convert it, as with .astype(float)."
        if not isinstance(value, Real | np.bool_):
            return f"; {_where(place)} has {value!r}. {encode}"
    return ", though every entry is a number. Convert it, as with .astype(float)."


def _where(place: tuple[int, ...]) -> str:
    """``(3,)`` and ``(3, 0)`` in words."""
    return f"row {place[0]}" + "".join(f", column {column}" for column in place[1:])


def integers(name: str, values: Any) -> np.ndarray:
    array = _array(name, values)
    if (row := _first_missing(array)) is not None:
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
    if (row := _first_missing(array)) is not None:
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
    except ValueError:  # an array, of which some entries may be missing and others not
        return False


def _first_missing(array: np.ndarray) -> int | None:
    if array.dtype.kind == "O":
        missing = np.array([_is_missing(value) for value in array.flat]).reshape(array.shape)
    else:
        missing = array != array
    return int(np.argwhere(missing)[0][0]) if missing.any() else None


def _array(name: str, values: Any) -> np.ndarray:
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        row = int(np.argwhere(np.ma.getmaskarray(values))[0][0])
        raise ValueError(f"{name} is masked in row {row}. Drop or fill masked values.")
    return np.asarray(values)


def check_rows(name: str, column: np.ndarray, good: np.ndarray, must_be: str, cure: str) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(f"{name} must be {must_be}; row {row} has {column[row]}. {cure}")


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called this package, however deep in it this is."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        frame = frame.f_back
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def warn_of_scale(feedbacks: Iterable[Any]) -> None:
    """Warn once of every log with features that towers learn badly from."""
    for log in {id(log): log for log in feedbacks}.values():
        for name in ("context", "action_context"):
            features = getattr(log, name)
            size = np.maximum(np.abs(features.mean(axis=0)), features.std(axis=0))
            if size.max() > _MAX_SCALE:
                column = int(size.argmax())
                warn_user(
                    f"{name}, column {column} has mean {features[:, column].mean():.3g} and "
                    f"standard deviation {features[:, column].std():.3g}. Towers learn badly from "
                    "features far from unit scale: standardise them, with the mean and standard "
                    "deviation of the training log for all logs."
                )
