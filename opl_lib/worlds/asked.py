"""What a world is asked about, and what its subclass answers, checked."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from ..arrays import (
    as_array,
    feature_matrix,
    first,
    integers,
    numbers,
    round_down_to_one,
    where,
)
from ..checks import check_number
from ..logs.identity import labels

_MOST = 2**31 - 1  # more is no number of rows or items that fits anywhere


def check_count(name: str, value: Any, least: int) -> None:
    """Raise unless so many rows or items can be."""
    check_number(name, value, Integral, least=least)
    if value > _MOST:
        raise ValueError(f"{name} must be at most {_MOST}; got {value}.")


def contexts(context: Any, dim_context: int) -> np.ndarray:
    """Contexts of a world, (n, dim_context)."""
    context = as_array("context", context)
    if context.ndim != 2 or context.shape[1] != dim_context:
        raise ValueError(
            f"context must have shape (n, {dim_context}) in this world; got {context.shape}."
        )
    return feature_matrix("context", context)


def known_items(name: str, items: Any, n_rows: int, n_actions: int) -> np.ndarray:
    """Numbers of items, one or several for each of n_rows contexts: (n,) or (n, k)."""
    items = as_array(name, items)
    if items.ndim not in (1, 2) or len(items) != n_rows:
        raise ValueError(
            f"{name} must have shape (n,) or (n, k), with n = {n_rows} contexts; got {items.shape}."
        )
    items = integers(name, items.ravel()).reshape(items.shape)
    bad = (items < 0) | (items >= n_actions)
    if bad.any():
        place = first(bad)
        raise ValueError(
            f"{name} must be in [0, {n_actions - 1}], a row number of action_context; "
            f"{where(place)} has {items[place]}."
        )
    return items


def item_lists(name: str, items: Any, n_rows: int, n_actions: int) -> np.ndarray:
    """A list of different items for each of n_rows contexts, (n, k)."""
    items = as_array(name, items)
    if items.ndim != 2 or len(items) != n_rows or items.shape[1] == 0:
        raise ValueError(
            f"{name} must have shape (n, k), a list for each of the {n_rows} contexts; got "
            f"{items.shape}."
        )
    items = known_items(name, items, n_rows, n_actions)
    repeats = (np.diff(np.sort(items, axis=1), axis=1) == 0).any(axis=1)
    if repeats.any():
        row = int(np.argmax(repeats))
        raise ValueError(f"{name}: the list of row {row} shows an item twice: {items[row]}.")
    return items


def item_labels(name: str, values: Any, n_actions: int) -> np.ndarray:
    """A label of each item, (n_actions,), in the byte order that pandas groups by."""
    shape = as_array(name, values).shape
    if shape != (n_actions,):
        raise ValueError(f"{name} must hold one label an item, shape ({n_actions},); got {shape}.")
    array = labels(name, values)
    return array.astype(array.dtype.newbyteorder("="))


def reward_probabilities(q: Any, shape: tuple[int, ...]) -> np.ndarray:
    """What `reward_probability` or `reward_probability_of` has returned."""
    q = numbers("what reward_probability returned", q, ndim=None, check_finite=False)
    if q.shape != shape:
        raise ValueError(f"reward_probability returned shape {q.shape}; expected {shape}.")
    if q.size and not (q.min() >= 0 and q.max() <= 1):
        q = round_down_to_one(q)
        bad = ~((q >= 0) & (q <= 1))
        if bad.any():
            place = first(bad)
            raise ValueError(
                f"reward_probability returned {q[place]} in {where(place)}, which is not in "
                "[0, 1]. Is the context far too large?"
            )
    return q
