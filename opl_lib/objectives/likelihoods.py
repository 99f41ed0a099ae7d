"""Weighted log-likelihood: imitate the log, the more so the better a round went."""

from __future__ import annotations

from torch import Tensor

from .base import (
    Batch,
    Objective,
    check_setting,
    importance_weights,
    logged_gradient,
    with_settings,
)


def likelihood(alpha: float = 0.0) -> Objective:
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
    check_setting("alpha", alpha, most=1)
    return with_settings(_likelihood, {"alpha": alpha}, collapses=True, min_reward=0.0)


def _likelihood(logits: Tensor, batch: Batch, alpha: float) -> tuple[Tensor, Tensor]:
    pi, log_weight = importance_weights(logits, batch)
    log_pi_logged = log_weight + batch.pscore.log()
    slope = batch.reward / batch.pscore**alpha
    return (slope * log_pi_logged).mean(dim=-1), logged_gradient(pi, batch, slope)
