"""What the card of a log counts over all of its rounds, part by part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from .rounds import SURE, Rounds
from .support import SupportReport, uniform_logged
from .units import near_one

N_ENDS = 1000


@dataclass(frozen=True, eq=False)
class Totals:
    """Counts, means and extremes of a log; of two parts, `then` makes those of both.

    Attributes
    ----------
    n_rounds : int
    n_shown : integer array of shape (n_actions,)
        Rounds in which each item was shown.
    n_of_set : integer array of shape (n_sets,)
        Rounds in which each set of items was on offer.
    n_sure : int
        Rounds with a choice in which pscore is 1.
    means : dict of str to float
        Of the rewards and of their sizes; of the weights of showing all that is on offer alike; of
        these by pscore.
    spread : float
        Standard deviation of the rewards.
    ends : array of shape (at most 2 N_ENDS,)
        The smallest and the largest rewards, in order; all of them, if they are few.
    least, most : dict of str to float
        Of rewards, propensities and weights.
    n_clicks : int
        Rewards of 1.
    are_clicks : bool
        Whether all others are 0.
    times : OrderedTimes, or None
        Of a log with timestamps.
    first_set, last_set, n_changes : int
        Of the sets, in the order of the log.
    """

    n_rounds: int
    n_shown: np.ndarray
    n_of_set: np.ndarray
    n_sure: int
    means: dict[str, float]
    spread: float
    ends: np.ndarray
    least: dict[str, float]
    most: dict[str, float]
    n_clicks: int
    are_clicks: bool
    times: OrderedTimes | None
    first_set: int
    last_set: int
    n_changes: int

    @classmethod
    def of(cls, log: Rounds) -> Self:
        """Those of a log in memory."""
        reward, pscore = (x.astype(np.float64) for x in (log.reward, log.pscore))
        weight = uniform_logged(log) / pscore
        number = np.zeros(log.n_rounds, int) if log.eligible is None else log.eligible.number
        sizes = set_sizes(log)
        with np.errstate(over="ignore"):
            by_pscore = float((weight / pscore).mean())
        near, scale = near_one(reward)
        of_all = {"reward": log.reward, "pscore": pscore, "weight": weight}
        return cls(
            n_rounds=log.n_rounds,
            n_shown=np.bincount(log.action, minlength=log.n_actions),
            n_of_set=np.bincount(number, minlength=len(sizes)),
            n_sure=int(np.sum((pscore > SURE) & (sizes[number] > 1))),
            means={
                "reward": _mean(reward),
                "size": _mean(np.abs(reward)),
                "weight": _mean(weight),
                "by pscore": by_pscore,
            },
            spread=float(near.std()) * scale,
            ends=_ends(reward),
            least={name: float(column.min()) for name, column in of_all.items()},
            most={name: float(column.max()) for name, column in of_all.items()},
            n_clicks=int(np.sum(reward == 1)),
            are_clicks=bool(np.isin(reward, (0, 1)).all()),
            times=None if log.timestamp is None else OrderedTimes.of(log.timestamp),
            first_set=int(number[0]),
            last_set=int(number[-1]),
            n_changes=int((np.diff(number.astype(np.int64)) != 0).sum()),
        )

    def then(self, later: Totals) -> Totals:
        """Those of these rounds and the next ones."""
        n = self.n_rounds + later.n_rounds
        a, b = self.n_rounds / n, later.n_rounds / n
        between = math.sqrt(a * b)  # halves at most, so that no difference of them overflows
        between = between * self.means["reward"] - between * later.means["reward"]
        times = None
        if self.times is not None and later.times is not None:
            times = self.times.then(later.times)
        return Totals(
            n_rounds=n,
            n_shown=self.n_shown + later.n_shown,
            n_of_set=self.n_of_set + later.n_of_set,
            n_sure=self.n_sure + later.n_sure,
            means={name: a * x + b * later.means[name] for name, x in self.means.items()},
            spread=math.hypot(math.sqrt(a) * self.spread, math.sqrt(b) * later.spread, between),
            ends=_ends(np.append(self.ends, later.ends)),
            least={name: min(x, later.least[name]) for name, x in self.least.items()},
            most={name: max(x, later.most[name]) for name, x in self.most.items()},
            n_clicks=self.n_clicks + later.n_clicks,
            are_clicks=self.are_clicks and later.are_clicks,
            times=times,
            first_set=self.first_set,
            last_set=later.last_set,
            n_changes=self.n_changes + later.n_changes + (self.last_set != later.first_set),
        )

    def support(self, of_sample: SupportReport, sets: np.ndarray, factor: float) -> SupportReport:
        """The report of a sample with what is known of all rounds, which are so many times more."""
        on_offer = (self.n_of_set @ sets) > 0
        never = (self.n_shown == 0) & on_offer
        of_set = (sets & never).sum(axis=1) / sets.sum(axis=1)
        return SupportReport(
            n_rounds=self.n_rounds,
            n_actions=len(self.n_shown),
            n_unsupported=int(never.sum()),
            unsupported_mass=float(self.n_of_set @ of_set / self.n_rounds),
            ess=of_sample.ess * factor,
            mean_weight=self.means["weight"],
            mean_weight_se=of_sample.mean_weight_se / math.sqrt(factor),
            max_weight=self.most["weight"],
            n_units=round(of_sample.n_units * factor),
            unit=of_sample.unit,
            is_deterministic=self.least["pscore"] > SURE,
        )


def _mean(terms: np.ndarray) -> float:
    """The mean of finite terms, whose sum may overflow."""
    near, scale = near_one(terms)
    return float(near.mean()) * scale


def _ends(terms: np.ndarray) -> np.ndarray:
    """The N_ENDS smallest and as many of the largest, in order."""
    if len(terms) > 2 * N_ENDS:
        parted = np.partition(terms, (N_ENDS - 1, len(terms) - N_ENDS))
        terms = np.append(parted[:N_ENDS], parted[-N_ENDS:])
    return np.sort(terms)


def set_sizes(log: Rounds) -> np.ndarray:
    """How many items are in each set, (n_sets,); one set of all where the log has none."""
    if log.eligible is None:
        return np.array([log.n_actions])
    return log.eligible.sets.sum(axis=1)


@dataclass(frozen=True, eq=False)
class OrderedTimes:
    """Times of rounds, of which gaps are known if no round is earlier than the one before.

    Attributes
    ----------
    first, last : numbers or dates
    in_order : bool
    n_moments : int
        Different times, if they are in order.
    gap : float
        Half of the longest time between two rounds, if they are.
    """

    first: Any
    last: Any
    in_order: bool
    n_moments: int
    gap: float

    @classmethod
    def of(cls, timestamp: np.ndarray) -> OrderedTimes:
        """Those of rounds in memory."""
        first, last = timestamp[0], timestamp[-1]
        if timestamp.dtype.kind not in "biufmM" or (timestamp[1:] < timestamp[:-1]).any():
            return cls(first, last, False, 0, np.nan)
        steps = np.diff(half_clock(timestamp))
        n_moments = 1 + int((timestamp[1:] != timestamp[:-1]).sum())
        return cls(first, last, True, n_moments, float(steps.max(initial=0)))

    def then(self, later: OrderedTimes) -> OrderedTimes:
        """Those of these rounds and the next ones."""
        step = half_clock(np.array([self.last, later.first]))
        return OrderedTimes(
            self.first,
            later.last,
            self.in_order and later.in_order and bool(self.last <= later.first),
            self.n_moments + later.n_moments - int(self.last == later.first),
            float(np.fmax(np.fmax(self.gap, later.gap), step[1] - step[0])),
        )


def half_clock(timestamp: np.ndarray) -> np.ndarray:
    """Times as numbers, halved so that no difference of them overflows."""
    clock = timestamp.astype(np.int64) if timestamp.dtype.kind in "mM" else timestamp
    return clock.astype(np.float64) / 2
