"""IPS that a constant in the rewards does not mislead: self-normalised, or with a baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Objective
from .batch import Batch, importance_weights
from .registry import OBJECTIVES, objective, setting

__all__ = ["baseline_ips", "snips"]


@objective(only_logged_item=True)
def snips(logits: Tensor, batch: Batch) -> Tensor:
    """Self-normalised IPS: ``Σ_i w_i r_i / Σ_i w_i``, a weighted mean of the logged rewards.

    A constant added to every reward moves the value by that constant and the gradient not at all:
    the gradient is that of IPS with the value itself as baseline, over the mean weight. Being a
    ratio, it is biased in small batches, by the order of 1/B.

    Parameters
    ----------
    logits : tensor of shape (B, n_actions)
    batch : Batch

    Returns
    -------
    value : scalar tensor
    gradient : tensor of shape (B, n_actions)

    References
    ----------
    Swaminathan and Joachims, "The Self-Normalized Estimator for Counterfactual Learning",
    NeurIPS 2015.
    """
    log_weight = importance_weights(logits, batch)[1]
    share = torch.softmax(log_weight, dim=-1)  # w_i / Σ_j w_j, also where all w underflow
    return (share * batch.reward).sum(dim=-1)


def baseline_ips(baseline: float | str = "gradient") -> Objective:
    """IPS of the reward above a baseline: ``β + mean_i w_i (r_i − β)``.

    Where the mean weight is 1, as it is in expectation, the baseline changes neither value nor
    gradient but their variance; and with it whether a learner gains by leaving the log, or by
    returning to it. The gradient takes β as fixed.

    Parameters
    ----------
    baseline : float or {"gradient", "value"}
        A number, or one that is computed on each batch:

        - ``"gradient"``: ``β = Σ_i s_i r_i / Σ_i s_i`` with ``s_i = w_i² (1 − π(a_i|x_i))²``, a
          weighted mean of the rewards, which keeps the variance of the logit gradient low. The
          least has ``Σ_a (1[a = a_i] − π(a|x_i))²`` in the place of ``(1 − π(a_i|x_i))²``: between
          that and its double, but not to be had without all items.
        - ``"value"``: ``β = Σ_i w_i (w_i − w̄) r_i / Σ_i w_i (w_i − w̄)``, for which the value has
          the least variance. This is ``E[(w² − w) r] / E[w² − w]`` with the batch's mean weight
          w̄ in the place of its expectation 1, which keeps the denominator from changing its sign.
          It is unsteady while the weights are close to each other.

        Where their weights sum to next to nothing, both are the mean reward.
        0 gives IPS.

    Returns
    -------
    Objective

    References
    ----------
    Joachims, Swaminathan and de Rijke, "Deep Learning with Logged Bandit Feedback", ICLR 2018,
    learn with a grid of constants and keep the policy with the best self-normalised value. Gupta,
    Jeunen, Oosterhuis and de Rijke, "Optimal Baseline Corrections for Off-Policy Contextual
    Bandits", RecSys 2024, derive the one with the least variance of the gradient, and the one with
    the least variance of the value.

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.baseline_ips(0.5)
    baseline_ips(baseline=0.5)
    """
    if not isinstance(baseline, str) or baseline not in ("gradient", "value"):
        try:
            baseline = setting("baseline", baseline)
        except ValueError as error:
            raise ValueError(
                f"baseline must be a number, 'gradient' or 'value'; got {baseline!r}."
            ) from error
    settings = {"baseline": baseline}
    return Objective(_baseline_ips, settings, batched=True, only_logged_item=True)


def _baseline_ips(logits: Tensor, batch: Batch, baseline: float | str) -> Tensor:
    log_pi, log_weight = importance_weights(logits, batch)
    weight = log_weight.exp()
    if isinstance(baseline, str):
        pi_logged = log_pi.gather(-1, batch.action[..., None])[..., 0].exp()
        beta = _computed_baseline(baseline, pi_logged.detach(), weight.detach(), batch.reward)
    else:
        beta = torch.full_like(batch.reward[..., :1], baseline)
    return (weight * (batch.reward - beta)).mean(dim=-1) + beta[..., 0]


def _computed_baseline(baseline: str, pi_logged: Tensor, weight: Tensor, reward: Tensor) -> Tensor:
    """Shape (1,): a mean of the rewards, weighted as `baseline_ips` says."""
    if baseline == "gradient":
        share = (weight * (1 - pi_logged)).square()
        enough: Tensor | float = 0.0
    else:
        share = weight * (weight - weight.mean(dim=-1, keepdim=True))
        enough = 1e-4 * weight.square().sum(dim=-1, keepdim=True)  # weights within about 1 %
    share = torch.where(share.sum(dim=-1, keepdim=True) > enough, share, 1)
    return (share * reward).sum(-1, keepdim=True) / share.sum(-1, keepdim=True)


OBJECTIVES["baseline_ips"] = baseline_ips()
