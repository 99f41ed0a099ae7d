"""What a catalogue of items that come and go has on offer at which time."""

from __future__ import annotations

from datetime import date
from numbers import Real
from typing import Any

import numpy as np

from ..arrays import as_array, missing
from .identity import example, kind_of, times


def sets_of_dates(timestamp: Any, start: Any, end: Any) -> tuple[np.ndarray, np.ndarray]:
    """Sets of items, (n_sets, n_actions), each at least once, and the number of each round's."""
    timestamp = _native(times("timestamp", timestamp))
    (starts, has_start), (ends, has_end) = (
        _of_items(name, values, timestamp) for name, values in (("start", start), ("end", end))
    )
    if len(starts) != len(ends):
        raise ValueError(f"start has {len(starts)} rows and end {len(ends)}: one an item each.")
    try:
        if (wrong := has_start & has_end & (ends < starts)).any():
            item = int(wrong.argmax())
            raise ValueError(
                f"end: row {item} of the items ends at {ends[item]}, before its start, "
                f"{starts[item]}. Exchange them, or drop the item."
            )
        events = np.unique(np.concatenate([starts[has_start], ends[has_end]]))
        place = np.searchsorted(events, timestamp, side="right")
        used, number = np.unique(place, return_inverse=True)
        first = timestamp[np.unique(place, return_index=True)[1]][:, None]
        sets = (~has_start | (starts <= first)) & (~has_end | (first < ends))
    except TypeError as error:
        raise ValueError(f"timestamp, start and end cannot be compared: {error}.") from error
    if not (offers := sets.any(axis=1)).all():
        row = int((place == used[offers.argmin()]).argmax())
        raise ValueError(
            f"timestamp: in row {row}, {example(timestamp, row)}, no item was on offer: all "
            "end by then or start later. Drop the round, or correct the items' dates."
        )
    return sets, number


def _of_items(name: str, values: Any, like: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times of items, (n_actions,), comparable with others, and where there is one."""
    array = as_array(name, values)
    if array.ndim != 1:
        raise ValueError(f"{name} must have 1 dimension; got shape {array.shape}.")
    known = ~missing(array)
    filled = np.full(len(array), like[0], dtype=like.dtype)
    if known.any():
        there = _native(times(name, array[known]))
        if _zoned(there) != _zoned(like):
            which = ("items", "rounds") if _zoned(there) else ("rounds", "items")
            raise ValueError(
                f"{name}: times of {which[0]} have a time zone, such as "
                f"{example(there if _zoned(there) else like)}, and those of {which[1]} have none. "
                "Say of which zone these are, as with .dt.tz_localize('Europe/Berlin')."
            )
        if kind_of(there) != kind_of(like):
            raise ValueError(
                f"{name} holds {kind_of(there)}, such as {example(there)}, and timestamp "
                f"{kind_of(like)}, such as {example(like)}: convert one of them."
            )
        filled = filled.astype(np.promote_types(there.dtype, like.dtype))
        filled[known] = there
    return filled, known


def _zoned(times: np.ndarray) -> bool:
    return getattr(times[0], "tzinfo", None) is not None


def _native(array: np.ndarray) -> np.ndarray:
    """Times without objects where numpy can do without; dates to the microsecond.

    In nanoseconds, the year 9999 that stands for an open end has no number.
    """
    if array.dtype.kind == "O" and isinstance(array[0], Real):
        return np.array(array.tolist())
    plain = array.dtype.kind == "O" and all(
        isinstance(day, date) and getattr(day, "tzinfo", None) is None for day in array
    )
    return array.astype("M8[us]") if plain or array.dtype.kind == "M" else array
