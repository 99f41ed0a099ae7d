"""Reward models that were cross-fitted, shrunk to the mean as far as unseen rows ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..logs.feedback import BanditFeedback
from ..objectives import Batch, Regression
from .regressor import TwoTowerRegressor


def shrink_to_mean(feedback: BanditFeedback, fold: np.ndarray, models: Sequence[Any]) -> None:
    """Set slope and offset of all models by the rows of a log that each had not seen.

    The slope, in [0, 1], is the one that fits best times ``1 − 2 / z²``, with z the test of a slope
    of 0: where the scores say no more of the reward than chance would, the mean is left. Of rewards
    in a range, such as clicks, the mean is drawn to its nearer end, as if there was one click less
    in m + 1: no multiple of a count of m has a smaller squared error as an estimate of its mean.
    Models other than two towers, or that do not start at the mean, stay as they are.
    """
    if not all(isinstance(m, TwoTowerRegressor) and m.link_.starts_at_mean for m in models):
        return
    scores, target = np.empty((2, feedback.n_rounds))
    for k, model in enumerate(models):
        unseen = model.link_.standardise(feedback[fold == k])
        u = model.policy_.embed_context(unseen.context)
        v = model.policy_.embed_items(unseen.action_context)
        scores[fold == k] = np.einsum("nd,nd->n", u, v[unseen.action])
        target[fold == k] = unseen.reward
    climb = _climb(models[0].objective_, feedback, _with_rare_rarer(models[0].objective_, target))
    slope, offset = 0.0, models[0].link_.offset
    if target.min() < target.max():
        slope, offset = _best(climb, scores, (0, 0), offset)
    pulls = feedback.units.sums(climb(np.full_like(scores, offset))[1] * (scores - scores.mean()))
    total = np.square(pulls.sum())
    if total > 0:
        slope, offset = _best(climb, scores, (0, 1), offset)
        slope *= max(0.0, 1 - 2 * np.square(pulls).sum() / total)
        slope, offset = _best(climb, scores, (slope, slope), offset)
    for model in models:
        model.link_ = replace(model.link_, slope=slope, offset=offset)


def _with_rare_rarer(objective: Regression, target: np.ndarray) -> np.ndarray:
    """Targets in a range, the distance of all from its more usual end times ``m / (m + 1)``."""
    low, high = objective.min_reward, objective.max_reward
    if not np.isfinite(high - low):
        return target
    usual, other = (low, high) if target.mean() - low < high - target.mean() else (high, low)
    n_rare = np.sum((target - usual) / (other - usual))
    return usual + (target - usual) * n_rare / (n_rare + 1)


def _climb(
    objective: Regression, feedback: BanditFeedback, target: np.ndarray
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """From scores of all rows to the value of a regression and its gradient, (n_rounds,)."""
    columns = (feedback.action, target, feedback.pscore.astype(np.float64))
    batch = Batch(*(torch.from_numpy(column.copy()) for column in columns))

    def value_and_gradient(scores: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = objective(torch.from_numpy(scores), batch)
        return float(value), gradient.numpy()

    return value_and_gradient


def _best(
    climb: Callable[[np.ndarray], tuple[float, np.ndarray]],
    scores: np.ndarray,
    slopes: tuple[float, float],
    offset: float,
) -> tuple[float, float]:
    """The slope within bounds and the offset at which ``slope · scores + offset`` fits best."""
    from scipy.optimize import minimize

    def loss(line: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = climb(line[0] * scores + line[1])
        return -value, -np.array([gradient @ scores, gradient.sum()])

    start = [slopes[1], offset]
    slope, offset = minimize(loss, start, jac=True, bounds=[slopes, (None, None)]).x
    return float(slope), float(offset)
