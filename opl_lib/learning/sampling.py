"""A step on a sample of a large catalogue: the logged items, a head taken whole, a sampled tail."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..objectives.batch import NEVER
from .draws import Draws
from .eligible import EligibleItems
from .inputs import Setup, StepInput


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


def find_head(
    setup: Setup,
    context: Tensor,
    size: int,
    eligible: EligibleItems | None = None,
    tile: int = 4096,
) -> Head:
    """The items that each model now shows most often, over some contexts.

    A uniform sample misses the few items on which a sharpened policy has put its probability; taken
    whole, they leave a tail that a sample represents well. The contexts are (K or 1, m,
    dim_context), and `eligible` says what could be shown in each.
    """
    stack = setup.stack
    context = context.expand(stack.n_models, -1, -1)
    query = stack.context_tower.encode(context)[0] / setup.temperature
    logits = []
    for start in range(0, setup.n_actions, tile):
        here = slice(start, start + tile)
        base = None if eligible is None else eligible.logits(query.dtype, here)
        logits.append(stack.action_tower.score(query, setup.all_items()[:, here], base)[0])
    log_z = torch.stack([z.logsumexp(dim=-1) for z in logits]).logsumexp(dim=0)[..., None]
    shown = torch.cat([(z - log_z).exp_().mean(dim=1) for z in logits], dim=-1)
    items = shown.topk(size, dim=-1).indices
    is_head = torch.zeros_like(shown, dtype=torch.bool).scatter_(-1, items, True)
    others = (~is_head).nonzero()[:, 1].view(len(shown), -1)
    return Head(items, others, is_head)


class Sample(NamedTuple):
    """Items that stand for all but the logged ones, m of them.

    Attributes
    ----------
    items : integer tensor of shape (K, m)
    log_stands_for : tensor of shape (K or 1, B or 1, m)
        The logarithm of how many items each stands for in a round.
    hidden : boolean tensor of shape (K, B, m)
        Whether an item is the logged one of a round, or could not be shown in it.
    """

    items: Tensor
    log_stands_for: Tensor
    hidden: Tensor


def sampled(
    setup: Setup,
    step: StepInput,
    n_sampled: int,
    draws: Draws,
    head: Head | None = None,
) -> Tensor:
    """One step over the logged items, the head, and one uniform sample of the others.

    The sample is shared by the batch. Each of its items stands for as many others as there are
    outside the head, divided by their number, which adds the log of that ratio to its logit. The
    row's logged item counts once, as the logged one.

    Where a log says what could be shown, each item of the sample is drawn from what could be shown
    in one of the rounds, and stands for more items the rarer it is in the sets of the batch.

    Parameters
    ----------
    setup : Setup
    step : StepInput
    n_sampled : int
        Size of the sample.
    draws : Draws
        Of each model its own.
    head : Head, optional
    """
    stack, action = setup.stack, step.batch.action
    if step.eligible is None:
        sample = _of_all(setup.n_actions, action, n_sampled, draws, head, step.context.dtype)
    else:
        sample = _of_eligible(step.eligible, action, n_sampled, draws, head, step.context.dtype)
    items = sample.items
    stack.zero_grad()
    u, pull_u = stack.context_tower.encode(step.context)
    v, pull_v = stack.action_tower.encode(setup.items(torch.cat([action, items], dim=-1)))
    v_logged, v_items = v.split([action.shape[1], items.shape[1]], dim=1)
    query = u / setup.temperature
    z_items = (query @ v_items.mT + sample.log_stands_for).masked_fill(sample.hidden, NEVER)
    logits = torch.cat([(query * v_logged).sum(dim=-1, keepdim=True), z_items], dim=-1)
    batch = step.batch._replace(action=torch.zeros_like(action))
    if step.eligible is not None:
        logged = torch.ones_like(sample.hidden[..., :1])
        batch = batch._replace(eligible=torch.cat([logged, ~sample.hidden], dim=-1))
    if step.q_hat is not None and step.q_logged is not None:
        q_hat = torch.cat([step.q_logged[..., None], step.q_hat(items)], dim=-1)
        batch = batch._replace(q_hat=q_hat)
    value, gradient = setup.evaluate(logits, batch)
    g_logged, g_items = gradient[..., :1], gradient[..., 1:]
    pull_u((g_logged * v_logged + g_items @ v_items) / setup.temperature)
    pull_v(torch.cat([g_logged * query, g_items.mT @ query], dim=1))
    return value


def _of_all(
    n_actions: int,
    action: Tensor,
    n_sampled: int,
    draws: Draws,
    head: Head | None,
    dtype: torch.dtype,
) -> Sample:
    """A uniform sample of the items outside the head."""
    n_others = n_actions if head is None else head.others.shape[1]
    items = draws.integers(n_others, n_sampled)
    n_left: int | Tensor = n_others - 1
    if head is not None:
        items = torch.cat([head.items, head.others.gather(-1, items)], dim=-1)
        n_left = n_others - (~head.is_head.gather(-1, action))[..., None].to(dtype)
    in_tail = torch.arange(items.shape[1], device=items.device) >= items.shape[1] - n_sampled
    hit = items[:, None, :] == action[..., None]
    n_used = n_sampled - (hit & in_tail).sum(dim=-1, keepdim=True).to(dtype)
    return Sample(items, torch.where(in_tail, (n_left / n_used).log(), 0), hit)


def _of_eligible(
    eligible: EligibleItems,
    action: Tensor,
    n_sampled: int,
    draws: Draws,
    head: Head | None,
    dtype: torch.dtype,
) -> Sample:
    """Items of the sets of the batch, each with the weight that makes up for how it was drawn.

    A draw is uniform over the set of one round. Its density over all draws is the mean of those of
    the rounds, and one over that is its weight, as in multiple importance sampling with the balance
    heuristic (Veach and Guibas, SIGGRAPH 1995). In each round the weights are then scaled to the
    number of items that they stand for, so that equal sets give the numbers of a uniform sample.
    """
    uniform = draws.uniform(1 + n_sampled)
    drawn = torch.stack([_drawn(eligible, k, each) for k, each in enumerate(uniform)])
    in_set, of_round = eligible.hold(drawn), eligible.size[..., None].to(dtype)
    log_weight = -(in_set / of_round).mean(dim=1, keepdim=True).log()
    used, n_left = in_set & (drawn[:, None, :] != action[..., None]), of_round - 1
    if head is not None:
        in_head = eligible.hold(head.items)
        logged_in_head = head.is_head.gather(-1, action)[..., None]
        n_left = of_round - in_head.sum(dim=-1, keepdim=True) - (~logged_in_head).to(dtype)
        used &= ~head.is_head.gather(-1, drawn)[:, None, :]
    total = torch.where(used, log_weight.exp(), 0).sum(dim=-1, keepdim=True)
    log_stands_for = log_weight + (n_left / total).log()
    if head is None:
        return Sample(drawn, log_stands_for, ~used)
    head_used = in_head & (head.items[:, None, :] != action[..., None])
    return Sample(
        torch.cat([head.items, drawn], dim=-1),
        torch.cat([torch.zeros_like(head_used, dtype=dtype), log_stands_for], dim=-1),
        ~torch.cat([head_used, used], dim=-1),
    )


def _drawn(eligible: EligibleItems, model: int, uniform: Tensor) -> Tensor:
    """Items, each of the set of a round; rounds have an equal share of the draws, or one more."""
    number, (items, starts) = eligible.number[model], eligible.sets.lists
    n_sampled = len(uniform) - 1
    numbers = torch.arange(n_sampled, device=uniform.device)
    place = (numbers + uniform[0]) * (len(number) / n_sampled)
    of_draw = number[place.long().clamp_(max=len(number) - 1)]
    size = eligible.sets.size[of_draw]
    rank = torch.minimum((uniform[1:] * size).long(), size - 1)  # single precision may reach 1
    return items[starts[of_draw] + rank].long()
