"""What a policy does on a log: the numbers of each round that every estimator is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..arrays import check_rows, row_chunks
from ..learning.cross_fitting import CrossFittedRewardModel
from ..logs.feedback import BanditFeedback
from ..logs.support import weight_diagnostics
from ..logs.units import Units
from ..protocols import (
    PolicyLike,
    PredictsReward,
    action_probabilities,
    for_items,
    reward_predictions,
)

_ROUNDING = 1e-6  # of weights, whose policy may be in single precision
_EACH_ROW = Units(0)


@dataclass(frozen=True, eq=False)
class Terms:
    """What an estimator may use of a policy on a log; each array is of shape (n_rounds,).

    Attributes
    ----------
    reward : array
    weight : array
        Importance weights ``π(a_i|x_i) / π_0(a_i|x_i)``.
    q_logged : array or None
        ``q̂(x_i, a_i)``; None if no reward model was asked.
    q_policy : array or None
        ``Σ_a π(a|x_i) q̂(x_i, a)``.
    difference : bool
        Whether to estimate ``V(π) − V(π_0)``: then every row's own reward, whose mean estimates
        ``V(π_0)``, is subtracted.
    units : Units
        Which rows are independent of which; if not given, all are.
    """

    reward: np.ndarray
    weight: np.ndarray
    q_logged: np.ndarray = None  # type: ignore[assignment]
    q_policy: np.ndarray = None  # type: ignore[assignment]
    difference: bool = False
    units: Units = _EACH_ROW

    def __post_init__(self) -> None:
        if self.units is _EACH_ROW:
            object.__setattr__(self, "units", Units(len(self.reward)))

    def against_logging(self) -> Terms:
        """The same, for ``V(π) − V(π_0)``."""
        return replace(self, difference=True)

    def check_within(
        self, reward_range: tuple[float, float], max_weight: float | None, with_model: bool
    ) -> None:
        """Raise unless all is in the range that ``"empirical_bernstein"`` was told."""
        checks = [("reward", self.reward, reward_range, "reward_range", "Correct reward_range.")]
        if with_model:
            cure = "Use a model that stays in it, such as a classifier, or clip its predictions."
            for name in ("q_logged", "q_policy"):
                what = f"the reward model's prediction ({name})"
                checks.append((what, getattr(self, name), reward_range, "reward_range", cure))
        if max_weight is not None:
            cure = "Correct max_weight, or the log's pscore."
            checks.append(("weight", self.weight, (0.0, max_weight), "max_weight", cure))
        for what, column, (low, high), setting, cure in checks:
            slack = 1e-6 * max(1.0, abs(low), abs(high))  # single precision is no violation
            good = (column >= low - slack) & (column <= high + slack)
            check_rows(what, column, good, f"in [{low:g}, {high:g}], as {setting} says", cure)

    @property
    def ess_change(self) -> float:
        """Effective number of rounds, or users, that show what a policy does more than the log.

        That of ``(w − 1)₊``: where π agrees with ``π_0`` the weight is near 1, and such rounds say
        nothing of the change, however many they are. Infinite for a policy that changes nothing, 0
        for one of whose change the log shows nothing.
        """
        if (np.abs(self.weight - 1) <= _ROUNDING).all():
            return math.inf
        more = np.where(self.weight > 1 + _ROUNDING, self.weight - 1, 0)
        return self.units.effective_size(more)

    @property
    def diagnostics(self) -> dict[str, float]:
        """How far the weights let an estimate be trusted; see `evaluate`."""
        shown = weight_diagnostics(self.weight, self.units)
        del shown["mean_weight_se"]
        return shown | {"ess_reward": self.units.effective_size(self.weight * self.reward)}


def policy_terms(
    policy: PolicyLike, feedback: BanditFeedback, reward_model: PredictsReward | None = None
) -> Terms:
    """Ask a policy, and a reward model if there is one, about a log, a few rows at a time."""
    n = feedback.n_rounds
    policy = for_items(policy, feedback.action_context)
    pi_logged, q_logged, q_policy = np.empty((3, n))
    own = reward_model if isinstance(reward_model, CrossFittedRewardModel) else None
    if own is not None and not own.is_for(feedback):
        own = None
    for rows in row_chunks(n, feedback.n_actions):
        context, action = feedback.context[rows], feedback.action[rows]
        pi = action_probabilities(policy, context, feedback.action_context)
        place = np.arange(len(pi)), action
        pi_logged[rows] = pi[place]
        if reward_model is None:
            continue
        if own is not None:
            q_hat = own.predict_rows(np.arange(rows.start, rows.stop))
        else:
            q_hat = reward_predictions(reward_model, context, feedback.action_context)
        q_logged[rows], q_policy[rows] = q_hat[place], (pi * q_hat).sum(axis=1)
    terms = Terms(feedback.reward, pi_logged / feedback.pscore, units=feedback.units)
    return terms if reward_model is None else replace(terms, q_logged=q_logged, q_policy=q_policy)
