"""What to worry about while a policy learns: rules of thumb, each with its cause and its cure.

And how many items a policy shows, seen as it is asked for something else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..answers import action_probabilities
from ..logs.support import is_off_one
from ..logs.units import Units
from ..protocols import PolicyLike

# A mean weight this far from 1, and by three standard errors, is neither a trifle nor chance.
_FAR_FROM_ONE = 0.2
# Below this share of effective rounds an estimate has a hundred times the variance of a mean.
_TINY_ESS_SHARE = 0.01
# More of the policy than this has moved to items without a single logged round.
_MOVED_MASS = 0.05

Row = Mapping[str, float]


def _is_far_off(row: Row) -> bool:
    mean, error = row["mean_weight"], row["mean_weight_se"]
    return abs(mean - 1) > _FAR_FROM_ONE and is_off_one(mean, error)


def facts(epochs: Sequence[Mapping[str, Row]], units: Units, logged_items: float) -> Any:
    """What the rules are about, by names that their messages use; `units` are of the first log."""
    first, now = epochs[0], epochs[-1]
    log = next(iter(now))
    off = [name for name, row in now.items() if _is_far_off(row)]
    off_first = min((name for name, row in first.items() if _is_far_off(row)), default="")
    return SimpleNamespace(
        first=first,
        now=now,
        log=log,
        before=first[log],
        row=now[log],
        is_trained=len(epochs) > 1,
        off_first=off_first,
        wrong=first.get(off_first),
        gone_off=[] if off_first else off,
        ess=now[log]["ess_share"] * len(units),
        n_units=len(units),
        unit=units.name,
        logged_items=logged_items,
    )


# kind, when it holds, what is said of it
RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    (
        "pscore",
        lambda f: bool(f.off_first),
        "the mean weight is {f.wrong[mean_weight]:.2f} (standard error "
        "{f.wrong[mean_weight_se]:.2f}) on the {f.off_first} rounds before any training. Likely "
        "cause: pscore is wrong, or the logging policy could not show every item. Cure: check how "
        "pscore was logged (feedback.report()), or estimate it "
        "(opl.estimate_propensities).",
    ),
    (
        "support",
        lambda f: "held_out" in f.gone_off,
        "the mean weight is {f.now[held_out][mean_weight]:.2f} (standard error "
        "{f.now[held_out][mean_weight_se]:.2f}) on held-out rounds; it was "
        "{f.first[held_out][mean_weight]:.2f} before training. Likely cause: the policy moved to "
        "items that the logging policy shows too rarely, or with a wrong pscore, and no estimate "
        "on these rounds can be trusted. Cure: clip or smooth the weights (opl.clipped_ips, "
        "opl.exponential_smoothing), stay close to the logging policy (opl.regularised), or stop "
        "earlier (opl.EarlyStopping).",
    ),
    (
        "overfitting",
        lambda f: (
            f.gone_off == ["train"]
            and not f.first["train"]["estimate"] >= f.now["train"]["estimate"]
        ),
        "propensity overfitting: on the rounds it learns from, the estimate rose from "
        "{f.first[train][estimate]:.3g} to {f.now[train][estimate]:.3g} while the mean weight went "
        "to {f.now[train][mean_weight]:.2f} (standard error {f.now[train][mean_weight_se]:.2f}). "
        "Likely cause: the policy seeks or avoids the very items that were logged, whatever is "
        "good about them. Cure: a regression (what OffPolicyLearner does by default), a baseline "
        "or self-normalisation (opl.baseline_ips, opl.snips), a reward model with small weights "
        "(opl.dros), or fewer epochs (opl.EarlyStopping).",
    ),
    (
        "ess",
        lambda f: f.is_trained and f.row["ess_share"] < _TINY_ESS_SHARE,
        "the weights leave {f.ess:,.0f} effective {f.unit}s of {f.n_units:,} ({f.log}). "
        "Likely cause: the policy concentrates on items that were rarely logged. Cure: a longer "
        "log, one made with more exploration, or a policy closer to the logging policy "
        "(opl.regularised, a higher temperature).",
    ),
    (
        "unsupported",
        lambda f: (
            f.is_trained and f.row["unsupported_mass"] > f.before["unsupported_mass"] + _MOVED_MASS
        ),
        "{f.row[unsupported_mass]:.0%} of the policy is on items that were never logged; it was "
        "{f.before[unsupported_mass]:.0%} before training. Likely cause: a reward model that "
        "extrapolates, or learning that flees the logged items. Cure: serve logged items only, or "
        "let the logging policy show the others first.",
    ),
    (
        "collapse",
        lambda f: f.is_trained and f.row["effective_items"] < math.cbrt(f.logged_items),
        "the policy shows {f.row[effective_items]:.1f} effective items, while the log shows "
        "{f.logged_items:.1f}. Likely cause: updates so large that the softmax saturated on the "
        "first items that paid. Cure: a regression (what OffPolicyLearner does by default), small "
        "weights (opl.dros), more entropy (opl.regularised), a baseline (opl.baseline_ips), or a "
        "lower learning rate. If one item is best for nearly everybody, nothing is wrong: compare "
        "with the best constant item.",
    ),
)


def findings(of: Any) -> dict[str, str]:
    """What is worth worrying about, by kind."""
    return {kind: message.format(f=of) for kind, holds, message in RULES if holds(of)}


class Recorder:
    """A policy that adds up what passes through it, so that all is had from one pass."""

    def __init__(self, policy: PolicyLike) -> None:
        self.policy, self.entropy, self.mass = policy, 0.0, np.zeros(1)

    def __call__(
        self, context: np.ndarray, action_context: np.ndarray, eligible: np.ndarray | None = None
    ) -> np.ndarray:
        pi = action_probabilities(self.policy, context, action_context, eligible=eligible)
        self.mass = self.mass + pi.sum(axis=0, dtype=np.float64)
        self.entropy += entropy(pi.astype(np.float64, copy=False))
        return pi


def entropy(p: np.ndarray) -> float:
    """``−Σ p log p`` over all entries, in nats; an entry of 0 adds nothing."""
    return -float((p * np.log(np.where(p > 0, p, 1))).sum())


def effective_number(mass: np.ndarray) -> float:
    """``exp`` of the entropy of masses scaled to sum 1: 1 if one holds all, n if n are equal."""
    return math.exp(entropy(mass / mass.sum()))
