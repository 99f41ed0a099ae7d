"""Processes, on one machine or on several, that take each step together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ..objectives import Batch, Objective, Regression

_T = TypeVar("_T")
_N_PROBED = 8


class Group:
    """The processes of `torch.distributed`, each with a part of every batch.

    The gradient of a mean over a batch is the mean of the gradients of its parts, weighted by their
    sizes. So each process computes that of its own part, one all-reduce sums them, and every
    process takes the same step: what is learned is what one process learns, to rounding.

    Attributes
    ----------
    rank, size : int
        Number of this process, from 0, and of all.
    """

    def __init__(self, on_loss: str) -> None:
        self.rank, self.size, self._on_loss = dist.get_rank(), dist.get_world_size(), on_loss

    def add(self, gradient: Tensor, value: Tensor, share: float) -> Tensor:
        """Make the gradient that of all parts, in place; return the value of all parts."""
        flat = torch.cat([gradient, value])
        flat = flat.mul_(share) if share > 0 else torch.zeros_like(flat)
        with self._together():
            dist.all_reduce(flat)
        gradient.copy_(flat[: len(gradient)])
        return flat[len(gradient) :]

    def agree(self, weights: Tensor, ended: list[bool]) -> list[bool]:
        """Take weights, and who has ended, from the first process: others may round otherwise."""
        flat = torch.cat([weights, weights.new_tensor(ended)])
        with self._together():
            dist.broadcast(flat, src=0)
        weights.copy_(flat[: len(weights)])
        return flat[len(weights) :].bool().tolist()

    def of_first(self, make: Callable[[], _T]) -> _T:
        """What the first process makes; its error is raised in all."""
        found: list[Any] = [None, None]
        if self.rank == 0:
            try:
                found[0] = make()
            except Exception as error:
                found[1] = error
        with self._together():
            dist.broadcast_object_list(found, src=0)
        if found[1] is not None:
            raise found[1]
        return found[0]

    def check_same(self, about: dict[str, str]) -> None:
        """Raise in every process unless all fit the same."""
        of_all: list[Any] = [None] * self.size
        with self._together():
            dist.all_gather_object(of_all, about)
        for rank, other in enumerate(of_all):
            for name in about:
                if other.get(name) != of_all[0].get(name):
                    with suppress(RuntimeError):  # who ends first would be lost to the others
                        dist.barrier()
                    raise ValueError(
                        f"feedback and learner must be the same in all processes: {name} is "
                        f"{of_all[0].get(name)} in process 0, and {other.get(name)} in {rank}."
                    )

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise RuntimeError(
                f"process {self.rank} of {self.size} has lost another one, which was killed, "
                f"failed or cannot be reached. Start all of them again: {self._on_loss}"
            ) from error


def check_is_mean(objective: Objective | Regression, n_actions: int) -> None:
    """Raise unless the value of a batch is the mean of those of its halves."""
    n, half = _N_PROBED, _N_PROBED // 2
    draw = torch.Generator().manual_seed(0)
    columns = 2 if getattr(objective, "only_logged_item", False) else n_actions
    shape = (n, columns) if objective.sees_items else (n,)
    logits = torch.randn(shape, generator=draw)
    batch = Batch(
        torch.zeros(n, dtype=torch.int64),
        torch.arange(n) % 2 * 1.0,
        torch.rand(n, generator=draw) * 0.8 + 0.1,
        q_hat=torch.rand(n, columns, generator=draw),
        cluster_pscore=torch.full((n,), 0.95),
    )
    whole = objective(logits, batch)[0]
    halves = []
    for rows in (slice(0, half), slice(half, n)):
        columns_of = [None if c is None else c[rows] for c in batch]
        halves.append(objective(logits[rows], Batch(*columns_of))[0])  # type: ignore[arg-type]
    if not torch.allclose(whole, torch.stack(halves).mean(), rtol=1e-4):
        raise ValueError(
            f"objective {objective.name!r} is no mean over rounds, so that parts of a batch do not "
            "add up to it: take one that is, such as 'ips', 'dr' or 'regression', or one process."
        )
