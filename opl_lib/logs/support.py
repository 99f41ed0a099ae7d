"""How well a log covers a policy, and whether its propensities can be right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..checks import row_chunks
from ..protocols import PolicyLike, action_probabilities, for_items
from .rounds import Rounds
from .units import Units


@dataclass(frozen=True, repr=False)
class SupportReport:
    """How well a log covers a policy; see `BanditFeedback.support_report`.

    Attributes
    ----------
    n_rounds, n_actions : int
        Size of the log and of the catalogue.
    n_unsupported : int
        Items that the log never shows.
    unsupported_mass : float in [0, 1]
        The share of the policy's probability on those items (deficient support, Sachdeva et al.
        2020).
    ess : float in [0, n_units]
        Effective sample size ``(sum w)^2 / sum w^2`` of the importance weights ``w = pi / pi_0``,
        summed over the rounds of a user where users come back.
    mean_weight, mean_weight_se : float
        Mean of the weights and its standard error. Its expectation is 1 if every pscore is right
        and every item that the policy shows can be logged.
    max_weight : float
        The largest weight.
    n_units : int
        Rounds, or users where some come back: what `ess` is a share of.
    unit : {"round", "user"}
    """

    n_rounds: int
    n_actions: int
    n_unsupported: int
    unsupported_mass: float
    ess: float
    mean_weight: float
    mean_weight_se: float
    max_weight: float
    n_units: int
    unit: str

    @property
    def findings(self) -> list[str]:
        """What a reader of the report should worry about, in plain words; empty if nothing."""
        found = []
        if is_off_one(self.mean_weight, self.mean_weight_se):
            found.append(
                "the mean weight is not 1: pscore is wrong, or the logging policy cannot show "
                "items that the policy wants"
            )
        if self.ess < 0.05 * self.n_units:
            found.append(
                f"the weights leave {self.ess:,.0f} effective {self.unit}s of {self.n_units:,}: "
                "estimates for this policy rest on few rows"
            )
        if self.unsupported_mass > 0.01:
            found.append(
                f"{self.unsupported_mass:.1%} of the policy is on items the log never shows: "
                "nothing observed says how good they are"
            )
        return found

    def __repr__(self) -> str:
        share = self.ess / self.n_units
        lines = [
            f"SupportReport({self.n_rounds:,} rounds, {self.n_actions:,} items)",
            f"  effective sample size  {self.ess:>11,.1f}  ({share:.1%} of the {self.unit}s)",
            f"  mean importance weight {self.mean_weight:>11.3f}  "
            f"(should be 1; standard error {self.mean_weight_se:.3f})",
            f"  max importance weight  {self.max_weight:>11,.3f}",
            f"  items never logged     {self.n_unsupported:>11,}  "
            f"(they hold {self.unsupported_mass:.1%} of the policy)",
        ]
        return "\n".join(lines + [f"  ! {finding}" for finding in self.findings])


def support_report(log: Rounds, policy: PolicyLike | None) -> SupportReport:
    """The report of `BanditFeedback.support_report`."""
    policy = _uniform if policy is None else for_items(policy, log.action_context)
    never = np.bincount(log.action, minlength=log.n_actions) == 0
    pi_logged, unsupported = np.empty(log.n_rounds), np.empty(log.n_rounds)
    for rows in row_chunks(log.n_rounds, log.n_actions):
        pi = action_probabilities(policy, log.context[rows], log.action_context)
        pi_logged[rows] = pi[np.arange(len(pi)), log.action[rows]]
        unsupported[rows] = pi[:, never].sum(axis=1)
    return SupportReport(
        n_rounds=log.n_rounds,
        n_actions=log.n_actions,
        n_unsupported=int(never.sum()),
        unsupported_mass=float(unsupported.mean()),
        n_units=len(log.units),
        unit=log.units.name,
        **weight_diagnostics(pi_logged / log.pscore, log.units),
    )


def weight_diagnostics(weight: np.ndarray, units: Units) -> dict[str, float]:
    """Summarise importance weights of shape (n_rounds,) in the terms of `SupportReport`."""
    return {
        "ess": units.effective_size(weight),
        "mean_weight": float(weight.mean()),
        "mean_weight_se": units.standard_error(weight),
        "max_weight": float(weight.max()),
    }


def is_off_one(mean_weight: float, mean_weight_se: float) -> bool:
    """Whether the mean weight is further from 1 than three standard errors, and than rounding."""
    return abs(mean_weight - 1) > max(3 * mean_weight_se, 0.01)


def _uniform(context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
    return np.full((len(context), len(action_context)), 1 / len(action_context))
