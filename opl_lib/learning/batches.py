"""The logs of K fits as tensors, cut into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..arrays import single_precision
from ..logs.feedback import BanditFeedback
from ..objectives import Batch
from .eligible import EligibleItems
from .inputs import StepInput, gather_rows, part_of

# A q̂ of up to this many numbers is computed once; a larger one for each batch and tile.
MAX_STORED_Q_HAT = 2**25


class PredictsRows(Protocol):
    """A reward model that was cross-fitted on the log itself."""

    def predict_rows(self, rows: np.ndarray, items: np.ndarray | None = None) -> np.ndarray:
        """Predictions for rows of the log, (m, n_actions) or (m, k)."""

    def predict_logged_item(self) -> np.ndarray:
        """Predictions of every round for its own logged item, (n_rounds,)."""


class StackedLog:
    """One row of each table a fit, or one row for all.

    Attributes
    ----------
    context, action_context : tensors of shape (K or 1, n, features)
    batch : Batch
        Columns of shape (K or 1, n_rounds).
    eligible : EligibleItems or None
        What could be shown, if steps look at other items than the logged ones.
    sets : Sets or None
        Those of `eligible`.
    n_rounds, n_actions, n_models : int
    """

    def __init__(
        self,
        logs: Sequence[BanditFeedback],
        q_hats: Sequence[PredictsRows] | None,
        logged_only: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.n_models, self.n_rounds = len(logs), logs[0].n_rounds
        self.n_actions = logs[0].n_actions
        self.context, self.action_context, reward, pscore = (
            _table(name, [getattr(log, name) for log in logs]).to(device)
            for name in ("context", "action_context", "reward", "pscore")
        )
        action = _stack([log.action for log in logs], np.int64).to(device)
        clusters = [log.cluster_pscore for log in logs if log.cluster_pscore is not None]
        of_cluster = _table("cluster_pscore", clusters).to(device) if clusters else None
        self.batch = Batch(action, reward, pscore, cluster_pscore=of_cluster)
        self.eligible = None if logged_only else EligibleItems.of(logs, device)
        self.sets = None if self.eligible is None else self.eligible.sets
        self._q_hat: Callable[..., Tensor] | None = None
        self._q_logged: Tensor | None = None
        if q_hats is not None:
            self._store(q_hats, logs[0].n_actions)

    def batches(
        self,
        batch_size: int,
        orders: Sequence[torch.Generator] | None,
        epoch: int = 1,
        skip: int = 0,
        processes: tuple[int, int] = (0, 1),
    ) -> Iterator[StepInput]:
        """One epoch, in the order of the log or in one that each model draws for itself.

        The first batches may be skipped, and of each only the part of one of several processes is
        made. The order does not depend on the number of the epoch.
        """
        rows = torch.arange(self.n_rounds).expand(self.n_models, -1)
        if orders is not None:
            rows = torch.stack([torch.randperm(self.n_rounds, generator=g) for g in orders])
        rows = rows.to(self.device)
        context, q_logged = gather_rows(self.context, rows), self._q_logged
        columns = [None if c is None else gather_rows(c, rows) for c in self.batch]
        if q_logged is not None:
            q_logged = q_logged.gather(1, rows)
        eligible = self.eligible_in(rows)
        for start in range(skip * batch_size, self.n_rounds, batch_size):
            n_batch = min(batch_size, self.n_rounds - start)
            own, share = part_of(n_batch, processes)
            part = (slice(None), slice(start + own.start, start + own.stop))
            yield StepInput(
                context[part],
                Batch(*(None if c is None else c[part] for c in columns)),  # type: ignore[arg-type]
                None if self._q_hat is None else partial(self._q_hat, rows[part]),
                None if q_logged is None else q_logged[part],
                None if eligible is None else eligible._replace(number=eligible.number[part]),
                n_batch,
                share,
            )

    def look(
        self, generators: Sequence[torch.Generator], n: int
    ) -> tuple[Tensor, EligibleItems | None]:
        """The contexts of n random rounds of each model, and what could be shown in them."""
        drawn = [torch.randperm(self.n_rounds, generator=g) for g in generators]
        rows = torch.stack(drawn)[:, :n].to(self.device)
        return gather_rows(self.context, rows), self.eligible_in(rows)

    def eligible_in(self, rows: Tensor) -> EligibleItems | None:
        """What could be shown in rows (K, m)."""
        if self.eligible is None:
            return None
        return self.eligible._replace(number=gather_rows(self.eligible.number, rows))

    def _store(self, of_fits: Sequence[PredictsRows], n_actions: int) -> None:
        """Set `_q_hat`, from rows and items to predictions (K, B, m), and `_q_logged`."""
        models = list({id(model): model for model in of_fits}.values())
        which = torch.tensor([[models.index(model)] for model in of_fits]).to(self.device)
        if len(models) * self.n_rounds * n_actions > MAX_STORED_Q_HAT:
            self._q_hat = partial(_predicted, of_fits, n_actions)
            logged = torch.stack([_tensor(model.predict_logged_item()) for model in models])
            self._q_logged = logged.to(self.device)[which[:, 0]]
            return
        every_row = np.arange(self.n_rounds)
        stored = torch.stack([_tensor(model.predict_rows(every_row)) for model in models])
        stored = stored.to(self.device)

        def q_hat(rows: Tensor, items: Tensor | None) -> Tensor:
            if items is None:
                return stored[which, rows]
            return stored[which[..., None], rows[..., None], items[:, None, :]]

        actions = self.batch.action.expand(len(of_fits), -1)
        self._q_hat = q_hat
        self._q_logged = stored[which, torch.from_numpy(every_row).to(self.device), actions]


def _predicted(
    models: Sequence[PredictsRows], n_actions: int, rows: Tensor, items: Tensor | None
) -> Tensor:
    """Predictions of each model for its rows and items, (K, B, m), made anew on the processor."""
    numbers = np.arange(n_actions)[None] if items is None else items.numpy(force=True)
    numbers = np.broadcast_to(numbers, (len(rows), numbers.shape[1]))
    triples = zip(models, rows.numpy(force=True), numbers, strict=True)
    found = [_tensor(model.predict_rows(of_model, its)) for model, of_model, its in triples]
    return (found[0][None] if len(found) == 1 else torch.stack(found)).to(rows.device)


def _table(name: str, columns: Sequence[np.ndarray]) -> Tensor:
    """Columns as single-precision numbers, one row a fit, or one for all."""
    for column in {id(column): column for column in columns}.values():
        _check_single(name, column)
    return _stack(columns, np.float32)


def _stack(columns: Sequence[np.ndarray], dtype: type) -> Tensor:
    if all(column is columns[0] for column in columns):
        columns = columns[:1]
    return torch.from_numpy(np.array(columns, dtype=dtype))


def _tensor(q_hat: np.ndarray) -> Tensor:
    _check_single("what the reward model returned", q_hat)
    return torch.from_numpy(np.require(q_hat, np.float32, "W"))


def _check_single(name: str, array: np.ndarray) -> None:
    """Raise if a number is too large for single precision, and say where."""
    if array.dtype.itemsize > 4 and array.size:
        if max(array.max(), -array.min()) > np.finfo(np.float32).max:
            single_precision(name, array)
