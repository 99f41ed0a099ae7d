"""Propensities of a log that did not record them, estimated and checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import check_number, check_rows, feature_matrix, integers, row_chunks
from .support import balance_table, balanced_features, imbalance, is_off_one, standard_error

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
        ``std_error``.
    balance : pandas.DataFrame of shape (1 + dim_context, n_actions)
        The check that calibration and mean weights miss, item by item and feature by feature:
        ``Σ f(x) (1[a = b] − π_0(b|x))``, with the estimate for π_0, divided by its standard error
        if the estimate is right; first for ``f = 1``, then for each feature, less its mean. NaN for
        items that were shown less than 30 times.
    mean_weight, mean_weight_se : float
        The mean importance weight of the uniform policy, which should be 1, and its standard error.
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

    @property
    def findings(self) -> list[str]:
        """What a reader should worry about, in plain words; empty if nothing."""
        found = []
        if is_off_one(self.mean_weight, self.mean_weight_se):
            found.append(
                "the mean weight is not 1: the estimates are wrong, or the logging policy cannot "
                "show some items"
            )
        table = self.calibration
        off = np.abs(table.observed - table.predicted) > 4 * table.std_error + 1e-9
        if off.any():
            found.append(
                f"in {off.sum()} of {len(table)} bins, items are shown more or less often than "
                "estimated: try another model, or give it what the logging policy looked at"
            )
        if unlike := imbalance(self.balance):
            found.append(unlike)
        if self.n_floored > 0.01 * len(self.pscore):
            found.append(
                f"{self.n_floored / len(self.pscore):.1%} of the rounds are at the floor: their "
                "weights are the floor's, not the log's"
            )
        never = int((self.item_weights.n_shown == 0).sum())
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


def estimate_propensities(
    context: np.ndarray,
    action: np.ndarray,
    n_actions: int,
    model: Any = None,
    n_folds: int = 5,
    floor: float | None = None,
    n_bins: int = 10,
    random_state: int = 0,
) -> PropensityEstimate:
    """Estimate how likely each shown item was, for a log that did not record it.

    A classifier learns which item is shown in which context; each round is predicted by a model
    that did not see it. This is only as good as the contexts: if the logging policy looked at
    something that is not among them, and that also moves rewards, no model can repair it, and
    nothing below will show it. Record propensities where you can.

    Parameters
    ----------
    context : array of shape (n_rounds, dim_context)
        All that the logging policy could see, such as the slot and the hour too.
    action : integer array of shape (n_rounds,), in [0, n_actions)
        The items shown.
    n_actions : int, at least 2
        Number of items that could be shown.
    model : scikit-learn classifier with predict_proba, optional
        It is cloned, never changed. Standardised contexts into a multinomial logistic regression if
        not given; its time grows with rounds x features x items, and it needs many rounds an item.
        With few, ``sklearn.dummy.DummyClassifier(strategy="prior")`` estimates popularity, which is
        right only if the logging policy ignored the context. A large catalogue that is shown
        personally is beyond both.
    n_folds : int, from 2 to n_rounds
    floor : float in (0, 1 / n_actions], optional
        Every estimated probability is raised to at least this, so no weight is above
        ``1 / floor``; it also serves items that a fold's model never saw. ``0.01 / n_actions`` if
        not given. A floor that binds biases weights towards 0, as clipping does.
    n_bins : int, at least 1
        Number of bins of the calibration table.
    random_state : int
        Fixes the folds.

    Returns
    -------
    PropensityEstimate
        Pass its `pscore` to `BanditFeedback`, after reading its `findings`.

    Raises
    ------
    ValueError
        If a shape, a range or a value is wrong.
    TypeError
        If `model` has no ``fit`` or no ``predict_proba``.

    Notes
    -----
    Passing the checks is no proof. Calibration averages over all contexts with the same estimate,
    and the mean weight over all contexts: a popularity model of a personalised logging policy
    passes both, and fails the check of balance, which asks feature by feature. What fails is
    informative. If the least likely bins are shown more often than estimated and the most likely
    ones less, the model is overfitted: regularise it. If the bins in the middle are off, its form
    is wrong: a logging policy with jumps, such as epsilon-greedy, is not a logistic regression. The
    standard errors are those of the draws, given the estimates.

    References
    ----------
    Hirano, Imbens and Ridder, "Efficient estimation of average treatment effects using the
    estimated propensity score", Econometrica 2003; Chernozhukov et al., "Double/debiased machine
    learning for treatment and structural parameters", The Econometrics Journal 2018, definition 3.1
    (cross-fitting); Guo et al., "On calibration of modern neural networks", ICML 2017, equation 3
    (expected calibration error).

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(4, 5, 5, logging_policy=opl.softmax(1.0), random_state=0)
    >>> log = world.sample(4000, random_state=0)
    >>> estimate = opl.estimate_propensities(log.context, log.action, n_actions=4)
    >>> estimate.findings
    []
    >>> bool(np.abs(estimate.pscore - log.pscore).mean() < 0.02)
    True
    """
    import pandas as pd

    context, action = feature_matrix("context", context), integers("action", action)
    n_rounds = len(context)
    check_number("n_actions", n_actions, Integral, least=2)
    check_number("n_folds", n_folds, Integral, least=2)
    check_number("n_bins", n_bins, Integral, least=1)
    if len(action) != n_rounds:
        raise ValueError(f"action has {len(action)} rows but context has {n_rounds}.")
    check_rows(
        "action",
        action,
        (action >= 0) & (action < n_actions),
        f"in [0, {n_actions - 1}]",
        "Renumber the items, or raise n_actions.",
    )
    if n_folds > n_rounds:
        raise ValueError(f"n_folds is {n_folds}, but the log has only {n_rounds} rounds.")
    floor = 0.01 / n_actions if floor is None else floor
    check_number("floor", floor, Real, above=0)
    if floor > 1 / n_actions:
        raise ValueError(f"floor must be at most 1 / n_actions = {1 / n_actions:.4g}; got {floor}.")

    # every item is spread evenly over the folds: else one that is rare in a fold is common in the
    # others, and its estimates are too high just where it is not shown
    order = np.random.default_rng(random_state).permutation(n_rounds)
    fold = np.empty(n_rounds, dtype=int)
    fold[order[np.argsort(action[order], kind="stable")]] = np.arange(n_rounds) % n_folds
    others = [np.flatnonzero(fold != k) for k in range(n_folds)]
    models = [_fitted(model, context[rows], action[rows]) for rows in others]

    def predictions() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Row numbers and their probabilities of all items, a few rows at a time."""
        for k, fitted in enumerate(models):
            held_out = np.flatnonzero(fold == k)
            for chunk in row_chunks(len(held_out), n_actions):
                rows = held_out[chunk]
                pi_0 = np.zeros((len(rows), n_actions))
                pi_0[:, fitted.classes_] = fitted.predict_proba(context[rows])
                yield rows, pi_0

    pscore, n_floored = np.empty(n_rounds), 0
    for rows, pi_0 in predictions():
        logged = pi_0[np.arange(len(rows)), action[rows]]
        n_floored += int((logged < floor).sum())
        pscore[rows] = np.maximum(logged, floor)

    edges = np.unique(np.quantile(pscore, np.linspace(0, 1, n_bins + 1)[1:-1], method="lower"))
    edges = edges[edges > pscore.min()]  # so that every bin holds a logged item
    n_bins = len(edges) + 1
    expected, variance, n_pairs = np.zeros(n_bins), np.zeros(n_bins), np.zeros(n_bins, dtype=int)
    features = balanced_features(context)
    total, spread = np.zeros((2, features.shape[1], n_actions))
    for rows, pi_0 in predictions():
        f = features[rows]
        is_shown = action[rows, None] == np.arange(n_actions)
        total += f.T @ (is_shown - pi_0)
        spread += np.square(f).T @ (pi_0 * (1 - pi_0))
        pi_0 = np.maximum(pi_0, floor)
        place = np.searchsorted(edges, pi_0, side="right")
        n_pairs += np.bincount(place.ravel(), minlength=n_bins)
        place += n_bins * np.arange(len(rows))[:, None]
        mass = np.bincount(place.ravel(), pi_0.ravel(), n_bins * len(rows)).reshape(-1, n_bins)
        expected += mass.sum(axis=0)
        # a round shows one item: whether that is in a bin is a coin with the bin's mass as chance
        variance += (mass * (1 - mass)).clip(0).sum(axis=0)
    n_shown = np.bincount(np.searchsorted(edges, pscore, side="right"), minlength=n_bins)
    calibration = pd.DataFrame(
        {
            "predicted": expected / n_pairs,
            "observed": n_shown / n_pairs,
            "std_error": np.sqrt(variance) / n_pairs,
            "n_pairs": n_pairs,
            "n_shown": n_shown,
        }
    ).rename_axis("bin")

    weight, times = 1 / pscore, np.bincount(action, minlength=n_actions)
    mean = np.bincount(action, weight, n_actions) / n_rounds
    square = np.bincount(action, np.square(weight), n_actions) / n_rounds
    uniform_weight = weight / n_actions
    return PropensityEstimate(
        pscore=pscore,
        floor=float(floor),
        n_floored=n_floored,
        calibration=calibration,
        calibration_error=float(np.abs(n_shown - expected).sum() / n_rounds),
        item_weights=pd.DataFrame(
            {
                "n_shown": times,
                "mean_weight": mean,
                "std_error": np.sqrt((square - np.square(mean)) / (n_rounds - 1)),
            }
        ).rename_axis("item"),
        balance=balance_table(total, spread, action),
        mean_weight=float(uniform_weight.mean()),
        mean_weight_se=standard_error(uniform_weight),
    )


def _fitted(model: Any, context: np.ndarray, action: np.ndarray) -> Any:
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if model is None:
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    for method in ("fit", "predict_proba"):
        if not callable(getattr(model, method, None)):
            raise TypeError(
                f"model must be a scikit-learn classifier with {method}; "
                f"{type(model).__name__} has none."
            )
    return clone(model).fit(context, action)
