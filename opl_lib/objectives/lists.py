"""Objectives for lists: what an item is worth when K items are shown."""

from __future__ import annotations

from numbers import Integral

import torch
from torch import Tensor

from ..checks import check_number
from .base import Batch, Objective, importance_weights, logged_gradient, with_settings


def top_k_ips(k: int) -> Objective:
    """IPS of a list of K draws: ``mean_i (1 − (1 − π(a_i|x_i))^K) r_i / π_0(a_i|x_i)``.

    ``1 − (1 − π)^K`` is the chance that an item is among K independent draws of π. Its gradient is
    that of IPS times ``K (1 − π)^(K−1)``: an item that is as good as certain to be on the list
    gains nothing more, so the policy spreads over the K best instead of settling on one.

    Parameters
    ----------
    k : int
        Length of the list; 1 gives IPS.

    Returns
    -------
    Objective

    References
    ----------
    Chen et al., "Top-K Off-Policy Correction for a REINFORCE Recommender System", WSDM 2019,
    section 4.3.

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.top_k_ips(5)
    top_k_ips(k=5)
    """
    check_number("k", k, Integral, least=1)
    return with_settings(_top_k_ips, {"k": int(k)}, collapses=True)


def _top_k_ips(logits: Tensor, batch: Batch, k: int) -> tuple[Tensor, Tensor]:
    pi, log_weight = importance_weights(logits, batch)
    pi_logged = pi.gather(-1, batch.action[..., None])[..., 0]
    in_list = -torch.expm1(k * torch.log1p(-pi_logged))
    value = (in_list * batch.reward / batch.pscore).mean(dim=-1)
    slope = k * (1 - pi_logged) ** (k - 1) * log_weight.exp() * batch.reward
    return value, logged_gradient(pi, batch, slope)
