"""What the card of a log is made of: its lines, and what several of them ask."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist

import numpy as np

from .balance import MIN_SHOWN
from .report_totals import Totals, set_sizes
from .rounds import Rounds
from .shown import Shown
from .support import SupportReport, support_of_uniform, uniform_logged
from .units import Units, near_one

FINE, LOOK, WRONG = "fine", "look", "wrong"
FEW_CARRIERS = 100
MOST_GROUPS = 20  # slots or parts of the time whose rewards are compared
# Of all comparisons of a line together, how often a right log is said to differ.
LEVEL = 0.001

Problem = tuple[bool, str, str, str]  # whether it holds, the verdict, the cause, the cure


@dataclass(frozen=True)
class Line:
    """A line of a `LogReport`.

    Attributes
    ----------
    name : str
    numbers : dict of str to float
        What was counted or estimated; the first is the line's own number.
    text : str
        The numbers, to be read.
    healthy : str
        Where they should be; empty if any are.
    verdict : {"fine", "look", "wrong"}
        ``"look"``: true of the log, and a limit to what it can tell. ``"wrong"``: the log says what
        cannot be.
    cause, cure : str
        Of what is not fine.
    """

    name: str
    numbers: Mapping[str, float]
    text: str
    healthy: str = ""
    verdict: str = FINE
    cause: str = ""
    cure: str = ""

    def __str__(self) -> str:
        said = f"{self.name}: {self.text}"
        if self.verdict == FINE:
            return said
        healthy = f" (healthy: {self.healthy})" if self.healthy else ""
        return f"{said}{healthy}. Cause: {self.cause} Cure: {self.cure}"


def line(
    name: str,
    numbers: Mapping[str, float],
    text: str,
    healthy: str = "",
    problems: Iterable[Problem] = (),
) -> Line:
    """A line with the first of the problems that holds."""
    first = next((problem[1:] for problem in problems if problem[0]), (FINE, "", ""))
    plain = {key: float(number) for key, number in numbers.items()}
    return Line(name, plain, text, healthy, *first)


@dataclass(frozen=True)
class Facts:
    """A log, and what several lines ask of it.

    Attributes
    ----------
    log : Rounds
        In memory: the whole log, or whole users of it.
    sampled_from : Totals, optional
        Of all rounds, if the log is a sample of them.
    factor : float
        How many times more users there are, or rounds where no user is known.
    most_rounds : int
        Of a user, as far as is known beside the sample.
    """

    log: Rounds
    sampled_from: Totals | None = None
    factor: float = 1.0
    most_rounds: int = 0
    units: Units = field(init=False)
    scale: float = field(init=False)
    reward: np.ndarray = field(init=False)
    pscore: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        # rewards of moderate size: their squares neither overflow nor vanish
        reward, scale = near_one(self.log.reward.astype(np.float64))
        pscore = self.log.pscore.astype(np.float64)
        named = {"units": self.log.units, "reward": reward, "scale": scale, "pscore": pscore}
        for name, value in named.items():
            object.__setattr__(self, name, value)

    @cached_property
    def totals(self) -> Totals:
        """Of all rounds."""
        return Totals.of(self.log) if self.sampled_from is None else self.sampled_from

    @property
    def n_rounds(self) -> int:
        """All of them, those that are not in memory included."""
        return self.totals.n_rounds

    def standard_error(self, terms: np.ndarray) -> float:
        """That of the mean of terms (n_rounds in memory,) over all rounds."""
        return self.units.standard_error(terms) / math.sqrt(self.factor)

    def effective_size(self, terms: np.ndarray) -> float:
        """``(Σ t)² / Σ t²`` over all units."""
        return self.units.effective_size(terms) * self.factor

    @cached_property
    def support(self) -> SupportReport:
        """That of the policy that shows all that is on offer alike."""
        found = support_of_uniform(self.log)
        if self.sampled_from is None:
            return found
        eligible = self.log.eligible
        sets = np.ones((1, self.log.n_actions), bool) if eligible is None else eligible.sets
        return self.sampled_from.support(found, sets, self.factor)

    @cached_property
    def weight(self) -> np.ndarray:
        """The importance weights of that policy, (n_rounds,)."""
        return uniform_logged(self.log) / self.pscore

    @cached_property
    def n_eligible(self) -> np.ndarray:
        """How many items were on offer in each round, (n_rounds,)."""
        if self.log.eligible is None:
            return np.full(self.log.n_rounds, self.log.n_actions)
        return self.log.eligible.n_eligible

    @cached_property
    def is_fixed(self) -> float:
        """Share of the rounds with a choice in which pscore is 1; NaN if no round had one."""
        n_choices = self.totals.n_of_set[set_sizes(self.log) > 1].sum()
        return float(self.totals.n_sure / n_choices) if n_choices else float("nan")

    @property
    def says_no_propensity(self) -> bool:
        """Whether the log is as if every item had been chosen with certainty."""
        return not self.is_fixed < 1

    @cached_property
    def mean(self) -> float:
        """That of the rewards, by `scale`."""
        if self.sampled_from is None:
            return float(self.reward.mean())
        return self.sampled_from.means["reward"] / self.scale

    @cached_property
    def centred(self) -> np.ndarray:
        """Rewards around their mean, (n_rounds,)."""
        return self.reward - self.mean

    @cached_property
    def carriers(self) -> float:
        """How many rounds, or users, carry what differs between rewards: clicks, if they are rare.

        The effective number of them, so that one giant reward counts as one.
        """
        return self.effective_size(np.abs(self.reward - np.median(self.reward)))

    @property
    def is_clicks(self) -> bool:
        """Whether rewards are all 0 or 1."""
        return self.totals.are_clicks

    @cached_property
    def order(self) -> np.ndarray | None:
        """Ranks of the times, (n_rounds,), equal where these are; None if there are none, or one.

        In [0, n_rounds): how many rounds were earlier.
        """
        if self.log.timestamp is None:
            return None
        _, place, count = np.unique(self.log.timestamp, return_inverse=True, return_counts=True)
        return (np.cumsum(count) - count)[place] if len(count) > 1 else None

    @cached_property
    def come_and_go(self) -> np.ndarray:
        """Items that are not shown for so long, at one end of the log, that it is no chance.

        Of k users who were shown an item at any time alike, all come after a share g of the log
        once in ``(1 − g)^−k`` logs. None if the log says what was on offer.
        """
        if self.log.eligible is not None or self.order is None:
            return np.array([], dtype=int)
        n, m = self.log.n_rounds, self.log.n_actions
        begin, end = np.full(m, 1.0), np.full(m, 0.0)
        np.minimum.at(begin, self.log.action, self.order / n)
        np.maximum.at(end, self.log.action, self.order / n)
        k = Shown(self.log.action, m, self.units).n_units
        gap = np.maximum(begin, self.order.max() / n - end)
        odds = k * np.log1p(-np.clip(gap, 0, 1 - 1e-9))
        return np.flatnonzero((k > 1) & (gap > 0.05) & (odds < np.log(1e-6 / (2 * m))))

    @property
    def is_unlisted(self) -> bool:
        """Whether items come and go, and the log does not say when."""
        return len(self.come_and_go) > 0

    def by_group(self, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean reward in groups, and its distance from that of all in standard errors.

        Groups are numbered from 0; the distance is NaN in groups of few units.
        """
        size = np.bincount(group)
        rate = np.bincount(group, self.reward) / np.maximum(size, 1)
        distance = np.full(len(size), np.nan)
        n_units = Shown(group, len(size), self.units).n_units
        for g in np.flatnonzero(n_units >= MIN_SHOWN):
            terms = self.centred * (group == g) * (len(group) / size[g])
            error = self.units.standard_error(terms)
            distance[g] = (rate[g] - self.mean) / max(error, 1e-300)
        return rate * self.scale, distance


def is_far(distance: np.ndarray) -> bool:
    """Whether the largest of some normal numbers says that they are not all around 0."""
    known = np.abs(distance[np.isfinite(distance)])
    if len(known) < 2:
        return False
    return bool(known.max() > NormalDist().inv_cdf(1 - LEVEL / 2 / len(known)))


def short(number: float) -> str:
    """A number of three digits, or of all before the point."""
    if not np.isfinite(number):
        return "–" if np.isnan(number) else "∞"
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e9 else f"{number:.3g}"
