"""What a policy does on a log: the numbers of each round that every estimator is made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..answers import reward_predictions
from ..arrays import check_rows, numbers, read_only, row_chunks
from ..checks import check_flag
from ..learning.cross_fitting import CrossFittedRewardModel
from ..logs.feedback import BanditFeedback
from ..logs.probabilities import log_probabilities
from ..logs.support import weight_diagnostics
from ..logs.units import Units
from ..protocols import PolicyLike, PredictsReward

_ROUNDING = 1e-6  # of weights, whose policy may be in single precision
_EACH_ROW = Units(0)


@dataclass(frozen=True, eq=False)
class Terms:
    """What an estimator may use of a policy on a log; each array is of shape (n_rounds,).

    They are copied, in double precision, and cannot be written to: all estimators share them.

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
        for name in ("reward", "weight", "q_logged", "q_policy"):
            column = getattr(self, name)
            if column is not None or name in ("reward", "weight"):
                column = numbers(name, column, ndim=1).astype(np.float64, copy=False)
                object.__setattr__(self, name, read_only(column))
                if len(column) != len(self.reward):
                    raise ValueError(
                        f"{name} has {len(column)} rows but reward has {len(self.reward)}: every "
                        "column needs one entry per round."
                    )
        if len(self.reward) == 0:
            raise ValueError("reward has no rows: there is nothing to estimate from.")
        cure = "It is a ratio of two probabilities."
        check_rows("weight", self.weight, self.weight >= 0, "at least 0", cure)
        check_flag("difference", self.difference)
        if self.units is _EACH_ROW:
            object.__setattr__(self, "units", Units(len(self.reward)))
        if not isinstance(self.units, Units) or self.units.n_rows != len(self.reward):
            raise ValueError(f"units must be those of the {len(self.reward)} rows: log.units.")

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
            slack = 1e-6 * max(abs(low), abs(high), high - low)  # single precision is no violation
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
    def ess_reward_change(self) -> float:
        """The same of rounds, or users, with a reward: that of ``(w − 1)₊ |r|``.

        Ten effective rounds hold five clicks at a click rate of one half, and none at 1 %.
        """
        if math.isinf(self.ess_change):
            return math.inf
        return self.units.effective_size(np.maximum(self.weight - 1, 0) * np.abs(self.reward))

    @property
    def diagnostics(self) -> dict[str, float]:
        """How far the weights let an estimate be trusted; see `evaluate`."""
        shown = weight_diagnostics(self.weight, self.units)
        del shown["mean_weight_se"]
        return shown | {"ess_reward": self.units.effective_size(self.weight * self.reward)}


def policy_terms(
    policy: PolicyLike | np.ndarray,
    feedback: BanditFeedback,
    reward_model: PredictsReward | None = None,
) -> Terms:
    """Ask a policy, and a reward model if there is one, about a log, a few rows at a time."""
    return terms_of(log_probabilities(policy, feedback), feedback, reward_model)


def terms_of(
    probabilities: Callable[[slice], np.ndarray],
    feedback: BanditFeedback,
    reward_model: PredictsReward | None = None,
) -> Terms:
    """The terms of a policy whose probabilities, (n, n_actions), are had by rows of the log."""
    n = feedback.n_rounds
    pi_logged, q_logged, q_policy = np.empty((3, n))
    own = reward_model if isinstance(reward_model, CrossFittedRewardModel) else None
    if own is not None and not own.is_for(feedback):
        own = None
    for rows in row_chunks(n, feedback.n_actions):
        pi = probabilities(rows)
        place = np.arange(len(pi)), feedback.action[rows]
        pi_logged[rows] = pi[place]
        if reward_model is None:
            continue
        if own is not None:
            q_hat = own.predict_rows(np.arange(rows.start, rows.stop))
        else:
            q_hat = reward_predictions(
                reward_model, feedback.context[rows], feedback.action_context
            )
        with np.errstate(over="ignore", invalid="ignore"):  # terms are finite, or an error
            q_logged[rows], q_policy[rows] = q_hat[place], (pi * q_hat).sum(axis=1)
    terms = Terms(feedback.reward, pi_logged / feedback.pscore, units=feedback.units)
    return terms if reward_model is None else replace(terms, q_logged=q_logged, q_policy=q_policy)
