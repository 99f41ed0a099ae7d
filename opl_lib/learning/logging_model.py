"""A multinomial model of the policy that made a log, on products of features."""

from __future__ import annotations

import numpy as np

from ..arrays import row_chunks
from ..logs.feedback import BanditFeedback
from .eligible import restricts
from .products import Products

_PENALTY = 1e-3
# It sees so many probabilities a step at most, of at least so many rounds.
_MAX_CELLS = 2_000_000
_MIN_ROUNDS = 500
_STEPS = 40


def logging_model(feedback: BanditFeedback, products: Products) -> np.ndarray:
    """The matrix M of a model ``softmax(x̃ᵀ M ã)`` of the policy that made a log.

    The multinomial logit of McFadden 1974, by its penalised likelihood on as many rounds as are
    quickly seen; its softmax is over the items that could be shown. Of uniform logging it is 0.
    """
    from scipy.optimize import minimize

    n, n_actions = feedback.n_rounds, feedback.n_actions
    eligible = feedback.eligible if restricts(feedback) else None
    n_shown = n_actions if eligible is None else eligible.n_eligible
    if np.allclose(feedback.pscore, 1 / n_shown, rtol=1e-6, atol=0):
        return np.zeros(products.shape)
    n_seen = min(n, max(_MIN_ROUNDS, _MAX_CELLS // n_actions))
    seen = np.random.default_rng(0).permutation(n)[:n_seen]
    x, a = products.context(feedback.context[seen]), products.item(feedback.action_context)
    action = feedback.action[seen]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        m = flat.reshape(products.shape)
        value, gradient = _PENALTY * np.square(m).sum(), 2 * _PENALTY * m
        for some in row_chunks(n_seen, n_actions):
            could_show = None if eligible is None else eligible.mask(seen[some])
            likelihood, slope = _likelihood(m, x[some], a, action[some], could_show)
            value, gradient = value - likelihood / n_seen, gradient - slope / n_seen
        return value, gradient.ravel()

    start = np.zeros(products.shape).ravel()
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS})
    return found.x.reshape(products.shape)


def _likelihood(
    m: np.ndarray,
    x: np.ndarray,
    a: np.ndarray,
    action: np.ndarray,
    could_show: np.ndarray | None,
) -> tuple[float, np.ndarray]:
    """The log-likelihood of logged items (n,) under ``softmax(x m aᵀ)``, and its gradient in m."""
    logits = x @ m @ a.T
    if could_show is not None:
        logits[~could_show] = -np.inf
    logits -= logits.max(axis=1, keepdims=True)
    pi = np.exp(logits)
    total = pi.sum(axis=1, keepdims=True)
    pi /= total
    likelihood = (logits[np.arange(len(x)), action] - np.log(total[:, 0])).sum()
    return float(likelihood), x.T @ a[action] - x.T @ pi @ a
