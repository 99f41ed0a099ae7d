"""Propensities of a log that did not record them, estimated and checked."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np

from ..arrays import MAX_ELEMENTS, check_rows, feature_matrix, integers
from ..checks import check_number, check_seed, plain_arithmetic
from .balance import LEAST_PSCORE
from .calibration import calibration_table, item_weights, predicted_balance
from .classifier import Offered, cross_fit_classifier
from .eligible import as_eligible
from .identity import labels
from .known_columns import name_features
from .propensity_estimate import PropensityEstimate
from .shown import Shown
from .units import Units
from .values import check_on_offer
from .without_propensities import LogWithoutPropensities, classifier_for, shown_in


@plain_arithmetic
def estimate_propensities(
    context: np.ndarray | LogWithoutPropensities,
    action: np.ndarray | None = None,
    n_actions: int | None = None,
    classifier: Any = None,
    n_folds: int = 5,
    floor: float | None = None,
    n_bins: int = 10,
    random_state: int = 0,
    user_id: Any = None,
    eligible: Any = None,
) -> PropensityEstimate:
    """Estimate how likely each shown item was, for a log that did not record it.

    A classifier learns which item is shown in which context; each round is predicted by a model
    that did not see it. This is only as good as the contexts: if the logging policy looked at
    something that is not among them, and that also moves rewards, no model can repair it, and
    nothing below will show it. Record propensities where you can.

    Parameters
    ----------
    context : array of shape (n_rounds, dim_context), or LogWithoutPropensities
        All that the logging policy could see, such as the slot and the hour too. A log says what
        `action`, `n_actions`, `user_id` and `eligible` are, which are then left out.
    action : integer array of shape (n_rounds,), in [0, n_actions), optional
        The items shown.
    n_actions : int, at least 2, optional
        Number of items that could be shown.
    classifier : scikit-learn classifier with predict_proba, optional
        It is cloned, never changed. Standardised contexts into a multinomial logistic regression if
        not given; its time grows with rounds x features x items, and it needs many rounds an item.
        With few, ``sklearn.dummy.DummyClassifier(strategy="prior")`` estimates popularity, which is
        right only if the logging policy ignored the context. A large catalogue that is shown
        personally is beyond both.
    n_folds : int, from 2 to the number of rounds, or of users
    floor : float in [1e-100, 1 / n_actions], optional
        Every estimated probability is raised to at least this, so no weight is above
        ``1 / floor``; it also serves items that a fold's model never saw. ``0.01 / n_actions`` if
        not given. A floor that binds biases weights towards 0, as clipping does.
    n_bins : int, at least 1
        Number of bins of the calibration table.
    random_state : int
        Fixes the folds.
    user_id : array of shape (n_rounds,), optional
        Users, sessions or queries that come back: folds keep the rounds of one together, and
        standard errors allow for their likeness.
    eligible : Eligible or boolean array of shape (n_rounds, n_actions), optional
        What could be shown in each round: probabilities are among these, and so are all checks.

    Returns
    -------
    PropensityEstimate
        Pass its `pscore` to `BanditFeedback`, after reading its `findings`.

    Raises
    ------
    ValueError
        If a shape, a range or a value is wrong, or what `classifier` predicts is no probability.
    TypeError
        If `classifier` is no scikit-learn classifier with ``predict_proba``.

    Notes
    -----
    Passing the checks is no proof. Calibration averages over all contexts with the same estimate,
    and the mean weight over all contexts: a popularity model of a personalised logging policy
    passes both, and fails the check of balance, which asks feature by feature. What fails is
    informative. If the least likely bins are shown more often than estimated and the most likely
    ones less, the model is overfitted: regularise it. If the bins in the middle are off, its form
    is wrong: a logging policy with jumps, such as epsilon-greedy, is not a logistic regression. The
    standard errors are those of the draws, given the estimates; of users, whose draws may depend on
    each other, those of what the users did.

    A classifier cannot tell an item that is unpopular from one that is seldom on offer. So, with
    `eligible`, an item's probabilities are multiplied by a factor and scaled to sum to 1 among what
    was on offer, such that each item is expected as often as it was shown. This is exact for a
    logging policy that ignored the context, and close for others where many items were on offer.

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
    given: tuple[Any, ...] = context, action, n_actions, user_id, eligible
    columns = None
    if isinstance(context, LogWithoutPropensities):
        columns = context.columns["columns"]
        classifier = classifier_for(context) if classifier is None else classifier
        given = shown_in(*given)
    context, action, n_actions, units, offered = _checked(n_folds, *given)
    how = classifier, n_folds, floor, n_bins, random_state
    estimate = estimate_among(offered, context, action, n_actions, units, *how)
    return replace(estimate, balance=name_features(estimate.balance, columns))


