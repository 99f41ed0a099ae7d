"""A batch of logged rounds, and what most formulas make of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Columns of a batch that a log does not always have, and where to get them.
_CURES = {
    "q_hat": "predictions of shape (B, n_actions): pass a reward model",
    "cluster_pscore": "the propensities of clusters: make them with "
    "opl.with_clusters(feedback, cluster)",
}


class Batch(NamedTuple):
    """B logged rounds, as tensors.

    Attributes
    ----------
    action : integer tensor of shape (B,)
        The logged items.
    reward : float tensor of shape (B,)
    pscore : float tensor of shape (B,)
        ``pi_0(a|x)`` of the logged items.
    q_hat : float tensor of shape (B, n_actions), optional
        The reward model's predictions for every item, for the objectives that need one.
    cluster_pscore : float tensor of shape (B,), optional
        ``Σ pi_0(b|x)`` over the items b of the logged item's cluster, for `mips`, `offcem` and
        `potec`.
    """

    action: Tensor
    reward: Tensor
    pscore: Tensor
    q_hat: Tensor | None = None
    cluster_pscore: Tensor | None = None


def importance_weights(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """``log π``, shape (B, n_actions), and the logged items' ``log(π / π_0)``, shape (B,)."""
    log_pi = torch.log_softmax(logits, dim=-1)
    return log_pi, log_pi.gather(-1, batch.action[..., None])[..., 0] - batch.pscore.log()


def weights(logits: Tensor, batch: Batch) -> Tensor:
    """The importance weights ``π(a_i|x_i) / π_0(a_i|x_i)``, shape (B,)."""
    return importance_weights(logits, batch)[1].exp()


def needed(batch: Batch, column: str) -> Tensor:
    """A column of the batch that an objective cannot do without."""
    values = getattr(batch, column)
    if values is None:
        raise ValueError(f"this objective needs batch.{column}, {_CURES[column]}.")
    return values


def predictions(batch: Batch) -> tuple[Tensor, Tensor]:
    """q̂ of all items, (B, n_actions), and the residual of the logged ones, (B,)."""
    q_hat = needed(batch, "q_hat")
    return q_hat, batch.reward - q_hat.gather(-1, batch.action[..., None])[..., 0]
