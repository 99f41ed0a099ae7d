"""A fit on a log on disk: blocks of rounds in a random order, read as they are needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..answers import row_predictor
from ..arrays import single_precision
from ..logs.feedback import BanditFeedback
from ..logs.on_disk import LogOnDisk, in_memory
from ..objectives import Batch, Regression
from ..objectives.regressions import Link, link_of_moments
from ..protocols import RewardModel
from .eligible import EligibleItems, Sets, restricts
from .fit import Fit
from .inputs import StepInput
from .moments import Moments, reward_moments
from .orders import joined, order_in_group, order_of_blocks, own_rounds
from .reward_models import FittedRewardModel

# Rounds that are read in one piece, at least, and blocks whose rounds are mixed.
_BLOCK = 4096
_BLOCKS_AT_ONCE = 16
# A reward model learns from at most so many rounds, from which the policy does not.
_REWARD_MODEL_ROUNDS = 200_000
_COLUMNS = ("action", "reward", "pscore", "cluster_pscore")


@dataclass(eq=False)
class StreamedFit(Fit):
    """A fit on a log on disk, in memory that does not grow with the log.

    Attributes
    ----------
    moments : Moments, optional
        Of the rewards; looked up in the log if not given.
    blocks : integer array
        Numbers of the blocks to learn from.
    q_model : reward model, optional
        Fitted on other blocks.
    """

    feedback: LogOnDisk
    moments: Moments | None = None

    def __post_init__(self) -> None:
        self.moments = self.moments or reward_moments(self.feedback)
        super().__post_init__()
        batch_size = self.settled.batch_size
        self.block_rows = batch_size * math.ceil(_BLOCK / batch_size)
        self.blocks = np.arange(math.ceil(self.feedback.n_rounds / self.block_rows))
        self.q_model: RewardModel | None = None

    def _standardise(self, objective: Regression) -> None:
        mean, scale = self.reward_moments()
        n_rounds = self.feedback.n_rounds
        self.link = self.link or link_of_moments(objective, mean, mean, scale, n_rounds)

    def reward_moments(self) -> tuple[float, float]:
        assert self.moments is not None
        return self.moments.mean, self.moments.scale

    @property
    def unit(self) -> float:
        assert self.moments is not None
        if isinstance(self.objective, Regression) or self.moments.are_clicks:
            return 1.0
        return 2.0 ** round(math.log2(self.moments.root_mean_square))

    @property
    def kind(self) -> tuple:
        return id(self), *super().kind

    def needs_sample(self, model: RewardModel) -> BanditFeedback | None:
        """Rounds in memory that a reward model can be fitted on; they are then left out here.

        None for a model that is fitted already, which needs none.
        """
        self.q_model = model
        if isinstance(model, FittedRewardModel):
            return None
        if len(self.blocks) < 2:
            raise ValueError(
                f"the log on disk has {self.feedback.n_rounds:,} rounds, too few for two blocks of "
                f"{self.block_rows:,}: take it into memory, log[:]."
            )
        drawn = order_of_blocks(self.settled.random_state, 0, self.blocks)
        n_sample = min(len(drawn) // 2, math.ceil(_REWARD_MODEL_ROUNDS / self.block_rows))
        self.blocks = np.sort(drawn[n_sample:])
        return in_memory(self.feedback, *self.ends_of(np.sort(drawn[:n_sample])))

    def ends_of(self, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where blocks start, and where they end."""
        starts = blocks * self.block_rows
        return starts, np.minimum(starts + self.block_rows, self.feedback.n_rounds)

    def own_log(self) -> StreamedLog:
        return StreamedLog(self)


