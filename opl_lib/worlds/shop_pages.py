"""The pages of a `ShopWorld`: who opened them when, and what a policy showed there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..logs.eligible import Eligible, joined
from ..logs.pages import without
from ..protocols import PolicyLike
from .draws import draw_items, some
from .shop_demand import Demand
from .shop_tables import DAY, OPENING


@dataclass(frozen=True, eq=False)
class Pages:
    """Rows are the slots of pages, from the top of the first page on.

    Attributes
    ----------
    page, user, second, slot : integer arrays of shape (n_rows,)
        Of each row: its page, from 0, in the order of time; the user; the seconds since the log
        began; the slot, from 0.
    slots : int
    """

    page: np.ndarray
    user: np.ndarray
    second: np.ndarray
    slot: np.ndarray
    slots: int

    @classmethod
    def draw(cls, demand: Demand, n_pages: int, slots: int, rng: np.random.Generator) -> Pages:
        """Draw pages: users by their activity, and times evenly over the days of the log."""
        user = rng.choice(len(demand.activity), n_pages, p=demand.activity)
        second = np.sort(rng.integers(demand.days * DAY, size=n_pages))
        page = np.repeat(np.arange(n_pages), slots)
        return cls(page, user[page], second[page], np.tile(np.arange(slots), n_pages), slots)

    def __getitem__(self, rows: slice) -> Pages:
        return Pages(
            self.page[rows], self.user[rows], self.second[rows], self.slot[rows], self.slots
        )

    @property
    def timestamp(self) -> np.ndarray:
        """The date and time of each row."""
        return np.add(OPENING, self.second.astype("m8[s]"))

    @property
    def asked(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `Demand.click_probability` takes."""
        return self.user, self.second, self.slot

    def on_offer(self, demand: Demand) -> Eligible:
        """What the catalogue offered when a page was opened, one a page."""
        dates = (
            demand.items[name].to_numpy("M8[s]") for name in ("on_offer_from", "on_offer_until")
        )
        return Eligible.of_dates(self.timestamp[:: self.slots], *dates)


@dataclass(frozen=True, eq=False)
class Shown:
    """What was shown in the slots of pages, one after the other.

    Attributes
    ----------
    item : integer array of shape (n_rows,)
    pscore : array of shape (n_rows,)
        How likely the item was shown in this slot, given what stood above it on the page.
    eligible : Eligible
        What was on offer, without what stood above it on the page.
    """

    item: np.ndarray
    pscore: np.ndarray
    eligible: Eligible

    @classmethod
    def of(
        cls,
        policy: PolicyLike,
        pages: Pages,
        on_offer: Eligible,
        context: Any,
        action_context: Any,
        rng: np.random.Generator,
    ) -> Shown:
        """Let a policy fill pages from the top, and no page twice with the same item."""
        n_rows = len(context)
        item, pscore, sets = np.empty(n_rows, int), np.empty(n_rows), []
        for slot in range(pages.slots):
            rows = slice(slot, None, pages.slots)
            left = without(on_offer, item.reshape(-1, pages.slots)[:, :slot])
            sets.append(left)
            uniforms = rng.random(len(left))
            item[rows], pscore[rows] = draw_items(
                policy, some(context, rows), action_context, uniforms, left
            )
        order = np.arange(n_rows).reshape(pages.slots, -1).T.ravel()
        return cls(item, pscore, joined(sets)[order])

    def __getitem__(self, rows: slice) -> Shown:
        return Shown(self.item[rows], self.pscore[rows], self.eligible[rows])
