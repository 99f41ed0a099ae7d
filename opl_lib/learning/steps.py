"""Ways to take one step on an objective: over all items, streamed, sampled, or logged items only.

All call the *same* objective function, ``(logits, batch) -> (value, gradient)``, and differ only
in the columns that they show it, which an objective must allow (`Objective.collapses`):

- `exact`: one column an item;
- `streamed`: two columns, the logged item and "the rest", whose logit is the log-sum-exp of all
  other items. By the chain rule the gradient of the rest spreads over its items in proportion to
  their probabilities, so values and gradients are those of `exact`, from tiles of items;
- `sampled`: the logged item, the items of a `Head` that the policy likes, and a uniform sample
  that stands for all others;
- `logged_only`: for regressions, the score of the logged item.

A step is taken by K models at once, each on rounds of its own. Every function sets the gradients of
the stack's weights to those of the value, and returns the K values. ``q_hat`` gives the reward
model's predictions for some items, so that no pass has to hold them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..objectives import Batch, Objective
from .stacks import AutogradStack, MLPStack

# A round's scores of more items than this cost more than encoding its own item once more.
_FEW_ITEMS = 256


def encodes_by_round(n_actions: int, batch_size: int) -> bool:
    """Whether `logged_only` encodes an item a round, rather than all items once."""
    return n_actions > min(batch_size, _FEW_ITEMS)


class Step(NamedTuple):
    """What a pass needs: K models and their objective, B rounds for each, and all items.

    Attributes
    ----------
    stack : MLPStack or AutogradStack
    objective : Objective
    context : tensor of shape (K, B, dim_context)
    action_context : tensor of shape (K or 1, n_actions, dim_action_context)
        One table of items a model, or one for all.
    batch : Batch
        Columns of shape (K, B), without q̂.
    temperature : tensor of shape (K, 1, 1)
    q_hat : callable, optional
        Item numbers of shape (K or 1, m), or None for all items, to q̂ of the batch's rounds for
        them, shape (K, B, m).
    q_logged : tensor of shape (K, B), optional
        q̂ of each round for its own logged item.
    """

    stack: MLPStack | AutogradStack
    objective: Objective
    context: Tensor
    action_context: Tensor
    batch: Batch
    temperature: Tensor
    q_hat: Callable[[Tensor | None], Tensor] | None = None
    q_logged: Tensor | None = None

    @property
    def n_actions(self) -> int:
        return self.action_context.shape[1]

    def items(self, numbers: Tensor) -> Tensor:
        """Features of items (K, m) -> (K, m, dim_action_context)."""
        return take(self.action_context, numbers)

    def evaluate(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Call the objective, which need not know of the leading axis if K is 1."""
        if len(logits) > 1 or self.objective.stacks:
            return self._checked(self.objective.function(logits, batch), logits, logits.shape[:1])
        columns = [None if column is None else column[0] for column in batch]
        found = self.objective.function(logits[0], Batch(*columns))
        value, gradient = self._checked(found, logits[0], ())
        return value[None], gradient[None]

    def _checked(
        self, found: Any, logits: Tensor, value_shape: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """Value and gradient; raise unless both are tensors of the right shapes."""
        name = f"objective {self.objective.name!r}"
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise ValueError(
                f"{name} must return a value and its gradient in the logits, two tensors; got "
                f"{type(found).__name__}."
            )
        value, gradient = found
        scalar = "one number a model" if value_shape else "a scalar, such as a mean over the rounds"
        for what, tensor, shape, which in (
            ("value", value, value_shape, scalar),
            ("gradient", gradient, logits.shape, "that of the logits"),
        ):
            got = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            if got != tuple(shape):
                raise ValueError(
                    f"the {what} of {name} must be a tensor of shape {tuple(shape)}, {which}; got "
                    f"{got}."
                )
        return value.detach(), gradient.detach()


def take(table: Tensor, rows: Tensor) -> Tensor:
    """Rows (K, m) of one table each, or of one for all: (K or 1, n, …) -> (K, m, …)."""
    if len(table) == 1:
        return table[0][rows]
    return table[torch.arange(len(table))[:, None], rows]


def logged_only(step: Step) -> Tensor:
    """One step of a regression: no other item than the logged ones is needed."""
    stack, action = step.stack, step.batch.action
    stack.forget_gradient()
    u, pull_u = stack.context_tower.encode(step.context)
    if encodes_by_round(step.n_actions, action.shape[1]):
        v, pull_v = stack.action_tower.encode(step.items(action))
        value, gradient = step.evaluate((u * v).sum(dim=-1), step.batch)
        gradient = gradient[..., None]
        pull_u(gradient * v)
        pull_v(gradient * u)
        return value
    # Few items: encode each once, and score them all.
    v, pull_v = stack.action_tower.encode(step.action_context.expand(stack.n_models, -1, -1))
    logged = action[..., None]
    scores = u @ v.mT
    value, gradient = step.evaluate(scores.gather(-1, logged)[..., 0], step.batch)
    gradient = torch.zeros_like(scores).scatter_(-1, logged, gradient[..., None])
    pull_u(gradient @ v)
    pull_v(gradient.mT @ u)
    return value


def exact(step: Step) -> Tensor:
    """One step over all items at once; memory grows with B x n_actions."""
    stack, batch = step.stack, step.batch
    if step.q_hat is not None:
        batch = batch._replace(q_hat=step.q_hat(None))
    stack.forget_gradient()
    u, pull_u = stack.context_tower.encode(step.context)
    items = step.action_context.expand(stack.n_models, -1, -1)
    logits, pull_logits = stack.action_tower.score(u / step.temperature, items)
    value, gradient = step.evaluate(logits, batch)
    pull_u(pull_logits(gradient) / step.temperature)
    return value


def streamed(step: Step, tile: int = 4096) -> Tensor:
    """One step over all items, `tile` of them at a time; the numbers of `exact`."""
    stack, batch, q_hat, n_rounds = step.stack, step.batch, step.q_hat, step.context.shape[1]
    stack.forget_gradient()
    u, pull_u = stack.context_tower.encode(step.context)
    query = u / step.temperature
    tiles = torch.arange(step.n_actions).split(tile)

    def score(items: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        features = step.action_context[:, items[0] : items[-1] + 1]
        return stack.action_tower.score(query, features.expand(stack.n_models, -1, -1))

    # First pass: the logit of the logged item, that of "the rest", and the rest's mean q̂.
    z_logged = query.new_zeros(query.shape[:2])
    rest, q_rest = torch.full_like(z_logged, -math.inf), torch.zeros_like(z_logged)
    for items in tiles:
        z = score(items)[0]
        here = _logged_in(items, batch.action)
        z_logged[here[:2]] = z[here]
        z[here] = -math.inf
        in_tile = z.logsumexp(dim=-1)
        rest = torch.logaddexp(rest, in_tile)
        if q_hat is not None:
            mean = (torch.softmax(z, dim=-1).nan_to_num() * q_hat(items[None])).sum(dim=-1)
            q_rest += (in_tile - rest).exp().nan_to_num() * (mean - q_rest)
    collapsed = batch._replace(action=torch.zeros_like(batch.action))
    if q_hat is not None:
        collapsed = collapsed._replace(q_hat=torch.stack([step.q_logged, q_rest], dim=-1))
    two_columns = torch.stack([z_logged, rest], dim=-1)
    value, gradient = step.evaluate(two_columns, collapsed)
    pi_rest = torch.softmax(two_columns, dim=-1)[..., 1:]

    # Second pass: spread the gradient of the rest over its items.
    gradient_u = torch.zeros_like(u)
    for items in tiles:
        z, pull_z = score(items)
        share = z.sub_(rest[..., None]).exp_()
        if q_hat is not None:
            tilt = pi_rest * (q_hat(items[None]) - q_rest[..., None]) / n_rounds
            gradient_z = share * (gradient[..., 1:] + tilt)
        else:
            gradient_z = share.mul_(gradient[..., 1:])
        here = _logged_in(items, batch.action)
        gradient_z[here] = gradient[here[0], here[1], 0]
        gradient_u += pull_z(gradient_z)
    pull_u(gradient_u / step.temperature)
    return value


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
    stack: MLPStack | AutogradStack,
    context: Tensor,
    action_context: Tensor,
    temperature: Tensor,
    size: int,
    tile: int = 4096,
) -> Head:
    """The items that each model now shows most often, over some contexts.

    A uniform sample misses the few items on which a sharpened policy has put its probability; taken
    whole, they leave a tail that a sample represents well. The contexts are (K or 1, m,
    dim_context).
    """
    query = stack.context_tower.encode(context.expand(stack.n_models, -1, -1))[0] / temperature
    tiles = action_context.split(tile, dim=1)
    logits = [
        stack.action_tower.score(query, tile.expand(stack.n_models, -1, -1))[0] for tile in tiles
    ]
    log_z = torch.stack([z.logsumexp(dim=-1) for z in logits]).logsumexp(dim=0)[..., None]
    shown = torch.cat([(z - log_z).exp_().mean(dim=1) for z in logits], dim=-1)
    items = shown.topk(size, dim=-1).indices
    is_head = torch.zeros_like(shown, dtype=torch.bool).scatter_(-1, items, True)
    others = (~is_head).nonzero()[:, 1].view(len(shown), -1)
    return Head(items, others, is_head)


def sampled(
    step: Step,
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
    step : Step
    n_sampled : int
        Size of the sample.
    generators : sequence of K torch.Generator
        Each model's own draws.
    head : Head, optional
    """
    stack, action = step.stack, step.batch.action
    logged = action[..., None]
    n_others = step.n_actions if head is None else head.others.shape[1]
    draws = torch.stack([torch.randint(n_others, (n_sampled,), generator=g) for g in generators])
    if head is None:
        items, log_stands_for = draws, logged.new_zeros(1, 1, n_sampled, dtype=step.context.dtype)
        n_left = n_others - 1
    else:
        items = torch.cat([head.items, head.others.gather(-1, draws)], dim=-1)
        log_stands_for = step.context.new_zeros(1, 1, items.shape[1])
        n_left = n_others - (~head.is_head.gather(-1, action))[..., None].to(step.context.dtype)
    in_tail = torch.arange(items.shape[1]) >= items.shape[1] - n_sampled
    hit = items[:, None, :] == logged
    n_used = n_sampled - (hit & in_tail).sum(dim=-1, keepdim=True)
    log_stands_for = torch.where(in_tail, (n_left / n_used).log(), log_stands_for)

    stack.forget_gradient()
    u, pull_u = stack.context_tower.encode(step.context)
    v, pull_v = stack.action_tower.encode(step.items(torch.cat([action, items], dim=-1)))
    v_logged, v_items = v.split([action.shape[1], items.shape[1]], dim=1)
    query = u / step.temperature
    z_items = (query @ v_items.mT + log_stands_for).masked_fill(hit, -math.inf)
    logits = torch.cat([(query * v_logged).sum(dim=-1, keepdim=True), z_items], dim=-1)
    batch = step.batch._replace(action=torch.zeros_like(action))
    if step.q_hat is not None:
        q_hat = torch.cat([step.q_logged[..., None], step.q_hat(items)], dim=-1)
        batch = batch._replace(q_hat=q_hat)
    value, gradient = step.evaluate(logits, batch)
    g_logged, g_items = gradient[..., :1], gradient[..., 1:]
    pull_u((g_logged * v_logged + g_items @ v_items) / step.temperature)
    pull_v(torch.cat([g_logged * query, g_items.mT @ query], dim=1))
    return value


def _logged_in(items: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Models and rows whose logged item is in a tile of consecutive items, and its columns."""
    models, rows = ((action >= items[0]) & (action <= items[-1])).nonzero(as_tuple=True)
    return models, rows, action[models, rows] - items[0]