class StreamedLog:
    """What `StackedLog` is of logs in memory, of one on disk."""

    n_models = 1

    def __init__(self, fit: StreamedFit) -> None:
        self.fit, self.log, self.n_actions = fit, fit.feedback, fit.feedback.n_actions
        starts, ends = fit.ends_of(fit.blocks)
        self.n_rounds = int((ends - starts).sum())
        self.device = fit.policy.device
        items = single_precision("action_context", self.log.action_context)
        self.action_context = torch.from_numpy(items).to(self.device)[None]
        self.sets: Sets | None = None
        if fit.way != "logged" and restricts(self.log):
            assert self.log.eligible is not None
            self.sets = Sets(self.log.eligible.sets, self.device)

    def batches(
        self,
        batch_size: int,
        orders: Sequence[Any] | None,
        epoch: int = 1,
        skip: int = 0,
        processes: tuple[int, int] = (0, 1),
    ) -> Iterator[StepInput]:
        """One epoch from a batch on; no group of blocks before it is read."""
        seed, blocks = self.fit.settled.random_state, self.fit.blocks
        if orders is not None:
            blocks = order_of_blocks(seed, epoch, blocks)
        for group, first in enumerate(range(0, len(blocks), _BLOCKS_AT_ONCE)):
            starts, ends = self.fit.ends_of(blocks[first : first + _BLOCKS_AT_ONCE])
            n_rows = int((ends - starts).sum())
            n_batches = math.ceil(n_rows / batch_size)
            if skip >= n_batches:
                skip -= n_batches
                continue
            rows = np.arange(n_rows)
            if orders is not None:
                rows = order_in_group(seed, epoch, group, rows)
            batches = [rows[at : at + batch_size] for at in range(0, n_rows, batch_size)]
            yield from self._of_group(starts, ends, batches[skip:], processes)
            skip = 0

    def look(
        self, generators: Sequence[torch.Generator], n: int
    ) -> tuple[Tensor, EligibleItems | None]:
        """The contexts of some rounds, from one random block."""
        drawn = torch.randint(len(self.fit.blocks), (), generator=generators[0])
        start = int(self.fit.blocks[int(drawn)]) * self.fit.block_rows
        stop = min(start + n, self.log.n_rounds)
        context = single_precision("context", self.log.read("context", start, stop))
        eligible = None
        if self.sets is not None:
            number = self.log.read("eligible", start, stop).astype(np.int64)
            eligible = EligibleItems(self.sets, torch.from_numpy(number).to(self.device)[None])
        return torch.from_numpy(context).to(self.device)[None], eligible

    def _of_group(
        self,
        starts: np.ndarray,
        ends: np.ndarray,
        batches: Sequence[np.ndarray],
        processes: tuple[int, int],
    ) -> Iterator[StepInput]:
        """The batches of some blocks, of whose rounds this process has its own in memory."""
        mine, runs = own_rounds(starts, ends, processes)
        n_rows = sum(stop - start for start, stop in runs)

        def read(name: str) -> np.ndarray:
            return joined((self.log.read(name, *run) for run in runs), n_rows)

        columns = {name: read(name) for name in _COLUMNS if getattr(self.log, name) is not None}
        raw = read("context")
        context = torch.from_numpy(single_precision("context", raw)).to(self.device)
        link, device = self.fit.link, self.device
        batch = {name: _tensor(name, c, link).to(device) for name, c in columns.items()}
        eligible = None
        if self.sets is not None:
            number = torch.from_numpy(read("eligible").astype(np.int64)).to(device)
            eligible = EligibleItems(self.sets, number[None])
        predict = None
        if self.fit.q_model is not None:
            predict = row_predictor(self.fit.q_model, raw, self.log.action_context)
        place = np.cumsum(mine) - 1  # of each round among those in memory
        owned = [place[rows[mine[rows]]] for rows in batches]
        # A step needs a round: one that counts for nothing where this process has none.
        taken = [own if len(own) else np.zeros(1, dtype=int) for own in owned]
        order, start = torch.from_numpy(np.concatenate(taken)).to(device), 0
        for rows, own, n_own in zip(batches, taken, map(len, owned), strict=True):
            here = order[start : start + len(own)]
            start += len(own)
            share = n_own / len(rows)
            q_hat = q_logged = None
            if predict is not None:
                q_hat = partial(_predicted, predict, own, self.log, device)
                q_logged = _logged(predict, own, columns["action"][own]).to(device)
            yield StepInput(
                context[here][None],
                Batch(**{name: column[here][None] for name, column in batch.items()}),
                q_hat,
                q_logged,
                None if eligible is None else eligible._replace(number=number[here][None]),
                len(rows),
                share,
            )


def _tensor(name: str, column: np.ndarray, link: Link | None) -> Tensor:
    if name == "action":
        return torch.from_numpy(column.astype(np.int64))
    if name == "reward" and link is not None:
        column = link.standardised(column)
    return torch.from_numpy(single_precision(name, column))


def _predicted(
    predict: Any, rows: np.ndarray, log: LogOnDisk, device: torch.device, items: Tensor | None
) -> Tensor:
    """Predictions of some rounds for some items, (1, B, m)."""
    numbers = np.arange(log.n_actions) if items is None else items[0].numpy(force=True)
    found = single_precision("what the reward model returned", predict(rows, numbers))
    return torch.from_numpy(found).to(device)[None]


def _logged(predict: Any, rows: np.ndarray, action: np.ndarray) -> Tensor:
    """Predictions of some rounds for their own logged items, (1, B)."""
    items, place = np.unique(action, return_inverse=True)
    found = single_precision("what the reward model returned", predict(rows, items))
    return torch.from_numpy(found[np.arange(len(rows)), place])[None]


def new_fit(feedback: BanditFeedback, *args: Any, **kwargs: Any) -> Fit:
    """A fit on a log in memory, or on one on disk."""
    if isinstance(feedback, LogOnDisk):
        return StreamedFit(feedback, *args, **kwargs)
    return Fit(feedback, *args, **kwargs)
