"""A batch of logged rounds, and what most formulas make of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)

# Columns of a batch that a log does not always have, and where to get them.
CURES = {
    "q_hat": "predictions of shape (B, n_actions): pass a reward model",
    "cluster_pscore": "the propensities of clusters: make them with "
    "opl.with_clusters(feedback, cluster)",
}
# The logit of an item that could not be shown. Unlike that of -infinity, the product of its
# probability, 0, and its logarithm is a number.
NEVER = -1e30


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
    eligible : boolean tensor of shape (B, n_actions), optional
        The items that could be shown in each round, the logged one among them. The logits of all
        others are then so low that a softmax gives them probability 0, whatever they were, and
        they have no gradient; only what is summed over items without a softmax has to look here.
    """

    action: Tensor
    reward: Tensor
    pscore: Tensor
    q_hat: Tensor | None = None
    cluster_pscore: Tensor | None = None
    eligible: Tensor | None = None


def importance_weights(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """``log π``, shape (B, n_actions), and the logged items' ``log(π / π_0)``, shape (B,)."""
    log_pi = log_softmax(logits)
    return log_pi, log_pi.gather(-1, batch.action[..., None])[..., 0] - batch.pscore.log()


def softmax(logits: Tensor) -> Tensor:
    """``torch.softmax(logits, dim=-1)``, fast for few items too."""
    if _in_rows(logits):
        return torch.softmax(logits, dim=-1)
    return torch.softmax(logits.mT.contiguous(), dim=-2).mT.contiguous()


def log_softmax(logits: Tensor) -> Tensor:
    """``torch.log_softmax(logits, dim=-1)``, fast for few items too."""
    if _in_rows(logits):
        return torch.log_softmax(logits, dim=-1)
    return torch.log_softmax(logits.mT.contiguous(), dim=-2).mT.contiguous()


def _in_rows(logits: Tensor) -> bool:
    """On a CPU rows shorter than a vector register take several times as long as columns.

    Not so few rows, or rows on a GPU. How many models are trained together makes no difference:
    each gets the same sums as alone.
    """
    few = logits.ndim < 2 or logits.shape[-2] < 64
    return few or logits.shape[-1] >= 16 or logits.device.type != "cpu"


def probabilities(log_pi: Tensor, batch: Batch) -> Tensor:
    """``π`` of all items, by a softmax where there are many zeros, of which `exp` is slow."""
    return log_pi.exp() if batch.eligible is None else softmax(log_pi)


def weights(logits: Tensor, batch: Batch) -> Tensor:
    """The importance weights ``π(a_i|x_i) / π_0(a_i|x_i)``, shape (B,)."""
    return importance_weights(logits, batch)[1].exp()


def among_eligible(logits: Tensor, eligible: Tensor) -> Tensor:
    """The logits of items that could be shown; those of all others are `NEVER`."""
    return torch.where(eligible, logits, NEVER)


def needed(batch: Batch, column: str) -> Tensor:
    """A column of the batch that an objective cannot do without."""
    values = getattr(batch, column)
    if values is None:
        raise ValueError(f"this objective needs batch.{column}, {CURES[column]}.")
    return values


def predictions(batch: Batch) -> tuple[Tensor, Tensor]:
    """q̂ of all items, (B, n_actions), and the residual of the logged ones, (B,)."""
    q_hat = needed(batch, "q_hat")
    return q_hat, batch.reward - q_hat.gather(-1, batch.action[..., None])[..., 0]


def checked(scores: Any, batch: Any, of_items: bool) -> tuple[Tensor, Batch]:
    """Scores and batch in one precision; raise if they are none, or do not belong together.

    Scores are those of all items, the logits, or those of the logged items. The logits of items
    that could not be shown become `NEVER`.
    """
    name = "logits" if of_items else "scores"
    scores = floats(name, scores)
    if scores.ndim < 1 + of_items:
        axes = "(B, n_actions)" if of_items else "(B,)"
        raise ValueError(f"{name} must have shape {axes}; got {tuple(scores.shape)}.")
    if not isinstance(batch, Batch):
        raise TypeError(f"batch must be an opl.Batch of tensors; got {type(batch).__name__}.")
    rounds = scores.shape[:-1] if of_items else scores.shape
    action = items("batch.action", batch.action, rounds, scores.shape[-1] if of_items else None)
    columns: dict[str, Tensor] = {}
    for column in ("reward", "pscore", "q_hat", "cluster_pscore"):
        values = getattr(batch, column)
        if values is not None or column in ("reward", "pscore"):
            shape = scores.shape if column == "q_hat" and of_items else None
            shape = rounds if column != "q_hat" else shape
            columns[column] = values = floats(f"batch.{column}", values, shape).to(scores.dtype)
            _check_finite(f"batch.{column}", values, positive=column.endswith("pscore"))
    if batch.eligible is not None and of_items:
        columns["eligible"] = mask = _mask(batch.eligible, scores.shape, action)
        scores = among_eligible(scores, mask)
    return scores, Batch(action, **columns)


def floats(name: str, values: Any, shape: Sequence[int] | None = None) -> Tensor:
    """A tensor of real numbers, of a shape if that is given, in floating point."""
    if not isinstance(values, Tensor) or values.is_complex():
        got = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"{name} must be a torch tensor of real numbers; got {got}.")
    if shape is not None and values.shape != shape:
        raise ValueError(f"{name} must have shape {tuple(shape)}; got {tuple(values.shape)}.")
    values = values.clone() if values.is_inference() else values
    return values if values.is_floating_point() else values.to(torch.float32)


