"""What a `ShopWorld` has drawn: items, users, the logging policy and the pages of evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..answers import action_probabilities
from ..arrays import read_only, row_chunks
from ..logs.eligible import Eligible
from ..protocols import PolicyLike, for_items
from .shop_demand import Demand, click_rate_met
from .shop_logging import ShopPolicy
from .shop_pages import Pages, Shown
from .shop_tables import DAY, OF_ITEMS, OF_USERS, OPENING, features, least_on_offer, with_missing

if TYPE_CHECKING:
    import pandas as pd

    from .shop_settings import Settings


@dataclass(frozen=True, eq=False)
class Shop:
    """A shop, open.

    Attributes
    ----------
    demand : Demand
    users, items : data frames
        What the shop knows of users and items.
    of_users, of_items : arrays of shape (n_users, k) and (n_items, m)
        Features made of these tables.
    logging : ShopPolicy
    pages : Pages
        Those of evaluation.
    context : array of shape (n_rows, dim_context)
        Features of their rows.
    on_offer : Eligible
        What was on offer on these pages, one a page.
    eligible : Eligible
        The same of each row, without what the logging policy put above.
    """

    demand: Demand
    users: pd.DataFrame
    items: pd.DataFrame
    of_users: np.ndarray
    of_items: np.ndarray
    logging: ShopPolicy
    pages: Pages
    context: np.ndarray
    on_offer: Eligible
    eligible: Eligible

    @classmethod
    def of(cls, settings: Settings) -> Shop:
        """Draw it, and find how rare clicks are by what the logging policy shows."""
        rng = np.random.default_rng([settings.random_state, 5])
        demand = Demand.of(settings)
        if (least := least_on_offer(demand.items, settings.days)) < settings.slots:
            raise ValueError(
                f"n_items={settings.n_items} with on_offer={settings.on_offer:g} leaves {least} "
                f"items on offer on some day, for slots={settings.slots}: take more items."
            )
        users = with_missing(demand.users, ["country", "age"], settings.missing, rng)
        items = with_missing(demand.items, ["brand"], settings.missing, rng)
        of_users, of_items = features(users, OF_USERS), read_only(features(items, OF_ITEMS))
        pages = Pages.draw(demand, settings.n_eval_pages, settings.slots, rng)
        context = read_only(features_of_rows(of_users, pages))
        on_offer = pages.on_offer(demand)
        logging = ShopPolicy.of(
            demand,
            pages.user,
            context,
            of_items,
            settings.staleness,
            settings.exploration,
            settings.random_state,
        )
        shown = Shown.of(logging, pages, on_offer, context, of_items, rng)
        demand = click_rate_met(demand, settings.click_rate, pages.asked, shown.item)
        return cls(
            demand,
            users,
            items,
            of_users,
            of_items,
            logging,
            pages,
            context,
            on_offer,
            shown.eligible,
        )

    def shown_by(self, policy: PolicyLike) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """What a policy shows, earns and might show in the rows of evaluation, some at a time."""
        policy, n_rows = for_items(policy, self.of_items), len(self.context)
        for rows in row_chunks(n_rows, len(self.of_items)):
            mask = self.eligible.mask(rows)
            pi = action_probabilities(
                policy, self.context[rows], self.of_items, rows.start, n_rows, mask
            )
            yield pi, self.demand.click_probability(*(a[rows] for a in self.pages.asked)), mask

    def earned_on_pages(self, policy: PolicyLike, rng: np.random.Generator) -> float:
        """Clicks a slot on the pages of evaluation, all of them filled by a policy."""
        policy = for_items(policy, self.of_items)
        shown = Shown.of(policy, self.pages, self.on_offer, self.context, self.of_items, rng)
        return float(self.demand.click_probability(*self.pages.asked, shown.item).mean())

    def log(self, n_rounds: int, delay: float, rng: np.random.Generator) -> ShopLog:
        """Draw the rows of a log."""
        pages = Pages.draw(self.demand, -(-n_rounds // self.pages.slots), self.pages.slots, rng)
        context = features_of_rows(self.of_users, pages)
        on_offer = pages.on_offer(self.demand)
        shown = Shown.of(self.logging, pages, on_offer, context, self.of_items, rng)
        clicked = rng.random(len(context)) < self.demand.click_probability(*pages.asked, shown.item)
        second = pages.second + np.ceil(rng.exponential(delay * DAY, size=len(context)))
        clicked &= second < self.demand.days * DAY
        at = np.where(clicked, OPENING + second.astype("m8[s]"), np.datetime64("NaT", "s"))
        rows = slice(n_rounds)
        return ShopLog(pages[rows], context[rows], shown[rows], clicked[rows].astype(int), at[rows])


@dataclass(frozen=True, eq=False)
class ShopLog:
    """The rows of a log: pages, features, what was shown, what is known to be clicked, and when."""

    pages: Pages
    context: np.ndarray
    shown: Shown
    reward: np.ndarray
    clicked_at: np.ndarray


def features_of_rows(of_users: np.ndarray, pages: Pages) -> np.ndarray:
    """Those of users, and the slot in standard deviations if there are several."""
    context = of_users[pages.user]
    if pages.slots == 1:
        return context
    places = np.arange(pages.slots)
    return np.column_stack([context, (pages.slot - places.mean()) / places.std()])
