"""What `select` found: the candidate that is most surely better, and what that rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..evaluation.estimators import Estimator
from ..protocols import PolicyLike
from .judge import LOGGING

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = ["difference", "lower_bound", "mean_weight", "ess_change", "ess_reward_change"]


@dataclass(frozen=True, repr=False, eq=False)
class Selection:
    """What `select` found.

    Attributes
    ----------
    best : str
        Name of the chosen candidate; ``"logging"`` if none is surely better than the policy that
        made the log.
    policies : dict of str to policy
        Every candidate's policy. The logging policy is not among them: a log does not hold it.
    table : pandas.DataFrame
        All candidates on the selection part, best first: ``policy_value``; ``difference``, the
        estimate of ``V(π) − V(π_0)``, its ``std_error`` and ``lower_bound``; ``ess_change``, the
        effective number of rounds (of users, if the log knows them) that show what the policy does
        more often than the log, that of ``(w − 1)₊``; ``ess_reward_change``, that of those with a
        reward; the diagnostics of `evaluate`; and ``trusted``, which is False where the bound means
        nothing. The estimates of the first rows are too high, as those of the best of many are.
    report : pandas.DataFrame
        The chosen one on the report part, which had no say in the choice: rows ``policy``,
        ``logging`` and ``difference``, with ``value``, ``std_error``, ``ci_lower``, ``ci_upper``.
    reasons : dict of str to str
        Why each candidate that is not trusted is not, with the cure: its mean weight is not 1, or
        its `ess_change` is below `min_ess`, or its `ess_reward_change` below `min_rewards`.
    estimator : Estimator
        What both parts were judged by.
    confidence : float
        Of all lower bounds together, and of the intervals in `report`.
    min_ess, min_rewards : float
        The `ess_change` and `ess_reward_change` below which no bound was believed.
    n_rounds : tuple of three int
        Rounds of the three parts: fit, selection, report.
    """

    best: str
    policies: dict[str, PolicyLike]
    table: pd.DataFrame
    report: pd.DataFrame
    reasons: dict[str, str]
    estimator: Estimator
    confidence: float
    min_ess: float
    min_rewards: float
    n_rounds: tuple[int, int, int]

    @property
    def policy(self) -> PolicyLike:
        """The chosen policy; an error if the logging policy was chosen."""
        if self.best == LOGGING:
            raise ValueError(
                "the logging policy was chosen: no candidate is surely better than what runs now. "
                "Keep that, or collect a longer log; the candidates are in .policies."
            )
        return self.policies[self.best]

    def __repr__(self) -> str:
        fit, selection, report = (f"{n:,}" for n in self.n_rounds)
        shown = self.table[_SHOWN]
        lines = [
            f"Selection(best={self.best!r}, {self.confidence:.0%} confidence, by {self.estimator})",
            f"fitted on {fit} rounds, selected on {selection}:",
            shown.to_string(float_format="{:,.3f}".format),
        ]
        for name, reason in self.reasons.items():
            lines.append(f"  ! {name} is not trusted: {reason}")
        if self.best == LOGGING:
            lines.append("no candidate is surely better than the logging policy: keep it")
        lines.append(f"reported on {report} other rounds:")
        lines.append(self.report.to_string(float_format="{:,.3f}".format))
        return "\n".join(lines)
