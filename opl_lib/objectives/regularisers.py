"""Regularisers, added to any objective: entropy, imitation of the log, distance to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from .base import Found, Objective
from .batch import Batch, importance_weights, log_softmax, probabilities
from .registry import get_objective, setting

__all__ = ["regularised"]


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
        that the objective sees more than the logged item.

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
    base = get_objective(objective)
    given = {"entropy": entropy, "imitation": imitation, "kl": kl}
    given = {name: setting(name, weight, least=0) for name, weight in given.items()}
    given = {name: weight for name, weight in given.items() if weight > 0}
    if not given:
        raise ValueError("give at least one of entropy, imitation and kl a weight above 0.")
    if not isinstance(base, Objective):
        raise ValueError(
            f"objective {base.name!r} is a regression and has no policy to regularise."
        )
    shown = ", ".join(f"{name}={weight:g}" for name, weight in given.items())
    return replace(
        base,
        function=_regularised,
        settings={"objective": base, "regularisers": tuple(given.items())},
        only_logged_item=base.only_logged_item and "entropy" not in given,
        name=f"regularised({base}, {shown})",
    )


def _regularised(
    logits: Tensor, batch: Batch, objective: Objective, regularisers: tuple[tuple[str, float], ...]
) -> Found:
    found = objective.function(logits, batch, **objective.settings)
    if isinstance(found, tuple):
        with torch.enable_grad():
            inputs = logits.detach().requires_grad_()
            extra = _extra(inputs, batch, regularisers)
            slope = torch.autograd.grad(extra.sum(), inputs)[0]
        return found[0] + extra.detach(), found[1] + slope
    return found + _extra(logits, batch, regularisers)


def _extra(logits: Tensor, batch: Batch, regularisers: tuple[tuple[str, float], ...]) -> Tensor:
    parts = [weight * _REGULARISERS[name](logits, batch) for name, weight in regularisers]
    return torch.stack(parts).sum(dim=0)


def _entropy(logits: Tensor, batch: Batch) -> Tensor:
    """``mean_i −Σ_a π log π``."""
    log_pi = log_softmax(logits)
    return -(probabilities(log_pi, batch) * log_pi).sum(dim=-1).mean(dim=-1)


def _imitation(logits: Tensor, batch: Batch) -> Tensor:
    """``mean_i log(π(a_i|x_i) / π_0(a_i|x_i))``: minus KL(π_0 ‖ π) in expectation."""
    return importance_weights(logits, batch)[1].mean(dim=-1)


def _minus_kl(logits: Tensor, batch: Batch) -> Tensor:
    """``−mean_i (w log w − w + 1)``: minus KL(π ‖ π_0) in expectation, and no term above 0."""
    log_weight = importance_weights(logits, batch)[1]
    weight = log_weight.exp()
    return -(weight * log_weight - weight + 1).mean(dim=-1)


_REGULARISERS: Mapping[str, Callable[[Tensor, Batch], Tensor]] = {
    "entropy": _entropy,
    "imitation": _imitation,
    "kl": _minus_kl,
}
