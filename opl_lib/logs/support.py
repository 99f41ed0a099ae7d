"""How well a log covers a policy, and whether its propensities can be right."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

MIN_SHOWN = 30  # of an item, for a mean of its rounds to be roughly normal


@dataclass(frozen=True, repr=False)
class SupportReport:
    """How well a log covers a policy; see `BanditFeedback.support_report`.

    Attributes
    ----------
    n_rounds, n_actions : int
        Size of the log and of the catalogue.
    n_unsupported : int
        Items that the log never shows.
    unsupported_mass : float in [0, 1]
        The share of the policy's probability on those items (deficient support, Sachdeva et al.
        2020).
    ess : float in [0, n_rounds]
        Effective sample size ``(sum w)^2 / sum w^2`` of the importance weights ``w = pi / pi_0``.
    mean_weight, mean_weight_se : float
        Mean of the weights and its standard error. Its expectation is 1 if every pscore is right
        and every item that the policy shows can be logged.
    max_weight : float
        The largest weight.
    """

    n_rounds: int
    n_actions: int
    n_unsupported: int
    unsupported_mass: float
    ess: float
    mean_weight: float
    mean_weight_se: float
    max_weight: float

    @property
    def findings(self) -> list[str]:
        """What a reader of the report should worry about, in plain words; empty if nothing."""
        found = []
        if is_off_one(self.mean_weight, self.mean_weight_se):
            found.append(
                "the mean weight is not 1: pscore is wrong, or the logging policy cannot show "
                "items that the policy wants"
            )
        if self.ess < 0.05 * self.n_rounds:
            found.append(
                f"the weights leave {self.ess:,.0f} effective rounds of {self.n_rounds:,}: "
                "estimates for this policy rest on few rows"
            )
        if self.unsupported_mass > 0.01:
            found.append(
                f"{self.unsupported_mass:.1%} of the policy is on items the log never shows: "
                "nothing observed says how good they are"
            )
        return found

    def __repr__(self) -> str:
        share = self.ess / self.n_rounds
        lines = [
            f"SupportReport({self.n_rounds:,} rounds, {self.n_actions:,} items)",
            f"  effective sample size  {self.ess:>11,.1f}  ({share:.1%} of the rounds)",
            f"  mean importance weight {self.mean_weight:>11.3f}  "
            f"(should be 1; standard error {self.mean_weight_se:.3f})",
            f"  max importance weight  {self.max_weight:>11,.3f}",
            f"  items never logged     {self.n_unsupported:>11,}  "
            f"(they hold {self.unsupported_mass:.1%} of the policy)",
        ]
        return "\n".join(lines + [f"  ! {finding}" for finding in self.findings])


def weight_diagnostics(weight: np.ndarray) -> dict[str, float]:
    """Summarise importance weights of shape (n_rounds,) in the terms of `SupportReport`."""
    return {
        "ess": effective_sample_size(weight),
        "mean_weight": float(weight.mean()),
        "mean_weight_se": standard_error(weight),
        "max_weight": float(weight.max()),
    }


def is_off_one(mean_weight: float, mean_weight_se: float) -> bool:
    """Whether the mean weight is further from 1 than three standard errors, and than rounding."""
    return abs(mean_weight - 1) > max(3 * mean_weight_se, 0.01)


def effective_sample_size(terms: np.ndarray) -> float:
    """``(Σ t)² / Σ t²`` of terms of shape (n,): as many equal terms would vary as much."""
    squares = np.square(terms).sum()
    return float(terms.sum() ** 2 / squares) if squares > 0 else 0.0


def per_user(terms: np.ndarray, user: np.ndarray | None) -> np.ndarray:
    """One term a user, with the same mean: what is independent where users come back.

    ``m + (U / n) Σ_{i of user} (t_i − m)`` for U users and n rows of mean m. The standard error of
    these terms is the cluster-robust one of m (Liang and Zeger, Biometrika 1986).

    Parameters
    ----------
    terms : array of shape (n,)
    user : integer array of shape (n,), or None
        Numbers of users, each from 0 to U − 1 at least once; None returns the terms as they are.

    Examples
    --------
    >>> import numpy as np
    >>> per_user(np.array([1.0, 2.0, 4.0, 5.0]), np.array([0, 0, 0, 1])).tolist()
    [2.0, 4.0]
    """
    if user is None:
        return terms
    mean = terms.mean()
    sums = np.bincount(user, terms - mean)
    return mean + sums * len(sums) / len(terms)


def standard_error(terms: np.ndarray) -> float:
    """Standard error of the mean of independent terms of shape (n,); infinite for a single term."""
    return float(terms.std(ddof=1) / np.sqrt(len(terms))) if len(terms) > 1 else float("inf")


def feature_balance(
    context: np.ndarray, action: np.ndarray, pscore: np.ndarray, n_actions: int
) -> pd.DataFrame:
    """The table of `BanditFeedback.balance`."""
    n_rounds, features = len(action), balanced_features(context)
    excess = 1 / pscore - 1
    total, squares = np.empty((2, features.shape[1], n_actions))
    for row, f in enumerate(features.T):
        # the terms are f (1[a_i = b] / pscore − 1): −f but where item b was shown
        total[row] = np.bincount(action, f / pscore, n_actions) - f.sum()
        shown = np.bincount(action, f**2 * (excess**2 - 1), n_actions)
        squares[row] = shown + np.square(f).sum()
    variance = (squares - total**2 / n_rounds) * n_rounds / (n_rounds - 1)
    return balance_table(total, variance, action)


def balanced_features(context: np.ndarray) -> np.ndarray:
    """A constant and the features around their means: a shift is the constant's business."""
    return np.column_stack([np.ones(len(context)), context - context.mean(axis=0)])


def balance_table(total: np.ndarray, variance: np.ndarray, action: np.ndarray) -> pd.DataFrame:
    """Sums of shape (1 + dim_context, n_actions), each by its standard error."""
    import pandas as pd

    distance = total / np.sqrt(np.maximum(variance, 1e-300))
    distance[:, np.bincount(action, minlength=distance.shape[1]) < MIN_SHOWN] = np.nan
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
