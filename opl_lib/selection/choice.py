"""Which of many candidates, and whether to serve it: from their terms alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.forms import Sample
from ..evaluation.terms import Terms
from ..logs.feedback import BanditFeedback
from ..logs.support import DETERMINISTIC, is_off_one, uniform_logged
from ..logs.units import Units
from .joint import critical_value
from .judge import Judge
from .of_a_rule import GAIN, reasons_of_a_rule
from .tests_in_public import POWER, rounds_of_a_test

if TYPE_CHECKING:
    import pandas as pd

SERVE, TEST, KEEP = "serve", "test", "keep"
# Another candidate must beat the preferred one by so many standard errors.
_CLEARLY = 2.0
# How much larger errors of what was learned are than those of independent rounds. What chance puts
# into a fold's rewards is in its estimate, and in the policies that all others judge. Where a log
# has no signal, and policies follow chance in proportion, each pair of folds has its chance twice,
# and errors are sqrt(2) as large; greedy policies follow it less, and a signal leaves it less room.
SHARED_CHANCE = 1.15


@dataclass(frozen=True)
class Choice:
    """The chosen candidate, the decision, and what they rest on; see `Learned`."""

    best: str
    decision: str
    reasons: list[str]
    table: pd.DataFrame
    report: pd.DataFrame
    not_trusted: dict[str, str]


def choose(
    judge: Judge,
    terms: Mapping[str, Terms],
    feedback: BanditFeedback,
    widen: Mapping[str, float],
) -> Choice:
    """Choose among candidates, the first of which is preferred; errors are widened by name."""
    import pandas as pd

    rows, why, gains = {}, {}, {}
    for name, each in terms.items():
        row, reason = judge.row(each, is_deterministic=feedback.is_deterministic)
        row["std_error"] *= widen[name]
        rows[name] = row
        why[name] = reason
        gains[name] = judge.gain(each)
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("candidate")
    trusted = [name for name in table.index if table.trusted[name]]
    bounds = _joint_bounds({name: gains[name] for name in trusted}, 1 - judge.confidence, widen)
    table["lower_bound"] = pd.Series(bounds, dtype=float).reindex(table.index)
    surely = [name for name in trusted if bounds[name] > 0]
    best = _preferred({name: gains[name] for name in surely or trusted or gains})
    hoped = _preferred(gains)
    by_a_rule = feedback.is_deterministic
    decision = SERVE if surely else TEST if table.difference[best] > 0 and not by_a_rule else KEEP
    report = _widened(judge.report(terms[best], feedback), widen[best])
    if by_a_rule and why[hoped]:
        promised = float(table.difference[hoped])
        reasons = reasons_of_a_rule(hoped, promised, terms[hoped], feedback, judge.confidence)
    else:
        refuted = judge.is_off(terms[best])
        reasons = _reasons(decision, best, table, why, report, judge.confidence, feedback, refuted)
        reasons += [DETERMINISTIC] * by_a_rule
    if decision == SERVE and hoped != best:
        reasons.append(
            f"{hoped!r} would be preferred (estimated gain {table.difference[hoped]:.3g}), but no "
            "bound of it is above 0: test it against this one"
        )
    if decision == SERVE and (doubt := _doubt(feedback)):
        reasons.append(doubt)
    order = [best, *(name for name in table.index if name != best)]
    reasons_not = {name: reason for name, reason in why.items() if reason}
    return Choice(best, decision, reasons, table.loc[order], report, reasons_not)


def _doubt(feedback: BanditFeedback) -> str:
    """What the mean weight of showing any item alike says against a log; empty if nothing."""
    weight = uniform_logged(feedback) / feedback.pscore.astype(np.float64)
    mean, error = float(weight.mean()), feedback.units.standard_error(weight)
    if not is_off_one(mean, error):
        return ""
    return (
        f"for showing any item alike the mean weight is {mean:.3g} (standard error {error:.2g}), "
        "and should be 1: unless the logging policy never shows some items, something is wrong "
        "with the log. Look at log.report() before you serve"
    )


def _widened(report: pd.DataFrame, factor: float) -> pd.DataFrame:
    """A report with wider intervals for what was learned."""
    report, learned = report.copy(), ["policy", "difference"]
    report.loc[learned, "std_error"] *= factor
    for end in ("ci_lower", "ci_upper"):
        value = report.loc[learned, "value"]
        report.loc[learned, end] = value + factor * (report.loc[learned, end] - value)
    return report


def _joint_bounds(
    gains: Mapping[str, Sample], tail: float, widen: Mapping[str, float]
) -> dict[str, float]:
    """Lower bounds that all hold together with probability ``1 − tail``."""
    if not gains or min(len(gain.terms) for gain in gains.values()) < 2:
        return dict.fromkeys(gains, -math.inf)
    away = critical_value(np.stack([gain.terms for gain in gains.values()]), tail)
    return {
        name: gain.value - away * widen[name] * gain.standard_error for name, gain in gains.items()
    }


def _preferred(gains: Mapping[str, Sample]) -> str:
    """The first candidate, unless others are clearly better: then the best of these."""
    first, *others = gains
    best, most = first, 0.0
    for name in others:
        apart = gains[name].terms - gains[first].terms
        more = gains[name].value - gains[first].value
        if more > most and more > _CLEARLY * Units(len(apart)).standard_error(apart):
            best, most = name, more
    return best


def _reasons(
    decision: str,
    best: str,
    table: pd.DataFrame,
    why: Mapping[str, str],
    report: pd.DataFrame,
    confidence: float,
    feedback: BanditFeedback,
    refuted: bool,
) -> list[str]:
    """The decision in words; an estimate is refuted where the weights do not average 1."""
    gain, logging = report.loc["difference"], report.value["logging"]
    share = f", {gain.value / abs(logging):+.0%} of the logging policy's" if logging else ""
    said = [f"its estimated gain is {gain.value:.3g} (standard error {gain.std_error:.2g}){share}"]
    bound = table.lower_bound[best]
    if decision == SERVE:
        said.append(
            f"with {confidence:.0%} confidence the gain is at least {bound:.2g}; the bounds of all "
            f"{int(table.trusted.sum())} candidates that have one hold together"
        )
        return said
    if decision == KEEP:
        said.append(
            f"{best!r} is not expected to be better than what runs now, and no other candidate "
            "that can be judged is clearly better than it"
        )
    elif why[best]:
        said.append(f"no bound can be believed: {why[best]}")
    else:
        said.append(
            f"with {confidence:.0%} confidence no more can be said than that the gain is above "
            f"{bound:.2g}: this log cannot tell it from none"
        )
    if decision == TEST:
        size = GAIN * abs(logging) if refuted else gain.value
        n_arm = rounds_of_a_test(feedback.reward, size or gain.value, confidence)
        of_size = f"{GAIN:.0%} of the mean reward" if refuted else "this size"
        said.append(
            f"an A/B test of {n_arm:,} rounds an arm would see a gain of {of_size} with "
            f"probability {POWER:.0%}" + "; the estimate is no guide to that" * refuted
        )
    return said
