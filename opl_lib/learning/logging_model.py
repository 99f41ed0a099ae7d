"""A model of the policy that made a log, from the probabilities that it logged."""

from __future__ import annotations

import numpy as np

from ..logs.feedback import BanditFeedback
from ..objectives.regressions import mean_and_scale
from .eligible import restricts
from .products import Products
from .ridge import ridge
from .vectors import Shown, Vectors

_ROUNDING = 1e-6
# Its sharpness is found on so many probabilities at most, of at least so many rounds.
_MAX_CELLS = 2_000_000
_MIN_ROUNDS = 500
_SHARPEST = 100.0


def logging_model(feedback: BanditFeedback, products: Products, shown: Shown) -> Vectors:
    """Vectors v of items whose ``x̃ᵀ v`` is ``log π_0(a|x)``, but for what items share.

    A logged probability is what the policy said, without noise: so a regression of its logarithm
    learns more than a model of which items were drawn. The logarithm of its sum over items is taken
    for a linear function of the context. What is rarely shown is rarely seen, so rounds weigh
    ``π_0^(-1/2)``. Of uniform logging it is 0.
    """
    n_shown = feedback.n_actions if feedback.eligible is None else feedback.eligible.n_eligible
    lift = np.log(feedback.pscore.astype(np.float64)) + np.log(n_shown)
    _, scale = mean_and_scale(lift)
    if scale <= _ROUNDING:
        return Vectors.zeros(products, shown)
    weight = np.exp((lift.min() - lift) / 2)
    weight /= weight.mean()
    target = (lift - np.average(lift, weights=weight)) / scale
    found = ridge(feedback, products, shown, target, weight=weight).times(scale)
    return found.times(_sharpness(feedback, products, shown, found))


def _sharpness(
    feedback: BanditFeedback, products: Products, shown: Shown, scores: Vectors
) -> float:
    """The factor at which a softmax of scores is most likely to have made the log."""
    from scipy.optimize import minimize_scalar

    n, n_actions = feedback.n_rounds, feedback.n_actions
    n_seen = min(n, max(_MIN_ROUNDS, _MAX_CELLS // n_actions))
    seen = np.sort(np.random.default_rng(0).permutation(n)[:n_seen])
    vectors = scores.of_items(products, shown, feedback.action_context)
    above = products.context(feedback.context[seen]) @ vectors.T
    above -= above[np.arange(n_seen), feedback.action[seen], None].copy()
    if restricts(feedback):
        above[~feedback.eligible.mask(seen)] = -np.inf  # type: ignore[union-attr]

    def surprise(log_factor: float) -> float:
        logits = np.exp(log_factor) * above
        most = logits.max(axis=1)
        return float((most + np.log(np.exp(logits - most[:, None]).sum(axis=1))).mean())

    ends = -np.log(_SHARPEST), np.log(_SHARPEST)
    found = minimize_scalar(surprise, bounds=ends, method="bounded", options={"xatol": 0.02})
    return float(np.exp(found.x))
