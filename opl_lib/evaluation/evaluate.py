"""Off-policy evaluation: estimates of the policy value from a log, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from ..checks import check_flag, plain_arithmetic
from ..learning.cross_fitting import cross_fit
from ..learning.regressor import TwoTowerRegressor
from ..logs.feedback import BanditFeedback, check_feedback
from ..logs.probabilities import log_probabilities
from ..protocols import PolicyLike, PredictsReward, reward_function
from .estimators import FORMS, Estimator, as_estimator
from .intervals import Interval
from .terms import Terms, terms_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_DEFAULT = ("ips", "snips", "dr")


@plain_arithmetic
def evaluate(
    policy: PolicyLike | np.ndarray,
    feedback: BanditFeedback,
    estimators: Sequence[str | Estimator] | None = None,
    reward_model: PredictsReward | None = None,
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
        arguments, that returns probabilities of shape (n, n_actions); or an array of what it would
        return for the rounds of this log, (n_rounds, n_actions), or ``obp``'s of one dimension
        more. Where the log says what was eligible, a method or function that has a parameter
        `eligible` is asked among these items, by a boolean mask of that shape; of what others
        return, the share of other items is spread over these in proportion.
    feedback : BanditFeedback
        Held-out rounds. On the rounds a policy was trained on, every estimate is too high.
    estimators : sequence of str or Estimator, optional
        Names such as ``"ips"``, or `Estimator` with a limit or a form of its own; all are listed
        there. If not given, ``"ips"``, ``"snips"`` and ``"dr"``, as far as the interval can bound
        them.
    reward_model : fitted reward model, optional
        The q̂ of ``"dm"`` and the doubly robust estimators, fitted on other rounds, or by
        `cross_fit` on exactly these: a part of the log that was cross-fitted counts as other
        rounds, and is judged by models that saw it. If not given, two towers are cross-fitted on
        `feedback`.
    confidence : float in (0, 1)
        Of the two-sided interval. Either end alone is a one-sided bound of confidence
        ``(1 + confidence) / 2``.
    interval : {"normal", "student_t", "bootstrap", "empirical_bernstein", "betting"}
        How the interval is made; see the notes.
    difference : bool
        Estimate ``V(π) − V(π_0)`` in place of ``V(π)``: is the policy better than the one that made
        the log? Every row gives both values, so their common noise cancels, and the interval is
        narrower than two separate ones suggest, most of all for a policy close to ``π_0``.
    reward_range : tuple of two floats, optional
        The smallest and the largest possible reward; for ``"empirical_bernstein"`` and
        ``"betting"`` only.
    max_weight : float, optional
        The largest possible weight over all contexts and items; for the same. It is ``n_actions``
        if the log was made uniformly, or the most that were eligible. The largest weight seen is no
        such bound.
    random_state : int
        Fixes the resamples of ``"bootstrap"``, and the order in which ``"betting"`` sees the rows.

    Returns
    -------
    pandas.DataFrame
        One row an estimator: ``policy_value`` (or ``difference``), ``std_error``, ``ci_lower``,
        ``ci_upper``, and for the estimators that weight, how far to trust them: ``ess`` (effective
        sample size), ``mean_weight`` (should be 1), ``max_weight``, and ``ess_reward``, the
        effective number of rounds (of users, if the log knows them) that carry a reward,
        ``(Σ w r)² / Σ (w r)²``: with fewer than about ten the interval is too narrow. DM has no
        interval. With ``"empirical_bernstein"`` and ``"betting"`` also ``term_min`` and
        ``term_max``, the range used.

    Raises
    ------
    ValueError
        For an unknown estimator or interval, a confidence out of range, a policy that returns no
        probabilities, or an interval that needs a bound of the terms where none is known.

    Notes
    -----
    The standard error is that of the mean of per-row terms; for an estimate that is a function of
    several means, such as a ratio, of its linearised terms. It is NaN for DM, whose error is that
    of q̂ and not seen in its terms, and where no round has any weight. Clipping, switching and
    shrinking bias an estimate, and no interval here knows of that.

    ``"normal"`` and ``"student_t"`` add standard errors to the estimate, and are poor if few rounds
    carry a reward or `ess` is small. ``"bootstrap"`` takes percentiles over 1,000 resamples of the
    rows, each with the same q̂, and cannot see a rare large weight that the log does not hold; if a
    resample holds no weight at all, a self-normalised estimate has no bounds (NaN).
    ``"empirical_bernstein"`` holds for every log length, at the price of width: it needs
    `reward_range` and, for estimators that do not limit their weights, `max_weight`. ``"betting"``
    holds so, too, for rows that come from one distribution, and is tighter, often hardly wider than
    ``"normal"``. Without `max_weight` it still has the bound that large weights cannot break: the
    lower one of IPS, for rewards that are not negative; the other is infinite.

    Rows are taken to be independent, or users, if the log has a `user_id`: then errors are those of
    the sums over users, and the bootstrap draws users. A q̂ cross-fitted on the same rows bends the
    independence a little.

    References
    ----------
    The estimators: see `Estimator`. Maurer and Pontil, "Empirical Bernstein bounds and sample
    variance penalization", COLT 2009, Theorem 4; Waudby-Smith and Ramdas, "Estimating means of
    bounded random variables by betting", JRSS-B 2024; Ryu et al., "Improved offline contextual
    bandits with second-order bounds: betting and freezing", COLT 2025 (the same of weighted
    rewards, of which only the lower end is known); Efron and Tibshirani, "An introduction to the
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
    check_flag("difference", difference)
    how = Interval(interval, reward_range, max_weight, random_state)
    asked = _estimators(_default(how) if estimators is None else estimators)
    check_confidence(confidence)
    tail = (1 - float(confidence)) / 2
    how.check(tail, feedback.units)
    for estimator in asked:
        check_bounded(estimator, how, feedback.n_rounds)
    probabilities = log_probabilities(policy, feedback)
    if reward_model is not None:
        reward_function(reward_model)
    if not any(estimator.needs_reward_model for estimator in asked):
        reward_model = None
    elif reward_model is None:
        reward_model = cross_fit(TwoTowerRegressor(), feedback)
    terms = terms_of(probabilities, feedback, reward_model)
    if difference:
        terms = terms.against_logging()
    rows = [estimate(estimator, terms, how, tail) for estimator in asked]
    table = pd.DataFrame(rows, index=pd.Index([str(e) for e in asked], name="estimator"))
    return table.rename(columns={"value": "difference" if difference else "policy_value"})


def estimate(estimator: Estimator, terms: Terms, how: Interval, tail: float) -> dict[str, float]:
    """One row of a table: the estimate, its error and bounds, and the diagnostics."""
    sample = estimator.sample(terms, how.reward_range, how.max_weight)
    lower, upper = how.bounds(sample, tail)
    row = {
        "value": sample.value,
        "std_error": sample.standard_error,
        "ci_lower": lower,
        "ci_upper": upper,
    }
    if sample.range is not None:
        row["term_min"], row["term_max"] = sample.range
    return row | (terms.diagnostics if estimator.weighs else {})


def check_confidence(confidence: float) -> None:
    """Raise unless `confidence` is a probability."""
    is_number = isinstance(confidence, Real) and not isinstance(confidence, bool)
    if not (is_number and 0 < confidence < 1):
        raise ValueError(f"confidence must be in (0, 1); got {confidence!r}.")


def check_bounded(estimator: Estimator, how: Interval, n_rounds: int) -> None:
    """Raise, before any fit, if the interval needs a range of terms that none is known of."""
    if how.reward_range is not None:
        estimator.term_range(n_rounds, how.reward_range, how.max_weight)


def _default(how: Interval) -> tuple[str, ...]:
    """Ratios have no range; without a largest weight, DR has none either."""
    if how.reward_range is None:
        return _DEFAULT
    bounded = ("ips",) if how.max_weight == math.inf else _DEFAULT
    return tuple(name for name in bounded if FORMS[name].estimate is None)


def _estimators(estimators: Any) -> list[Estimator]:
    several = isinstance(estimators, Iterable) and not isinstance(estimators, str | Mapping)
    given = list(estimators) if several else []
    known = [
        isinstance(each, Estimator) or (isinstance(each, str) and each in FORMS) for each in given
    ]
    if not given or not all(known):
        raise ValueError(
            f"estimators must be a list of {sorted(FORMS)}, or of opl.Estimator; "
            f"got {estimators!r}."
        )
    return [as_estimator(estimator) for estimator in given]
