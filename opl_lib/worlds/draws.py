"""What a policy shows: items drawn from its probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..answers import action_probabilities
from ..arrays import row_chunks
from ..logs.eligible import Eligible
from ..protocols import PolicyLike


def draw_items(
    policy: PolicyLike,
    context: Any,
    action_context: Any,
    uniforms: np.ndarray,
    eligible: Eligible | None,
) -> tuple[np.ndarray, np.ndarray]:
    """An item for each context, and how likely it was to be shown: (n,) each."""
    item, pscore = np.empty(len(context), int), np.empty(len(context))
    for rows in row_chunks(len(context), len(action_context)):
        pi = action_probabilities(
            policy,
            some(context, rows),
            action_context,
            rows.start,
            len(context),
            None if eligible is None else eligible.mask(rows),
        )
        item[rows] = _inverse_cdf(pi, uniforms[rows])
        pscore[rows] = pi[np.arange(len(pi)), item[rows]]
    return item, pscore


def some(context: Any, rows: slice) -> Any:
    """Some rows of an array, or of a data frame."""
    return context.iloc[rows] if hasattr(context, "iloc") else context[rows]


def _inverse_cdf(pi: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Draw one item a row: the first whose cumulative probability exceeds the row's uniform."""
    cdf = pi.cumsum(axis=1)
    cdf /= cdf[:, -1:]
    return (cdf <= uniforms[:, None]).sum(axis=1)
