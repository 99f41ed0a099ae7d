"""Early stopping: learn for as long as a held-out part of the log says that it helps."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from ..checks import check_number, check_seed, warn_user
from ..evaluation.estimators import Estimator, as_estimator
from ..evaluation.intervals import Interval
from ..evaluation.terms import policy_terms
from ..learning.fit import StopFit, check_callback, keep
from ..learning.learner import OffPolicyLearner
from ..learning.regressor import TwoTowerRegressor
from ..learning.surroundings import own_modes
from ..logs.feedback import BanditFeedback, check_feedback
from ..protocols import Learner, PredictsReward, RewardModel, check_reward_model, takes
from .apart import check_alike, warn_of_shared_rounds
from .judge import MIN_ESS, MIN_REWARDS, Judge
from .watch import PolicyWarning

_LEARNED = ("policy_", "best_epoch_", "learner_", "history_")


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
    min_ess, min_rewards : float, at least 0
        An epoch is never the best one whose policy has fewer effective rounds of change on the
        held-out rounds, the `ess_change` of `select`, or fewer of them with a reward, its
        `ess_reward_change`.
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
        The policy of the best epoch. A fit forgets that of the fit before as it begins.
    best_epoch_ : int
        Its number; 0 is the policy before any training.
    learner_ : OffPolicyLearner
        The fitted learner, with the weights of the last epoch.
    history_ : dict of str to list of float
        That of `learner_`, and under ``"held_out"`` the bound before the first epoch and after
        each; minus infinity where the mean weight is not 1, `ess_change` is below `min_ess` or
        `ess_reward_change` below `min_rewards`, and the bound means nothing.

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
    UserWarning
        If most rounds of a log to hold out are in that to learn from, too.

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
    min_rewards: float = MIN_REWARDS
    patience: int | None = None
    reward_model: RewardModel | None = None
    random_state: int = 0

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise if a setting is out of range: when it is made, and in `fit` once more."""
        learner, what = self.learner, "learner must be an OffPolicyLearner, not yet fitted; got "
        if isinstance(learner, type):
            raise TypeError(f"{what}the class {learner.__name__}: make an object of it first.")
        if not isinstance(learner, Learner) or not takes(learner.fit, 1, "callback"):
            raise TypeError(f"{what}{type(learner).__name__}.")
        share: Any = self.held_out
        is_number = isinstance(share, Real) and not isinstance(share, bool)
        is_share = is_number and 0 < share < 1
        if not is_share and not isinstance(share, BanditFeedback):
            raise ValueError(
                "held_out must be a share of the rounds in (0, 1), or a log; "
                f"got {self.held_out!r}."
            )
        self._judge()
        if self.patience is not None:
            check_number("patience", self.patience, Integral, least=1)
        check_seed(self.random_state)
        if self.reward_model is not None:
            check_reward_model(self.reward_model)

    def fit(
        self,
        feedback: BanditFeedback,
        callback: Callable[[Any], Mapping[str, float] | None] | None = None,
    ) -> EarlyStopping:
        """Learn from a log, and keep the policy of the best epoch.

        Parameters
        ----------
        feedback : BanditFeedback
        callback : callable, optional
            As in `OffPolicyLearner.fit`; ``"held_out"`` is taken.

        Returns
        -------
        EarlyStopping
            This object, fitted.
        """
        check_feedback(feedback)
        for name in _LEARNED:
            self.__dict__.pop(name, None)
        check_callback(callback)
        self.check()
        if isinstance(self.held_out, BanditFeedback):
            logs = {"feedback": feedback, "held_out": self.held_out}
            check_alike(logs)
            warn_of_shared_rounds(logs)
        to_fit, to_judge = self._parts(feedback)
        judge, q_hat = self._judge(), self._reward_model(to_fit)
        judge.check(1, to_judge.units)
        seen: dict[str, list[float]] = {}
        bounds: list[float] = []
        best = 0
        reason = ""  # why the last of them means nothing

        def look(policy: Any) -> dict[str, float]:
            nonlocal best, reason
            numbers, stopped = _of_callback(callback, policy)
            row, reason = judge.row(
                policy_terms(policy, to_judge, q_hat), is_deterministic=to_judge.is_deterministic
            )
            bounds.append(-math.inf if reason else row["lower_bound"])
            numbers["held_out"] = bounds[-1]
            keep(seen, numbers, n_before=len(bounds) - 1)
            if len(bounds) == 1 or bounds[-1] > bounds[best]:
                self.best_epoch_ = best = len(bounds) - 1
                self.policy_ = _copy(policy)
            elif self.patience is not None and len(bounds) > best + self.patience:
                stopped = True
            if stopped:
                raise StopFit
            return numbers

        self.learner_ = _copy(self.learner)
        try:
            self.learner_.fit(to_fit, callback=look)
        finally:
            if bounds:
                self.history_ = {**vars(self.learner_).get("history_", {}), **seen}
        if bounds and max(bounds) == -math.inf:
            warn_user(
                "policy_ is the untrained policy: on the held-out rounds no epoch has a bound that "
                f"means something. After epoch {len(bounds) - 1}, {reason}.",
                PolicyWarning,
            )
        return self

    def _judge(self) -> Judge:
        estimator = as_estimator(self.estimator)
        how = Interval("student_t")
        return Judge(estimator, self.confidence, self.min_ess, self.min_rewards, how)

    def _reward_model(self, to_fit: BanditFeedback) -> PredictsReward | None:
        """What the estimator needs, fitted."""
        if not as_estimator(self.estimator).needs_reward_model:
            return None
        if self.reward_model is not None:
            model = _copy(self.reward_model)
            model.fit(to_fit)
            return model
        is_ours = isinstance(self.learner, OffPolicyLearner)
        return TwoTowerRegressor(progress=self.learner.progress if is_ours else None).fit(to_fit)

    def _parts(self, feedback: BanditFeedback) -> tuple[BanditFeedback, BanditFeedback]:
        if isinstance(self.held_out, BanditFeedback):
            return feedback, self.held_out
        return feedback.split(float(self.held_out), self.random_state)


_copy = own_modes()(copy.deepcopy)


def _of_callback(callback: Any, policy: Any) -> tuple[dict[str, float], bool]:
    """What the user's callback says of a policy, and whether it stops the fit."""
    if callback is None:
        return {}, False
    try:
        found = callback(policy)
    except StopFit:
        return {}, True
    if not isinstance(found, Mapping | None):
        raise TypeError(
            "a callback must return None or a dictionary of numbers by their names; "
            f"got {type(found).__name__}."
        )
    if found and "held_out" in found:
        raise ValueError("'held_out' is what history_ calls the bound; rename the number.")
    return dict(found or {}), False
