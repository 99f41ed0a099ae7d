"""Who fills the shelves of a `ShopWorld` while its log is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import feature_matrix
from ..checks import plain_arithmetic
from ..logs.eligible import eligible_mask
from .asked import contexts
from .shop_demand import Demand
from .shop_tables import OPENING


@dataclass(frozen=True, eq=False)
class ShopPolicy:
    """Show items in proportion to the odds of a click, and for a share of the slots any of them.

    The odds are what a regression on last month's log may have learned of them: it knows users
    by their features alone, and so the items that came since; of the others, it has seen clicks.

    Attributes
    ----------
    user_weights : array of shape (dim_context + 1, n_tastes)
        From a 1 and the features of a context to tastes.
    qualities : array of shape (n_items, n_tastes)
    popularity : array of shape (n_items,)
    exploration : float in (0, 1]
    """

    user_weights: np.ndarray
    qualities: np.ndarray
    popularity: np.ndarray
    exploration: float

    @classmethod
    def of(
        cls,
        demand: Demand,
        user: np.ndarray,
        context: np.ndarray,
        action_context: np.ndarray,
        staleness: float,
        exploration: float,
        random_state: int,
    ) -> ShopPolicy:
        """What has been learned of the shop from some contexts of its users."""
        known = np.column_stack([demand.qualities, demand.popularity])
        is_new = demand.items["on_offer_from"].to_numpy() > OPENING
        known = np.where(is_new[:, None], _regressed(action_context, known), known)
        rng = np.random.default_rng([random_state, 4])
        spread = np.append(demand.qualities.std(axis=0), demand.popularity.std())
        known = known + staleness * spread * rng.normal(size=known.shape)
        weights = _least_squares(context, demand.tastes[user])
        return cls(weights, known[:, :-1], known[:, -1], float(exploration))

    def __repr__(self) -> str:
        return f"ShopPolicy({len(self.popularity)} items, exploration={self.exploration:g})"

    @plain_arithmetic
    def __call__(
        self, context: np.ndarray, action_context: np.ndarray, eligible: Any = None
    ) -> np.ndarray:
        context = contexts(context, len(self.user_weights) - 1)
        n_items = len(feature_matrix("action_context", action_context))
        if n_items != len(self.popularity):
            raise ValueError(
                f"action_context must have the {len(self.popularity)} items of the shop; got "
                f"{n_items}."
            )
        shape = (len(context), n_items)
        mask = np.ones(shape, bool) if eligible is None else eligible_mask(eligible, *shape)
        score = _with_one(context) @ self.user_weights @ self.qualities.T + self.popularity
        score = np.where(mask, score, -np.inf)
        pi = np.exp(score - score.max(axis=1, keepdims=True))
        pi *= (1 - self.exploration) / pi.sum(axis=1, keepdims=True)
        return pi + self.exploration * mask / mask.sum(axis=1, keepdims=True)


def _with_one(features: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(features)), features])


def _least_squares(features: np.ndarray, target: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(_with_one(features), target, rcond=None)[0]


def _regressed(features: np.ndarray, target: np.ndarray) -> np.ndarray:
    """As much of a target as features explain."""
    return _with_one(features) @ _least_squares(features, target)
