"""Parts of a log: at random, by time, by users; and rounds in proportion to weights."""

from __future__ import annotations

from dataclasses import replace
from numbers import Real
from typing import Any, Self

import numpy as np

from ..arrays import check_rows, numbers
from ..checks import check_flag, check_seed, plain_arithmetic
from .rounds import Rounds
from .units import near_one


class Parted(Rounds):
    """The part of `BanditFeedback` that makes other logs of one."""

    def split(self, test_fraction: float = 0.3, random_state: int = 0) -> tuple[Self, Self]:
        """Split at random; a user who came back is on one side with all rounds.

        Parameters
        ----------
        test_fraction : float in (0, 1)
            Share of the rounds, or of the users if some came back, that goes to the second log.
        random_state : int
            Fixes the draw.

        Returns
        -------
        first, second : BanditFeedback
        """
        check_seed(random_state)
        n_test = _n_test(test_fraction, len(self.units), self.units.name + "s")
        in_test = self.units.draw(n_test, random_state)
        return self[~in_test], self[in_test]

    def split_by_time(
        self, test_fraction: float = 0.3, users_apart: bool = False, random_state: int = 0
    ) -> tuple[Self, Self]:
        """Split so that every round of the second log is later than every round of the first.

        Parameters
        ----------
        test_fraction : float in (0, 1)
            Share of the rounds that goes to the second log; rounds with equal timestamps stay
            together, so the share is met as nearly as they allow.
        users_apart : bool
            Whether no user may be in both logs. Then this share of the users is drawn, whose
            earlier rounds are left out, as are the later ones of the others: of 100 rounds, 0.3
            leaves about 49 and 9, and 0.5 leaves 25 and 25.
        random_state : int
            Fixes the draw of users.

        Returns
        -------
        first, second : BanditFeedback

        Raises
        ------
        ValueError
            If the log has no timestamps, or all are equal; or if users are to be apart, and it has
            none, or nothing is left of a side.

        Notes
        -----
        Split by time, a log says what a policy will be worth tomorrow to the users who come then,
        most of whom may have been learned from; `report` says how many. Split by users, `split`
        says what it is worth to others today. Apart in both, it says what it is worth to others
        tomorrow, from fewer rounds.

        Examples
        --------
        >>> import numpy as np
        >>> import opl_lib as opl
        >>> shop = opl.ShopWorld(n_items=20, n_users=200, n_eval_pages=50, random_state=0)
        >>> log = shop.sample(6000, random_state=1)
        >>> for apart in (False, True):
        ...     first, second = log.split_by_time(0.3, users_apart=apart)
        ...     both = np.intersect1d(first.user_id, second.user_id)
        ...     print(first.n_rounds, second.n_rounds, len(both), "users in both")
        4200 1800 110 users in both
        2646 696 0 users in both
        """
        check_flag("users_apart", users_apart)
        check_seed(random_state)
        if self.timestamp is None:
            raise ValueError("split_by_time needs timestamps; this log has none. Pass timestamp=…")
        n_test = _n_test(test_fraction, self.n_rounds, "rounds")
        times, first = np.unique(np.sort(self.timestamp), return_index=True)
        if len(times) == 1:
            raise ValueError(f"all timestamps are {times[0]}: the log cannot be split by time.")
        n_later = self.n_rounds - first[1:]  # if the second log begins at each of times[1:]
        later = self.timestamp >= times[1:][np.abs(n_later - n_test).argmin()]
        if not users_apart:
            return self[~later], self[later]
        drawn = self._drawn_users(test_fraction, random_state)
        sides = ~later & ~drawn, later & drawn
        if not all(side.any() for side in sides):
            raise ValueError(
                f"users_apart=True leaves no {'later' if sides[0].any() else 'earlier'} round of "
                "the users on that side: take another random_state or test_fraction, or a longer "
                "log."
            )
        return self[sides[0]], self[sides[1]]

    def _drawn_users(self, test_fraction: float, random_state: int) -> np.ndarray:
        if self.user_id is None:
            raise ValueError(
                "users_apart=True needs users; this log has none. Pass user_id=…, or leave "
                "users_apart out."
            )
        n_test = _n_test(test_fraction, len(self.units), self.units.name + "s")
        return self.units.draw(n_test, random_state)

    @plain_arithmetic
    def weighted(self, weight: Any, random_state: int = 0) -> Self:
        """Repeat and leave out rounds, in proportion to weights.

        What is learned or estimated from the log that is returned is, on average, what the rounds
        of this one say with such weights: of recent rounds more, or of the users who matter most.
        Every objective, estimator and report takes it as it is. To weigh what a click is worth,
        weigh the rewards instead: ``reward * price`` loses no rounds.

        Parameters
        ----------
        weight : array of shape (n_rounds,)
            At least 0, in any unit. It may depend on who came and when, and on nothing that came
            after: of neither what was shown nor its reward, which would bias all that follows.
        random_state : int
            Fixes where the systematic sample starts.

        Returns
        -------
        BanditFeedback
            Of as many rounds, in the same order: round i is there ``n w_i / Σ w`` times, rounded up
            or down, such that this is the mean over all starts. Where the log has no users, the
            copies of a round are one user, so that folds keep them together and no error counts
            them as several.

        Raises
        ------
        ValueError
            If a weight is negative or not finite, or all are 0; the message names the row.

        References
        ----------
        Systematic sampling: Madow, "On the theory of systematic sampling II", Annals of
        Mathematical Statistics 1949.

        Examples
        --------
        >>> import opl_lib as opl
        >>> shop = opl.ShopWorld(n_items=20, n_users=200, n_eval_pages=50, random_state=0)
        >>> log = shop.sample(6000, random_state=1)
        >>> days = (log.timestamp.max() - log.timestamp) / np.timedelta64(1, "D")
        >>> recent = log.weighted(0.5 ** (days / 7))  # a week ago counts half
        >>> [int((each.timestamp >= np.datetime64("2026-03-25")).sum()) for each in (log, recent)]
        [1374, 3155]
        """
        check_seed(random_state)
        weight = numbers("weight", weight, ndim=1).astype(np.float64)
        if len(weight) != self.n_rounds:
            raise ValueError(
                f"weight has {len(weight)} rows and the log {self.n_rounds}: it needs one a round."
            )
        check_rows("weight", weight, weight >= 0, "at least 0", "Leave a round out with 0.")
        if not weight.any():
            raise ValueError("weight is 0 in every row: give some rounds a weight.")
        end = np.cumsum(near_one(weight)[0])
        start = np.random.default_rng(random_state).random()
        copies = np.diff(np.floor(end / end[-1] * self.n_rounds + start).astype(int), prepend=0)
        users = np.arange(self.n_rounds) if self.user_id is None else self.user_id
        rows = np.repeat(np.arange(self.n_rounds), copies)
        return replace(self[rows], user_id=users[rows])


def _n_test(test_fraction: float, n: int, what: str) -> int:
    if not isinstance(test_fraction, Real) or not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must be in (0, 1); got {test_fraction!r}.")
    n_test = round(test_fraction * n)
    if not 0 < n_test < n:
        raise ValueError(
            f"test_fraction={test_fraction} of {n} {what} leaves one side empty; "
            "take another fraction or a longer log."
        )
    return n_test
