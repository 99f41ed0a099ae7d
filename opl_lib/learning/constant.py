"""The constant item: the policy that every learned one should beat."""

from __future__ import annotations

from typing import Self

import numpy as np

from ..checks import plain_arithmetic
from ..logs.feedback import BanditFeedback, check_feedback
from ..objectives.regressions import mean_and_scale
from ..policies.constant import ConstantItemPolicy
from .products import Encoding

# Weights 1/pscore are limited to so many times their mean.
_MAX_WEIGHT = 10.0
_PENALTIES = np.geomspace(1e-2, 1e3, 11)
_ROUNDING = 1e-6  # features that tell every item apart say nothing of others, at any penalty


class ConstantItemLearner:
    """Find the one item to show always; where it is not on offer, the best that is.

    Each item's mean reward, weighted by ``1 / pscore``, is drawn to what the item's features say,
    as far as its own rounds are few: a bestseller of three rounds is chance.

    Attributes
    ----------
    policy_ : ConstantItemPolicy
        With all items as its fallback, in the order of `value_`.
    value_ : array of shape (n_actions,)
        The shrunken mean reward of each item, in units of the reward.

    References
    ----------
    Efron and Morris, "Data analysis using Stein's estimator and its generalizations", JASA 1975;
    Fay and Herriot, "Estimates of income for small places", JASA 1979 (drawn to a regression).

    Examples
    --------
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=5, dim_context=5, dim_action_context=5, random_state=0)
    >>> policy = opl.ConstantItemLearner().fit(world.sample(5000, random_state=1)).policy_
    >>> best = world.reference_values()["best_constant_item"]
    >>> bool(abs(world.policy_value(policy) - best) < 0.01)
    True
    """

    @plain_arithmetic
    def fit(self, feedback: BanditFeedback) -> Self:
        """Learn from a log.

        Parameters
        ----------
        feedback : BanditFeedback

        Returns
        -------
        ConstantItemLearner
            This object, fitted.
        """
        check_feedback(feedback)
        reward = feedback.reward.astype(np.float64)
        mean, scale = mean_and_scale(reward)
        self.value_ = mean + scale * _shrunken_means(feedback, (reward - mean) / (scale or 1.0))
        best, *others = np.argsort(-self.value_, kind="stable").tolist()
        ids = feedback.item_ids
        self.policy_ = ConstantItemPolicy(
            best, others, feedback.columns, None if ids is None else ids.tolist()
        )
        return self

    def __repr__(self) -> str:
        return "ConstantItemLearner()"


def _shrunken_means(feedback: BanditFeedback, reward: np.ndarray) -> np.ndarray:
    """Mean reward of each item, (n_actions,), drawn to a ridge regression on its features."""
    n, pscore = feedback.n_actions, feedback.pscore.astype(np.float64)
    weight = pscore.min() / pscore
    weight = np.minimum(weight / weight.mean(), _MAX_WEIGHT)
    total, squares = (np.bincount(feedback.action, each, n) for each in (weight, weight**2))
    shown = total > 0
    mean, size = np.zeros((2, n))
    np.divide(np.bincount(feedback.action, weight * reward, n), total, out=mean, where=shown)
    np.divide(total**2, squares, out=size, where=shown)
    predicted, share = _ridge(feedback.action_context, mean, size), size / size.sum()
    noise = reward.var() * np.sum(share[shown] / size[shown])
    between = max(0.0, float(share @ np.square(mean - predicted)) - noise)
    own = size * between / (size * between + reward.var()) if between > 0 else np.zeros(n)
    return predicted + own * (mean - predicted)


def _ridge(features: np.ndarray, target: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Predictions (n_actions,) from item features, by the penalty that leaves one out best.

    The mean, which is not penalised, leaves it out too: the mean of all and all others would say
    what is left out.
    """
    share = size / size.sum()
    features = Encoding.of("action_context", features, 1 + features.shape[1])(features)[:, 1:]
    features = features - share @ features
    overall = share @ target
    y = (target - overall) * np.sqrt(size)
    u, s, axes = np.linalg.svd(features * np.sqrt(size)[:, None], full_matrices=False)
    best_loss, best = _left_out(y, share), np.zeros(len(target))
    for penalty in _PENALTIES * size.mean():
        filtered = u * (s**2 / (s**2 + penalty))
        leverage = share + np.einsum("ij,ij->i", filtered, u)
        loss = _left_out(y - filtered @ (u.T @ y), leverage)
        if loss < (1 - _ROUNDING) * best_loss:
            best_loss, best = loss, features @ (axes.T @ (s / (s**2 + penalty) * (u.T @ y)))
    return overall + best


def _left_out(residual: np.ndarray, leverage: np.ndarray) -> float:
    """The squared error of predictions of items that were left out."""
    return float(np.square(residual / np.maximum(1 - leverage, 1e-9)).sum())
