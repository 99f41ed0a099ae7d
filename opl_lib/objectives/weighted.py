"""IPS with gentler weights: clipped, smoothed, or less its own standard error."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .batch import Batch, weights
from .registry import objective_of_settings
from .value import climb

__all__ = [
    "clipped_ips",
    "exponential_smoothing",
    "implicit_exploration",
    "log_sum_exp",
    "logarithmic_smoothing",
    "poem",
]
_LIMIT = {"above": 0, "finite": False}


@objective_of_settings({"max_weight": _LIMIT}, only_logged_item=True)
def clipped_ips(logits: Tensor, batch: Batch, max_weight: float = 10.0) -> Tensor:
    """IPS whose weights are cut at a maximum: ``mean_i min(w_i, M) r_i``.

    Rows beyond the maximum have no gradient, so that no row can win by its weight alone; the value
    is too low for rewards above 0.

    Parameters
    ----------
    max_weight : float above 0
        ``M``; infinity gives IPS.

    Returns
    -------
    Objective

    References
    ----------
    Strehl, Langford, Li and Kakade, "Learning from Logged Implicit Exploration Data",
    NeurIPS 2010, cut the propensity; Swaminathan and Joachims, ICML 2015, the weight.

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.clipped_ips(max_weight=5)
    clipped_ips(max_weight=5)
    """
    return (weights(logits, batch).clamp(max=max_weight) * batch.reward).mean(dim=-1)


@objective_of_settings({"gamma": {"least": 0}}, only_logged_item=True)
def implicit_exploration(
    logits: Tensor, batch: Batch, gamma: float = 0.01
) -> tuple[Tensor, Tensor]:
    """IPS with propensities raised by a constant: ``mean_i π(a_i|x_i) r_i / (π_0(a_i|x_i) + γ)``.

    No weight exceeds ``1/γ``, and unlike clipping it keeps the gradient everywhere.

    Parameters
    ----------
    gamma : float of at least 0
        ``γ``; 0 gives IPS. Of the order of the smallest propensities that are to be trusted.

    Returns
    -------
    Objective

    References
    ----------
    Neu, "Explore no more: Improved high-probability regret bounds for non-stochastic bandits",
    NeurIPS 2015.

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.implicit_exploration(gamma=0.05)
    implicit_exploration(gamma=0.05)
    """
    return climb(logits, 0.0, batch.action, batch.reward / (batch.pscore + gamma))


@objective_of_settings({"alpha": {"least": 0, "most": 1}}, only_logged_item=True)
def exponential_smoothing(
    logits: Tensor, batch: Batch, alpha: float = 0.7
) -> tuple[Tensor, Tensor]:
    """IPS with a power of the propensity: ``mean_i π(a_i|x_i) r_i / π_0(a_i|x_i)^α``.

    Parameters
    ----------
    alpha : float in [0, 1]
        ``α``; 1 gives IPS, 0 ignores the propensities.

    Returns
    -------
    Objective

    References
    ----------
    Aouali, Brunel, Rohde and Korba, "Exponential Smoothing for Off-Policy Learning", ICML 2023.

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.exponential_smoothing(alpha=0.5)
    exponential_smoothing(alpha=0.5)
    """
    return climb(logits, 0.0, batch.action, batch.reward / batch.pscore**alpha)


@objective_of_settings({"smoothing": {"above": 0}}, only_logged_item=True, min_reward=0.0)
def logarithmic_smoothing(logits: Tensor, batch: Batch, smoothing: float = 0.1) -> Tensor:
    """IPS through a logarithm: ``mean_i log(1 + λ w_i r_i) / λ``.

    Never above IPS, and the lower the more a few rows carry the value; the weight of a row in the
    gradient, ``w r / (1 + λ w r)``, stays below ``1/λ``.

    Parameters
    ----------
    smoothing : float above 0
        ``λ``; towards 0 it becomes IPS. The source takes it of the order ``1/sqrt(n_rounds)``.

    Returns
    -------
    Objective
        For rewards of at least 0.

    References
    ----------
    Sakhi, Aouali, Alquier and Chopin, "Logarithmic Smoothing for Pessimistic Off-Policy
    Evaluation, Selection and Learning", NeurIPS 2024.

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.logarithmic_smoothing(0.01)
    logarithmic_smoothing(smoothing=0.01)
    """
    weighted_reward = weights(logits, batch) * batch.reward
    return torch.log1p(smoothing * weighted_reward).mean(dim=-1) / smoothing


@objective_of_settings({"smoothing": {"above": 0}}, only_logged_item=True, min_reward=0.0)
def log_sum_exp(logits: Tensor, batch: Batch, smoothing: float = 0.1) -> Tensor:
    """IPS through a log-sum-exp: ``−log(mean_i exp(−λ w_i r_i)) / λ``.

    Below IPS, by about ``λ/2`` times the variance of ``w r``, and bounded whatever a single weight
    does: a row's weight in the gradient falls as ``exp(−λ w r)``. Unlike the logarithm of each row,
    that of the mean depends on all rows of a batch: a constant added to every ``w r`` is added to
    the value.

    Parameters
    ----------
    smoothing : float above 0
        ``λ``, the source's with its sign turned; towards 0 it becomes IPS. In units of one over
        the reward.

    Returns
    -------
    Objective
        For rewards of at least 0.

    References
    ----------
    Behnamnia et al., "Log-Sum-Exponential Estimator for Off-Policy Evaluation and Learning",
    ICML 2025.

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.log_sum_exp(0.01)
    log_sum_exp(smoothing=0.01)
    """
    exponent = -smoothing * weights(logits, batch) * batch.reward
    return (math.log(exponent.shape[-1]) - exponent.logsumexp(dim=-1)) / smoothing


@objective_of_settings({"penalty": {"least": 0}, "max_weight": _LIMIT}, only_logged_item=True)
def poem(
    logits: Tensor, batch: Batch, penalty: float = 1.0, max_weight: float = math.inf
) -> Tensor:
    """IPS minus its standard error: ``ū − λ sqrt(Var(u) / B)`` with ``u_i = min(w_i, M) r_i``.

    Mean and sample variance are those of the batch: in batches of B of n rounds the penalty is
    ``sqrt(n / B)`` times that of the whole log at the same λ.

    Parameters
    ----------
    penalty : float of at least 0
        ``λ``, in standard errors; 0 gives `clipped_ips`.
    max_weight : float above 0
        ``M``; by default no weight is cut.

    Returns
    -------
    Objective

    References
    ----------
    Swaminathan and Joachims, "Counterfactual Risk Minimization: Learning from Logged Bandit
    Feedback", ICML 2015.

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.poem(penalty=0.5, max_weight=100)
    poem(penalty=0.5, max_weight=100)
    """
    term = weights(logits, batch).clamp(max=max_weight) * batch.reward
    n_rounds = term.shape[-1]
    mean = term.mean(dim=-1, keepdim=True)
    variance = (term - mean).square().sum(dim=-1) / max(n_rounds - 1, 1)  # one row has none
    varies = variance > 0  # the root has no slope at 0
    std_error = torch.where(varies, torch.where(varies, variance, 1).div(n_rounds).sqrt(), 0)
    return mean[..., 0] - penalty * std_error
