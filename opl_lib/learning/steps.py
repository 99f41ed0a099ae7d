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
from typing import NamedTuple

import torch
from torch import Tensor

from ..objectives import Batch, Objective, Regression
from ..objectives.batch import NEVER
from .eligible import EligibleItems
from .stacks import Stack

# A round's scores of more items than this cost more than encoding its own item once more.
_FEW_ITEMS = 256
# Its exponential is no digit of a sum with a 1, and takes a tenth of the time of one that is 0.
_NEXT_TO_NOTHING = -80.0


def encodes_by_round(n_actions: int, batch_size: int) -> bool:
    """Whether `logged_only` encodes an item a round, rather than all items once."""
    return n_actions > min(batch_size, _FEW_ITEMS)


class Setup(NamedTuple):
    """What stays the same over the steps of K fits.

    Attributes
    ----------
    stack : MLPStack or AutogradStack
    objective : Objective or Regression
    action_context : tensor of shape (K or 1, n_actions, dim_action_context)
        One table of items a model, or one for all.
    temperature : tensor of shape (K, 1, 1)
    offset : tensor of shape (K, 1), or 0
        Added to the scores that a regression sees.
    """

    stack: Stack
    objective: Objective | Regression
    action_context: Tensor
    temperature: Tensor
    offset: Tensor | float = 0.0

    @property
    def n_actions(self) -> int:
        return self.action_context.shape[1]

    def all_items(self) -> Tensor:
        """Features of all items, once a model: (K, n_actions, dim_action_context)."""
        return self.action_context.expand(self.stack.n_models, -1, -1)

    def items(self, numbers: Tensor) -> Tensor:
        """Features of items (K, m) -> (K, m, dim_action_context)."""
        return gather_rows(self.action_context, numbers)

    def evaluate(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Call the objective, which need not know of the leading axis if K is 1."""
        if len(logits) > 1 or self.objective.batched:
            value, gradient = self.objective.ask(logits, batch)
        else:
            columns = [None if column is None else column[0] for column in batch]
            found = self.objective.ask(logits[0], Batch(*columns))  # type: ignore[arg-type]
            value, gradient = (part[None] for part in found)
        if value.shape != logits.shape[:1] or gradient.shape != logits.shape:
            raise ValueError(
                f"objective {self.objective.name!r} must return a scalar, such as a mean over the "
                "rounds, and a gradient, if any, of the shape of the logits, "
                f"{tuple(logits.shape[1:])}; got {tuple(value.shape[1:])} and "
                f"{tuple(gradient.shape[1:])}."
            )
        return value.detach(), gradient.detach()


class StepInput(NamedTuple):
    """What a step sees: B rounds for each of K models.

    Attributes
    ----------
    context : tensor of shape (K, B, dim_context)
    batch : Batch
        Columns of shape (K, B), without q̂.
    q_hat : callable, optional
        Item numbers of shape (K or 1, m), or None for all items, to q̂ of the batch's rounds for
        them, shape (K, B, m).
    q_logged : tensor of shape (K, B), optional
        q̂ of each round for its own logged item.
    eligible : EligibleItems, optional
        The items that could be shown in each round; all if not given.
    n_batch : int
        Rounds of the batch, of which these are all, or the part of one process.
    share : float
        Of this part in the sum of all; 0 for a round that stands in where there is none.
    """

    context: Tensor
    batch: Batch
    q_hat: Callable[[Tensor | None], Tensor] | None = None
    q_logged: Tensor | None = None
    eligible: EligibleItems | None = None
    n_batch: int = 0
    share: float = 1.0


def part_of(n: int, processes: tuple[int, int]) -> tuple[slice, float]:
    """The rows of n that a process takes, and their share in the sum of all processes.

    Of fewer rows than processes, each takes all.
    """
    rank, size = processes
    if n < size:
        return slice(0, n), 1 / size
    start, stop = n * rank // size, n * (rank + 1) // size
    return slice(start, stop), (stop - start) / n


def gather_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Rows (K, m) of one table each, or of one for all: (K or 1, n, …) -> (K, m, …)."""
    if len(table) == 1:
        return table[0][rows]
    return table[torch.arange(len(table))[:, None], rows]


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
    tiles = torch.arange(setup.n_actions).split(tile)

    def score(items: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        here = slice(int(items[0]), int(items[-1]) + 1)
        features = setup.action_context[:, here].expand(stack.n_models, -1, -1)
        start = None if step.eligible is None else step.eligible.logits(query.dtype, here)
        return stack.action_tower.score(query, features, start)

    hides, left_out = step.eligible is not None, -math.inf if step.eligible is None else NEVER

    # First pass: the logit of the logged item, that of "the rest", and the rest's mean q̂.
    z_logged = query.new_zeros(query.shape[:2])
    rest, q_rest = torch.full_like(z_logged, -math.inf), torch.zeros_like(z_logged)
    for items in tiles:
        z = score(items)[0]
        here = _logged_in(items, batch.action)
        z_logged[here[:2]] = z[here]
        z[here] = left_out
        in_tile = _log_sum_exp(z) if hides else z.logsumexp(dim=-1)
        rest = torch.logaddexp(rest, in_tile)
        if q_hat is not None:
            mean = (torch.softmax(z, dim=-1).nan_to_num() * q_hat(items[None])).sum(dim=-1)
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
    for items in tiles:
        z, pull_z = score(items)
        share = z.sub_(rest[..., None])
        share = share.clamp_(min=_NEXT_TO_NOTHING).exp_() if hides else share.exp_()
        if q_hat is not None:
            tilt = pi_rest * (q_hat(items[None]) - q_rest[..., None]) / n_rounds
            gradient_z = share * (gradient[..., 1:] + tilt)
        else:
            gradient_z = share.mul_(gradient[..., 1:])
        here = _logged_in(items, batch.action)
        gradient_z[here] = gradient[here[0], here[1], 0]
        gradient_u += pull_z(gradient_z)
    pull_u(gradient_u / setup.temperature)
    return value


def _log_sum_exp(z: Tensor) -> Tensor:
    """The log-sum-exp over the last axis, quick where many numbers are `NEVER`."""
    top = z.amax(dim=-1, keepdim=True)
    total = (z - top).clamp_(min=_NEXT_TO_NOTHING).exp_().sum(dim=-1)
    return top[..., 0] + total.log()


def _logged_in(items: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Models and rows whose logged item is in a tile of consecutive items, and its columns."""
    models, rows = ((action >= items[0]) & (action <= items[-1])).nonzero(as_tuple=True)
    return models, rows, action[models, rows] - items[0]
