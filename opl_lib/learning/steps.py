"""Ways to take one step on an objective: over all items, streamed, sampled, or logged items only.

All call the *same* objective, ``(logits, batch) -> (value, gradient)``, and differ only in the
columns that they show it, which an objective must allow (`Objective.only_logged_item`):

- `exact`: one column an item;
- `streamed`: two columns, the logged item and "the rest", whose logit is the log-sum-exp of all
  other items. By the chain rule the gradient of the rest spreads over its items in proportion to
  their probabilities, so values and gradients are those of `exact`, from tiles of items;
- `sampling.sampled`: the logged item, the items of a `Head` that the policy likes, and a uniform
  sample that stands for all others;
- `logged_only`: for regressions, the score of the logged item.

A step is taken by K models at once, each on rounds of its own. Every function sets the gradients of
the stack's weights to those of the value, and returns the K values. ``q_hat`` gives the reward
model's predictions for some items, so that no pass has to hold them all. Where a log says which
items could be shown, "all items" are these.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from ..objectives.batch import NEVER
from .inputs import Setup, StepInput

# A round's scores of more items than this cost more than encoding its own item once more.
_FEW_ITEMS = 256
# Its exponential is no digit of a sum with a 1, and takes a tenth of the time of one that is 0.
_NEXT_TO_NOTHING = -80.0


def encodes_by_round(n_actions: int, batch_size: int) -> bool:
    """Whether `logged_only` encodes an item a round, rather than all items once."""
    return n_actions > min(batch_size, _FEW_ITEMS)


def logged_only(setup: Setup, step: StepInput) -> Tensor:
    """One step of a regression: no other item than the logged ones is needed."""
    stack, action = setup.stack, step.batch.action
    stack.zero_grad()
    u, pull_u = stack.context_tower.encode(step.context)
    if encodes_by_round(setup.n_actions, action.shape[1]):
        v, pull_v = stack.action_tower.encode(setup.items(action))
        value, gradient = setup.evaluate((u * v).sum(dim=-1) + setup.offset, step.batch)
        gradient = gradient[..., None]
        pull_u(gradient * v)
        pull_v(gradient * u)
        return value
    # Few items: encode each once, and score them all.
    v, pull_v = stack.action_tower.encode(setup.all_items())
    logged = action[..., None]
    scores = u @ v.mT
    value, gradient = setup.evaluate(scores.gather(-1, logged)[..., 0] + setup.offset, step.batch)
    gradient = torch.zeros_like(scores).scatter_(-1, logged, gradient[..., None])
    pull_u(gradient @ v)
    pull_v(gradient.mT @ u)
    return value


def exact(setup: Setup, step: StepInput) -> Tensor:
    """One step over all items at once; memory grows with B x n_actions."""
    stack, batch = setup.stack, step.batch
    if step.q_hat is not None:
        batch = batch._replace(q_hat=step.q_hat(None))
    start = None
    if step.eligible is not None:
        batch = batch._replace(eligible=step.eligible.mask())
        start = step.eligible.logits(step.context.dtype)
    stack.zero_grad()
    u, pull_u = stack.context_tower.encode(step.context)
    items = setup.all_items()
    logits, pull_logits = stack.action_tower.score(u / setup.temperature, items, start)
    value, gradient = setup.evaluate(logits, batch)
    pull_u(pull_logits(gradient) / setup.temperature)
    return value


def streamed(setup: Setup, step: StepInput, tile: int = 4096) -> Tensor:
    """One step over all items, `tile` of them at a time; the numbers of `exact`."""
    stack, batch, q_hat, n_rounds = setup.stack, step.batch, step.q_hat, step.context.shape[1]
    stack.zero_grad()
    u, pull_u = stack.context_tower.encode(step.context)
    query = u / setup.temperature
    ends = [*range(0, setup.n_actions, tile), setup.n_actions]
    tiles = [slice(*pair) for pair in pairwise(ends)]

    def score(here: slice) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        features = setup.action_context[:, here].expand(stack.n_models, -1, -1)
        start = None if step.eligible is None else step.eligible.logits(query.dtype, here)
        return stack.action_tower.score(query, features, start)

    hides, left_out = step.eligible is not None, -math.inf if step.eligible is None else NEVER

    # First pass: the logit of the logged item, that of "the rest", and the rest's mean q̂.
    z_logged = query.new_zeros(query.shape[:2])
    rest, q_rest = torch.full_like(z_logged, -math.inf), torch.zeros_like(z_logged)
    for here in tiles:
        z = score(here)[0]
        column, is_here = _logged_in(here, batch.action)
        of_logged = z.gather(-1, column)
        z_logged = torch.where(is_here, of_logged, z_logged[..., None])[..., 0]
        z.scatter_(-1, column, torch.where(is_here, left_out, of_logged))
        in_tile = _log_sum_exp(z) if hides else z.logsumexp(dim=-1)
        rest = torch.logaddexp(rest, in_tile)
        if q_hat is not None:
            mean = (torch.softmax(z, dim=-1).nan_to_num() * q_hat(_numbers(here, z))).sum(dim=-1)
            q_rest += (in_tile - rest).exp().nan_to_num() * (mean - q_rest)
    collapsed = batch._replace(action=torch.zeros_like(batch.action))
    if step.q_logged is not None:
        collapsed = collapsed._replace(q_hat=torch.stack([step.q_logged, q_rest], dim=-1))
    if step.eligible is not None:
        others = step.eligible.size > 1
        both = torch.stack([torch.ones_like(others), others], dim=-1)
        collapsed = collapsed._replace(eligible=both)
    two_columns = torch.stack([z_logged, rest], dim=-1)
    value, gradient = setup.evaluate(two_columns, collapsed)
    pi_rest = torch.softmax(two_columns, dim=-1)[..., 1:]

    # Second pass: spread the gradient of the rest over its items.
    gradient_u = torch.zeros_like(u)
    for here in tiles:
        z, pull_z = score(here)
        share = z.sub_(rest[..., None])
        share = share.clamp_(min=_NEXT_TO_NOTHING).exp_() if hides else share.exp_()
        if q_hat is not None:
            tilt = pi_rest * (q_hat(_numbers(here, z)) - q_rest[..., None]) / n_rounds
            gradient_z = share * (gradient[..., 1:] + tilt)
        else:
            gradient_z = share.mul_(gradient[..., 1:])
        column, is_here = _logged_in(here, batch.action)
        of_logged = torch.where(is_here, gradient[..., :1], gradient_z.gather(-1, column))
        gradient_z.scatter_(-1, column, of_logged)
        gradient_u += pull_z(gradient_z)
    pull_u(gradient_u / setup.temperature)
    return value


def _log_sum_exp(z: Tensor) -> Tensor:
    """The log-sum-exp over the last axis, quick where many numbers are `NEVER`."""
    top = z.amax(dim=-1, keepdim=True)
    total = (z - top).clamp_(min=_NEXT_TO_NOTHING).exp_().sum(dim=-1)
    return top[..., 0] + total.log()


def _logged_in(items: slice, action: Tensor) -> tuple[Tensor, Tensor]:
    """The column of each logged item in a tile of items, (K, B, 1), and whether it is in it."""
    column = action[..., None] - items.start
    is_here = (column >= 0) & (action[..., None] < items.stop)
    return column.clamp_(0, items.stop - items.start - 1), is_here


def _numbers(items: slice, of_device: Tensor) -> Tensor:
    """The numbers of the items of a tile, (1, m)."""
    return torch.arange(items.start, items.stop, device=of_device.device)[None]
