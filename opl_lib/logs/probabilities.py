"""What a policy would show in the rounds of a log, whether it is asked or an array says so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..answers import action_probabilities, check_probabilities
from ..arrays import first, numbers, row_chunks
from ..protocols import PolicyLike, for_items, is_array
from .eligible import Eligible
from .joining import check_same_columns
from .rounds import Rounds


def log_probabilities(
    policy: PolicyLike | np.ndarray, log: Rounds
) -> Callable[[slice], np.ndarray]:
    """What returns the probabilities in some rows of a log, (n, n_actions), checked.

    An array of all, (n_rounds, n_actions), is checked at once, and so is who a policy is. Where the
    log says what is eligible, policies are asked among these items.
    """
    shape = (log.n_rounds, log.n_actions)
    if not is_array(policy):
        check_same_columns(policy, "the policy", log, "the log")
        asked = for_items(policy, log.action_context)
        return lambda rows: action_probabilities(
            asked,
            log.context[rows],
            log.action_context,
            rows.start,
            log.n_rounds,
            None if log.eligible is None else log.eligible.mask(rows),
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
    if log.eligible is not None:
        _check_eligible(pi, log.eligible)
    return lambda rows: pi[rows]


def _check_eligible(pi: np.ndarray, eligible: Eligible) -> None:
    for rows in row_chunks(*pi.shape):
        if (wrong := (pi[rows] > 0) & ~eligible.mask(rows)).any():
            row, item = first(wrong)
            raise ValueError(
                f"the policy, an array, has {pi[rows][row, item]:.3g} for item {item} in row "
                f"{rows.start + row}, where it is not eligible. Ask the policy with "
                "eligible=log.eligible, or set it to 0 and let the row sum to 1."
            )
