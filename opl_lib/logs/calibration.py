"""A classifier of the logged item, cross-fitted, and whether its probabilities fit the log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import numbers, row_chunks
from .support import Shown, balance_table, balanced_features, of_moderate_size
from .units import Units

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CrossFittedClassifier:
    """One classifier a fold, fitted on the rounds of the others.

    Iterating gives numbers of rows and their probabilities of all items, (n, n_actions), a few rows
    at a time, and a user's rows at once.
    """

    context: np.ndarray
    action: np.ndarray
    n_actions: int
    units: Units
    fold: np.ndarray
    models: list[Any]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for k, model in enumerate(self.models):
            held_out = np.flatnonzero(self.fold == k)
            unit = self.units.index[held_out]
            n_chunks = len(row_chunks(len(held_out), self.n_actions))
            for some in np.array_split(np.unique(unit), n_chunks):
                rows = held_out[np.isin(unit, some)]
                pi_0 = np.zeros((len(rows), self.n_actions))
                pi_0[:, model.classes_] = _probabilities(model, self.context, rows)
                yield rows, pi_0


def cross_fit_classifier(
    classifier: Any,
    context: np.ndarray,
    action: np.ndarray,
    n_actions: int,
    units: Units,
    n_folds: int,
    random_state: int,
) -> CrossFittedClassifier:
    """Fit a copy of a scikit-learn classifier on all folds but one, for each."""
    if classifier is None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        context = of_moderate_size(context)
    check_classifier(classifier)
    if units.number is None:
        # every item is spread evenly over the folds: else one that is rare in a fold is common in
        # the others, and its estimates are too high just where it is not shown
        order = np.random.default_rng(random_state).permutation(len(action))
        fold = np.empty(len(action), dtype=int)
        fold[order[np.argsort(action[order], kind="stable")]] = np.arange(len(action)) % n_folds
    else:  # a classifier that knows a user would know what was shown
        fold = units.folds(n_folds, random_state)
    others = [np.flatnonzero(fold != k) for k in range(n_folds)]
    models = [_fitted(classifier, context[rows], action[rows], n_actions) for rows in others]
    return CrossFittedClassifier(context, action, n_actions, units, fold, models)


def check_classifier(classifier: Any) -> None:
    """Raise unless this is a classifier that can be copied, fitted and asked."""
    what = "classifier must be a scikit-learn classifier"
    if isinstance(classifier, type):
        name = classifier.__name__
        raise TypeError(f"{what}; got the class {name}: make an object of it, {name}().")
    for method in ("fit", "predict_proba", "get_params"):
        if not callable(getattr(classifier, method, None)):
            raise TypeError(f"{what} with {method}; {type(classifier).__name__} has none.")


def _fitted(classifier: Any, context: np.ndarray, action: np.ndarray, n_actions: int) -> Any:
    from sklearn.base import clone
    from sklearn.dummy import DummyClassifier

    try:
        model = clone(classifier).fit(context, action)
    except ValueError:
        if (action != action[0]).any():
            raise
        # many refuse to learn from one item: here it has all of the probability
        model = DummyClassifier(strategy="prior").fit(context, action)
    items = np.asarray(getattr(model, "classes_", None))
    if items.dtype.kind not in "iu" or not np.isin(items, np.arange(n_actions)).all():
        raise ValueError(
            "classifier must have classes_ once it is fitted, the items that its probabilities "
            f"are of, in [0, {n_actions - 1}]; {type(classifier).__name__} has {items}."
        )
    return model


def _probabilities(model: Any, context: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """What a classifier says about some rows of the log, one column a class; checked."""
    name = "what classifier.predict_proba returned"
    returned = model.predict_proba(context[rows])
    pi_0 = numbers(name, returned, ndim=None, check_finite=False)
    shape = (len(rows), len(model.classes_))
    if pi_0.shape != shape:
        raise ValueError(f"{name} has shape {pi_0.shape}; expected (n, n_classes) = {shape}.")
    bad = ~((pi_0 >= 0).all(axis=1) & (np.abs(pi_0.sum(axis=1) - 1) < 1e-4))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"{name} for row {rows[row]} of the log is no probability distribution: sum "
            f"{pi_0[row].sum():.4g}, min {pi_0[row].min():.4g}. Use a classifier whose "
            "probabilities are finite and sum to 1."
        )
    return pi_0


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
        n_pairs += np.bincount(place.ravel(), minlength=n_bins)
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
    return pd.DataFrame(
        {
            "n_shown": np.bincount(action, minlength=shown.n_actions),
            "mean_weight": total / len(action),
            "std_error": np.sqrt(variance) / len(action),
        }
    ).rename_axis("item")


def _squares(residual: np.ndarray, units: Units) -> np.ndarray:
    """Variances of sums of residuals over users, (n, k) -> (k,).

    A user's draws may depend on each other, so that these are no coins of known chance: what users
    did is all that says how much they vary.
    """
    return np.square(units.sums(residual)).sum(axis=0)
