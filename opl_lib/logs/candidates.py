"""Logs of one row a candidate: all that could be shown in a round, one of which was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .candidate_checks import check_others
from .columns import Columns, check_columns
from .feedback import BanditFeedback
from .identity import example, identities
from .readers import (
    check_frame,
    column_names,
    frame_column,
    item_row_numbers,
    numeric_frame_column,
)
from .typed import typed_column
from .without_propensities import LogWithoutPropensities

_MOST_PAIRS = 2**32


def read_candidates(
    frame: Any,
    *,
    round_id: str,
    shown: str,
    action: str,
    reward: str,
    pscore: str | None = None,
    context: Sequence[str] | None = None,
    item_features: Sequence[str] | None = None,
    items: Any = None,
    item_id: str | None = None,
    position: str | None = None,
    user_id: str | None = None,
    timestamp: str | None = None,
    columns: Columns | None = None,
) -> BanditFeedback | LogWithoutPropensities:
    """Make a log from a data frame with one row for each item that could be shown.

    Parameters
    ----------
    frame : data frame
        All candidates of all rounds; the other arguments name its columns.
    round_id : str
        Column with the same value in the rows of one round, wherever they stand.
    shown : str
        Column with 1 or True for the item that was shown, 0 or False for the others of its round.
    action : str
        Column that identifies an item.
    reward, pscore : str
        Columns that are read where `shown` is 1; `pscore` may be left out as in
        `BanditFeedback.from_dataframe`.
    context : list of str
        Columns that describe the user or query; of one value in a round.
    item_features : list of str, optional
        Columns that describe an item, and have one value for it in all rounds; or columns of
        `items`, all but `item_id` if not given.
    items : data frame of n_actions rows, optional
        One row an item, if the candidates' rows do not describe them.
    item_id : str, optional
        Column of `items` that identifies an item; required with `items`.
    position, user_id, timestamp : str, optional
        Columns for the optional parts of the log, read where `shown` is 1.
    columns : Columns, optional
        Those of another log, in the place of `context`, `item_id` and `item_features`.

    Returns
    -------
    BanditFeedback, or LogWithoutPropensities if `pscore` is not given
        Its rounds are in the order of their first rows; its items in that of `items`, or of their
        first rows.

    Raises
    ------
    ValueError
        If a round shows no item or several, has an item twice, or disagrees with itself about its
        context or user, or rounds about an item; if every round has one candidate. The message
        names column, round and item.

    Warns
    -----
    UserWarning
        If what was not shown has a reward that its round has not, or all candidates have a
        `pscore` and those of a round do not sum to 1.

    Examples
    --------
    >>> import pandas as pd
    >>> import opl_lib as opl
    >>> rows = pd.DataFrame({
    ...     "visit": [1, 1, 2, 2], "device": ["phone", "phone", "desk", "desk"],
    ...     "sku": ["a", "b", "b", "a"], "price": [3.0, 4.5, 4.5, 3.0],
    ...     "shown": [0, 1, 1, 0], "click": [0, 1, 0, 0], "p": [0.2, 0.8, 0.6, 0.4],
    ... })
    >>> log = opl.read_candidates(
    ...     rows, round_id="visit", shown="shown", action="sku", reward="click", pscore="p",
    ...     context=["device"], item_features=["price"],
    ... )
    >>> log.action, log.pscore
    (array([1, 1]), array([0.8, 0.6]))
    """
    check_frame("frame", frame)
    check_columns(columns)
    number, ids = _numbers(identities("round_id", frame_column(frame, round_id, "round_id")))
    logged = _shown_rows(frame, shown, number, ids)
    check_others(frame, logged, number, ids, reward, pscore, user_id)
    names: Any = [each.name for each in columns.context] if columns else context
    for name in column_names(names, "context"):
        _check_one_value(frame, name, "context", logged[number], "round", ids[number])
    own = identities("action", frame_column(frame, action, "action"))
    if items is None:
        if item_id is not None:
            raise ValueError(f"item_id={item_id!r} names a column of items: pass items=…, too.")
        names = [each.name for each in columns.items] if columns else item_features
        of_item, rows = _items_of_rows(frame, own, column_names(names, "item_features"))
        items, item_id = _rows(frame, rows), None if columns else action
    else:
        check_frame("items", items)
        key = columns.item_id if columns else item_id
        of_item = item_row_numbers(own, frame_column(items, key, "item_id of items"))
    mask = _mask(number, of_item, len(logged), len(items), ids)
    try:
        return BanditFeedback.from_dataframe(
            _rows(frame, logged),
            context=context,
            action=action,
            reward=reward,
            pscore=pscore,
            items=items,
            item_id=item_id,
            item_features=item_features,
            position=position,
            user_id=user_id,
            timestamp=timestamp,
            columns=columns,
            eligible=mask,
        )
    except (TypeError, ValueError) as error:
        error.add_note(f"Rows are counted among those where {shown!r} is 1.")
        raise


def check_size(n_rounds: int, n_actions: int) -> None:
    """Raise if rounds by items do not fit into memory."""
    if n_rounds * n_actions > _MOST_PAIRS:
        raise ValueError(
            f"action: {n_rounds:,} rounds of {n_actions:,} items do not fit into memory. Are items "
            "told apart by something that changes with the round?"
        )


def _items_of_rows(frame: Any, own: np.ndarray, names: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Items by number, and the rows that describe them: their first ones, like all others."""
    of_item, ids = _numbers(own)
    first_row = np.full(len(ids), -1)
    first_row[of_item[::-1]] = np.arange(len(own))[::-1]
    for name in names:
        _check_one_value(frame, name, "item_features", first_row[of_item], "item", own)
    return of_item, first_row


