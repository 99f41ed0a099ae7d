"""Doubly robust with gentler weights: the direct method plus a correction that cannot explode."""

from __future__ import annotations

import torch
from torch import Tensor

from .batch import Batch, importance_weights, predictions, probabilities
from .registry import objective_of_settings

__all__ = ["dros", "switch_dr"]
_LIMIT = {"least": 0, "finite": False}


@objective_of_settings({"max_weight": _LIMIT}, needs=("q_hat",), only_logged_item=True)
def switch_dr(logits: Tensor, batch: Batch, max_weight: float = 3.0) -> Tensor:
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
    direct, weight, residual = _parts(logits, batch)
    return (direct + torch.where(weight <= max_weight, weight, 0) * residual).mean(dim=-1)


@objective_of_settings({"shrinkage": _LIMIT}, needs=("q_hat",), only_logged_item=True)
def dros(logits: Tensor, batch: Batch, shrinkage: float = 10.0) -> Tensor:
    """DR with optimistic shrinkage: the weight w becomes ``λ w / (w² + λ)``.

    That is w where ``w² ≪ λ``, at most ``sqrt(λ) / 2``, and falls again beyond ``w = sqrt(λ)``:
    there the gradient of a row points the other way.

    Parameters
    ----------
    shrinkage : float of at least 0
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
    >>> opl.dros(shrinkage=25)
    dros(shrinkage=25)
    """
    direct, weight, residual = _parts(logits, batch)
    kept = 1 / (1 + weight.square() / shrinkage) if shrinkage > 0 else torch.zeros_like(weight)
    return (direct + weight * kept * residual).mean(dim=-1)


def _parts(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """``Σ_a π q̂``, the weight and the residual of each round, (B,)."""
    log_pi, log_weight = importance_weights(logits, batch)
    q_hat, residual = predictions(batch)
    return (probabilities(log_pi, batch) * q_hat).sum(dim=-1), log_weight.exp(), residual
