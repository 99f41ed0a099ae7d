"""Whether propensities fit the contexts, item by item and feature by feature."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..arrays import check_rows
from ..checks import plain_arithmetic
from .rounds import Rounds
from .shown import Shown

if TYPE_CHECKING:
    import pandas as pd

LEAST_PSCORE = 1e-100  # of what asks for squares of weights
MIN_SHOWN = 30  # rounds, or users, of an item, for a mean over them to be roughly normal


@plain_arithmetic
def feature_balance(log: Rounds, with_unseen: bool = False) -> pd.DataFrame:
    """The table of `BanditFeedback.balance`.

    With what may be unseen, errors allow for rounds so unlikely that the log holds none: `_unseen`.
    """
    pscore = log.pscore
    must_be = f"at least {LEAST_PSCORE}, for squares of weights to be finite"
    check_rows("pscore", pscore, pscore >= LEAST_PSCORE, must_be, "Drop such rounds, or clip it.")
    features = balanced_features(log.context)
    shown = Shown(log.action, log.n_actions, log.units, log.eligible)
    total, variance = np.empty((2, features.shape[1], log.n_actions))
    for row, f in enumerate(features.T):
        # the terms are f (1[a_i = b] / pscore − 1) of the rounds in which b is eligible
        total[row], variance[row] = shown.sums(f / pscore, less=f)
        if with_unseen:
            variance[row] += _unseen(log, np.square(f))
    return balance_table(total, variance, shown)


def _unseen(log: Rounds, square: np.ndarray) -> np.ndarray:
    """How much more the sums vary than the log shows: (n_actions,).

    ``Σ f² 1[a = b] / p`` should be ``Σ f²``. What is missing may belong to rounds in which b was so
    unlikely that it was never shown; of a mass R and weights W these add ``R W`` to the variance. W
    is the usual weight where the uniform policy is, ``Σ p^-2 / Σ p^-1``.
    """
    seen = np.bincount(log.action, square / log.pscore, log.n_actions)
    expected = square.sum()
    if log.eligible is not None:
        sets, number = log.eligible.sets, log.eligible.number
        expected = np.bincount(number, square, len(sets)) @ sets
    usual = float((1 / np.square(log.pscore)).sum() / (1 / log.pscore).sum())
    return np.maximum(expected - seen, 0) * usual


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
    worst = worst_balance(balance)
    if worst is None or not worst.is_off:
        return None
    return (
        f"{worst.what} is {worst.distance:.1f} standard errors off, where the "
        f"largest of {worst.n_checks:,} should be below {worst.limit:.1f}: the model does not know "
        "whom the logging policy showed what"
    )


class WorstBalance(NamedTuple):
    """The largest entry of a balance, and what the largest of so many should be below."""

    what: str
    distance: float
    limit: float
    n_checks: int

    @property
    def is_off(self) -> bool:
        """Whether it is above."""
        return self.distance > self.limit


def worst_balance(balance: pd.DataFrame, level: float = 0.01) -> WorstBalance | None:
    """The largest entry of a balance; None if nothing was checked.

    If nothing is wrong it is above the limit once in ``1 / level``.
    """
    distance = balance.abs().to_numpy()
    n_checks = int(np.isfinite(distance).sum())
    if n_checks == 0:
        return None
    feature, item = np.unravel_index(np.nanargmax(distance), distance.shape)
    for_whom = "" if feature == 0 else f" with feature {balance.index[feature]}"
    return WorstBalance(
        what=f"how often item {item} is shown{for_whom}",
        distance=float(distance[feature, item]),
        limit=NormalDist().inv_cdf(1 - level / 2 / n_checks),
        n_checks=n_checks,
    )
