"""Off-policy evaluation: estimates of the policy value from a log, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import row_chunks
from ..learning.learner import default_reward_model
from ..learning.reward_models import CrossFittedRewardModel, cross_fit
from ..logs.feedback import BanditFeedback, check_feedback, user_numbers
from ..logs.support import effective_sample_size, per_user, standard_error, weight_diagnostics
from ..protocols import action_probabilities, for_items, reward_predictions
from .estimators import FORMS, Estimator, Terms, as_estimator
from .intervals import Interval, shows_its_error

if TYPE_CHECKING:
    import pandas as pd


_ROUNDING = 1e-6  # of weights, whose policy may be in single precision


def evaluate(
    policy: Any,
    feedback: BanditFeedback,
    estimators: Sequence[str | Estimator] = ("ips", "snips", "dr"),
    reward_model: Any = None,
    confidence: float = 0.95,
    interval: str = "normal",
    difference: bool = False,
    reward_range: tuple[float, float] | None = None,
    max_weight: float | None = None,
    random_state: int = 0,
) -> pd.DataFrame:
    """Estimate the value of a policy from a log that it was not learned on.

    Parameters
    ----------
    policy : policy
        An object with ``predict_proba(context, action_context)``, or a function of the same
        arguments, that returns probabilities of shape (n, n_actions).
    feedback : BanditFeedback
        Held-out rounds. On the rounds a policy was trained on, every estimate is too high.
    estimators : sequence of str or Estimator
        Names such as ``"ips"``, or `Estimator` with a limit of its own; all are listed there.
    reward_model : fitted reward model, optional
        The q̂ of ``"dm"`` and the doubly robust estimators, fitted on other rounds, or by
        `cross_fit` on exactly these: a part of the log that was cross-fitted counts as other
        rounds, and is judged by models that saw it. If not given, two towers are cross-fitted on
        `feedback`.
    confidence : float in (0, 1)
        Of the two-sided interval. Either end alone is a one-sided bound of confidence
        ``(1 + confidence) / 2``.
    interval : {"normal", "student_t", "bootstrap", "empirical_bernstein"}
        How the interval is made; see the notes.
    difference : bool
        Estimate ``V(π) − V(π_0)`` in place of ``V(π)``: is the policy better than the one that made
        the log? Every row gives both values, so their common noise cancels, and the interval is
        narrower than two separate ones suggest, most of all for a policy close to ``π_0``.
    reward_range : tuple of two floats, optional
        The smallest and the largest possible reward; for ``"empirical_bernstein"`` only.
    max_weight : float, optional
        The largest possible weight over all contexts and items; for ``"empirical_bernstein"``
        only. It is ``n_actions`` if the log was made uniformly. The largest weight seen is no such
        bound.
    random_state : int
        Fixes the resamples of ``"bootstrap"``.

    Returns
    -------
    pandas.DataFrame
        One row an estimator: ``policy_value`` (or ``difference``), ``std_error``, ``ci_lower``,
        ``ci_upper``, and for the estimators that weight, how far to trust them: ``ess`` (effective
        sample size), ``mean_weight`` (should be 1), ``max_weight``, and ``ess_reward``, the
        effective number of rounds that carry a reward, ``(Σ w r)² / Σ (w r)²``: with fewer than
        about ten the interval is too narrow. DM has no interval. With ``"empirical_bernstein"``
        also ``term_min`` and ``term_max``, the range used.

    Raises
    ------
    ValueError
        For an unknown estimator or interval, a confidence out of range, a policy that returns no
        probabilities, or ``"empirical_bernstein"`` where the terms have no known bound.

    Notes
    -----
    The standard error is that of the mean of per-row terms; for a self-normalised estimate, of the
    linearised ratio. It is NaN for DM, whose error is that of q̂ and not seen in its terms, and
    where no round has any weight. Clipping, switching and shrinking bias an estimate, and no
    interval here knows of that.

    ``"normal"`` and ``"student_t"`` add standard errors to the estimate, and are poor if few rounds
    carry a reward or `ess` is small. ``"bootstrap"`` takes percentiles over 1,000 resamples of the
    rows, each with the same q̂, and cannot see a rare large weight that the log does not hold; if a
    resample holds no weight at all, a self-normalised estimate has no bounds (NaN).
    ``"empirical_bernstein"`` holds for every log length, at the price of width: it needs
    `reward_range` and, for estimators that do not limit their weights, `max_weight`.

    Rows are taken to be independent, or users, if the log has a `user_id`: then errors are those of
    the sums over users, and the bootstrap draws users. A q̂ cross-fitted on the same rows bends the
    independence a little.

    References
    ----------
    The estimators: see `Estimator`. Maurer and Pontil, "Empirical Bernstein bounds and sample
    variance penalization", COLT 2009, Theorem 4; Efron and Tibshirani, "An introduction to the
    bootstrap", 1993, chapter 13; Liang and Zeger, "Longitudinal data analysis using generalized
    linear models", Biometrika 1986 (errors that allow for users who come back).

    Examples
    --------
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=5, dim_context=5, dim_action_context=5, random_state=0)
    >>> log = world.sample(5000, random_state=1)
    >>> policy = opl.epsilon_greedy(0.5)
    >>> ips = opl.evaluate(policy, log, estimators=["ips", "snips"]).loc["ips"]
    >>> bool(ips.ci_lower < world.policy_value(policy) < ips.ci_upper)
    True
    >>> close = opl.evaluate(opl.epsilon_greedy(0.9), log, ["ips"], difference=True).loc["ips"]
    >>> bool(close.std_error < ips.std_error / 2)  # the logging policy here is uniform
    True
    """
    import pandas as pd

    check_feedback(feedback)
    estimators = _estimators(estimators)
    check_confidence(confidence)
    how = Interval(interval, reward_range, max_weight, random_state)
    if any(estimator.needs_reward_model for estimator in estimators) and reward_model is None:
        reward_model = cross_fit(default_reward_model(feedback.reward), feedback)
    terms = policy_terms(policy, feedback, reward_model)
    if difference:
        terms = terms.against_logging()
    rows = [estimate(estimator, terms, how, (1 - confidence) / 2) for estimator in estimators]
    table = pd.DataFrame(rows, index=pd.Index([str(e) for e in estimators], name="estimator"))
    return table.rename(columns={"value": "difference" if difference else "policy_value"})


def estimate(estimator: Estimator, terms: Terms, how: Interval, tail: float) -> dict[str, float]:
    """One row of a table: the estimate, its error and bounds, and the diagnostics."""
    per_row = estimator.per_row(terms)
    lower, upper = how.bounds(estimator, terms, tail)
    shown = shows_its_error(estimator, terms)
    row = {
        "value": float(per_row.mean()),
        "std_error": standard_error(per_user(per_row, terms.user)) if shown else math.nan,
        "ci_lower": lower,
        "ci_upper": upper,
    }
    if how.kind == "empirical_bernstein":
        row["term_min"], row["term_max"] = how.term_range(estimator, terms)
    return row | (diagnostics(terms) if estimator.weighs else {})


def diagnostics(terms: Terms) -> dict[str, float]:
    """How far the weights let an estimate be trusted."""
    shown = weight_diagnostics(terms.weight)
    del shown["mean_weight_se"]
    return {**shown, "ess_reward": effective_sample_size(terms.weight * terms.reward)}


def ess_of_change(terms: Terms) -> float:
    """Effective number of rounds, or users, that show what a policy does more than the log.

    That of ``(w − 1)₊``: where π agrees with ``π_0`` the weight is near 1, and such rounds say
    nothing of the change, however many they are. Infinite for a policy that changes nothing, 0 for
    one of whose change the log shows nothing.
    """
    if (np.abs(terms.weight - 1) <= _ROUNDING).all():
        return math.inf
    more = np.where(terms.weight > 1 + _ROUNDING, terms.weight - 1, 0)
    if terms.user is not None:
        more = np.bincount(terms.user, more)
    return effective_sample_size(more)


def check_confidence(confidence: float) -> None:
    """Raise unless `confidence` is a probability."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1); got {confidence}.")


