"""Doubly robust with gentler weights: the direct method plus a correction that cannot explode."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import (
    Batch,
    Objective,
    check_setting,
    importance_weights,
    logged_gradient,
    predictions,
    with_settings,
)


def switch_dr(max_weight: float = 3.0) -> Objective:
    """DR where the weight is small, the direct method where it is large.

        mean_i [Σ_a π(a|x_i) q̂(x_i, a) + 1[w_i ≤ τ] w_i (r_i − q̂(x_i, a_i))]

    The gradient takes the switch as fixed; the value jumps where a row passes it.

    Parameters
    ----------
    max_weight : float of at least 0
        ``τ``; 0 gives the direct method, infinity gives DR.

    Returns
    -------
    Objective

    References
    ----------
    Wang, Agarwal and Dudík, "Optimal and Adaptive Off-policy Evaluation in Contextual Bandits",
    ICML 2017.

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.switch_dr(max_weight=5)
    switch_dr(max_weight=5)
    """
    check_setting("max_weight", max_weight)
    settings = {"max_weight": max_weight}
    return with_settings(_switch_dr, settings, needs_reward_model=True, collapses=True)


def _switch_dr(logits: Tensor, batch: Batch, max_weight: float) -> tuple[Tensor, Tensor]:
    pi, log_weight = importance_weights(logits, batch)
    weight = log_weight.exp()
    kept = torch.where(weight <= max_weight, weight, 0)
    return _corrected(pi, batch, kept, kept)


def dros(lambda_: float = 10.0) -> Objective:
    """DR with optimistic shrinkage: the weight w becomes ``λ w / (w² + λ)``.

    That is w where ``w² ≪ λ``, at most ``sqrt(λ) / 2``, and falls again beyond ``w = sqrt(λ)``:
    there the gradient of a row points the other way.

    Parameters
    ----------
    lambda_ : float of at least 0
        ``λ``; 0 gives the direct method, infinity gives DR.

    Returns
    -------
    Objective

    References
    ----------
    Su, Dimakopoulou, Krishnamurthy and Dudík, "Doubly Robust Off-Policy Evaluation with
    Shrinkage", ICML 2020.

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.dros(lambda_=25)
    dros(lambda_=25)
    """
    check_setting("lambda_", lambda_)
    settings = {"lambda_": lambda_}
    return with_settings(_dros, settings, needs_reward_model=True, collapses=True)


def _dros(logits: Tensor, batch: Batch, lambda_: float) -> tuple[Tensor, Tensor]:
    pi, log_weight = importance_weights(logits, batch)
    weight = log_weight.exp()
    kept = 1 / (1 + weight.square() / lambda_) if lambda_ > 0 else torch.zeros_like(weight)
    return _corrected(pi, batch, weight * kept, weight * kept * (2 * kept - 1))


def _corrected(pi: Tensor, batch: Batch, weight: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """The direct method plus ``mean_i weight_i (r_i − q̂_i)``, with ``∂weight_i/∂log π``, (B,)."""
    q_hat, residual = predictions(batch)
    direct = (pi * q_hat).sum(dim=-1, keepdim=True)
    value = (direct[..., 0] + weight * residual).mean(dim=-1)
    gradient = pi * (q_hat - direct) / pi.shape[-2]
    return value, gradient + logged_gradient(pi, batch, slope * residual)
