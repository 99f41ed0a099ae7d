"""Weights on clusters of items, for catalogues in which a single item's weight is too large.

In all three the importance weight is that of the logged item's cluster c,
``π(c|x) / π_0(c|x)`` with ``π(c|x) = Σ_{a in c} π(a|x)``. A log holds the propensity of the logged
item, from which that of its cluster cannot be had: it is a column of its own,
`Batch.cluster_pscore`. Where π_0 is known for all items it is a sum over the cluster; else a
classifier from contexts to the clusters of the logged items estimates it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..arrays import integers
from .base import Objective
from .batch import Batch, among_eligible, needed, predictions
from .value import climb

__all__ = ["mips", "offcem", "potec"]


def mips(cluster: Sequence[int]) -> Objective:
    """Marginalised IPS: IPS with the weight of the logged item's cluster.

        h_i(a) = 1[c(a) = c_i] r_i / π_0(c_i|x_i)

    Unbiased if items of one cluster have the same expected reward in every context. All items of a
    cluster have the same gradient a unit of probability: within it, towers learn only from what
    the features of its items share.

    Parameters
    ----------
    cluster : sequence of int, of length n_actions
        Cluster of every item: a category, or clusters of item features.

    Returns
    -------
    Objective
        For batches with `cluster_pscore`.

    References
    ----------
    Saito and Joachims, "Off-Policy Evaluation for Large Action Spaces via Embeddings", ICML 2022,
    section 3, with the cluster as the embedding.

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.mips([0, 0, 1])
    mips(n_clusters=2)
    """
    return _clustered(_mips, cluster, ("cluster_pscore",))


def offcem(cluster: Sequence[int]) -> Objective:
    """Conjunct effects: `mips` of what q̂ leaves over, plus the direct method.

        h_i(a) = q̂(x_i, a) + 1[c(a) = c_i] (r_i − q̂(x_i, a_i)) / π_0(c_i|x_i)

    Unbiased if q̂ is right about the differences between the items of a cluster. One cluster for
    all items gives the direct method's gradient, one cluster an item gives DR.

    Parameters
    ----------
    cluster : sequence of int, of length n_actions
        Cluster of every item.

    Returns
    -------
    Objective
        For batches with `q_hat` and `cluster_pscore`.

    References
    ----------
    Saito, Ren and Joachims, "Off-Policy Evaluation for Large Action Spaces via Conjunct Effect
    Modeling", ICML 2023.

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.offcem([0, 0, 1])
    offcem(n_clusters=2)
    """
    return _clustered(_offcem, cluster, ("q_hat", "cluster_pscore"))


def potec(cluster: Sequence[int]) -> Objective:
    """Two-stage decomposition: learn which cluster, and leave the item in it to q̂.

        h_i(a) = max_{b in c(a)} q̂(x_i, b) + 1[c(a) = c_i] (r_i − q̂(x_i, a_i)) / π_0(c_i|x_i)

    The value is that of a policy that draws a cluster from ``π(c|x)`` and shows its item with the
    largest q̂, of those that could be shown: serve it so. `offcem` is for a policy that draws the
    item too.

    Parameters
    ----------
    cluster : sequence of int, of length n_actions
        Cluster of every item.

    Returns
    -------
    Objective
        For batches with `q_hat` and `cluster_pscore`.

    References
    ----------
    Saito, Yao and Joachims, "POTEC: Off-Policy Learning for Large Action Spaces via Two-Stage
    Policy Decomposition", ICLR 2025, with a deterministic second stage.

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.potec([0, 0, 1])
    potec(n_clusters=2)
    """
    return _clustered(_potec, cluster, ("q_hat", "cluster_pscore"))


def _clustered(function: Callable, cluster: Sequence[int], needs: tuple[str, ...]) -> Objective:
    labels, number = np.unique(integers("cluster", cluster), return_inverse=True)
    if len(labels) == 0:
        raise ValueError("cluster is empty; give one entry an item.")
    return Objective(
        function,
        {"cluster": tuple(number.tolist())},
        batched=True,
        name=f"{function.__name__.lstrip('_')}(n_clusters={len(labels)})",
        needs=needs,
        n_actions=len(number),
    )


def _mips(logits: Tensor, batch: Batch, cluster: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    return climb(logits, _over_cluster(logits, batch, batch.reward, cluster))


def _offcem(logits: Tensor, batch: Batch, cluster: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    q_hat, residual = predictions(batch)
    correction = _over_cluster(logits, batch, residual, cluster)
    return climb(logits, q_hat + correction)


def _potec(logits: Tensor, batch: Batch, cluster: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    q_hat, residual = predictions(batch)
    place = _tensor(cluster, logits.device).expand_as(q_hat)
    servable = q_hat if batch.eligible is None else among_eligible(q_hat, batch.eligible)
    best = q_hat.new_zeros(*q_hat.shape[:-1], max(cluster) + 1)
    best = best.scatter_reduce(-1, place, servable, "amax", include_self=False)
    correction = _over_cluster(logits, batch, residual, cluster)
    return climb(logits, best.gather(-1, place) + correction)


@lru_cache(maxsize=64)
def _tensor(cluster: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(cluster, device="cpu").to(device)


def _over_cluster(logits: Tensor, batch: Batch, reward: Tensor, cluster: tuple[int, ...]) -> Tensor:
    """``1[c(a) = c_i] reward_i / π_0(c_i|x_i)``, shape (B, n_actions)."""
    if len(cluster) != logits.shape[-1]:
        raise ValueError(
            f"cluster has {len(cluster)} entries for {logits.shape[-1]} items; give one an item."
        )
    number = _tensor(cluster, logits.device)
    same = number == number[batch.action][..., None]
    return same * (reward / needed(batch, "cluster_pscore"))[..., None]
