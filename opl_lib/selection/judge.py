"""How a policy is judged: by a lower bound of its gain over the logging policy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import check_number
from ..evaluation.estimators import Estimator
from ..evaluation.evaluate import check_bounded, check_confidence, estimate
from ..evaluation.forms import Sample
from ..evaluation.intervals import Interval
from ..evaluation.terms import Terms
from ..logs.feedback import BanditFeedback
from ..logs.support import DETERMINISTIC, is_off_one
from ..logs.units import Units

if TYPE_CHECKING:
    import pandas as pd

LOGGING = "logging"
MIN_ESS, MIN_REWARDS = 10.0, 5.0
_AVG = Estimator("avg")


@dataclass(frozen=True)
class Judge:
    """What policies are judged by; see `select`. Checked when it is made."""

    estimator: Estimator
    confidence: float
    min_ess: float
    min_rewards: float
    interval: Interval

    def __post_init__(self) -> None:
        if not self.estimator.weighs:
            raise ValueError(
                f"estimator {str(self.estimator)!r} has no error to bound; use 'snips' or 'dr', "
                "say."
            )
        check_confidence(self.confidence)
        check_number("min_ess", self.min_ess, least=0)
        check_number("min_rewards", self.min_rewards, least=0)
        object.__setattr__(self, "confidence", float(self.confidence))

    def check(self, n_candidates: int, units: Units) -> None:
        """Raise unless so many can be judged on rounds like these: to be asked before any fit."""
        self.interval.check((1 - self.confidence) / n_candidates, units)
        check_bounded(self.estimator, self.interval, units.n_rows)

    def row(
        self, terms: Terms, n_candidates: int = 1, is_deterministic: bool = False
    ) -> tuple[dict[str, Any], str]:
        """A policy in numbers, one of so many, and why its bound means nothing; empty if it does.

        The bounds of all candidates hold together with probability `confidence`. A deterministic
        log judges only a policy that changes nothing.
        """
        row = self._row(terms, n_candidates)
        reason = self._why_not(terms, row["lower_bound"])
        if is_deterministic and not math.isinf(terms.ess_change):
            reason = DETERMINISTIC
        return {**row, "trusted": not reason}, reason

    def logging_row(self, feedback: BanditFeedback, n_candidates: int = 1) -> dict[str, Any]:
        """The logging policy among the candidates: it gains nothing, surely."""
        return {**self._row(_logging_terms(feedback), n_candidates), "trusted": True}

    def gain(self, terms: Terms) -> Sample:
        """The estimate of what a policy gains over the logging policy."""
        how = self.interval
        of = self._estimator(terms)
        return of.sample(terms.against_logging(), how.reward_range, how.max_weight)

    def report(self, terms: Terms | None, feedback: BanditFeedback) -> pd.DataFrame:
        """What a policy of these terms, or the logging policy, and its gain are worth."""
        import pandas as pd

        terms = _logging_terms(feedback) if terms is None else terms
        estimator = self._estimator(terms)
        tail = (1 - self.confidence) / 2
        rows = {
            "policy": estimate(estimator, terms, self.interval, tail),
            LOGGING: estimate(_AVG, terms, self.interval, tail),
            "difference": estimate(estimator, terms.against_logging(), self.interval, tail),
        }
        columns = ["value", "std_error", "ci_lower", "ci_upper"]
        return pd.DataFrame.from_dict(rows, orient="index")[columns]

    def _estimator(self, terms: Terms) -> Estimator:
        """Of a policy that changes nothing it is the mean: it gains 0, not what rounding leaves."""
        return _AVG if math.isinf(terms.ess_change) else self.estimator

    def _row(self, terms: Terms, n_candidates: int) -> dict[str, Any]:
        how, tail = self.interval, (1 - self.confidence) / n_candidates
        gain = self.gain(terms)
        return {
            "policy_value": self._estimator(terms).sample(terms).value,
            "difference": gain.value,
            "std_error": gain.standard_error,
            "lower_bound": how.bounds(gain, tail)[0],
            "ess_change": terms.ess_change,
            "ess_reward_change": terms.ess_reward_change,
            **terms.diagnostics,
        }

    @staticmethod
    def is_off(terms: Terms) -> bool:
        """Whether the mean weight is not 1, which refutes the weights, or the estimate."""
        return is_off_one(float(terms.weight.mean()), terms.units.standard_error(terms.weight))

    def _why_not(self, terms: Terms, bound: float) -> str:
        units = terms.units
        if self.is_off(terms):
            weight, error = terms.weight.mean(), units.standard_error(terms.weight)
            return (
                f"the mean weight is {weight:.3g} (standard error {error:.2g}) and should be 1: a "
                "wrong pscore, or a policy on items that the log cannot show. Check "
                "feedback.report(), estimate the propensities "
                "(opl.estimate_propensities), or stay close to the logging policy "
                "(opl.regularised)"
            )
        if terms.ess_change < self.min_ess:
            return (
                f"the effective {units.name}s of the change are {terms.ess_change:.3g}, below "
                f"min_ess={self.min_ess:g}, of {len(units):,} that judge. Let more judge, lower "
                "min_ess, or stay close to the logging policy (opl.regularised)"
            )
        if terms.ess_reward_change < self.min_rewards:
            return (
                f"the effective {units.name}s of the change that carry a reward are "
                f"{terms.ess_reward_change:.3g}, below min_rewards={self.min_rewards:g}: a longer "
                "log, or one with more exploration, would have more"
            )
        if math.isnan(bound):
            return "the bound is not a number. Let more rounds judge, or take estimator='ips'"
        return ""


def _logging_terms(feedback: BanditFeedback) -> Terms:
    """The logging policy weighs each of its own rows by 1."""
    return Terms(feedback.reward, np.ones(feedback.n_rounds), units=feedback.units)
