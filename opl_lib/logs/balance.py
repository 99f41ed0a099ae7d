"""Whether propensities fit the contexts, item by item and feature by feature."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from .units import Units

if TYPE_CHECKING:
    import pandas as pd

MIN_SHOWN = 30  # rounds, or users, of an item, for a mean over them to be roughly normal


def feature_balance(
    context: np.ndarray, action: np.ndarray, pscore: np.ndarray, n_actions: int, units: Units
) -> pd.DataFrame:
    """The table of `BanditFeedback.balance`."""
    features, shown = balanced_features(context), Shown(action, n_actions, units)
    total, variance = np.empty((2, features.shape[1], n_actions))
    for row, f in enumerate(features.T):
        # the terms are f (1[a_i = b] / pscore − 1)
        total[row], variance[row] = shown.sums(f / pscore, less=f)
    return balance_table(total, variance, shown)


class Shown:
    """Who was shown what: the pairs of a unit and an item that a log holds, and sums over them.

    What a unit was never shown is not gone through, so the time grows with the rounds and not with
    units times items.
    """

    def __init__(self, action: np.ndarray, n_actions: int, units: Units) -> None:
        self.units, self.n_actions = units, n_actions
        pair, self._of_round = np.unique(units.index * n_actions + action, return_inverse=True)
        self._unit, self._item = np.divmod(pair, n_actions)

    @property
    def n_units(self) -> np.ndarray:
        """How many units were shown each item, (n_actions,)."""
        return np.bincount(self._item, minlength=self.n_actions)

    def sums(self, terms: np.ndarray, less: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``Σ_i 1[a_i = b] terms_i − less_i`` and its variance, (n_actions,), of every item b.

        Terms have shape (n_rounds,), and the variance is that of a sum of independent units.
        """
        n = len(self.units)
        shown, less = np.bincount(self._of_round, terms), self.units.sums(less)
        total = np.bincount(self._item, shown, self.n_actions) - less.sum()
        # (shown − less)² of a pair that the log holds, less² of the others
        excess = np.bincount(self._item, shown * (shown - 2 * less[self._unit]), self.n_actions)
        variance = (excess + np.square(less).sum() - total**2 / n) * n / max(n - 1, 1)
        return total, variance


def balanced_features(context: np.ndarray) -> np.ndarray:
    """A constant and the features around their means: a shift is the constant's business."""
    return np.column_stack([np.ones(len(context)), context - context.mean(axis=0)])


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
