"""What a thing must be able to do to be a policy, a reward model, a learner or a world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def for_items(policy: Any, action_context: np.ndarray) -> Any:
    """Let a policy that can do so encode the items once, before it is asked chunk by chunk."""
    encode = getattr(policy, "for_items", None)
    return policy if encode is None else encode(action_context)


def action_probabilities(
    policy: Any, context: np.ndarray, action_context: np.ndarray
) -> np.ndarray:
    """Ask any kind of policy for its probabilities, (n, n_actions), and check them.

    `policy` is None (uniform), an object with ``predict_proba`` or a function, both of
    ``(context, action_context)``.
    """
    shape = (len(context), len(action_context))
    if policy is None:
        return np.full(shape, 1 / shape[1])
    pi = np.asarray(policy_function(policy)(context, action_context))
    if pi.shape != shape:
        raise ValueError(
            f"the policy returned shape {pi.shape}; expected (n, n_actions) = {shape}."
        )
    total = pi.sum(axis=1)
    bad = ~((pi >= 0).all(axis=1) & (np.abs(total - 1) < 1e-4))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"the policy returned no probability distribution in row {row} of the {len(pi)} it was "
            f"asked for (sum {total[row]:.4g}, min {pi[row].min():.4g}). Did it return logits? "
            "Apply a softmax first."
        )
    return pi


def policy_function(policy: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """What returns a policy's probabilities; raise if it is no policy."""
    predict = getattr(policy, "predict_proba", policy)
    if not callable(predict):
        raise TypeError(
            f"a policy is an object with predict_proba(context, action_context), or a function "
            f"of the same arguments; got {type(policy).__name__}."
        )
    return predict


def reward_predictions(
    reward_model: Any, context: np.ndarray, action_context: np.ndarray
) -> np.ndarray:
    """Ask a reward model for its predictions, (n, n_actions), and check them."""
    q_hat = reward_function(reward_model)(context, action_context)
    return check_predictions("the reward model", q_hat, (len(context), len(action_context)))


def reward_function(reward_model: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """What returns a reward model's predictions; raise if it is no reward model."""
    predict = getattr(reward_model, "predict_reward", None)
    if not callable(predict):
        raise TypeError(
            "a reward model has a method predict_reward(context, action_context); "
            f"{type(reward_model).__name__} has none. "
            "Wrap a scikit-learn estimator in opl.SklearnRewardModel."
        )
    return predict


def check_predictions(who: str, q_hat: Any, shape: tuple[int, int]) -> np.ndarray:
    """Predictions of a reward model as an array; raise unless they are finite and of a shape."""
    q_hat = np.asarray(q_hat)
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
