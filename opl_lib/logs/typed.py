"""A column of a data frame as what it is: numbers, text or dates, and where it is missing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from ..arrays import first, number_in_text, why_no_number
from .readers import frame_column

NUMBERS, TEXT, DATES, ZONED = "numbers", "text", "dates", "dates with a zone"
NOTHING = "nothing"  # missing in every row, which is of any kind
_DAY = np.timedelta64(1, "D") / np.timedelta64(1, "us")
_NUMBER = re.compile(r"\s*[-+]?(\d+[.,]?\d*|[.,]\d+)(e[-+]?\d+)?\s*", re.IGNORECASE)
_DATE = re.compile(r"\s*\d{4}-\d{2}-\d{2}([T ].*)?|\s*\d{1,2}[./]\d{1,2}[./]\d{4}\s*", re.DOTALL)


class Typed(NamedTuple):
    """Values (n,): floats, text as objects, or days since 1970; where missing NaN, or ``""``."""

    kind: str
    values: np.ndarray
    missing: np.ndarray


def typed_column(frame: Any, name: Any, role: str) -> Typed:
    """A column by its name; raise if its values are of no kind, or of several."""
    values = frame_column(frame, name, role)
    where = f"{role}: column {name!r}"
    if hasattr(getattr(frame[name], "cat", None), "codes"):
        return _of_categories(frame[name].cat)
    kind = values.dtype.kind
    if kind in "biuf":
        return _numbers(values.astype(np.float64), where)
    if kind == "m":
        return _numbers(_days(values.astype("timedelta64[us]")), where)
    if kind == "M":
        days = _days(values.astype("datetime64[us]"))
        return Typed(DATES, days, np.isnan(days))
    if kind not in "OUT":
        raise ValueError(_no_kind(where, values))
    return _of_objects(values.astype(object), where)


def check_text(column: Typed, name: Any, role: str) -> None:
    """Raise where text is numbers or dates that were read as text: categories they are not."""
    present = column.values[~column.missing]
    distinct = set(present.tolist())
    for pattern, what, cure in (
        (_NUMBER, "a number", number_in_text(present[0])),
        (_DATE, "a date", "as with pandas.to_datetime"),
    ):
        if all(pattern.fullmatch(value) for value in distinct):
            raise ValueError(
                f"{role}: column {name!r} has {present[0]!r} in row "
                f"{first(~column.missing)[0]}, {what} stored as text. Convert it, {cure}; or, if "
                "it is a name or a code, as with .astype('category')."
            )


def is_category(frame: Any, name: Any) -> bool:
    """Whether a data frame says of a column that it holds names, whatever they look like."""
    return str(getattr(frame[name], "dtype", "")).lower().startswith(("categor", "enum"))


def _of_categories(column: Any) -> Typed:
    """Of pandas: categories by their names, which are the same where some are missing."""
    codes = column.codes.to_numpy()
    names = np.array([*map(str, column.categories), ""], dtype=object)
    return _text(names[codes], codes < 0)


def _of_objects(values: np.ndarray, where: str) -> Typed:
    missing = _missing(values)
    present = values[~missing].tolist()
    types = set(map(type, present))
    if not types:
        return Typed(NOTHING, np.full(len(values), np.nan), missing)
    if _all_are(types, str):
        text = values.copy()
        text[missing] = ""
        return _text(text, missing)
    if _all_are(types, Real | np.bool_):
        numbers = np.full(len(values), np.nan)
        numbers[~missing] = [float(value) for value in present]
        return _numbers(numbers, where)
    if _all_are(types, date | np.datetime64):
        return _dates(present, missing, where)
    raise ValueError(_no_kind(where, values))


def _all_are(types: Iterable[type], kind: Any) -> bool:
    return all(issubclass(one, kind) for one in types)


def _missing(values: np.ndarray) -> np.ndarray:
    """None, NaN, NaT and pandas.NA."""
    import pandas as pd

    return np.asarray(pd.isna(values))


def _text(values: np.ndarray, missing: np.ndarray) -> Typed:
    """Text, of which what is empty or blank is missing, too."""
    blank = np.fromiter((not value.strip() for value in values), bool, len(values))
    values[blank] = ""
    return Typed(TEXT, values, missing | blank)


def _numbers(values: np.ndarray, where: str) -> Typed:
    if np.isinf(values).any():
        row = first(np.isinf(values))[0]
        raise ValueError(
            f"{where} must be finite; row {row} has {values[row]}. Drop the row or impute the "
            "value."
        )
    return Typed(NUMBERS, values, np.isnan(values))


def _dates(present: list[Any], missing: np.ndarray, where: str) -> Typed:
    zoned = {getattr(value, "tzinfo", None) is not None for value in present}
    if len(zoned) > 1:
        raise ValueError(
            f"{where} has dates with and without a time zone. Convert it: "
            "pandas.to_datetime(…, utc=True)."
        )
    if zoned == {True}:
        present = [value.astimezone(UTC).replace(tzinfo=None) for value in present]
    plain = [
        np.datetime64(value.isoformat() if isinstance(value, date | datetime) else value, "us")
        for value in present
    ]
    days = np.full(len(missing), np.nan)
    days[~missing] = _days(np.array(plain, dtype="datetime64[us]"))
    return Typed(ZONED if zoned == {True} else DATES, days, missing)


def _days(values: np.ndarray) -> np.ndarray:
    """Days since 1970, or of a duration."""
    days = values.astype(np.int64) / _DAY
    days[np.isnat(values)] = np.nan
    return days


def _no_kind(where: str, values: np.ndarray) -> str:
    present = values[~_missing(values)] if values.dtype.kind == "O" else values
    types = list(dict.fromkeys(map(type, present.tolist())))
    if len(types) > 1 and any(issubclass(one, str | date) for one in types):
        both = [next(v for v in present.tolist() if type(v) is one) for one in types[:2]]
        return (
            f"{where} has values of several types, such as {both[0]!r} and {both[1]!r}. Convert it "
            "to one type, as with .astype(str)."
        )
    why = why_no_number(present, "It is no number, text or date: encode it")
    return f"{where} has dtype {values.dtype}{why}"


def weekday(day: np.ndarray) -> np.ndarray:
    """0 for Monday, of days since 1970, which began on a Thursday."""
    return (np.floor(day) + 3) % 7
