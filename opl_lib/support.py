"""How well a log covers a policy: effective sample size, weights, unsupported items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
    ess : float in [0, n_rounds]
        Effective sample size ``(sum w)^2 / sum w^2`` of the importance weights ``w = pi / pi_0``.
    mean_weight, mean_weight_se : float
        Mean of the weights and its standard error. Its expectation is 1 if every pscore is right
        and every item that the policy shows can be logged.
    max_weight : float
        The largest weight.
    """

    n_rounds: int
    n_actions: int
    n_unsupported: int
    unsupported_mass: float
    ess: float
    mean_weight: float
    mean_weight_se: float
    max_weight: float

    @property
    def findings(self) -> list[str]:
        """What a reader of the report should worry about, in plain words; empty if nothing."""
        found = []
        if is_off_one(self.mean_weight, self.mean_weight_se):
            found.append(
                "the mean weight is not 1: pscore is wrong, or the logging policy cannot show "
                "items that the policy wants"
            )
        if self.ess < 0.05 * self.n_rounds:
            found.append(
                f"the weights leave {self.ess:,.0f} effective rounds of {self.n_rounds:,}: "
                "estimates for this policy rest on few rows"
            )
        if self.unsupported_mass > 0.01:
            found.append(
                f"{self.unsupported_mass:.1%} of the policy is on items the log never shows: "
                "nothing observed says how good they are"
            )
        return found

    def __repr__(self) -> str:
        share = self.ess / self.n_rounds
        lines = [
            f"SupportReport({self.n_rounds:,} rounds, {self.n_actions:,} items)",
            f"  effective sample size  {self.ess:>11,.1f}  ({share:.1%} of the rounds)",
            f"  mean importance weight {self.mean_weight:>11.3f}  "
            f"(should be 1; standard error {self.mean_weight_se:.3f})",
            f"  max importance weight  {self.max_weight:>11,.3f}",
            f"  items never logged     {self.n_unsupported:>11,}  "
            f"(they hold {self.unsupported_mass:.1%} of the policy)",
        ]
        return "\n".join(lines + [f"  ! {finding}" for finding in self.findings])


def weight_diagnostics(weight: np.ndarray) -> dict[str, float]:
    """Summarise importance weights of shape (n_rounds,) in the terms of `SupportReport`."""
    return {
        "ess": effective_sample_size(weight),
        "mean_weight": float(weight.mean()),
        "mean_weight_se": standard_error(weight),
        "max_weight": float(weight.max()),
    }


def is_off_one(mean_weight: float, mean_weight_se: float) -> bool:
    """Whether the mean weight is further from 1 than three of its standard errors."""
    return abs(mean_weight - 1) > max(3 * mean_weight_se, 1e-6)


def effective_sample_size(terms: np.ndarray) -> float:
    """``(Σ t)² / Σ t²`` of terms of shape (n,): as many equal terms would vary as much."""
    squares = np.square(terms).sum()
    return float(terms.sum() ** 2 / squares) if squares > 0 else 0.0


def standard_error(terms: np.ndarray) -> float:
    """Standard error of the mean of independent terms of shape (n,); infinite for a single term."""
    return float(terms.std(ddof=1) / np.sqrt(len(terms))) if len(terms) > 1 else float("inf")
