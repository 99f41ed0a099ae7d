"""What a policy would show in the rounds of a log, whether it is asked or an array says so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arrays import numbers
from ..protocols import (
    PolicyLike,
    action_probabilities,
    check_probabilities,
    for_items,
    is_array,
)
from .rounds import Rounds


def log_probabilities(
    policy: PolicyLike | np.ndarray, log: Rounds
) -> Callable[[slice], np.ndarray]:
    """What returns the probabilities in some rows of a log, (n, n_actions), checked.

    An array of all, (n_rounds, n_actions), is checked at once, and so is who a policy is.
    """
    shape = (log.n_rounds, log.n_actions)
    if not is_array(policy):
        asked = for_items(policy, log.action_context)
        return lambda rows: action_probabilities(
            asked, log.context[rows], log.action_context, rows.start, log.n_rounds
        )
    pi = numbers("policy", policy, ndim=None, check_finite=False)
    if pi.shape == (*shape, 1):  # obp's, with its positions
        pi = pi[:, :, 0]
    if pi.shape != shape:
        raise ValueError(
            f"policy is an array of shape {pi.shape}; the probabilities for the rounds of this log "
            f"are of shape (n_rounds, n_actions) = {shape}."
        )
    check_probabilities("the policy, an array, has", pi)
    return lambda rows: pi[rows]
