"""How well a log covers a policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arrays import row_chunks
from ..checks import plain_arithmetic
from ..protocols import PolicyLike
from .probabilities import log_probabilities
from .rounds import Rounds
from .units import Units, mean

BY_A_RULE = (
    "every pscore is 1: a rule chose what was shown (deterministic logging), or 1 is a default. No "
    "weight says what other items would have earned, and estimates rest on the reward model alone"
)
AFTER_A_RULE = (
    "If what was shown was drawn after all, estimate how likely it was: opl.estimate_propensities. "
    "Else explore from now on. A regression or the direct method can be learned, but not checked "
    "by this log, and CIPS and COPE need other data: see opl.LogWithoutPropensities.with_pscore "
    "and, in the book, 'A rule chose what was shown'."
)
DETERMINISTIC = f"{BY_A_RULE}. {AFTER_A_RULE}"


@dataclass(frozen=True, repr=False)
class SupportReport:
    """How well a log covers a policy; see `BanditFeedback.support_report`.

    Attributes
    ----------
    n_rounds, n_actions : int
        Size of the log and of the catalogue.
    n_unsupported : int
        Items that the log never shows, though they were eligible.
    unsupported_mass : float in [0, 1]
        The share of the policy's probability on those items (deficient support, Sachdeva et al.
        2020).
    ess : float in [0, n_units]
        Effective sample size ``(sum w)^2 / sum w^2`` of the importance weights ``w = pi / pi_0``,
        summed over the rounds of a user where users come back.
    mean_weight, mean_weight_se : float
        Mean of the weights and its standard error. Its expectation is 1 if every pscore is right
        and every item that the policy shows can be logged.
    max_weight : float
        The largest weight.
    n_units : int
        Rounds, or users where some come back: what `ess` is a share of.
    unit : {"round", "user"}
    is_deterministic : bool
        Whether every pscore is 1. The log then judges no policy but the one that made it.
    """

    n_rounds: int
    n_actions: int
    n_unsupported: int
    unsupported_mass: float
    ess: float
    mean_weight: float
    mean_weight_se: float
    max_weight: float
    n_units: int
    unit: str
    is_deterministic: bool = False

    @property
    def findings(self) -> list[str]:
        """What a reader of the report should worry about, in plain words; empty if nothing."""
        found = []
        if self.is_deterministic:
            found.append(DETERMINISTIC)
        elif is_off_one(self.mean_weight, self.mean_weight_se):
            found.append(
                "the mean weight is not 1: pscore is wrong, or the logging policy cannot show "
                "items that the policy wants"
            )
        if giant := giant_weight(self.max_weight, self.n_rounds):
            found.append(giant)
        if self.ess < 0.05 * self.n_units:
            found.append(
                f"the weights leave {self.ess:,.0f} effective {self.unit}s of {self.n_units:,}: "
                "estimates for this policy rest on few rows"
            )
        if self.unsupported_mass > 0.01:
            found.append(
                f"{self.unsupported_mass:.1%} of the policy is on items the log never shows: "
                "nothing observed says how good they are"
            )
        return found

    def __repr__(self) -> str:
        share = self.ess / self.n_units
        lines = [
            f"SupportReport({self.n_rounds:,} rounds, {self.n_actions:,} items)",
            f"  effective sample size  {self.ess:>11,.1f}  ({share:.1%} of the {self.unit}s)",
            f"  mean importance weight {_shown(self.mean_weight):>11}  "
            f"(should be 1; standard error {_shown(self.mean_weight_se)})",
            f"  max importance weight  {_shown(self.max_weight, ','):>11}",
            f"  items never logged     {self.n_unsupported:>11,}  "
            f"(they hold {self.unsupported_mass:.1%} of the policy)",
        ]
        return "\n".join(lines + [f"  ! {finding}" for finding in self.findings])


def _shown(number: float, group: str = "") -> str:
    return f"{number:{group}.3f}" if number < 1e9 else f"{number:.3g}"


@plain_arithmetic
def support_report(log: Rounds, policy: PolicyLike | np.ndarray) -> SupportReport:
    """The report of `BanditFeedback.support_report`."""
    never = _never_logged(log)
    return _report(log, never, *_of_policy(policy, log, never))


@plain_arithmetic
def support_of_uniform(log: Rounds) -> SupportReport:
    """That of the policy that shows all that is on offer alike."""
    never = _never_logged(log)
    return _report(log, never, *_of_uniform(log, never))


def _never_logged(log: Rounds) -> np.ndarray:
    """Items that were never shown, though they were eligible, (n_actions,)."""
    never = np.bincount(log.action, minlength=log.n_actions) == 0
    return never if log.eligible is None else never & (log.eligible.n_offered > 0)


def _report(
    log: Rounds, never: np.ndarray, pi_logged: np.ndarray, unsupported: np.ndarray
) -> SupportReport:
    return SupportReport(
        n_rounds=log.n_rounds,
        n_actions=log.n_actions,
        n_unsupported=int(never.sum()),
        unsupported_mass=float(unsupported.mean()),
        n_units=len(log.units),
        unit=log.units.name,
        is_deterministic=log.is_deterministic,
        **weight_diagnostics(pi_logged / log.pscore, log.units),
    )


def weight_diagnostics(weight: np.ndarray, units: Units) -> dict[str, float]:
    """Summarise importance weights of shape (n_rounds,) in the terms of `SupportReport`."""
    return {
        "ess": units.effective_size(weight),
        "mean_weight": mean(weight),
        "mean_weight_se": units.standard_error(weight),
        "max_weight": float(weight.max()),
    }


def giant_weight(max_weight: float, n_rounds: int) -> str | None:
    """What to worry about in the largest weight; None if nothing.

    Right weights have a mean of at most 1, so by Markov's inequality the largest of n is above
    1,000 n less than once in 1,000 logs.
    """
    if max_weight <= 1000 * n_rounds:
        return None
    return (
        f"the largest weight is {max_weight:.3g}, more than a log of {n_rounds:,} rounds with "
        "right propensities shows: look for the smallest pscore, and drop its rounds if it is "
        "a product of many probabilities or an error"
    )


def tail_index(size: np.ndarray, n: int | None = None) -> tuple[float, int]:
    """How heavy a tail is, and of how many of the largest: above 1/2 the variance is infinite.

    Of n sizes, such as weights, of which the largest are given, or all.

    The mean of the logarithm of the largest over the next one: Hill, Annals of Statistics 1975, of
    so many as Vehtari et al. take, "Pareto smoothed importance sampling", JMLR 2024.
    """
    n = len(size) if n is None else n
    n_largest = int(min(0.2 * n, 3 * n**0.5, len(size) - 1))
    largest = np.sort(size)[::-1][: n_largest + 1]
    return (float(np.log(largest[:-1] / largest[-1]).mean()) if n_largest else 0.0), n_largest


def is_off_one(mean_weight: float, mean_weight_se: float) -> bool:
    """Whether the mean weight is further from 1 than three standard errors, and than rounding."""
    return abs(mean_weight - 1) > max(3 * mean_weight_se, 0.01)


def uniform_logged(log: Rounds) -> np.ndarray:
    """How likely the uniform policy shows what was logged, among what is eligible: (n_rounds,)."""
    if log.eligible is None:
        return np.full(log.n_rounds, 1 / log.n_actions)
    return 1 / log.eligible.n_eligible


def _of_uniform(log: Rounds, never: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `_of_policy` says of the uniform policy, by sets of items and not by rounds."""
    if log.eligible is None:
        return uniform_logged(log), np.full(log.n_rounds, never.mean())
    sets = log.eligible.sets
    share = (sets & never).sum(axis=1) / sets.sum(axis=1)
    return uniform_logged(log), share[log.eligible.number]


def _of_policy(
    policy: PolicyLike | np.ndarray, log: Rounds, never: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Its probabilities of the logged items and of those never logged, (n_rounds,) each."""
    probabilities = log_probabilities(policy, log)
    logged, unsupported = np.empty(log.n_rounds), np.empty(log.n_rounds)
    for rows in row_chunks(log.n_rounds, log.n_actions):
        pi = probabilities(rows)
        logged[rows] = pi[np.arange(len(pi)), log.action[rows]]
        unsupported[rows] = pi[:, never].sum(axis=1)
    return logged, unsupported
