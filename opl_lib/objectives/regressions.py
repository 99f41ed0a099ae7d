"""Regressions: minus the error of a prediction of the logged item's reward from its score.

They predict rewards, and have no policy gradient: a step sees the scores ``<u(x), v(a)>`` of the
logged items, shape (B,), and no other item.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import check_number
from ..logs.feedback import BanditFeedback
from .base import Formula, Found
from .batch import Batch
from .registry import register

__all__ = ["Regression", "mrdr", "regression", "squared_error"]


def identity(scores: Tensor) -> Tensor:
    """Scores that are predicted rewards already."""
    return scores


def log_odds(mean: float) -> float:
    """The score that predicts a mean of rewards by its sigmoid."""
    return math.log(mean / (1 - mean))


def mean_and_scale(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation; 0 for the latter where rounding alone tells values apart."""
    size = float(np.abs(values).max()) or 1.0  # squares of 1e200 are infinite
    mean, scale = (size * float(f(values / size)) for f in (np.mean, np.std))
    return mean, scale if scale > 1e-12 * abs(mean) else 0.0


@dataclass(frozen=True)
class Link:
    """From the scores of a regression to rewards: ``g(slope · score + offset) · scale + mean``."""

    to_reward: Callable[[Tensor], Tensor] = identity
    slope: float = 1.0
    offset: float = 0.0
    mean: float = 0.0
    scale: float = 1.0
    starts_at_mean: bool = False

    def __call__(self, scores: Tensor) -> Tensor:
        """Predicted rewards; the scores may be overwritten."""
        if self.to_reward is identity:
            return (scores.double() * self.slope + self.offset) * self.scale + self.mean
        if self.slope != 1:
            scores.mul_(self.slope)
        if self.offset:
            scores.add_(self.offset)
        predicted = self.to_reward(scores)
        if not isinstance(predicted, Tensor):
            raise TypeError(f"to_reward must return a tensor; got {type(predicted).__name__}.")
        return predicted

    def standardise(self, feedback: BanditFeedback) -> BanditFeedback:
        """The log with the rewards that the scores are to predict."""
        if self.to_reward is not identity:
            return feedback
        return replace(feedback, reward=self.standardised(feedback.reward))

    def standardised(self, reward: np.ndarray) -> np.ndarray:
        """Rewards (n,) as the scores are to predict them."""
        if self.to_reward is not identity:
            return reward
        return (reward.astype(np.float64) - self.mean) / (self.scale or 1.0)


