"""Reward models that were cross-fitted, shrunk to the mean as far as unseen rows ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..logs.feedback import BanditFeedback
from ..objectives import OBJECTIVES, Batch, Regression
from ..objectives.regressions import identity
from .regressor import TwoTowerRegressor

Climb = Callable[[np.ndarray], tuple[float, np.ndarray]]


def shrink_to_mean(feedback: BanditFeedback, fold: np.ndarray, models: Sequence[Any]) -> None:
    """Set slope and offset of all models by the rows of a log that each had not seen.

    The slope, in [0, 1], is the one that fits best times ``1 − 2 / z²``, with z the test of a slope
    of 0: where the scores say no more of the reward than chance would, the mean is left. Of rewards
    in a range, such as clicks, the mean is drawn to its nearer end, as if there was one click less
    in m + 1: no multiple of a count of m has a smaller squared error as an estimate of its mean.
    Models other than two towers, that do not start at the mean or whose scores are in many units,
    as those of a subclass with a `fit` of its own may be, stay as they are.
    """
    if not all(isinstance(model, TwoTowerRegressor) for model in models):
        return
    objective, link = models[0].objective_, models[0].link_
    units = {(model.objective_, model.link_.mean, model.link_.scale) for model in models}
    if not link.starts_at_mean or len(units) > 1:
        return
    standardised, scores = link.standardise(feedback), np.empty(feedback.n_rounds)
    for k, model in enumerate(models):
        unseen = feedback[fold == k]
        u = model.policy_.embed_context(unseen.context)
        v = model.policy_.embed_items(unseen.action_context)
        scores[fold == k] = np.einsum("nd,nd->n", u, v[unseen.action])
    slope, offset, target = 0.0, link.offset, standardised.reward
    if target.min() < target.max():
        climb = _climb(objective, standardised, _with_rare_rarer(objective, target))
        slope, offset = _line(climb, scores, feedback, offset)
    for model in models:
        model.link_ = replace(link, slope=slope, offset=offset)


def _line(
    climb: Climb, scores: np.ndarray, feedback: BanditFeedback, offset: float
) -> tuple[float, float]:
    """Slope and offset; the slope times ``1 − 2 / z²``."""
    slope, offset = _best(climb, scores, (0, 0), offset)
    gradient = climb(np.full_like(scores, offset))[1]
    pulls = feedback.units.sums(gradient * (scores - scores.mean()))
    total = np.square(pulls.sum())
    if total == 0:
        return slope, offset
    slope, offset = _best(climb, scores, (0, 1), offset)
    slope *= max(0.0, 1 - 2 * np.square(pulls).sum() / total)
    return _best(climb, scores, (slope, slope), offset)


def _with_rare_rarer(objective: Regression, target: np.ndarray) -> np.ndarray:
    """Targets in a range, the distance of all from its more usual end times ``m / (m + 1)``."""
    low, high = objective.min_reward, objective.max_reward
    if objective.to_reward is identity or not np.isfinite(high - low):
        return target
    usual, other = (low, high) if target.mean() - low < high - target.mean() else (high, low)
    n_rare = np.sum((target - usual) / (other - usual))
    return usual + (target - usual) * n_rare / (n_rare + 1)


def _climb(objective: Regression, feedback: BanditFeedback, target: np.ndarray) -> Climb:
    """From scores of all rows to the value of a regression and its gradient, (n_rounds,)."""
    columns = {"action": feedback.action, "reward": target, "pscore": feedback.pscore}
    if feedback.cluster_pscore is not None:
        columns["cluster_pscore"] = feedback.cluster_pscore
    dtype = np.float64 if objective in OBJECTIVES.values() else np.float32  # as a fit has it
    batch = Batch(
        **{
            name: torch.from_numpy(c.astype(c.dtype if name == "action" else dtype))
            for name, c in columns.items()
        }
    )

    def value_and_gradient(scores: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = objective(torch.from_numpy(scores.astype(dtype)), batch)
        return float(value), gradient.numpy().astype(np.float64)

    return value_and_gradient


def _best(
    climb: Climb,
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
