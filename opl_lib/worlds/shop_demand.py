"""The items and users of a `ShopWorld`, and how likely a user clicks an item."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .shop_tables import DAY, one_hot, standardised, tables
from .sigmoid import sigmoid

if TYPE_CHECKING:
    import pandas as pd

    from .shop_settings import Settings

_FARTHEST = 400.0  # in the logit, where all probabilities are 0 or 1
_N_TASTES = 4  # dimensions in which users differ, and items


@dataclass(frozen=True, eq=False)
class Demand:
    """What is true of a shop, and nobody there knows.

    Attributes
    ----------
    users, items : data frames
        What is known of users and items, before values get lost.
    tastes, later : arrays of shape (n_users, 4)
        What users like when the log begins, and what a drift of 1 has made of it when it ends.
    qualities : array of shape (n_items, 4)
        What items offer to these tastes.
    popularity : array of shape (n_items,)
        What an item's logit is for the average user.
    activity : array of shape (n_users,)
        Share of the pages that a user opens.
    drift, days, position_effect
        As in `ShopWorld`.
    shift : float
        Added to all logits.
    """

    users: pd.DataFrame
    items: pd.DataFrame
    tastes: np.ndarray
    later: np.ndarray
    qualities: np.ndarray
    popularity: np.ndarray
    activity: np.ndarray
    drift: float
    days: int
    position_effect: float
    shift: float = 0.0

    @classmethod
    def of(cls, settings: Settings) -> Demand:
        """Draw items and users."""
        rng = np.random.default_rng([settings.random_state, 3])
        users, items = tables(
            settings.n_users, settings.n_items, settings.days, settings.on_offer, rng
        )
        of_users = one_hot(users, ["country", "device"], numbers=[users["age"]])
        of_items = one_hot(items, ["category", "brand"], numbers=[np.log(items["price"])])
        tastes, later = (_latent(of_users, settings.hidden_taste, _N_TASTES, rng) for _ in range(2))
        qualities = _latent(of_items, settings.unexplained, _N_TASTES, rng)
        attraction = _latent(of_items, settings.unexplained, 1, rng)[:, 0]
        rank = 1 + np.argsort(np.argsort(-attraction))
        activity = rng.gamma(0.5, size=settings.n_users) + 1e-3
        return cls(
            users=users,
            items=items,
            tastes=tastes,
            later=later,
            qualities=qualities * settings.taste / np.sqrt(_N_TASTES),
            popularity=-settings.popularity * np.log(rank),
            activity=activity / activity.sum(),
            drift=settings.drift,
            days=settings.days,
            position_effect=settings.position_effect,
        )

    def click_probability(
        self, user: np.ndarray, second: np.ndarray, slot: np.ndarray, item: np.ndarray | None = None
    ) -> np.ndarray:
        """``q`` of all items, (n, n_items), or of one a row, (n,).

        For users, seconds since the log began, and slots, each of shape (n,).
        """
        angle = self.drift * np.pi / 2 * second / (self.days * DAY)
        taste = np.cos(angle)[:, None] * self.tastes[user]
        taste += np.sin(angle)[:, None] * self.later[user]
        looked_at = (1.0 + slot) ** -self.position_effect
        if item is None:
            logit = taste @ self.qualities.T + (self.popularity + self.shift)
            return looked_at[:, None] * sigmoid(logit)
        logit = np.einsum("nd,nd->n", taste, self.qualities[item])
        return looked_at * sigmoid(logit + self.popularity[item] + self.shift)


def _latent(features: np.ndarray, own: float, width: int, rng: np.random.Generator) -> np.ndarray:
    """Standardised numbers of which features explain all but a share: (n, width)."""
    explained = standardised(features @ rng.normal(size=(features.shape[1], width)))
    return np.sqrt(1 - own) * explained + np.sqrt(own) * rng.normal(size=explained.shape)


def click_rate_met(
    demand: Demand,
    click_rate: float,
    asked: tuple[np.ndarray, np.ndarray, np.ndarray],
    item: np.ndarray,
) -> Demand:
    """The shop with the logit shifted so that what was shown has this mean probability."""
    from scipy.optimize import brentq

    def excess(shift: float) -> float:
        shifted = replace(demand, shift=shift)
        return float(shifted.click_probability(*asked, item).mean()) - click_rate

    if excess(_FARTHEST) < 0:
        most = excess(_FARTHEST) + click_rate
        raise ValueError(
            f"click_rate={click_rate} cannot be met: slots are looked at so rarely that the most "
            f"is {most:.3g}. Take a smaller position_effect, or fewer slots."
        )
    return replace(demand, shift=float(brentq(excess, -_FARTHEST, _FARTHEST, xtol=1e-10)))
