"""A classifier of the logged item, cross-fitted, among what was on offer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..arrays import numbers, row_chunks
from .balance import of_moderate_size
from .eligible import Eligible
from .units import Units

_MOST_ROUNDS_OF_FITTING = 30
_FITTED = 1e-3  # of an item's expected number, as a share


class Offered(NamedTuple):
    """How many of what an action stands for were on offer: 0 and 1 of items, more of clusters.

    Of every set, shape (n_sets, n_actions), and the set of every round.
    """

    weight: np.ndarray
    number: np.ndarray

    @classmethod
    def of(cls, eligible: Eligible, cluster: np.ndarray | None = None) -> Offered | None:
        """Items, or clusters (n_actions,) numbered from 0; None where all were always there."""
        if eligible.sets.all():
            return None
        weight = eligible.sets.astype(float)
        if cluster is not None:
            weight = weight @ (cluster[:, None] == np.arange(cluster.max() + 1))
        return cls(weight, eligible.number)

    def rows(self, rows: Any) -> np.ndarray:
        """Those of some rounds, (m, n_actions)."""
        return self.weight[self.number[rows]]

    def among(self, rows: Any, pi: np.ndarray) -> np.ndarray:
        """Probabilities among what was on offer in some rounds; of these alike if all are 0."""
        weight = self.rows(rows)
        kept = pi * weight
        nothing = kept.sum(axis=1) == 0
        kept[nothing] = weight[nothing]
        return kept / kept.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class CrossFittedClassifier:
    """One classifier a fold, fitted on the rounds of the others.

    Iterating gives numbers of rows and their probabilities of all items, (n, n_actions), a few rows
    at a time, and a user's rows at once. They are among what was on offer, if that is known.
    """

    context: np.ndarray
    action: np.ndarray
    n_actions: int
    units: Units
    fold: np.ndarray
    models: list[Any]
    offered: Offered | None = None
    factors: Sequence[np.ndarray] = ()

    @property
    def eligible(self) -> Eligible | None:
        """What was on offer in each round."""
        offered = self.offered
        return None if offered is None else Eligible(offered.weight > 0, offered.number)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for k, model in enumerate(self.models):
            held_out = np.flatnonzero(self.fold == k)
            unit = self.units.index[held_out]
            n_chunks = len(row_chunks(len(held_out), self.n_actions))
            for some in np.array_split(np.unique(unit), n_chunks):
                rows = held_out[np.isin(unit, some)]
                pi_0 = _of_all_items(model, self.context, rows, self.n_actions)
                if self.offered is not None:
                    pi_0 = self.offered.among(rows, pi_0 * self.factors[k])
                yield rows, pi_0


def cross_fit_classifier(
    classifier: Any,
    context: np.ndarray,
    action: np.ndarray,
    n_actions: int,
    units: Units,
    n_folds: int,
    random_state: int,
    offered: Offered | None = None,
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
    factors = [
        _factors(model, context, action, rows, offered)
        for model, rows in zip(models, others, strict=True)
        if offered is not None
    ]
    return CrossFittedClassifier(context, action, n_actions, units, fold, models, offered, factors)


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


def _of_all_items(model: Any, context: np.ndarray, rows: np.ndarray, n_actions: int) -> np.ndarray:
    pi_0 = np.zeros((len(rows), n_actions))
    pi_0[:, model.classes_] = _probabilities(model, context, rows)
    return pi_0


def _factors(
    model: Any, context: np.ndarray, action: np.ndarray, rows: np.ndarray, offered: Offered
) -> np.ndarray:
    """What to multiply a classifier's probabilities with, (n_actions,), before the others go.

    A classifier sees that an item is shown rarely, be it unpopular or seldom on offer. By these
    factors each item is expected as often, among what was on offer, as it was shown.
    """
    n_actions = offered.weight.shape[1]
    shown, factor = np.bincount(action[rows], minlength=n_actions), np.ones(n_actions)
    for _ in range(_MOST_ROUNDS_OF_FITTING):
        expected = np.zeros(n_actions)
        for some in row_chunks(len(rows), n_actions):
            pi_0 = _of_all_items(model, context, rows[some], n_actions)
            expected += offered.among(rows[some], pi_0 * factor).sum(axis=0)
        known = (shown > 0) & (expected > 0)
        ratio = np.divide(shown, expected, out=np.ones(n_actions), where=known)
        factor = factor * ratio
        if np.abs(ratio - 1).max() < _FITTED:
            break
    return factor


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
