"""What a step sees: models, objective and items, and the rounds of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..objectives import Batch, Objective, Regression
from .eligible import EligibleItems
from .stacks import Stack


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
    first = torch.arange(len(table), device=table.device)[:, None] * table.shape[1]
    found = table.flatten(0, 1).index_select(0, (first + rows).flatten())  # whole rows are copied
    return found.unflatten(0, rows.shape)
