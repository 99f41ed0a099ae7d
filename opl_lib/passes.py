"""Ways to take one step on an objective: over all items, streamed, sampled, or logged items only.

All call the *same* objective function, ``(logits, batch) -> (value, gradient)``, and differ only
in the columns that they show it, which an objective must allow (`Objective.collapses`):

- `exact`: one column an item;
- `streamed`: two columns, the logged item and "the rest", whose logit is the log-sum-exp of all
  other items. By the chain rule the gradient of the rest spreads over its items in proportion to
  their probabilities, so values and gradients are those of `exact`, from tiles of items;
- `sampled`: the logged item and a uniform sample of the others that stands for all of them;
- `logged_only`: for regressions, the score of the logged item.

Every function adds the gradient of *minus* the value to the parameters' and returns the value.
``q_hat`` gives the reward model's predictions for some items, so that no pass has to hold them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .objectives import Batch, Objective
from .towers import TwoTower


class Step(NamedTuple):
    """What a pass needs: the model and its objective, B rounds, and all items.

    Attributes
    ----------
    model : TwoTower
    objective : Objective
    context : tensor of shape (B, dim_context)
    action_context : tensor of shape (n_actions, dim_action_context)
    batch : Batch
        Without q̂.
    temperature : float
    q_hat : callable, optional
        Item numbers, shape (m,), to q̂ of the batch's rounds for them, shape (B, m).
    """

    model: TwoTower
    objective: Objective
    context: Tensor
    action_context: Tensor
    batch: Batch
    temperature: float
    q_hat: Callable[[Tensor], Tensor] | None = None


def logged_only(step: Step) -> Tensor:
    """One step of a regression: only the logged items are encoded, whatever the catalogue."""
    model, objective, context, action_context, batch, *_ = step
    scores = model.score_logged(context, action_context, batch.action)
    value, gradient = objective.function(scores.detach(), batch)
    scores.backward(-gradient)
    return value


def exact(step: Step) -> Tensor:
    """One step over all items at once; memory grows with B x n_actions."""
    model, objective, context, action_context, batch, temperature, q_hat = step
    if q_hat is not None:
        batch = batch._replace(q_hat=q_hat(torch.arange(len(action_context))))
    logits = model(context, action_context) / temperature
    value, gradient = objective.function(logits.detach(), batch)
    logits.backward(-gradient)
    return value


def streamed(step: Step, tile: int = 4096) -> Tensor:
    """One step over all items, `tile` of them at a time; the numbers of `exact`."""
    model, objective, context, action_context, batch, temperature, q_hat = step
    u = model.context_tower(context)
    query = u.detach() / temperature
    tiles = torch.arange(len(action_context)).split(tile)

    # First pass: the logit of "the rest", and the rest's mean q̂.
    rest, q_rest = query.new_full((len(query),), -math.inf), query.new_zeros(len(query))
    with torch.no_grad():
        for items in tiles:
            z = _without_logged(query @ model.action_tower(action_context[items]).T, items, batch)
            here = z.logsumexp(dim=1)
            rest = torch.logaddexp(rest, here)
            if q_hat is not None:
                mean = (torch.softmax(z, dim=1).nan_to_num() * q_hat(items)).sum(dim=1)
                q_rest += (here - rest).exp().nan_to_num() * (mean - q_rest)
        logged, place = torch.unique(batch.action, return_inverse=True)
        z_logged = (query * model.action_tower(action_context[logged])[place]).sum(dim=1)
    collapsed = batch._replace(action=torch.zeros_like(batch.action))
    if q_hat is not None:
        q_logged = q_hat(logged).gather(1, place[:, None])
        collapsed = collapsed._replace(q_hat=torch.column_stack([q_logged, q_rest]))
    two_columns = torch.column_stack([z_logged, rest])
    value, gradient = objective.function(two_columns, collapsed)
    pi_rest = torch.softmax(two_columns, dim=1)[:, 1:]

    # Second pass: spread the gradient of the rest over its items.
    gradient_u = torch.zeros_like(u)
    for items in tiles:
        v = model.action_tower(action_context[items])
        z = _without_logged(query @ v.detach().T, items, batch)
        share = torch.exp(z - rest[:, None])
        gradient_z = gradient[:, 1:] * share
        if q_hat is not None:
            gradient_z += pi_rest * share * (q_hat(items) - q_rest[:, None]) / len(query)
        rows, columns = _logged_in(items, batch)
        gradient_z[rows, columns] = gradient[rows, 0]
        gradient_u += gradient_z @ v.detach() / temperature
        if v.requires_grad:  # not if the item tower is frozen
            v.backward(-gradient_z.T @ query)
    if u.requires_grad:
        u.backward(-gradient_u)
    return value


def sampled(step: Step, n_sampled: int = 256, generator: torch.Generator | None = None) -> Tensor:
    """One step over the logged items and one uniform sample of items, shared by the batch.

    Each of the sampled items stands for ``(n_actions - 1) / n_sampled`` others, which adds the log
    of that number to its logit. A sampled item that is the logged one is masked, and the others
    stand for more.
    """
    model, objective, context, action_context, batch, temperature, q_hat = step
    items = torch.randint(len(action_context), (n_sampled,), generator=generator)
    u = model.context_tower(context)
    logged, place = torch.unique(batch.action, return_inverse=True)
    v = model.action_tower(action_context[torch.cat([logged, items])])
    v_logged, v_sampled = v[: len(logged)], v[len(logged) :]
    hit = items[None, :] == batch.action[:, None]
    stands_for = (len(action_context) - 1) / (n_sampled - hit.sum(dim=1, keepdim=True))
    z_sampled = (u @ v_sampled.T / temperature + stands_for.log()).masked_fill(hit, -math.inf)
    logits = torch.column_stack([(u * v_logged[place]).sum(dim=1) / temperature, z_sampled])
    batch = batch._replace(action=torch.zeros_like(batch.action))
    if q_hat is not None:
        q_logged = q_hat(logged).gather(1, place[:, None])
        batch = batch._replace(q_hat=torch.column_stack([q_logged, q_hat(items)]))
    value, gradient = objective.function(logits.detach(), batch)
    logits.backward(-gradient)
    return value


def _without_logged(z: Tensor, items: Tensor, batch: Batch) -> Tensor:
    """Mask each row's logged item in a tile of consecutive items."""
    z[_logged_in(items, batch)] = -math.inf
    return z


def _logged_in(items: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Rows whose logged item is in a tile of consecutive items, and its columns there."""
    rows = ((batch.action >= items[0]) & (batch.action <= items[-1])).nonzero()[:, 0]
    return rows, batch.action[rows] - items[0]