@plain_arithmetic
def estimate_among(
    offered: Offered | None,
    context: np.ndarray,
    action: np.ndarray,
    n_actions: int,
    units: Units,
    classifier: Any,
    n_folds: int,
    floor: float | None,
    n_bins: int,
    random_state: int,
) -> PropensityEstimate:
    """The estimate of `estimate_propensities`, from a log that is checked."""
    if n_folds > len(units):
        raise ValueError(f"n_folds is {n_folds}, but the log has only {len(units)} {units.name}s.")
    check_number("n_bins", n_bins, Integral, least=1)
    check_seed(random_state)
    floor = 0.01 / n_actions if floor is None else floor
    check_number("floor", floor, least=LEAST_PSCORE)
    floor = float(floor)
    if floor > 1 / n_actions:
        raise ValueError(f"floor must be at most 1 / n_actions = {1 / n_actions:.4g}; got {floor}.")
    predictions = cross_fit_classifier(
        classifier, context, action, n_actions, units, n_folds, random_state, offered
    )
    estimate, eligible = np.empty(len(action)), predictions.eligible
    for rows, pi_0 in predictions:
        estimate[rows] = pi_0[np.arange(len(rows)), action[rows]]
    pscore, shown = np.maximum(estimate, floor), Shown(action, n_actions, units, eligible)
    calibration, calibration_error = calibration_table(predictions, pscore, floor, n_bins)
    weight = 1 / pscore / (n_actions if eligible is None else eligible.n_eligible)
    return PropensityEstimate(
        pscore=pscore,
        floor=floor,
        n_floored=int((estimate < floor).sum()),
        calibration=calibration,
        calibration_error=calibration_error,
        item_weights=item_weights(action, 1 / pscore, shown),
        balance=predicted_balance(predictions, shown),
        mean_weight=float(weight.mean()),
        mean_weight_se=units.standard_error(weight),
        max_weight=float(weight.max()),
    )


def _checked(
    n_folds: int, context: Any, action: Any, n_actions: Any, user_id: Any, eligible: Any
) -> tuple[np.ndarray, np.ndarray, int, Units, Offered | None]:
    context, action = feature_matrix("context", context), integers("action", action)
    check_number("n_actions", n_actions, Integral, least=2, most=MAX_ELEMENTS)
    check_number("n_folds", n_folds, Integral, least=2)
    user_id = None if user_id is None else labels("user_id", user_id)
    for name, column in (("action", action), ("user_id", user_id)):
        if column is not None and len(column) != len(context):
            raise ValueError(f"{name} has {len(column)} rows but context has {len(context)}.")
    check_rows(
        "action",
        action,
        (action >= 0) & (action < n_actions),
        f"in [0, {n_actions - 1}]",
        "Renumber the items, or raise n_actions.",
    )
    offered = None
    if eligible is not None:
        eligible = as_eligible(eligible, len(action), int(n_actions))
        check_on_offer(action, eligible)
        offered = Offered.of(eligible)
    return context, action, int(n_actions), Units.of(user_id, len(context)), offered
