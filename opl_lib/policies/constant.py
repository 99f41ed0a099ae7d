"""The policy that every learned one should beat: one item for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np

from ..arrays import feature_matrix, integers
from ..checks import check_number, check_seed
from ..logs.columns import Columns, check_columns
from ..logs.eligible import eligible_mask
from ..logs.known_columns import context_features, ids_of_items, items_features
from ..logs.values import checked_ids
from .index import check_enough


@dataclass(frozen=True)
class ConstantItemPolicy:
    """Show one item always, whatever the context; where it is not on offer, the next of a ranking.

    Parameters
    ----------
    action : int, at least 0
        Its number.
    fallback : sequence of int, optional
        Numbers of other items, best first: the first that could be shown takes its place.
    columns : Columns, optional
        How a log made features of data frames. With `item_ids`, items of a frame are then known by
        their ids: in any order, some of them missing, others new and not shown.
    item_ids : sequence, optional
        What items are called, by their numbers.

    Raises
    ------
    ValueError
        If a number is below 0, comes twice, or is none of `item_ids`.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> policy = opl.ConstantItemPolicy(2, fallback=[0, 1])
    >>> mask = [[True, True, True], [True, True, False]]
    >>> policy.predict_proba(np.ones((2, 1)), np.eye(3), eligible=mask).argmax(axis=1)
    array([2, 0])
    """

    action: int
    fallback: Sequence[int] = field(default=(), repr=False)
    columns: Columns | None = field(default=None, repr=False)
    item_ids: Sequence[Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_number("action", self.action, Integral, least=0)
        ranking = [int(self.action), *_items(self.fallback)]
        if len(set(ranking)) < len(ranking):
            raise ValueError("fallback names an item twice, or the item that it stands in for.")
        object.__setattr__(self, "fallback", tuple(ranking[1:]))  # the dataclass is frozen
        check_columns(self.columns)
        if self.item_ids is not None:
            ids = checked_ids(self.item_ids)
            if max(ranking) >= len(ids):
                raise ValueError(f"item_ids has {len(ids)} rows, and none for item {max(ranking)}.")
            object.__setattr__(self, "item_ids", tuple(ids.tolist()))

    def predict_proba(
        self, context: np.ndarray, action_context: np.ndarray, eligible: Any = None
    ) -> np.ndarray:
        """Probabilities of shape (n, n_actions): 1 for the item, 0 for all others.

        Parameters
        ----------
        context : array of shape (n, dim_context)
        action_context : array of shape (n_actions, dim_action_context)
        eligible : boolean array of shape (n, n_actions) or (n_actions,), optional
            Items that may be shown, in each row or in all.

        Returns
        -------
        array of shape (n, n_actions)

        Raises
        ------
        ValueError
            If there are fewer items than the number says, or a row has no item of the ranking.
        """
        n, n_actions, ranking = self._asked(context, action_context)
        shown = np.full(n, ranking[0])
        if eligible is not None:
            shown = self._first_of(ranking, eligible_mask(eligible, n, n_actions))
        pi = np.zeros((n, n_actions))
        pi[np.arange(n), shown] = 1
        return pi

    def recommend(
        self,
        context: np.ndarray,
        action_context: np.ndarray,
        k: int = 1,
        random_state: int | None = None,
        eligible: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """A page of the first `k` items of the ranking, as `TwoTowerPolicy.recommend` makes one.

        Parameters
        ----------
        context : array of shape (n, dim_context), or data frame of n visitors
        action_context : array of shape (n_actions, dim_action_context), or data frame of items
        k : int, at least 1
            At most as many as the ranking has on offer.
        random_state : int, optional
            Nothing is drawn.
        eligible : boolean array of shape (n, n_actions) or (n_actions,), optional
            Items that may be shown, in each row or in all.

        Returns
        -------
        items : array of shape (n, k)
            Row numbers of `action_context`, or ids of the items of a frame.
        pscore : array of shape (n, k)
            Ones.
        """
        check_seed(random_state, optional=True)
        n, n_actions, ranking = self._asked(context, action_context)
        self._check_known(ranking, n_actions)
        check_number("k", k, Integral, least=1, most=len(ranking))
        page = np.tile(ranking[:k], (n, 1))
        if eligible is not None:
            on_offer = eligible_mask(eligible, n, n_actions)[:, ranking]
            check_enough(on_offer, k, 0)
            page = ranking[np.argsort(~on_offer, axis=1, kind="stable")[:, :k]]
        ids = ids_of_items(self.columns, action_context)
        return (page if ids is None else ids[page]), np.ones(page.shape)

    def _asked(self, context: Any, action_context: Any) -> tuple[int, int, np.ndarray]:
        """How many contexts and items there are, and the ranking by numbers of these items."""
        n = len(feature_matrix("context", context_features(self.columns, context)))
        items = feature_matrix("action_context", items_features(self.columns, action_context))
        ranking = np.array([self.action, *self.fallback])
        ids = ids_of_items(self.columns, action_context)
        if ids is not None and self.item_ids is not None:
            today = {one: number for number, one in enumerate(ids.tolist())}
            ranked = [self.item_ids[number] for number in ranking]
            ranking = np.array([today[one] for one in ranked if one in today], dtype=np.int64)
            if len(ranking) == 0:
                raise ValueError(
                    f"items: there is none of the ranking, whose first is {ranked[0]!r}. Learn "
                    "from a log that has shown some of them."
                )
        if ranking[0] >= len(items):
            raise ValueError(
                f"the constant item is number {self.action}, but there are {len(items)} items: "
                "keep the items in the order of the log."
            )
        return n, len(items), ranking

    def _first_of(self, ranking: np.ndarray, eligible: np.ndarray) -> np.ndarray:
        """The best item of the ranking in each row of a mask."""
        self._check_known(ranking, eligible.shape[1])
        on_offer = eligible[:, ranking]
        if not (some := on_offer.any(axis=1)).all():
            raise ValueError(
                f"eligible: in row {some.argmin()} neither item {self.action} could be shown, nor "
                f"one of the {len(self.fallback)} of its fallback. Give it all items, best first."
            )
        return ranking[on_offer.argmax(axis=1)]

    @staticmethod
    def _check_known(ranking: np.ndarray, n_actions: int) -> None:
        if ranking.max() >= n_actions:
            raise ValueError(
                f"fallback has item number {ranking.max()}, but there are {n_actions} items: keep "
                "the items in the order of the log."
            )


def _items(fallback: Any) -> list[int]:
    if isinstance(fallback, tuple | list) and len(fallback) == 0:
        return []
    items = integers("fallback", fallback)
    if items.min() < 0:
        raise ValueError(f"fallback must be numbers of items, from 0; got {items.min()}.")
    return items.tolist()
