"""A model of the policy that made a log."""

from __future__ import annotations

import numpy as np

from ..arrays import row_chunks
from ..logs.feedback import BanditFeedback
from ..objectives.regressions import mean_and_scale
from .eligible import restricts
from .products import Products
from .ridge import ridge
from .vectors import Shown, Vectors

_ROUNDING = 1e-6
# The likelihood is that of so many probabilities at most, of at least so many rounds.
_MAX_CELLS = 1_000_000
_MIN_ROUNDS = 500
_STEPS = 30
_PENALTY = 1e-3


def logging_model(feedback: BanditFeedback, products: Products, shown: Shown) -> Vectors:
    """Vectors v of items of a model ``softmax(x̃ᵀ v)`` of the policy that made a log.

    They are first found by a regression of the logarithms of logged probabilities: these are
    without noise, and say of single items what the policy knew. Then they are sharpened or
    flattened as a whole, and moved by what features say, to make the logged items likely: the
    multinomial logit of McFadden 1974, by its penalised likelihood. Of uniform logging it is 0.
    """
    n_shown = feedback.n_actions if feedback.eligible is None else feedback.eligible.n_eligible
    lift = np.log(feedback.pscore.astype(np.float64)) + np.log(n_shown)
    mean, scale = mean_and_scale(lift)
    if scale <= _ROUNDING and abs(mean) <= _ROUNDING:
        return Vectors.zeros(products, shown)
    weight = np.exp((lift.min() - lift) / 2)  # what is rarely shown is rarely seen
    weight /= weight.mean()
    target = (lift - np.average(lift, weights=weight)) / (scale or 1.0)
    found = ridge(feedback, products, shown, target, weight=weight).times(scale)
    return _made_likely(feedback, products, shown, found)


def _made_likely(
    feedback: BanditFeedback, products: Products, shown: Shown, found: Vectors
) -> Vectors:
    """A multiple of vectors, and what features add to it."""
    from scipy.optimize import minimize

    n, n_actions = feedback.n_rounds, feedback.n_actions
    n_seen = min(n, max(_MIN_ROUNDS, _MAX_CELLS // n_actions))
    seen = np.random.default_rng(0).permutation(n)[:n_seen]
    x, a = products.context(feedback.context[seen]), products.item(feedback.action_context)
    action = feedback.action[seen]
    vectors = found.of_items(products, shown, feedback.action_context)
    eligible = feedback.eligible if restricts(feedback) else None

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        factor, m = flat[0], flat[1:].reshape(products.shape)
        value, slope = _PENALTY * np.square(m).sum(), np.append(0, 2 * _PENALTY * m)
        for rows in row_chunks(n_seen, n_actions):
            logits = x[rows] @ (factor * vectors + a @ m.T).T
            if eligible is not None:
                logits[~eligible.mask(seen[rows])] = -np.inf
            likelihood, push = _likelihood(logits, action[rows])
            of_items = push.T @ x[rows]
            value -= likelihood / n_seen
            slope -= np.append(np.sum(of_items * vectors), of_items.T @ a) / n_seen
        return value, slope

    start = np.append(1.0, np.zeros(products.shape))
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}).x
    moved = Vectors(best[1:].reshape(products.shape), np.zeros_like(found.own))
    return moved.plus(float(best[0]), found)


def _likelihood(logits: np.ndarray, action: np.ndarray) -> tuple[float, np.ndarray]:
    """The log-likelihood of items (n,) under ``softmax(logits)``, and its gradient in these."""
    rows = np.arange(len(action))
    logits = logits - logits.max(axis=1, keepdims=True)
    pi = np.exp(logits)
    total = pi.sum(axis=1)
    push = pi / -total[:, None]
    push[rows, action] += 1
    return float((logits[rows, action] - np.log(total)).sum()), push