def items(name: str, values: Any, shape: Sequence[int], n_actions: int | None) -> Tensor:
    """A tensor of item numbers."""
    whole = isinstance(values, Tensor) and values.dtype in _WHOLE
    if not whole:
        got = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"{name} must be a torch tensor of integers; got {got}.")
    if values.shape != shape:
        raise ValueError(f"{name} must have shape {tuple(shape)}; got {tuple(values.shape)}.")
    low, high = _ends(values)
    if values.numel() and not (low >= 0 and high < (n_actions or math.inf)):
        raise ValueError(
            f"{name} must be item numbers of at least 0 and below {n_actions or math.inf}; got "
            f"{low} to {high}."
        )
    return (values.clone() if values.is_inference() else values).long()


def _mask(values: Any, shape: Sequence[int], action: Tensor) -> Tensor:
    """A tensor of what could be shown, the logged items among it."""
    name = "batch.eligible"
    if not isinstance(values, Tensor) or values.dtype != torch.bool:
        got = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"{name} must be a torch tensor of True and False; got {got}.")
    if values.shape != shape:
        raise ValueError(f"{name} must have shape {tuple(shape)}; got {tuple(values.shape)}.")
    shown = values.gather(-1, action[..., None])[..., 0]
    if not shown.all():
        place = tuple(shown.logical_not().nonzero()[0].tolist())
        raise ValueError(
            f"{name} is False at {(*place, int(action[place]))}, an item that was logged: what was "
            "shown could be shown. Correct it, or drop the round."
        )
    return values.clone() if values.is_inference() else values


def _check_finite(name: str, values: Tensor, positive: bool) -> None:
    low, high = _ends(values)
    if math.isfinite(low) and math.isfinite(high) and (low > 0 or not positive):
        return
    good = values.isfinite() & (values > 0) if positive else values.isfinite()
    place = tuple(good.logical_not().nonzero()[0].tolist())
    what = "above 0 and finite" if positive else "finite"
    raise ValueError(f"{name} must be {what}; at {place} it is {values[place].item()}.")


def _ends(values: Tensor) -> tuple[float, float]:
    """The smallest and the largest number; of none, ones."""
    if values.numel() == 0:
        return 1, 1
    low, high = values.aminmax()
    return low.item(), high.item()
