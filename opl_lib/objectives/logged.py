"""What an objective asks of the columns of a log, which may be read in parts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..logs.feedback import BanditFeedback


def first_bad(
    feedback: BanditFeedback, name: str, is_bad: Callable[[np.ndarray], np.ndarray]
) -> tuple[int, float] | None:
    """The first row of a column that is bad, and what it holds; None if there is none."""
    n_before = 0
    for column in feedback.chunks(name):
        if (bad := is_bad(column)).any():
            row = int(bad.argmax())
            return n_before + row, float(column[row])
        n_before += len(column)
    return None