def _estimators(estimators: Any) -> list[Estimator]:
    known = not isinstance(estimators, str) and all(
        isinstance(estimator, Estimator) or estimator in FORMS for estimator in estimators
    )
    if not known or len(estimators) == 0:
        raise ValueError(
            f"estimators must be a list of {sorted(FORMS)}, or of opl.Estimator with such a name; "
            f"got {estimators!r}."
        )
    return [as_estimator(estimator) for estimator in estimators]


def policy_terms(policy: Any, feedback: BanditFeedback, reward_model: Any = None) -> Terms:
    """Per-row ingredients of all estimators, a few rows at a time."""
    n = feedback.n_rounds
    policy = for_items(policy, feedback.action_context)
    pi_logged = np.empty(n)
    q_logged, q_policy = (np.empty(n), np.empty(n)) if reward_model is not None else (None, None)
    is_own_log = isinstance(reward_model, CrossFittedRewardModel) and reward_model.is_for(feedback)
    for rows in row_chunks(n, feedback.n_actions):
        context, action = feedback.context[rows], feedback.action[rows]
        pi = action_probabilities(policy, context, feedback.action_context)
        place = np.arange(len(pi)), action
        pi_logged[rows] = pi[place]
        if reward_model is not None:
            if is_own_log:
                q_hat = reward_model.predict_logged(np.arange(rows.start, rows.stop))
            else:
                q_hat = reward_predictions(reward_model, context, feedback.action_context)
            q_logged[rows], q_policy[rows] = q_hat[place], (pi * q_hat).sum(axis=1)
    weight = pi_logged / feedback.pscore
    return Terms(feedback.reward, weight, q_logged, q_policy, user=user_numbers(feedback))
