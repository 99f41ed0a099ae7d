"""The items that could be shown in the rounds of a batch, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from ..logs.feedback import BanditFeedback
from ..objectives.batch import NEVER

# Sets of up to so many numbers are kept as logits too, which are quicker to copy than to make.
MAX_TABLE = 2**26


def restricts(feedback: BanditFeedback) -> bool:
    """Whether an item of a log could not be shown in some round."""
    return feedback.eligible is not None and not feedback.eligible.sets.all()


class Sets:
    """Distinct sets of items that could be shown.

    Attributes
    ----------
    contains : boolean tensor of shape (n_sets, n_actions)
    words : integer tensor of shape (n_sets, n_actions / 8, rounded up)
        The same, eight items in a number: so it is quickly copied.
    size : tensor of shape (n_sets,)
    """

    def __init__(self, contains: np.ndarray, device: torch.device | str = "cpu") -> None:
        n_sets, n_actions = contains.shape
        padded = np.zeros((n_sets, -(-n_actions // 8) * 8), dtype=bool)
        padded[:, :n_actions] = contains
        self.words = torch.from_numpy(padded.view(np.int64)).to(device)
        self.contains = self.words.view(torch.bool)[:, :n_actions]
        self.size = self.contains.sum(dim=1)

    @cached_property
    def logits(self) -> Tensor:
        """0 for the items of a set, and `NEVER` for all others: (n_sets, n_actions)."""
        return torch.where(self.contains, 0.0, NEVER)

    @cached_property
    def lists(self) -> tuple[Tensor, Tensor]:
        """The items of all sets, one set after the other, and where each begins."""
        items = torch.cat([one.nonzero()[:, 0].int() for one in self.contains])
        return items, self.size.cumsum(dim=0) - self.size


class EligibleItems(NamedTuple):
    """The sets of the rounds of K models.

    Attributes
    ----------
    sets : Sets
    number : integer tensor of shape (K or 1, n_rounds)
        The set of each round.
    """

    sets: Sets
    number: Tensor

    @classmethod
    def of(cls, logs: Sequence[BanditFeedback], device: torch.device | str = "cpu") -> Self | None:
        """Those of some logs, of which all or none `restricts` what could be shown."""
        found = [log.eligible for log in logs if log.eligible is not None]
        if not restricts(logs[0]):
            return None
        tables = list({id(each.sets): each.sets for each in found}.values())
        start = dict(zip(map(id, tables), np.cumsum([0, *map(len, tables)]), strict=False))
        if all(each is found[0] for each in found):
            found = found[:1]
        number = np.stack([start[id(each.sets)] + each.number.astype(np.int64) for each in found])
        contains = tables[0] if len(tables) == 1 else np.concatenate(tables)
        return cls(Sets(contains, device), torch.from_numpy(number).to(device))

    def mask(self) -> Tensor:
        """Whether each item could be shown, (K, B, n_actions)."""
        words = self.sets.words.index_select(0, self.number.reshape(-1)).view(torch.bool)
        return words.view(*self.number.shape, -1)[..., : self.sets.contains.shape[1]]

    def logits(self, dtype: torch.dtype, tile: slice = slice(None)) -> Tensor:
        """What to add scores of consecutive items to, (K, B, m): 0, or `NEVER`; it is new."""
        numbers, contains = self.number.reshape(-1), self.sets.contains
        if contains.numel() > MAX_TABLE:
            rows = (~contains[:, tile].index_select(0, numbers)).to(dtype).mul_(NEVER)
        else:
            rows = self.sets.logits[:, tile].index_select(0, numbers)
        return rows.view(*self.number.shape, -1).to(dtype)

    def hold(self, items: Tensor) -> Tensor:
        """Whether each of a model's items (K, m) could be shown, (K, B, m)."""
        return self.sets.contains[self.number[..., None], items[:, None, :]]

    @property
    def size(self) -> Tensor:
        """How many items could be shown, (K, B)."""
        return self.sets.size[self.number]
