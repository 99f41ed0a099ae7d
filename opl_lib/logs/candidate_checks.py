"""What the rows of candidates that were not shown tell of those that were."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import first
from ..checks import warn_user
from .identity import example
from .readers import frame_column

_TOLERANCE = 0.01  # of probabilities that were rounded


def check_others(
    frame: Any,
    logged: np.ndarray,
    number: np.ndarray,
    ids: np.ndarray,
    reward: str,
    pscore: str | None,
    user_id: str | None,
) -> None:
    """Raise or warn if the rows of a round do not fit to the one that was shown.

    Parameters
    ----------
    frame : data frame of n rows
    logged : integer array of shape (n_rounds,)
        The row that each round showed.
    number : integer array of shape (n,)
        The round of each row.
    ids : array of shape (n_rounds,)
        What rounds are called.
    reward, pscore, user_id : str
        Names of columns.
    """
    if len(logged) == len(number):
        raise ValueError(
            "frame: every round has one candidate, so that nothing was chosen. Pass the rows of "
            "all that could be shown; or, of a log with one row a round, use "
            "BanditFeedback.from_dataframe."
        )
    if user_id is not None:
        users = frame_column(frame, user_id, "user_id")
        _check_one_user(users, users[logged][number], logged[number], number, ids)
    rewards = _numbers(frame, reward, "reward")
    odd = (rewards != rewards[logged][number]) & np.isfinite(rewards) & (rewards != 0)
    if odd.any():
        row = int(first(odd)[0])
        warn_user(
            f"reward: row {row} was not shown and has {rewards[row]:g}, and row "
            f"{logged[number[row]]}, which its round {example(ids, number[row])} showed, has "
            f"{rewards[logged[number[row]]]:g}. Is shown of what had the reward? Rewards of rows "
            "that were not shown are left out."
        )
    if pscore is not None:
        _check_sums(_numbers(frame, pscore, "pscore"), logged, number, ids)


def _check_one_user(
    users: np.ndarray, theirs: np.ndarray, rows: np.ndarray, number: np.ndarray, ids: np.ndarray
) -> None:
    import pandas as pd

    differ = np.asarray(users != theirs) & ~pd.isna(users) & ~pd.isna(theirs)
    if differ.any():
        row = int(first(differ)[0])
        raise ValueError(
            f"user_id: round {example(ids, number[row])} is of {example(users, rows[row])} in row "
            f"{rows[row]} and of {example(users, row)} in row {row}. Does round_id tell the rounds "
            "of all users apart?"
        )


def _check_sums(p: np.ndarray, logged: np.ndarray, number: np.ndarray, ids: np.ndarray) -> None:
    """Warn if all candidates have a probability, and those of a round do not sum to 1."""
    if not np.isfinite(p).all() or (p == p[logged][number]).all():  # or that of the shown item
        return
    total = np.bincount(number, p)
    if (off := np.abs(total - 1) > _TOLERANCE).any():
        bad = int(np.argmax(off))
        warn_user(
            f"pscore: the candidates of round {example(ids, bad)} have {total[bad]:.3g} together, "
            f"as those of {np.mean(off):.0%} of the rounds do not have 1. Are they scores, of "
            "a whole page, or are candidates missing? Probabilities of one draw sum to 1."
        )


def _numbers(frame: Any, name: str, role: str) -> np.ndarray:
    """A column as floats, NaN for what is no number; what counts is read again, and checked."""
    import pandas as pd

    column = frame_column(frame, name, role)
    return pd.to_numeric(pd.Series(column), errors="coerce").to_numpy(np.float64)
