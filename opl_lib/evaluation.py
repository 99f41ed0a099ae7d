"""Off-policy evaluation: estimates of the policy value from per-row terms.

Each estimator is a function to terms whose mean is the estimate, so that the standard error and
the interval are computed in one place, whatever the estimator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import action_probabilities, for_items, reward_predictions, row_chunks
from .feedback import BanditFeedback, check_feedback
from .learner import default_reward_model
from .reward_models import CrossFittedRewardModel, cross_fit
from .support import effective_sample_size, standard_error, weight_diagnostics

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Terms:
    """What the estimators need of a policy on a log, each of shape (n_rounds,).

    Attributes
    ----------
    reward : array
    weight : array
        Importance weights ``π(a_i|x_i) / π_0(a_i|x_i)``.
    q_logged : array or None
        ``q̂(x_i, a_i)``.
    q_policy : array or None
        ``Σ_a π(a|x_i) q̂(x_i, a)``.
    """

    reward: np.ndarray
    weight: np.ndarray
    q_logged: np.ndarray | None = None
    q_policy: np.ndarray | None = None


def _dm(terms: Terms) -> np.ndarray:
    return terms.q_policy


def _ips(terms: Terms) -> np.ndarray:
    return terms.weight * terms.reward


def _snips(terms: Terms) -> np.ndarray:
    # Linearised around the ratio, so that the terms carry its delta-method standard error.
    mean_weight = terms.weight.mean()
    if mean_weight == 0:
        return np.full_like(terms.weight, np.nan)
    value = (terms.weight * terms.reward).mean() / mean_weight
    return value + terms.weight * (terms.reward - value) / mean_weight


def _dr(terms: Terms) -> np.ndarray:
    return terms.q_policy + terms.weight * (terms.reward - terms.q_logged)


ESTIMATORS: dict[str, Callable[[Terms], np.ndarray]] = {
    "dm": _dm,
    "ips": _ips,
    "snips": _snips,
    "dr": _dr,
}
_NEED_REWARD_MODEL = {"dm", "dr"}


def evaluate(
    policy: Any,
    feedback: BanditFeedback,
    estimators: Sequence[str] = ("ips", "snips", "dr"),
    reward_model: Any = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Estimate the value of a policy from a log that it was not learned on.

    Parameters
    ----------
    policy : policy
        An object with ``predict_proba(context, action_context)``, or a function of the same
        arguments, that returns probabilities of shape (n, n_actions).
    feedback : BanditFeedback
        Held-out rounds. On the rounds a policy was trained on, every estimate is too high.
    estimators : sequence of {"dm", "ips", "snips", "dr"}
        Direct method, inverse propensity scoring, its self-normalised form, doubly robust.
    reward_model : fitted reward model, optional
        The q̂ of ``"dm"`` and ``"dr"``, fitted on other rounds, or by `cross_fit` on exactly these:
        a part of the log that was cross-fitted counts as other rounds, and is judged by models that
        saw it. If not given, two towers are cross-fitted on `feedback`.
    confidence : float in (0, 1)
        Of the two-sided interval, from the normal approximation.

    Returns
    -------
    pandas.DataFrame
        One row an estimator: ``policy_value``, ``std_error``, ``ci_lower``, ``ci_upper``, and for
        the estimators that weight, how far to trust them: ``ess`` (effective sample size),
        ``mean_weight`` (should be 1), ``max_weight``, and ``ess_reward``, the effective number of
        rounds that carry a reward, ``(Σ w r)² / Σ (w r)²``: with fewer than about ten the interval
        is too narrow. DM has no interval.

    Raises
    ------
    ValueError
        For an unknown estimator, a confidence out of range, or a policy that returns no
        probabilities.

    Notes
    -----
    The standard error is that of the mean of per-row terms; for SNIPS, of the linearised ratio. It
    is NaN for DM, whose error is that of q̂ and not seen in its terms, and where no round has any
    weight. The normal approximation is poor if few rounds carry a reward or `ess` is small.

    References
    ----------
    Dudík, Langford and Li, ICML 2011 (DM, IPS, DR); Swaminathan and Joachims, "The self-normalized
    estimator for counterfactual learning", NeurIPS 2015 (SNIPS).

    Examples
    --------
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=5, dim_context=5, dim_action_context=5, random_state=0)
    >>> log = world.sample(5000, random_state=1)
    >>> policy = opl.epsilon_greedy(0.5)
    >>> ips = opl.evaluate(policy, log, estimators=["ips", "snips"]).loc["ips"]
    >>> bool(ips.ci_lower < world.policy_value(policy) < ips.ci_upper)
    True
    """
    import pandas as pd

    check_feedback(feedback)
    unknown = [name for name in estimators if name not in ESTIMATORS]
    if unknown or isinstance(estimators, str) or not estimators:
        raise ValueError(f"estimators must be a list of {sorted(ESTIMATORS)}; got {estimators!r}.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1); got {confidence}.")
    if _NEED_REWARD_MODEL.intersection(estimators) and reward_model is None:
        reward_model = cross_fit(default_reward_model(feedback.reward), feedback)
    terms = policy_terms(policy, feedback, reward_model)
    diagnostics = weight_diagnostics(terms.weight)
    del diagnostics["mean_weight_se"]
    diagnostics["ess_reward"] = effective_sample_size(terms.weight * terms.reward)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rows = []
    for name in estimators:
        per_row = ESTIMATORS[name](terms)
        value, error = float(per_row.mean()), standard_error(per_row)
        if name == "dm" or diagnostics["ess"] == 0:
            error = float("nan")
        shown = {} if name == "dm" else diagnostics
        rows.append(
            {
                "estimator": name,
                "policy_value": value,
                "std_error": error,
                "ci_lower": value - z * error,
                "ci_upper": value + z * error,
                **shown,
            }
        )
    return pd.DataFrame(rows).set_index("estimator")


def policy_terms(policy: Any, feedback: BanditFeedback, reward_model: Any = None) -> Terms:
    """Per-row ingredients of all estimators, a few rows at a time."""
    n = feedback.n_rounds
    policy = for_items(policy, feedback.action_context)
    pi_logged = np.empty(n)
    q_logged, q_policy = (np.empty(n), np.empty(n)) if reward_model is not None else (None, None)
    is_own_log = isinstance(reward_model, CrossFittedRewardModel) and _same_rows(
        reward_model.feedback, feedback
    )
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
    return Terms(feedback.reward, pi_logged / feedback.pscore, q_logged, q_policy)


def _same_rows(one: BanditFeedback, other: BanditFeedback) -> bool:
    names = ("action", "reward", "pscore", "context")
    return one is other or all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in names
    )
