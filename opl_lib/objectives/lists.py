"""Objectives for lists: what an item is worth when K items are shown."""

from __future__ import annotations

from numbers import Integral

import torch
from torch import Tensor

from .batch import Batch
from .registry import objective_of_settings

__all__ = ["top_k_ips"]


@objective_of_settings({"k": {"kind": Integral, "least": 1}}, only_logged_item=True)
def top_k_ips(logits: Tensor, batch: Batch, k: int) -> Tensor:
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
    pi_logged = torch.softmax(logits, dim=-1).gather(-1, batch.action[..., None])[..., 0]
    below_one = pi_logged.clamp(max=1 - torch.finfo(pi_logged.dtype).eps)  # where the slope is 0
    in_list = -torch.expm1(float(k) * torch.log1p(-below_one))
    return (in_list * batch.reward / batch.pscore).mean(dim=-1)
