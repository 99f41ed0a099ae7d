"""What could still be shown in the slots of a page, given what stands above."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from ..arrays import integers
from .eligible import Eligible, as_eligible, joined
from .identity import example, labels

_REPEATS = (
    "Pages like this are not drawn without replacement: leave the sets as they are. If page_id is "
    "that of a session or a visit, pass that of the page."
)


def without_above(page_id: Any, position: Any, action: Any, eligible: Any) -> Eligible:
    """Take from each round's items those that stand above on its page.

    Where no item is shown twice on a page, the second slot is drawn from what the first has left.
    If `pscore` is the probability given what stands above, these are the items among which it sums
    to 1: with the others, weights are too small, and their mean is not 1. If it is the probability
    of the item in this slot over all pages, whatever stands above, leave the sets as they are.

    Parameters
    ----------
    page_id : array of shape (n_rounds,)
        The page of each round.
    position : integer array of shape (n_rounds,)
        The slot: of two rounds of a page, that with the smaller one stands above. All pages begin
        with the same slot.
    action : integer array of shape (n_rounds,)
        The item shown.
    eligible : Eligible, boolean array of shape (n_rounds, n_actions), or int
        What was on offer; the number of items, if they all were.

    Returns
    -------
    Eligible
        It takes a byte for each item of each distinct set, and of rounds with two items or more
        above nearly every one has a set of its own: a million rounds of 1,000 items on pages of
        three may take 300 MB.

    Raises
    ------
    ValueError
        If a page shows an item twice, has two rounds in a slot, or lacks a slot above another; the
        message names the row.

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.without_above(
    ...     page_id=["p", "p", "q"], position=[0, 1, 0], action=[2, 0, 1], eligible=3
    ... ).mask().astype(int)
    array([[1, 1, 1],
           [1, 1, 0],
           [1, 1, 1]])
    """
    page, slot, item = (
        labels("page_id", page_id),
        integers("position", position),
        integers("action", action),
    )
    _check_lengths(page, slot, item)
    on_offer = _on_offer(eligible, len(page), item)
    number = np.unique(page, return_inverse=True)[1]
    order = np.lexsort((slot, number))
    number, slot, item = number[order], slot[order], item[order]
    start = np.searchsorted(number, number)
    depth = np.arange(len(number)) - start
    _check_slots(slot, depth, order, page)
    parts, rows = [], []
    for k in range(int(depth.max()) + 1):
        at = np.flatnonzero(depth == k)
        above = item[start[at][:, None] + np.arange(k)]
        if (twice := (above == item[at][:, None]).any(axis=1)).any():
            row = order[at[twice.argmax()]]
            raise ValueError(
                f"action: row {row} shows item {item[at[twice.argmax()]]}, which stands above on "
                f"its page, {example(page, row)}. {_REPEATS}"
            )
        rows.append(order[at])
        parts.append(without(on_offer[order[at]], above))
    return joined(parts)[np.argsort(np.concatenate(rows))]


def without(eligible: Eligible, items: np.ndarray) -> Eligible:
    """The sets of rounds without some items of each, (n_rounds, k); others must be left."""
    if items.shape[1] == 0:
        return eligible
    key = np.column_stack([eligible.number.astype(np.int64), np.sort(items, axis=1)])
    distinct, number = np.unique(key, axis=0, return_inverse=True)
    sets = eligible.sets[distinct[:, 0]]
    sets[np.arange(len(sets))[:, None], distinct[:, 1:]] = False
    return Eligible(sets, number.reshape(-1))


def _check_lengths(page: np.ndarray, slot: np.ndarray, item: np.ndarray) -> None:
    for name, column in (("position", slot), ("action", item)):
        if len(column) != len(page):
            raise ValueError(
                f"{name} has {len(column)} rows but page_id has {len(page)}: every column needs "
                "one entry per round."
            )


def _on_offer(eligible: Any, n_rounds: int, item: np.ndarray) -> Eligible:
    if isinstance(eligible, Integral) and not isinstance(eligible, bool | np.bool_):
        if eligible < 1:
            raise ValueError(f"eligible, the number of items, must be at least 1; got {eligible}.")
        every = np.ones((1, int(eligible)), bool)
        eligible = Eligible(every, np.zeros(n_rounds, int))
    elif not isinstance(eligible, Eligible):
        eligible = Eligible.of_mask(eligible)
    eligible = as_eligible(eligible, n_rounds, eligible.n_actions)
    if not (good := (item >= 0) & (item < eligible.n_actions)).all():
        row = int(good.argmin())
        raise ValueError(
            f"action must be in [0, {eligible.n_actions - 1}], an item of eligible; row {row} has "
            f"{item[row]}."
        )
    return eligible


def _check_slots(slot: np.ndarray, depth: np.ndarray, order: np.ndarray, page: np.ndarray) -> None:
    """Raise unless the slots of all pages, which are sorted by page and slot, count from one."""
    place = slot - slot.min() - depth
    if not place.any():
        return
    row = order[np.flatnonzero(place)[0]]
    if place[np.flatnonzero(place)[0]] < 0:
        raise ValueError(
            f"position: row {row} is in a slot of page {example(page, row)} that another row is "
            f"in, too. {_REPEATS}"
        )
    raise ValueError(
        f"position: row {row} of page {example(page, row)} has a slot above it, of which there is "
        "no row, so that what stood there is not known. Pass all rows of the pages, and drop "
        "rounds from the log afterwards; or drop pages that lack a slot."
    )
