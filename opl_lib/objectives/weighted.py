"""IPS with gentler weights: clipped, smoothed, or less its own standard error."""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor

from ..checks import check_number
from .base import (
    Batch,
    Objective,
    check_setting,
    importance_weights,
    logged_gradient,
    with_settings,
)
from .value import ips


def clipped_ips(max_weight: float = 10.0) -> Objective:
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
    check_setting("max_weight", max_weight, positive=True)
    return with_settings(_clipped_ips, {"max_weight": max_weight}, collapses=True)


def _clipped_ips(logits: Tensor, batch: Batch, max_weight: float) -> tuple[Tensor, Tensor]:
    pi, term, slope = _clipped_terms(logits, batch, max_weight)
    return term.mean(dim=-1), logged_gradient(pi, batch, slope)


def _clipped_terms(
    logits: Tensor, batch: Batch, max_weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    pi, log_weight = importance_weights(logits, batch)
    weight = log_weight.exp()
    term = weight.clamp(max=max_weight) * batch.reward
    return pi, term, torch.where(weight < max_weight, term, 0)


def implicit_exploration(gamma: float = 0.01) -> Objective:
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
    check_number("gamma", gamma, Real, least=0)
    return with_settings(_implicit_exploration, {"gamma": gamma}, collapses=True)


def _implicit_exploration(logits: Tensor, batch: Batch, gamma: float) -> tuple[Tensor, Tensor]:
    return ips(logits, batch._replace(pscore=batch.pscore + gamma))


def exponential_smoothing(alpha: float = 0.7) -> Objective:
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
    check_setting("alpha", alpha, most=1)
    return with_settings(_exponential_smoothing, {"alpha": alpha}, collapses=True)


def _exponential_smoothing(logits: Tensor, batch: Batch, alpha: float) -> tuple[Tensor, Tensor]:
    return ips(logits, batch._replace(pscore=batch.pscore**alpha))


def logarithmic_smoothing(lambda_: float = 0.1) -> Objective:
    """IPS through a logarithm: ``mean_i log(1 + λ w_i r_i) / λ``.

    Never above IPS, and the lower the more a few rows carry the value; the weight of a row in the
    gradient, ``w r / (1 + λ w r)``, stays below ``1/λ``.

    Parameters
    ----------
    lambda_ : float above 0
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
    logarithmic_smoothing(lambda_=0.01)
    """
    check_number("lambda_", lambda_, Real, above=0)
    settings = {"lambda_": lambda_}
    return with_settings(_logarithmic_smoothing, settings, collapses=True, min_reward=0.0)


def _logarithmic_smoothing(logits: Tensor, batch: Batch, lambda_: float) -> tuple[Tensor, Tensor]:
    pi, log_weight = importance_weights(logits, batch)
    weighted_reward = log_weight.exp() * batch.reward
    value = torch.log1p(lambda_ * weighted_reward).mean(dim=-1) / lambda_
    slope = weighted_reward / (1 + lambda_ * weighted_reward)
    return value, logged_gradient(pi, batch, slope)


def poem(penalty: float = 1.0, max_weight: float = math.inf) -> Objective:
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
    check_number("penalty", penalty, Real, least=0)
    check_setting("max_weight", max_weight, positive=True)
    settings = {"penalty": penalty, "max_weight": max_weight}
    return with_settings(_poem, settings, collapses=True)


def _poem(logits: Tensor, batch: Batch, penalty: float, max_weight: float) -> tuple[Tensor, Tensor]:
    pi, term, slope = _clipped_terms(logits, batch, max_weight)
    n_rounds = term.shape[-1]
    degrees = max(n_rounds - 1, 1)  # one row has no variance
    mean = term.mean(dim=-1, keepdim=True)
    std_error = ((term - mean).square().sum(dim=-1, keepdim=True) / degrees / n_rounds).sqrt()
    pull = torch.where(std_error > 0, (term - mean) / (degrees * std_error), 0)
    value = (mean - penalty * std_error)[..., 0]
    return value, logged_gradient(pi, batch, slope * (1 - penalty * pull))
