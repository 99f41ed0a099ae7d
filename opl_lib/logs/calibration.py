"""Whether the probabilities of a cross-fitted classifier fit the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .balance import balance_table, balanced_features
from .classifier import CrossFittedClassifier
from .shown import Shown
from .units import Units

if TYPE_CHECKING:
    import pandas as pd


def calibration_table(
    predictions: CrossFittedClassifier, pscore: np.ndarray, floor: float, n_bins: int
) -> tuple[pd.DataFrame, float]:
    """The table and the error of `PropensityEstimate`."""
    import pandas as pd

    n_bins = min(n_bins, len(pscore))
    edges = np.unique(np.quantile(pscore, np.linspace(0, 1, n_bins + 1)[1:-1], method="lower"))
    edges = edges[edges > pscore.min()]  # so that every bin holds a logged item
    n_bins = len(edges) + 1
    of_logged = np.searchsorted(edges, pscore, side="right")
    expected, variance, n_pairs = np.zeros(n_bins), np.zeros(n_bins), np.zeros(n_bins, dtype=int)
    for rows, pi_0 in predictions:
        pi_0 = np.maximum(pi_0, floor)
        place = np.searchsorted(edges, pi_0, side="right")
        if predictions.offered is None:
            n_pairs += np.bincount(place.ravel(), minlength=n_bins)
        else:
            eligible = predictions.offered.rows(rows) > 0
            pi_0[~eligible] = 0
            n_pairs += np.bincount(place[eligible], minlength=n_bins)
        place += n_bins * np.arange(len(rows))[:, None]
        mass = np.bincount(place.ravel(), pi_0.ravel(), n_bins * len(rows)).reshape(-1, n_bins)
        expected += mass.sum(axis=0)
        # a round shows one item: whether that is in a bin is a coin with the bin's mass as chance
        if predictions.units.number is None:
            variance += (mass * (1 - mass)).clip(0).sum(axis=0)
        else:
            residual = (of_logged[rows, None] == np.arange(n_bins)) - mass
            variance += _squares(residual, predictions.units[rows])
    n_shown = np.bincount(of_logged, minlength=n_bins)
    table = pd.DataFrame(
        {
            "predicted": expected / n_pairs,
            "observed": n_shown / n_pairs,
            "std_error": np.sqrt(variance) / n_pairs,
            "n_pairs": n_pairs,
            "n_shown": n_shown,
        }
    ).rename_axis("bin")
    return table, float(np.abs(n_shown - expected).sum() / len(pscore))


def predicted_balance(predictions: CrossFittedClassifier, shown: Shown) -> pd.DataFrame:
    """The balance of `PropensityEstimate`."""
    features, n_actions = balanced_features(predictions.context), predictions.n_actions
    total, variance = np.zeros((2, features.shape[1], n_actions))
    for rows, pi_0 in predictions:
        f = features[rows]
        residual = (predictions.action[rows, None] == np.arange(n_actions)) - pi_0
        total += f.T @ residual
        if predictions.units.number is None:
            variance += np.square(f).T @ (pi_0 * (1 - pi_0))
            continue
        for k, feature in enumerate(f.T):
            variance[k] += _squares(feature[:, None] * residual, predictions.units[rows])
    return balance_table(total, variance, shown)


def item_weights(action: np.ndarray, weight: np.ndarray, shown: Shown) -> pd.DataFrame:
    """The mean weight of showing each item to everyone."""
    import pandas as pd

    total, variance = shown.sums(weight, less=np.zeros_like(weight))
    n_rounds = len(action) if shown.eligible is None else _or_nan(shown.eligible.n_offered)
    return pd.DataFrame(
        {
            "n_shown": np.bincount(action, minlength=shown.n_actions),
            "mean_weight": total / n_rounds,
            "std_error": np.sqrt(variance) / n_rounds,
        }
    ).rename_axis("item")


def _or_nan(count: np.ndarray) -> np.ndarray:
    return np.where(count > 0, count, np.nan)


def _squares(residual: np.ndarray, units: Units) -> np.ndarray:
    """Variances of sums of residuals over users, (n, k) -> (k,).

    A user's draws may depend on each other, so that these are no coins of known chance: what users
    did is all that says how much they vary.
    """
    return np.square(units.sums(residual)).sum(axis=0)
