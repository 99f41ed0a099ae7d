"""A step on a sample of a large catalogue: the logged items, a head taken whole, a sampled tail."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .steps import Setup, StepInput


class Head(NamedTuple):
    """Items that a sampled step takes whole, and those that it samples from; see `find_head`.

    Attributes
    ----------
    items : integer tensor of shape (K, H)
    others : integer tensor of shape (K, n_actions - H)
    is_head : boolean tensor of shape (K, n_actions)
    """

    items: Tensor
    others: Tensor
    is_head: Tensor


def find_head(setup: Setup, context: Tensor, size: int, tile: int = 4096) -> Head:
    """The items that each model now shows most often, over some contexts.

    A uniform sample misses the few items on which a sharpened policy has put its probability; taken
    whole, they leave a tail that a sample represents well. The contexts are (K or 1, m,
    dim_context).
    """
    stack = setup.stack
    context = context.expand(stack.n_models, -1, -1)
    query = stack.context_tower.encode(context)[0] / setup.temperature
    tiles = setup.all_items().split(tile, dim=1)
    logits = [stack.action_tower.score(query, features)[0] for features in tiles]
    log_z = torch.stack([z.logsumexp(dim=-1) for z in logits]).logsumexp(dim=0)[..., None]
    shown = torch.cat([(z - log_z).exp_().mean(dim=1) for z in logits], dim=-1)
    items = shown.topk(size, dim=-1).indices
    is_head = torch.zeros_like(shown, dtype=torch.bool).scatter_(-1, items, True)
    others = (~is_head).nonzero()[:, 1].view(len(shown), -1)
    return Head(items, others, is_head)


def sampled(
    setup: Setup,
    step: StepInput,
    n_sampled: int,
    generators: Sequence[torch.Generator],
    head: Head | None = None,
) -> Tensor:
    """One step over the logged items, the head, and one uniform sample of the others.

    The sample is shared by the batch. Each of its items stands for as many others as there are
    outside the head, divided by their number, which adds the log of that ratio to its logit. The
    row's logged item counts once, as the logged one.

    Parameters
    ----------
    setup : Setup
    step : StepInput
    n_sampled : int
        Size of the sample.
    generators : sequence of K torch.Generator
        Each model's own draws.
    head : Head, optional
    """
    stack, action = setup.stack, step.batch.action
    logged = action[..., None]
    n_others = setup.n_actions if head is None else head.others.shape[1]
    draws = torch.stack([torch.randint(n_others, (n_sampled,), generator=g) for g in generators])
    if head is None:
        items, log_stands_for = draws, logged.new_zeros(1, 1, n_sampled, dtype=step.context.dtype)
        n_left: int | Tensor = n_others - 1
    else:
        items = torch.cat([head.items, head.others.gather(-1, draws)], dim=-1)
        log_stands_for = step.context.new_zeros(1, 1, items.shape[1])
        n_left = n_others - (~head.is_head.gather(-1, action))[..., None].to(step.context.dtype)
    in_tail = torch.arange(items.shape[1]) >= items.shape[1] - n_sampled
    hit = items[:, None, :] == logged
    n_used = n_sampled - (hit & in_tail).sum(dim=-1, keepdim=True).to(step.context.dtype)
    log_stands_for = torch.where(in_tail, (n_left / n_used).log(), log_stands_for)

    stack.zero_grad()
    u, pull_u = stack.context_tower.encode(step.context)
    v, pull_v = stack.action_tower.encode(setup.items(torch.cat([action, items], dim=-1)))
    v_logged, v_items = v.split([action.shape[1], items.shape[1]], dim=1)
    query = u / setup.temperature
    z_items = (query @ v_items.mT + log_stands_for).masked_fill(hit, -math.inf)
    logits = torch.cat([(query * v_logged).sum(dim=-1, keepdim=True), z_items], dim=-1)
    batch = step.batch._replace(action=torch.zeros_like(action))
    if step.q_hat is not None and step.q_logged is not None:
        q_hat = torch.cat([step.q_logged[..., None], step.q_hat(items)], dim=-1)
        batch = batch._replace(q_hat=q_hat)
    value, gradient = setup.evaluate(logits, batch)
    g_logged, g_items = gradient[..., :1], gradient[..., 1:]
    pull_u((g_logged * v_logged + g_items @ v_items) / setup.temperature)
    pull_v(torch.cat([g_logged * query, g_items.mT @ query], dim=1))
    return value
