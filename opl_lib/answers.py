"""What policies and reward models answer when they are asked, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .arrays import first, numbers
from .protocols import (
    PolicyLike,
    PredictsReward,
    PreparesPredictions,
    has_parameter,
    policy_function,
    reward_function,
)


def action_probabilities(
    policy: PolicyLike,
    context: np.ndarray,
    action_context: np.ndarray,
    first_row: int = 0,
    n_rows: int | None = None,
    eligible: np.ndarray | None = None,
) -> np.ndarray:
    """Ask any kind of policy for its probabilities, (n, n_actions), and check them.

    The contexts may be a part of n_rows, from `first_row` on: errors name the row of these. A
    policy that takes a mask `eligible`, (n, n_actions), is asked among these items; of another,
    what it gives to others is spread over them in proportion.
    """
    function, asked = policy_function(policy), {}
    if eligible is not None and has_parameter(function, "eligible"):
        asked["eligible"] = eligible
    returned = function(context, action_context, **asked)
    pi = numbers("what the policy returned", returned, ndim=None, check_finite=False)
    shape = (len(context), len(action_context))
    if pi.shape != shape:
        raise ValueError(
            f"the policy returned shape {pi.shape}; expected (n, n_actions) = {shape}."
        )
    check_probabilities("the policy returned", pi, first_row, n_rows)
    if eligible is None:
        return pi
    where = f"row {{row}} of the {n_rows or len(pi)} it was asked for"
    if not asked:
        return _restricted(pi, eligible, first_row, where)
    if (wrong := (pi > 0) & ~eligible).any():
        row, item = first(wrong)
        raise ValueError(
            f"the policy takes eligible=…, and returned {pi[row, item]:.3g} for item {item}, which "
            f"is not eligible in {where.format(row=first_row + row)}. Give such items 0."
        )
    return pi


def _restricted(pi: np.ndarray, eligible: np.ndarray, first_row: int, where: str) -> np.ndarray:
    """Probabilities given that the item is eligible."""
    kept = np.where(eligible, pi, 0)
    total = kept.sum(axis=1, keepdims=True)
    if not (total > 0).all():
        row = int(np.argmin(total[:, 0] > 0))
        raise ValueError(
            "the policy has no probability on the items that are eligible in "
            f"{where.format(row=first_row + row)}, {int(eligible[row].sum()):,} of "
            f"{eligible.shape[1]:,}. Let its function take eligible=…, a boolean mask of the "
            "probabilities' shape, and choose among these items; or mix a little exploration in."
        )
    return kept / total


def check_probabilities(
    who: str, pi: np.ndarray, first_row: int = 0, n_rows: int | None = None
) -> None:
    """Raise unless every row of an array (n, n_actions) is a probability distribution."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = pi.sum(axis=1, dtype=np.float64)
    rounding = 5e-3 if pi.dtype == np.float16 else 1e-4
    bad = ~((pi >= 0).all(axis=1) & (np.abs(total - 1) < rounding))
    if not bad.any():
        return
    row = int(np.argmax(bad))
    where = f"in row {first_row + row} of the {n_rows or len(pi)} it was asked for"
    if not np.isfinite(pi[row]).all():
        item = int(np.argmin(np.isfinite(pi[row])))
        raise ValueError(
            f"{who} {pi[row, item]} for item {item} {where}. Did its training diverge, or has it "
            "never seen such features? Fit it again on finite features, at a lower learning rate."
        )
    cure = "Did it return logits? Apply a softmax first."
    if pi.dtype == np.float16 and (pi[row] >= 0).all() and (pi[row] <= 1).all():
        cure = "In float16 probabilities of many items do not sum to 1: normalise in float32."
    raise ValueError(
        f"{who} no probability distribution {where} (sum {total[row]:.4g}, "
        f"min {pi[row].min():.4g}). {cure}"
    )


def reward_predictions(
    reward_model: PredictsReward, context: np.ndarray, action_context: np.ndarray
) -> np.ndarray:
    """Ask a reward model for its predictions, (n, n_actions), and check them."""
    q_hat = reward_function(reward_model)(context, action_context)
    return check_predictions("the reward model", q_hat, (len(context), len(action_context)))


def check_predictions(who: str, q_hat: Any, shape: tuple[int, int]) -> np.ndarray:
    """Predictions of a reward model as an array; raise unless they are finite and of a shape."""
    q_hat = numbers(f"what {who} returned", q_hat, ndim=None, check_finite=False)
    if q_hat.shape != shape:
        raise ValueError(
            f"{who} returned shape {q_hat.shape}; expected (n, n_actions) = {shape}, a row a "
            "context and a column an item."
        )
    if not np.isfinite(q_hat).all():
        row = int(np.argmin(np.isfinite(q_hat).all(axis=1)))
        raise ValueError(
            f"{who}'s predictions are not all finite, first in row {row} of the {len(q_hat)} it "
            "was asked for. Was it fitted on finite features, at a learning rate that holds?"
        )
    return q_hat


def row_predictor(
    model: Any, context: np.ndarray, action_context: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """From row and item numbers to a reward model's predictions, checked."""
    if not isinstance(model, PreparesPredictions):
        return lambda rows, items: reward_predictions(model, context[rows], action_context[items])
    predict = model.predictor(context, action_context)
    who = f"{type(model).__name__}.predictor"

    def checked(rows: np.ndarray, items: np.ndarray) -> np.ndarray:
        return check_predictions(who, predict(rows, items), (len(rows), len(items)))

    return checked
