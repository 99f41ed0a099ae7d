"""How well a log covers a policy, and whether its propensities can be right."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import check_rows, row_chunks
from ..checks import plain_arithmetic
from ..protocols import PolicyLike
from .probabilities import log_probabilities
from .rounds import Rounds
from .shown import Shown
from .units import Units, mean

if TYPE_CHECKING:
    import pandas as pd

LEAST_PSCORE = 1e-100  # of what asks for squares of weights
MIN_SHOWN = 30  # rounds, or users, of an item, for a mean over them to be roughly normal


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

    @property
    def findings(self) -> list[str]:
        """What a reader of the report should worry about, in plain words; empty if nothing."""
        found = []
        if is_off_one(self.mean_weight, self.mean_weight_se):
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
def support_report(log: Rounds, policy: PolicyLike | np.ndarray | None) -> SupportReport:
    """The report of `BanditFeedback.support_report`."""
    probabilities = log_probabilities(_uniform if policy is None else policy, log)
    never = np.bincount(log.action, minlength=log.n_actions) == 0
    if log.eligible is not None:
        never &= log.eligible.n_offered > 0
    pi_logged, unsupported = np.empty(log.n_rounds), np.empty(log.n_rounds)
    for rows in row_chunks(log.n_rounds, log.n_actions):
        pi = probabilities(rows)
        pi_logged[rows] = pi[np.arange(len(pi)), log.action[rows]]
        unsupported[rows] = pi[:, never].sum(axis=1)
    return SupportReport(
        n_rounds=log.n_rounds,
        n_actions=log.n_actions,
        n_unsupported=int(never.sum()),
        unsupported_mass=float(unsupported.mean()),
        n_units=len(log.units),
        unit=log.units.name,
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


def is_off_one(mean_weight: float, mean_weight_se: float) -> bool:
    """Whether the mean weight is further from 1 than three standard errors, and than rounding."""
    return abs(mean_weight - 1) > max(3 * mean_weight_se, 0.01)


def _uniform(context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
    return np.full((len(context), len(action_context)), 1 / len(action_context))


@plain_arithmetic
def feature_balance(log: Rounds) -> pd.DataFrame:
    """The table of `BanditFeedback.balance`."""
    pscore = log.pscore
    must_be = f"at least {LEAST_PSCORE}, for squares of weights to be finite"
    check_rows("pscore", pscore, pscore >= LEAST_PSCORE, must_be, "Drop such rounds, or clip it.")
    features = balanced_features(log.context)
    shown = Shown(log.action, log.n_actions, log.units, log.eligible)
    total, variance = np.empty((2, features.shape[1], log.n_actions))
    for row, f in enumerate(features.T):
        # the terms are f (1[a_i = b] / pscore − 1) of the rounds in which b is eligible
        total[row], variance[row] = shown.sums(f / pscore, less=f)
    return balance_table(total, variance, shown)


def balanced_features(context: np.ndarray) -> np.ndarray:
    """A constant and the features around their means: a shift is the constant's business."""
    context = of_moderate_size(context)
    return np.column_stack([np.ones(len(context)), context - context.mean(axis=0)])


def of_moderate_size(context: np.ndarray) -> np.ndarray:
    """Features whose squares neither overflow nor vanish: others are divided by a power of two."""
    exponent = np.frexp(np.abs(context).max(axis=0))[1]
    exponent[np.abs(exponent) < 300] = 0
    return np.ldexp(context, -exponent) if exponent.any() else context


def balance_table(total: np.ndarray, variance: np.ndarray, shown: Shown) -> pd.DataFrame:
    """Sums of shape (1 + dim_context, n_actions), each by its standard error."""
    import pandas as pd

    distance = total / np.sqrt(np.maximum(variance, 1e-300))
    distance[:, shown.n_units < MIN_SHOWN] = np.nan
    index = pd.Index(["1", *(f"x{k}" for k in range(len(total) - 1))], name="feature")
    return pd.DataFrame(distance, index=index).rename_axis(columns="item")


def imbalance(balance: pd.DataFrame) -> str | None:
    """What a reader of `PropensityEstimate.balance` should worry about; None if nothing."""
    distance = balance.abs().to_numpy()
    n_checks = np.isfinite(distance).sum()
    if n_checks == 0:
        return None
    largest, limit = np.nanmax(distance), NormalDist().inv_cdf(1 - 0.005 / n_checks)
    if largest <= limit:
        return None
    feature, item = np.unravel_index(np.nanargmax(distance), distance.shape)
    for_whom = "" if feature == 0 else f" with feature {balance.index[feature]}"
    return (
        f"how often item {item} is shown{for_whom} is {largest:.1f} standard errors off, where the "
        f"largest of {n_checks:,} should be below {limit:.1f}: the model does not know whom the "
        "logging policy showed what"
    )