def _numbers(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Things by number, in the order of their first rows, and what they are called."""
    number_of: dict[Any, int] = {}
    number = np.fromiter(
        (number_of.setdefault(each, len(number_of)) for each in ids.tolist()), np.int64, len(ids)
    )
    return number, ids[np.unique(number, return_index=True)[1]]


def _shown_rows(frame: Any, shown: str, number: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The row of the item that each round showed."""
    flag = numeric_frame_column(frame, shown, "shown")
    if not np.isin(flag, (0, 1)).all():
        row = int(np.argmin(np.isin(flag, (0, 1))))
        raise ValueError(f"shown: column {shown!r} must be 0 or 1; row {row} has {flag[row]}.")
    rows = np.flatnonzero(flag == 1)
    count = np.bincount(number[rows], minlength=len(ids))
    if (count != 1).any():
        bad = int(np.argmax(count != 1))
        raise ValueError(
            f"shown: round {example(ids, bad)} shows {count[bad]} items, and must show one. Make a "
            "round of each slot, with the items that it could show; drop rounds that show none."
        )
    logged = np.empty(len(ids), dtype=np.int64)
    logged[number[rows]] = rows
    return logged


def _check_one_value(
    frame: Any, name: Any, role: str, first: np.ndarray, what: str, ids: np.ndarray
) -> None:
    """Raise if a column differs between a row and the one that speaks for its round or item."""
    column = typed_column(frame, name, role)
    same = (column.values == column.values[first]) | (column.missing & column.missing[first])
    if same.all():
        return
    row = int(np.argmin(same))
    cure = (
        "What describes the candidates belongs to item_features."
        if what == "round"
        else "Leave it out, or give items that differ ids that differ."
    )
    raise ValueError(
        f"{role}: column {name!r} has two values for {what} {example(ids, row)}, in rows "
        f"{first[row]} and {row}. {cure}"
    )


def _mask(
    number: np.ndarray, of_item: np.ndarray, n_rounds: int, n_actions: int, ids: np.ndarray
) -> np.ndarray:
    """Which items were candidates in which rounds, (n_rounds, n_actions)."""
    check_size(n_rounds, n_actions)
    pair, count = np.unique(number * n_actions + of_item, return_counts=True)
    if (count > 1).any():
        round_number = int(pair[np.argmax(count > 1)] // n_actions)
        raise ValueError(
            f"action: round {example(ids, round_number)} has the same item twice. Keep one row a "
            "candidate."
        )
    mask = np.zeros((n_rounds, n_actions), dtype=bool)
    mask[number, of_item] = True
    return mask


def _rows(frame: Any, rows: np.ndarray) -> Any:
    """Some rows of a data frame of pandas, or of what is indexed by row numbers."""
    return frame.iloc[rows] if hasattr(frame, "iloc") else frame[rows.tolist()]
