"""Who is who in a log, and what is later than what: labels that are compared without loss."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import date, timedelta
from numbers import Complex, Integral, Number, Real
from typing import Any

import numpy as np

from ..arrays import as_array, first, first_missing, where

# Beyond this, whole numbers have neighbours that double precision cannot tell from them.
MAX_EXACT = 2**53

_TO_ONE_TYPE = "Convert it to one type, as with .astype(str)."
_TO_TEXT = "Convert it to numbers or text."

_KINDS: dict[Any, str] = {
    str: "text",
    bytes: "bytes",
    bool | np.bool_: "booleans",
    np.timedelta64: "durations",  # a number to numpy
    np.datetime64: "dates",
    Real: "numbers",
    Complex: "complex numbers",
    Number: "numbers",
    np.void: "records",
}


def identities(name: str, values: Any, cure: str = _TO_ONE_TYPE) -> np.ndarray:
    """Labels of one type without missing values, (n,), each of which stands for one thing."""
    array = _of_one_type(name, values, cure)
    if array.dtype.kind == "f":
        _check_exact(name, array)
    elif isinstance(array[0], float):  # of objects
        _check_exact(name, array.astype(np.float64))
    return array


def labels(name: str, values: Any) -> np.ndarray:
    """Identities that can be sorted."""
    return _sortable(name, identities(name, values), _TO_TEXT)


def times(name: str, values: Any) -> np.ndarray:
    """Numbers, dates or durations without missing values, (n,), that sort as time passes."""
    cure = f"Make all of them numbers, or dates: pandas.to_datetime({name}, utc=True)."
    array = identities(name, values, cure)
    kind = kind_of(array)
    if kind in ("text", "bytes"):
        raise ValueError(
            f"{name} is text, such as {example(array)}, and would be sorted by the alphabet. "
            f"Convert it: pandas.to_datetime({name}), with format=… or dayfirst=True if the day is "
            "first."
        )
    if not (kind in ("numbers", "dates", "durations") or _has_date(array[0])):
        raise ValueError(
            f"{name} must hold numbers or dates; it holds {kind}, such as {example(array)}. A date "
            "may be of datetime, numpy or pandas."
        )
    return _sortable(name, array, cure)


def _has_date(value: Any) -> bool:
    like_a_date = all(hasattr(value, part) for part in ("year", "month", "day"))
    return isinstance(value, date | timedelta) or like_a_date  # as pandas.Period


def kind_of(array: np.ndarray) -> str:
    """What labels are, in words; those of two kinds never stand for the same thing."""
    return _kind_of_type(type(array[0]))


def _kind_of_type(one: type) -> str:
    for kind, name in _KINDS.items():
        if issubclass(one, kind):
            return name
    return f"objects of type {one.__name__}"


def example(array: np.ndarray, row: int = 0) -> str:
    """A label for a message."""
    value = array[row]
    plain = isinstance(value, np.generic) and not isinstance(value, np.datetime64 | np.timedelta64)
    return repr(value.item() if plain else value)


def _as_they_are(name: str, values: Any) -> np.ndarray:
    """Values as an array; of a list, objects where numpy would make one type of several."""
    array = as_array(name, values)
    if array.ndim != 1 or not isinstance(values, Sequence):
        return array
    types = set(map(type, values))
    kinds = set(map(_kind_of_type, types))
    unchanged = array.dtype.kind not in "SUfiu" or array.tolist() == list(values)
    if unchanged and len(kinds) <= 1:
        return array
    array = np.fromiter(values, dtype=object, count=len(values))
    whole = kinds == {"numbers"} and all(issubclass(one, Integral) for one in types)
    if whole and min(values) >= 0:
        with suppress(OverflowError):
            return array.astype(np.uint64)  # as of hashes, of which numpy makes floats
    return array


def _of_one_type(name: str, values: Any, cure: str) -> np.ndarray:
    array = _as_they_are(name, values)
    if array.dtype.kind == "T":
        array = array.astype(object)  # numpy's text of any length does not say what is missing
    if array.ndim != 1:
        raise ValueError(f"{name} must have 1 dimension; got shape {array.shape}.")
    if len(array) == 0:
        raise ValueError(f"{name} has no rows.")
    if (row := first_missing(array)) is not None:
        raise ValueError(f"{name} is missing in row {row}. Drop the row or fill the value.")
    if array.dtype.kind == "O":
        _check_objects(name, array.tolist(), cure)
    return array


def _check_objects(name: str, values: list[Any], cure: str) -> None:
    """Raise unless all are of one type that can be compared."""
    one, *others = dict.fromkeys(map(type, values))
    if others:
        row = next(row for row, value in enumerate(values) if type(value) is others[0])
        raise ValueError(
            f"{name} has values of several types: {values[0]!r}, of {one.__name__}, in row 0 and "
            f"{values[row]!r}, of {others[0].__name__}, in row {row}. {cure}"
        )
    for row, value in enumerate(values) if one not in (str, bytes, int, float) else ():
        try:
            hash(value)
        except TypeError as error:
            raise ValueError(
                f"{name} has {value!r} in row {row}, which cannot be compared ({error}). Convert "
                "it to numbers or text."
            ) from error


def _sortable(name: str, array: np.ndarray, cure: str) -> np.ndarray:
    if array.dtype.kind == "O" and not isinstance(array[0], str | bytes | Real):
        try:
            ordered = np.sort(array)
            smaller, larger = ordered[:-1], ordered[1:]
            if not ((smaller < larger) | (smaller == larger)).all():
                raise TypeError("some of them are neither equal nor one before the other")
        except Exception as error:  # of whatever type the objects are
            raise ValueError(
                f"{name} cannot be sorted, such as {array[0]!r} in row 0: {error}. {cure}"
            ) from error
    return array


def _check_exact(name: str, array: np.ndarray) -> None:
    """Raise if there are floats so large that they may stand for several integers."""
    if np.isinf(array).any():
        place = first(np.isinf(array))
        raise ValueError(f"{name} must be finite; {where(place)} has {array[place]}.")
    size, limit = np.abs(array), min(MAX_EXACT, 2 ** (np.finfo(array.dtype).nmant + 1))
    if size.max() >= limit:
        row = int(size.argmax())
        raise ValueError(
            f"{name} has {example(array, row)} in row {row}: as {array.dtype}, numbers from "
            f"{limit} on cannot be told from their neighbours. Read the column as integers or as "
            "text (in pandas, dtype 'Int64' keeps integers where values are missing)."
        )