@dataclass(frozen=True, repr=False, eq=False)
class Regression(Formula):
    """A regression of the reward on the score of the logged item.

    Calling it with scores and a batch gives its value and the gradient of that in the scores.

    Parameters
    ----------
    function : callable
        ``(scores, batch, **settings) -> value``, to be maximised: scores of shape (B,), a `Batch`
        of B rounds, a scalar; or ``(value, gradient)``, as for an `Objective`.
    settings : mapping of str to value
        Passed to the function by name.
    batched : bool
        Say True if the function also takes a leading axis of models, (K, B).
    name : str, optional
        How it is printed; if not given, the function's name with the settings.
    min_reward, max_reward : float
        The rewards that the regression is made for.
    to_reward : callable
        From scores to predicted rewards; it may overwrite them. By default a score is a reward, in
        standard deviations from the mean reward: the function sees rewards in that unit, and what
        is learned depends neither on the unit nor on the offset of the reward.
    from_reward : callable, optional
        From a mean reward to the score that stands for it, where `to_reward` is given: there the
        predictions start. If not given, they start at a score of 0.

    Examples
    --------
    >>> import torch
    >>> import opl_lib as opl
    >>> def absolute_error(scores, batch):
    ...     return -(batch.reward - scores).abs().mean(dim=-1)
    >>> opl.Regression(absolute_error)
    absolute_error
    >>> q_hat = opl.TwoTowerRegressor(opl.Regression(absolute_error))
    """

    to_reward: Callable[[Tensor], Tensor] = identity
    from_reward: Callable[[float], float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("to_reward", "from_reward"):
            given = getattr(self, name)
            if not callable(given) and not (given is None and name == "from_reward"):
                raise TypeError(f"{name} must be a function; got {given!r}.")

    def link(self, reward: np.ndarray) -> Link:
        """How scores become rewards such as these: a score of 0 is their mean."""
        reward = reward.astype(np.float64)
        return link_of_moments(self, float(reward.mean()), *mean_and_scale(reward), len(reward))


def link_of_moments(
    regression: Regression, plain_mean: float, mean: float, scale: float, n_rounds: int
) -> Link:
    """The link of rewards of which these are known; `mean` and `scale` are `mean_and_scale`."""
    if regression.to_reward is identity:
        return Link(mean=mean, scale=scale, starts_at_mean=True)
    if regression.from_reward is None:
        return Link(regression.to_reward)
    # a log without clicks does not say that there are none
    low, high = regression.min_reward, regression.max_reward
    half = 0.5 / n_rounds * (high - low if math.isfinite(high - low) else 1.0)
    mean = min(max(plain_mean, low + half), high - half)
    offset = regression.from_reward(mean)
    check_number(f"from_reward({mean:g})", offset)
    return Link(regression.to_reward, offset=float(offset), starts_at_mean=True)


def _regression(**about: Any) -> Callable[[Callable[..., Found]], Regression]:
    return lambda function: register(Regression(function, batched=True, **about))


@_regression(to_reward=torch.sigmoid_, from_reward=log_odds, min_reward=0.0, max_reward=1.0)
def regression(scores: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Minus the cross-entropy between the reward and its prediction for the logged item.

    The prediction is ``sigmoid(<u(x), v(a)> + c)``, with ``c`` the log-odds of the mean reward.

    Parameters
    ----------
    scores : tensor of shape (B,)
        Inner products of the logged pairs.
    batch : Batch
        With rewards in [0, 1].

    Returns
    -------
    value : scalar tensor
    gradient : tensor of shape (B,)
        ``(r_i − sigmoid(s_i)) / B``.
    """
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        scores, batch.reward, reduction="none"
    )
    return -loss.mean(dim=-1), (batch.reward - torch.sigmoid(scores)) / scores.shape[-1]


@_regression()
def squared_error(scores: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Minus the mean squared error between the reward and ``<u(x), v(a)>`` of the logged item.

    In learning, in standard deviations from the mean reward.

    Parameters
    ----------
    scores : tensor of shape (B,)
        Inner products of the logged pairs.
    batch : Batch
        Any real rewards.

    Returns
    -------
    value : scalar tensor
    gradient : tensor of shape (B,)
        ``2 (r_i − s_i) / B``.
    """
    residual = batch.reward - scores
    return -residual.square().mean(dim=-1), 2 * residual / scores.shape[-1]


@_regression()
def mrdr(scores: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """More robust doubly robust: the squared error, weighted by what it costs the variance of DR.

        −mean_i (1 − π_0(a_i|x_i)) / π_0(a_i|x_i)² (r_i − <u(x_i), v(a_i)>)²

    The source has the weight of the policy that DR is to judge, ``w_i² (1 − π_0(a_i|x_i))``. In
    learning that policy is not known yet; the weight here is 1/π_0, that of one that shows what
    was logged. Over the rounds in which a deterministic policy would have shown the logged item,
    the sum is, in expectation and up to noise that no q̂ can remove, minus the part of DR's variance
    that depends on q̂. For a stochastic policy it leaves out the products of two items' errors, of
    which a log with one item a round has no unbiased estimate. Where a few rows carry most of the
    weight, it fits those and little else.

    Parameters
    ----------
    scores : tensor of shape (B,)
        Inner products of the logged pairs.
    batch : Batch
        Any real rewards.

    Returns
    -------
    value : scalar tensor
    gradient : tensor of shape (B,)

    References
    ----------
    Farajtabar, Chow and Ghavamzadeh, "More Robust Doubly Robust Off-policy Evaluation", ICML 2018.
    """
    cost = (1 / batch.pscore).square() * (1 - batch.pscore)
    residual = batch.reward - scores
    return -(cost * residual.square()).mean(dim=-1), 2 * cost * residual / scores.shape[-1]
