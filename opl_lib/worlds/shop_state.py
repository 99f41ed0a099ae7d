"""What a `ShopWorld` has drawn: items, users, the logging policy and the pages of evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..answers import action_probabilities
from ..arrays import read_only, row_chunks
from ..logs.columns import Columns
from ..logs.eligible import Eligible
from ..protocols import PolicyLike, for_items
from .draws import some
from .shop_demand import Demand, click_rate_met
from .shop_logging import ShopPolicy
from .shop_pages import Pages, Shown
from .shop_tables import DAY, OF_ITEMS, OF_USERS, OPENING, least_on_offer, with_missing

if TYPE_CHECKING:
    import pandas as pd

    from ..logs.feedback import BanditFeedback
    from .shop_settings import Settings


@dataclass(frozen=True, eq=False)
class Shop:
    """A shop, open.

    Attributes
    ----------
    demand : Demand
    users, items : data frames
        What the shop knows of users and items.
    columns : Columns
        What features it makes of slots, users and items.
    of_items : array of shape (n_items, dim_action_context)
    logging : ShopPolicy
    pages : Pages
        Those of evaluation.
    visits : data frame of n_rows rows
        What is known of their slots and users.
    context : array of shape (n_rows, dim_context)
        Features of them.
    on_offer : Eligible
        What was on offer on these pages, one a page.
    eligible : Eligible
        The same of each row, without what the logging policy put above.
    """

    demand: Demand
    users: pd.DataFrame
    items: pd.DataFrame
    columns: Columns
    of_items: np.ndarray
    logging: ShopPolicy
    pages: Pages
    visits: pd.DataFrame
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
        columns = fitted(users, items, settings.slots)
        of_items = read_only(columns.encode_items(items))
        pages = Pages.draw(demand, settings.n_eval_pages, settings.slots, rng)
        visits = visits_of(users, pages.user, pages.slot)
        context = read_only(columns.encode_context(visits))
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
            columns,
            of_items,
            logging,
            pages,
            visits,
            context,
            on_offer,
            shown.eligible,
        )

    def shown_by(self, policy: PolicyLike) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """What a policy shows, earns and might show in the rows of evaluation, some at a time."""
        context, items = self.seen_by(policy)
        policy, n_rows = for_items(policy, items), len(self.context)
        for rows in row_chunks(n_rows, len(self.of_items)):
            mask = self.eligible.mask(rows)
            pi = action_probabilities(policy, some(context, rows), items, rows.start, n_rows, mask)
            yield pi, self.demand.click_probability(*(a[rows] for a in self.pages.asked)), mask

    def earned_from(self, policy: PolicyLike, day: float) -> float:
        """Clicks a slot in the rows of evaluation from a day on."""
        later = self.pages.second >= day * DAY
        if not later.any():
            raise ValueError(
                f"from_day={day:g} leaves no page of evaluation: take one below "
                f"{self.pages.second.max() / DAY:.3g}, or a shop of more n_eval_pages."
            )
        values = [(pi * q).sum(axis=1) for pi, q, _ in self.shown_by(policy)]
        return float(np.concatenate(values)[later].mean())

    def earned_on_pages(self, policy: PolicyLike, rng: np.random.Generator) -> float:
        """Clicks a slot on the pages of evaluation, all of them filled by a policy."""
        context, items = self.seen_by(policy)
        policy = for_items(policy, items)
        shown = Shown.of(policy, self.pages, self.on_offer, context, items, rng)
        return float(self.demand.click_probability(*self.pages.asked, shown.item).mean())

    def seen_by(self, policy: PolicyLike) -> tuple[Any, Any]:
        """Contexts and items: the tables, of which a policy with columns makes its own features."""
        columns = getattr(policy, "columns", None)
        if columns is None:
            return self.context, self.of_items
        return self.visits, self.items if columns.items else self.of_items

    def click_probability(self, log: BanditFeedback) -> np.ndarray:
        """``q`` of all items in the rows of a log: (n, n_items)."""
        row_of = {name: row for row, name in enumerate(self.users["user_id"])}
        names = ("user_id", "timestamp", "position")
        asked: list[Any] = [getattr(log, name, None) for name in names]
        for name, column in zip(names, asked, strict=True):
            if column is None:
                raise ValueError(f"log must be as ShopWorld.sample draws it; this has no {name}.")
        users, times, slots = asked
        if unknown := set(users) - row_of.keys():
            raise ValueError(f"log names the user {str(unknown.pop())!r}, who is not of this shop.")
        second = (times - OPENING).astype("m8[s]").astype(int)
        user = np.array([row_of[name] for name in users])
        return self.demand.click_probability(user, second, slots)

    def clicks(self, log: ShopLog) -> pd.DataFrame:
        """The rows of a log as a table."""
        clicks = self.users.iloc[log.pages.user].reset_index(drop=True)
        clicks.insert(0, "time", log.pages.timestamp)
        clicks.insert(1, "page_id", log.pages.page)
        clicks.insert(2, "slot", log.pages.slot)
        clicks["item_id"] = self.items["item_id"].to_numpy()[log.shown.item]
        clicks["propensity"] = log.shown.pscore
        clicks["click"] = log.reward
        clicks["clicked_at"] = log.clicked_at
        return clicks

    def log(self, n_rounds: int, delay: float, rng: np.random.Generator) -> ShopLog:
        """Draw the rows of a log."""
        pages = Pages.draw(self.demand, -(-n_rounds // self.pages.slots), self.pages.slots, rng)
        context = self.columns.encode_context(visits_of(self.users, pages.user, pages.slot))
        on_offer = pages.on_offer(self.demand)
        shown = Shown.of(self.logging, pages, on_offer, context, self.of_items, rng)
        clicked = rng.random(len(context)) < self.demand.click_probability(*pages.asked, shown.item)
        second = pages.second + np.ceil(rng.exponential(delay * DAY, size=len(context)))
        clicked &= second < self.demand.days * DAY
        at = np.where(clicked, OPENING + second.astype("m8[s]"), np.datetime64("NaT", "s"))
        rows = slice(n_rounds)
        return ShopLog(pages[rows], shown[rows], clicked[rows].astype(int), at[rows])


@dataclass(frozen=True, eq=False)
class ShopLog:
    """The rows of a log: pages, what was shown, what is known to be clicked, and when."""

    pages: Pages
    shown: Shown
    reward: np.ndarray
    clicked_at: np.ndarray


def visits_of(users: pd.DataFrame, user: np.ndarray, slot: np.ndarray) -> pd.DataFrame:
    """What is known of some users, each with a slot."""
    return users.iloc[user].reset_index(drop=True).assign(slot=slot)


def fitted(users: pd.DataFrame, items: pd.DataFrame, slots: int) -> Columns:
    """The columns of all users, each in every slot, and of items; of one slot there is none."""
    user, slot = np.divmod(np.arange(len(users) * slots), slots)
    return Columns.fit(
        visits_of(users, user, slot),
        context=[*OF_USERS, "slot"] if slots > 1 else OF_USERS,
        items=items,
        item_id="item_id",
        item_features=OF_ITEMS,
    )
