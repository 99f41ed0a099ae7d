"""Estimated propensities, and what their checks say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .balance import imbalance
from .support import giant_weight, is_off_one

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class PropensityEstimate:
    """Estimated propensities of a log, and what can be checked; made by `estimate_propensities`.

    Attributes
    ----------
    pscore : array of shape (n_rounds,), in [floor, 1]
        The estimate of ``π_0(a_i|x_i)``, for `BanditFeedback`.
    floor : float
        The least value that `pscore` may take.
    n_floored : int
        Rounds whose estimate was raised to the floor.
    calibration : pandas.DataFrame
        One row a bin of estimated probabilities, over all rounds and items: ``predicted`` and
        ``observed``, the mean estimate and the share that was shown; ``std_error`` of the share, if
        the estimates are right; ``n_pairs`` and ``n_shown``. Bins hold about equally many shown
        items, fewer if estimates tie.
    calibration_error : float in [0, 2]
        ``Σ_bins n_pairs |observed − predicted| / n_rounds``: how much probability is in the wrong
        bin in a round. This is the expected calibration error over pairs of a round and an item,
        times the number of items, so that a large catalogue does not make it small.
    item_weights : pandas.DataFrame
        One row an item: ``n_shown``; ``mean_weight``, the mean importance weight
        ``1[a_i = a] / pscore_i`` of showing that item to everyone, which should be 1; and its
        ``std_error``. Where it is known, over the rounds in which it was eligible.
    balance : pandas.DataFrame of shape (1 + dim_context, n_actions)
        The check that calibration and mean weights miss, item by item and feature by feature:
        ``Σ f(x) (1[a = b] − π_0(b|x))``, with the estimate for π_0, divided by its standard error
        if the estimate is right; first for ``f = 1``, then for each feature, less its mean. NaN for
        items that less than 30 rounds, or users, were shown.
    mean_weight, mean_weight_se : float
        The mean importance weight of the uniform policy, which should be 1, and its standard error.
    max_weight : float
        The largest.
    """

    pscore: np.ndarray
    floor: float
    n_floored: int
    calibration: pd.DataFrame
    calibration_error: float
    item_weights: pd.DataFrame
    balance: pd.DataFrame
    mean_weight: float
    mean_weight_se: float
    max_weight: float

    @property
    def findings(self) -> list[str]:
        """What a reader should worry about, in plain words; empty if nothing."""
        table = self.calibration
        off = np.abs(table.observed - table.predicted) > 4 * table.std_error + 1e-9
        floored = self.n_floored / len(self.pscore)
        items = self.item_weights
        never = int(((items.n_shown == 0) & items.mean_weight.notna()).sum())
        found = []
        if is_off_one(self.mean_weight, self.mean_weight_se):
            found.append(
                "the mean weight is not 1: the estimates are wrong, or the logging policy cannot "
                "show some items"
            )
        if giant := giant_weight(self.max_weight, len(self.pscore)):
            found.append(giant)
        if off.any():
            found.append(
                f"in {off.sum()} of {len(table)} bins, items are shown more or less often than "
                "estimated: try another model, or give it what the logging policy looked at"
            )
        if unlike := imbalance(self.balance):
            found.append(unlike)
        if floored > 0.01:
            found.append(
                f"{floored:.1%} of the rounds are at the floor: their weights are the floor's, not "
                "the log's"
            )
        if never:
            found.append(f"items never shown: {never:,}; nothing can be said about them")
        return found

    def __repr__(self) -> str:
        lines = [
            f"PropensityEstimate({len(self.pscore):,} rounds, {len(self.item_weights):,} items)",
            f"  mean importance weight {self.mean_weight:>9.3f}  "
            f"(uniform policy; should be 1; standard error {self.mean_weight_se:.3f})",
            f"  calibration error      {self.calibration_error:>9.3f}  "
            "(probability a round in the wrong bin)",
            f"  rounds at the floor    {self.n_floored:>9,}  (pscore = {self.floor:.2g})",
        ]
        return "\n".join(lines + [f"  ! {finding}" for finding in self.findings])
