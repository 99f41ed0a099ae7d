"""Regularisers, added to any objective: entropy, imitation of the log, distance to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from numbers import Real

import torch
from torch import Tensor

from ..checks import check_number
from .base import Batch, Objective, importance_weights, logged_gradient
from .registry import get_objective


def regularised(
    objective: str | Objective,
    *,
    entropy: float = 0.0,
    imitation: float = 0.0,
    kl: float = 0.0,
) -> Objective:
    """Add regularisers to an objective.

    ====================  ====================================================  =================
    Regulariser           What its weight multiplies                            In expectation
    ====================  ====================================================  =================
    ``entropy``           ``mean_i −Σ_a π(a|x_i) log π(a|x_i)``                 ``H(π)``
    ``imitation``         ``mean_i log w_i``                                    ``−KL(π_0 ‖ π)``
    ``kl``                ``−mean_i (w_i log w_i − w_i + 1)``                   ``−KL(π ‖ π_0)``
    ====================  ====================================================  =================

    Entropy keeps the softmax from saturating, wherever the log is. Imitation, whose gradient is
    that of ``log π(a_i|x_i)``, keeps the policy from giving up what was logged; KL keeps it from
    moving onto what was hardly logged. With ``w − 1``, whose mean is 0 in expectation, the terms of
    KL are never below 0 and have less variance than ``w log w``.

    Parameters
    ----------
    objective : str or Objective
        Of a policy, not a regression.
    entropy, imitation, kl : float of at least 0
        Weights, at least one of them above 0. Entropy needs the probabilities of all items, so
        that the objective no longer collapses (`Objective`).

    Returns
    -------
    Objective

    Raises
    ------
    ValueError
        If no weight is above 0, one is below, or the objective is a regression.

    References
    ----------
    London and Sandler, "Bayesian Counterfactual Risk Minimization", ICML 2019, for the distance to
    the logging policy; Williams and Peng, Connection Science 1991, for the entropy.

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.regularised("dr", entropy=0.01)
    regularised(dr, entropy=0.01)
    >>> opl.regularised(opl.clipped_ips(5), imitation=0.1, kl=0.1)
    regularised(clipped_ips(max_weight=5), imitation=0.1, kl=0.1)
    """
    objective = get_objective(objective)
    weights = {"entropy": entropy, "imitation": imitation, "kl": kl}
    for name, weight in weights.items():
        check_number(name, weight, Real, least=0)
    weights = {name: weight for name, weight in weights.items() if weight > 0}
    if not weights:
        raise ValueError("give at least one of entropy, imitation and kl a weight above 0.")
    if objective.is_regression:
        raise ValueError(
            f"objective {objective.name!r} is a regression and has no policy to regularise."
        )
    shown = ", ".join(f"{name}={weight:g}" for name, weight in weights.items())
    return replace(
        objective,
        function=partial(_regularised, objective.function, weights),
        collapses=objective.collapses and "entropy" not in weights,
        name=f"regularised({objective}, {shown})",
    )


def _regularised(
    function: Callable[[Tensor, Batch], tuple[Tensor, Tensor]],
    weights: dict[str, float],
    logits: Tensor,
    batch: Batch,
) -> tuple[Tensor, Tensor]:
    value, gradient = function(logits, batch)
    for name, weight in weights.items():
        extra_value, extra_gradient = _REGULARISERS[name](logits, batch)
        value, gradient = value + weight * extra_value, gradient + weight * extra_gradient
    return value, gradient


def _entropy(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """``mean_i −Σ_a π log π``, with the gradient ``−π (log π + H) / B``."""
    pi = torch.softmax(logits, dim=-1)
    parts = torch.special.entr(pi)  # −π log π, 0 at π = 0
    entropy = parts.sum(dim=-1, keepdim=True)
    return entropy.mean(dim=(-2, -1)), (parts - pi * entropy) / logits.shape[-2]


def _imitation(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """``mean_i log(π(a_i|x_i) / π_0(a_i|x_i))``: minus KL(π_0 ‖ π) in expectation."""
    pi, log_weight = importance_weights(logits, batch)
    return log_weight.mean(dim=-1), logged_gradient(pi, batch, torch.ones_like(log_weight))


def _minus_kl(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """``−mean_i (w log w − w + 1)``: minus KL(π ‖ π_0) in expectation, and no term above 0."""
    pi, log_weight = importance_weights(logits, batch)
    weight = log_weight.exp()
    slope = weight * log_weight
    return -(slope - weight + 1).mean(dim=-1), logged_gradient(pi, batch, -slope)


_REGULARISERS = {"entropy": _entropy, "imitation": _imitation, "kl": _minus_kl}
