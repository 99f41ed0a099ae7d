"""Early stopping: learn for as long as a held-out part of the log says that it helps."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from ..checks import check_number, warn_user
from ..evaluation.estimators import Estimator, Terms, as_estimator
from ..evaluation.evaluate import check_confidence, ess_of_change, policy_terms
from ..evaluation.intervals import Interval
from ..learning.learner import OffPolicyLearner, default_reward_model
from ..logs.feedback import BanditFeedback, check_feedback
from ..logs.support import is_off_one, standard_error
from .select import MIN_ESS, difference_bound
from .watch import PolicyWarning


class _NoPatienceLeft(Exception):
    """Ends a fit from within a callback."""


@dataclass(eq=False)
class EarlyStopping:
    """A learner that keeps the weights of its best epoch, judged on held-out rounds.

    It has a learner's ``fit`` and ``policy_``, so it can be a candidate of `select`, which then
    judges it on rounds that chose neither the weights nor the epoch.

    Parameters
    ----------
    learner : OffPolicyLearner
        What to fit; copied, not changed. Its `epochs` is the most that are trained.
    held_out : float in (0, 1), or BanditFeedback
        Share of the rounds of the log (of its users, if it has `user_id`) that only judges; or a
        log of its own, and then the whole of the other is learned from.
    estimator : str or Estimator
        What the policy of each epoch is judged by.
    confidence : float in (0, 1)
        Of the one-sided lower bound of ``V(π) − V(π_0)`` that is maximised over the epochs; at 0.5
        the bound is the estimate itself. A bound, since learning can drive up the estimate and its
        error together.
    min_ess : float, at least 0
        An epoch whose policy has fewer effective rounds of change, the `ess_change` of `select`, on
        the held-out rounds is never the best one.
    patience : int, optional
        Stop after so many epochs in a row without a new best one. If not given, all epochs are
        trained, and only the best is kept.
    reward_model : reward model, optional
        An unfitted q̂, if the estimator needs one; fitted on the rounds that are learned from. If
        not given, two towers.
    random_state : int
        Fixes which rounds are held out.

    Attributes
    ----------
    policy_ : TwoTowerPolicy
        The policy of the best epoch.
    best_epoch_ : int
        Its number; 0 is the policy before any training.
    learner_ : OffPolicyLearner
        The fitted learner, with the weights of the last epoch.
    history_ : dict of str to list of float
        That of `learner_`, and under ``"held_out"`` the bound before the first epoch and after
        each; minus infinity where the mean weight is not 1 or `ess_change` is below `min_ess`,
        and the bound means nothing.

    Raises
    ------
    ValueError
        At construction, if a setting is out of range.
    NonFiniteLossError
        In `fit`, as by `OffPolicyLearner`. `policy_` then is the best of the epochs before, and
        `history_` what was recorded so far; so it is after an interrupt.

    Warns
    -----
    PolicyWarning
        If no epoch has a bound that means something, so that `policy_` is the untrained one.

    Examples
    --------
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=5, dim_context=5, dim_action_context=5, random_state=0)
    >>> learner = opl.OffPolicyLearner("ips", epochs=30, learning_rate=1e-2, hidden=(20,))
    >>> stopped = opl.EarlyStopping(learner, patience=5).fit(world.sample(3000, random_state=1))
    >>> held_out = stopped.history_["held_out"]
    >>> held_out[stopped.best_epoch_] == max(held_out)
    True
    >>> len(held_out) - 1 == min(30, stopped.best_epoch_ + 5)
    True
    """

    learner: OffPolicyLearner
    held_out: float | BanditFeedback = 0.2
    estimator: str | Estimator = "snips"
    confidence: float = 0.95
    min_ess: float = MIN_ESS
    patience: int | None = None
    reward_model: Any = None
    random_state: int = 0

    def __post_init__(self) -> None:
        if not callable(getattr(self.learner, "fit", None)):
            raise TypeError(
                "learner must be an OffPolicyLearner, not yet fitted; "
                f"got {type(self.learner).__name__}."
            )
        is_log = isinstance(self.held_out, BanditFeedback)
        if not is_log and not (isinstance(self.held_out, float) and 0 < self.held_out < 1):
            raise ValueError(
                "held_out must be a share of the rounds in (0, 1), or a log; "
                f"got {self.held_out!r}."
            )
        if as_estimator(self.estimator).name in ("avg", "dm"):
            raise ValueError(
                f"estimator {self.estimator!r} has no error to bound; use 'snips' or 'dr', say."
            )
        check_confidence(self.confidence)
        check_number("min_ess", self.min_ess, Real, least=0)
        if self.patience is not None:
            check_number("patience", self.patience, Integral, least=1)
        check_number("random_state", self.random_state, Integral, least=0)

    def fit(
        self,
        feedback: BanditFeedback,
        callbacks: Mapping[str, Callable[[Any], float]] | None = None,
    ) -> EarlyStopping:
        """Learn from a log, and keep the policy of the best epoch.

        Parameters
        ----------
        feedback : BanditFeedback
        callbacks : mapping of str to callable, optional
            As in `OffPolicyLearner.fit`; ``"held_out"`` is taken.

        Returns
        -------
        EarlyStopping
            This object, fitted.
        """
        check_feedback(feedback)
        callbacks = dict(callbacks or {})
        if "held_out" in callbacks:
            raise ValueError("'held_out' is what history_ calls the bound; rename the callback.")
        to_fit, to_judge = self._parts(feedback)
        judge = self._judge(to_fit, to_judge)
        bounds: list[float] = []
        reasons: list[str] = []  # why the last of them means nothing

        def watch(policy: Any) -> float:
            bound, reason = judge(policy)
            bounds.append(bound)
            reasons[:] = [reason]
            if len(bounds) == 1 or bounds[-1] > bounds[self.best_epoch_]:
                self.best_epoch_, self.policy_ = len(bounds) - 1, copy.deepcopy(policy)
            elif self.patience is not None and len(bounds) > self.best_epoch_ + self.patience:
                raise _NoPatienceLeft
            return bounds[-1]

        self.learner_ = copy.deepcopy(self.learner)
        try:
            # last, so that the other callbacks see the epoch at which it stops
            self.learner_.fit(to_fit, {**callbacks, "held_out": watch})
        except _NoPatienceLeft:
            pass
        finally:
            if bounds:
                self.history_ = {**getattr(self.learner_, "history_", {}), "held_out": bounds}
        if bounds and max(bounds) == -math.inf:
            warn_user(
                "policy_ is the untrained policy: on the held-out rounds no epoch has a bound that "
                f"means something. After epoch {len(bounds) - 1}, {reasons[0]}.",
                PolicyWarning,
            )
        return self

    def _judge(
        self, to_fit: BanditFeedback, to_judge: BanditFeedback
    ) -> Callable[[Any], tuple[float, str]]:
        """A function from a policy to its bound, and to why that means nothing, if it does."""
        estimator, how, q_hat = as_estimator(self.estimator), Interval("student_t"), None
        if estimator.needs_reward_model:
            q_hat = copy.deepcopy(self.reward_model)
            if q_hat is None:
                progress = getattr(self.learner, "progress", None)
                q_hat = default_reward_model(to_fit.reward).set_params(progress=progress)
            q_hat = q_hat.fit(to_fit)

        def judge(policy: Any) -> tuple[float, str]:
            terms = policy_terms(policy, to_judge, q_hat)
            tail = 1 - self.confidence
            bound, eligible = difference_bound(estimator, terms, how, tail, self.min_ess)
            if eligible:
                return bound, ""
            return -math.inf, _why_not_eligible(terms, self.min_ess)

        return judge

    def _parts(self, feedback: BanditFeedback) -> tuple[BanditFeedback, BanditFeedback]:
        if isinstance(self.held_out, BanditFeedback):
            return feedback, self.held_out
        if feedback.user_id is not None:
            return feedback.split_by_group(self.held_out, self.random_state)
        return feedback.split(self.held_out, self.random_state)


def _why_not_eligible(terms: Terms, min_ess: float) -> str:
    """What makes a bound mean nothing, with the cure."""
    mean, error = float(terms.weight.mean()), standard_error(terms.weight)
    if is_off_one(mean, error):
        return (
            f"the mean weight is {mean:.3g} (standard error {error:.2g}) and should be 1: a wrong "
            "pscore, or a policy on items that the log cannot show. Check "
            "feedback.support_report(), estimate the propensities (opl.estimate_propensities), or "
            "stay close to the logging policy (opl.regularised)"
        )
    ess = ess_of_change(terms)
    if ess < min_ess:
        return (
            f"the effective rounds of the change are {ess:.3g}, below min_ess={min_ess:g}, of "
            f"{len(terms.weight):,} held-out rounds. Hold out more, lower min_ess, or stay close "
            "to the logging policy (opl.regularised)"
        )
    return "the bound is not a number. Hold out more rounds, or take estimator='ips'"
