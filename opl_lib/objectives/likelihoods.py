"""Weighted log-likelihood: imitate the log, the more so the better a round went."""

from __future__ import annotations

from torch import Tensor

from .batch import Batch, importance_weights
from .registry import objective_of_settings

__all__ = ["exponential_likelihood", "likelihood"]


@objective_of_settings({"alpha": {"least": 0, "most": 1}}, only_logged_item=True, min_reward=0.0)
def likelihood(logits: Tensor, batch: Batch, alpha: float = 0.0) -> Tensor:
    """Reward-weighted log-likelihood: ``mean_i r_i / π_0(a_i|x_i)^α · log π(a_i|x_i)``.

    With α = 0 and clicks it is minus the softmax cross-entropy of the clicked items, the usual loss
    of two-tower retrieval. It is concave in the logits, so that it can be climbed from anywhere,
    where the gradient of IPS vanishes with ``π(a_i|x_i)``. It does not estimate a policy value: its
    best policy shares out each context in proportion to ``q π_0^(1−α)``; serve it greedily, and
    take α = 1 if the log's own preferences are not to be copied.

    Parameters
    ----------
    alpha : float in [0, 1]
        ``α``: 0 weights by the reward, 1 by the reward over the propensity.

    Returns
    -------
    Objective
        For rewards of at least 0.

    References
    ----------
    Aouali and Sakhi, "Off-Policy Learning in Large Action Spaces: Optimization Matters More Than
    Estimation", arXiv:2509.03456, 2025; Covington, Adams and Sargin, RecSys 2016, for clicks.

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.likelihood(alpha=1)
    likelihood(alpha=1)
    """
    return (batch.reward / batch.pscore**alpha * _log_pi_logged(logits, batch)).mean(dim=-1)


@objective_of_settings({"scale": {"above": 0}}, only_logged_item=True)
def exponential_likelihood(logits: Tensor, batch: Batch, scale: float = 1.0) -> Tensor:
    """Exponentially weighted log-likelihood: ``mean_i exp(r_i / λ) · log π(a_i|x_i)``.

    For rewards of any sign, and without propensities: what paid more is imitated more. It is
    concave in the logits and does not estimate a policy value; its best policy is the logging
    policy, tilted: ``π ∝ π_0 E[exp(r / λ)]``. With clicks that is the logging policy times
    ``1 + (e^(1/λ) − 1) q``: the smaller λ, the less is left of ``π_0``.

    Parameters
    ----------
    scale : float above 0
        ``λ``, in the unit of the reward, and of the order of its spread: large imitates the log,
        small lets the few best rounds decide.

    Returns
    -------
    Objective

    References
    ----------
    Chidambaram et al., arXiv:2603.10279, 2026 (weights ``exp(r / λ)``, and when they improve on
    the logging policy).

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.exponential_likelihood(scale=0.5)
    exponential_likelihood(scale=0.5)
    """
    return ((batch.reward / scale).exp() * _log_pi_logged(logits, batch)).mean(dim=-1)


def _log_pi_logged(logits: Tensor, batch: Batch) -> Tensor:
    return importance_weights(logits, batch)[1] + batch.pscore.log()
