"""A world with the difficulties of a real shop, each with a dial, and a known truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..checks import check_number, check_seed, plain_arithmetic
from ..logs.eligible import Eligible
from ..logs.feedback import BanditFeedback
from ..protocols import PolicyLike
from .asked import check_count
from .references import references
from .shop_settings import Settings
from .shop_state import Shop, ShopLog

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class ShopWorld(Settings):
    """A shop as it is: items that come and go, slots, users who return, rare clicks, text.

    Users open pages; the logging policy fills the slots of a page from the top, each with an item
    that is on offer and not on the page yet. A click has the probability ``(slot + 1)^-effect ·
    sigmoid(popularity + taste · quality + shift)``. Users differ in tastes, and items in qualities
    and popularity, in part because of their features. Every difficulty has a dial.

    Parameters
    ----------
    n_items : int, at least 2
        Items in the catalogue, on whatever day.
    n_users : int, at least 2
        Users; few open many of the pages.
    days : int in [1, 36500]
        Length of the log.
    slots : int, at least 1
        Items on a page.
    click_rate : float in [1e-6, 0.999]
        Share of the logged slots that are clicked, about.
    on_offer : float in (0, 1]
        Share of the items that are on offer on a day. At 1 the catalogue does not change.
    popularity : float in [0, 3]
        Exponent of Zipf's law: the odds of a click on the item of rank r fall with ``r^-exponent``.
    taste : float in [0, 10]
        Standard deviation, in the logit, of what users like or not. At 0 all are alike.
    unexplained : float in [0, 1]
        Share of popularity and qualities that the features of items do not explain.
    hidden_taste : float in [0, 1]
        Share of the tastes that the features of users do not explain.
    position_effect : float in [0, 10]
        At 0 all slots are alike; at 1 the second is looked at half as often as the first.
    drift : float in [0, 1]
        How far tastes change over the log: at 1 the last day has nothing to do with the first.
    staleness : float in [0, 10]
        Noise in the logging policy's model of items, in their own standard deviations.
    exploration : float in (0, 1]
        Share of slots that the logging policy gives to any item.
    missing : float in [0, 0.9]
        Share of the users' ages and countries, and of the items' brands, that nobody knows.
    delay : float in [0, 365]
        Mean days from a page to its clicks. Those that come after the last day are not in the log.
    n_eval_pages : int, at least 1
        Number of fixed pages on which policy values are computed.
    random_state : int in [0, 2**32)
        Fixes items, users, the logging policy, and the pages of evaluation.

    Raises
    ------
    ValueError
        If a setting is out of range, or there are days with fewer items than slots.

    Examples
    --------
    >>> import opl_lib as opl
    >>> shop = opl.ShopWorld(n_items=40, n_users=300, n_eval_pages=200, random_state=0)
    >>> log = shop.sample(3000, random_state=1)
    >>> log.n_rounds, log.n_actions, len(log.units), log.columns.context_features[:3]
    (3000, 40, 191, ['country: missing', 'country = AT', 'country = CH'])
    >>> clicks, items = shop.frames(3000, random_state=1)
    >>> clicks.loc[0, ["country", "device", "item_id"]].tolist()
    ['FR', 'phone', 'i21']
    >>> {name: round(value, 4) for name, value in shop.reference_values().items()}
    {'logging': 0.0141, 'uniform': 0.0089, 'best_constant_item': 0.0232, 'optimum': 0.0367}
    """

    _shop: Shop = field(init=False, repr=False)
    _draws: np.random.Generator = field(init=False, repr=False)

    @plain_arithmetic
    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "_shop", Shop.of(self))  # the dataclass is frozen
        object.__setattr__(self, "_draws", np.random.default_rng([self.random_state, 6]))

    @property
    def action_context(self) -> np.ndarray:
        """Features of the items, (n_items, dim_action_context)."""
        return self._shop.of_items

    @property
    def eval_context(self) -> np.ndarray:
        """Features of the slots of the pages of evaluation, (n_rows, dim_context)."""
        return self._shop.context

    @property
    def eval_eligible(self) -> Eligible:
        """What could be shown there: on offer, and not above on the page by the logging policy."""
        return self._shop.eligible

    @property
    def logging_policy(self) -> PolicyLike:
        """Good, but stale: it learned last month, and knows users, and new items, by features."""
        return self._shop.logging

    @plain_arithmetic
    def sample(self, n_rounds: int, random_state: int | None = None) -> BanditFeedback:
        """Draw a log: what is in its rows stands in the rows of `frames`, too.

        Parameters
        ----------
        n_rounds : int, at least 1
            Slots that are shown; the last page may lack some.
        random_state : int in [0, 2**32), optional
            Fixes this log. If not given, each call continues the world's own stream.

        Returns
        -------
        BanditFeedback
            In the order of time, with `position`, `user_id`, `timestamp`, `columns` and `eligible`:
            what was on offer, and not above on the same page. Given these sets, `pscore` is the
            probability of what was shown.
        """
        drawn = self._log(n_rounds, random_state)
        log = BanditFeedback.from_dataframe(
            self._shop.clicks(drawn),
            action="item_id",
            reward="click",
            pscore="propensity",
            items=self._shop.items,
            position="slot",
            user_id="user_id",
            timestamp="time",
            eligible=drawn.shown.eligible,
            columns=self._shop.columns,
        )
        assert isinstance(log, BanditFeedback)
        return log

    @plain_arithmetic
    def frames(
        self, n_rounds: int, random_state: int | None = None
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Draw a log as a shop exports it: two tables, of slots and of items.

        Parameters
        ----------
        n_rounds, random_state
            As in `sample`.

        Returns
        -------
        clicks : pandas.DataFrame of n_rounds rows
            ``time``, ``page_id``, ``slot`` from 0, ``user_id``, ``country``, ``device``, ``age``,
            ``item_id``, ``propensity``, ``click`` (0 or 1), ``clicked_at`` (missing without click).
        items : pandas.DataFrame of n_items rows
            ``item_id``, ``category``, ``brand``, ``price``, ``on_offer_from``, ``on_offer_until``:
            the first day without the item, missing where that is after the log.
        """
        return self._shop.clicks(self._log(n_rounds, random_state)), self._shop.items.copy()

    @plain_arithmetic
    def reward_probability(self, log: BanditFeedback) -> np.ndarray:
        """The truth, which no shop knows: probabilities of a click on all items, (n, n_items).

        Parameters
        ----------
        log : BanditFeedback
            As `sample` draws it: its users, times and slots are asked about.
        """
        return self._shop.click_probability(log)

    @plain_arithmetic
    def policy_value(self, policy: PolicyLike, from_day: float = 0) -> float:
        """The true value of a policy in one slot: clicks a slot, on the pages of evaluation.

        The slots above are filled by the logging policy, as in the log; so this is what estimators
        estimate. It is exact over items and clicks.

        Parameters
        ----------
        policy : policy
            Is asked among what can be shown, by ``eligible=`` if it takes that. One with `columns`
            is asked with tables as `frames` returns them, any other with the features of `sample`.
        from_day : float in [0, days)
            Only pages that are opened so many days after the log begins, or later: where tastes
            drift, what a policy is worth there is another number.

        Returns
        -------
        float in [0, 1]

        Raises
        ------
        ValueError
            If no page of evaluation is opened from that day on, or the tables lack a column of
            the policy's.
        """
        check_number("from_day", from_day, least=0)
        return self._shop.earned_from(policy, from_day)

    @plain_arithmetic
    def page_value(self, policy: PolicyLike) -> float:
        """The true value of a policy that fills whole pages: clicks a slot, as an A/B test counts.

        Parameters
        ----------
        policy : policy
            Is asked as in `policy_value`.

        Returns
        -------
        float in [0, 1]
            Of pages that are drawn once, with the same random numbers for each policy; exact over
            clicks, and for a policy that draws nothing.
        """
        rng = np.random.default_rng([self.random_state, 7])
        return self._shop.earned_on_pages(policy, rng)

    @plain_arithmetic
    def reference_values(self) -> dict[str, float]:
        """The four lines every figure of policy values needs, as `policy_value` counts.

        Returns
        -------
        dict
            ``"logging"``: the logging policy. ``"uniform"``: any item that can be shown, alike.
            ``"best_constant_item"``: for everyone the item of highest mean reward of those that can
            be shown. ``"optimum"``: the best of these for each user, whose hidden taste it knows.
        """
        return references(lambda: self._shop.shown_by(self.logging_policy), self.n_items)

    def _log(self, n_rounds: int, random_state: int | None) -> ShopLog:
        check_count("n_rounds", n_rounds, least=1)
        check_seed(random_state, optional=True)
        rng = self._draws if random_state is None else np.random.default_rng(random_state)
        return self._shop.log(n_rounds, self.delay, rng)
