"""Lines of the card of a log: the smallest gains that it can prove."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np

from .report_facts import LOOK, Facts, Line, line, short

CONFIDENCE, POWER = 0.95, 0.8
_PROVABLE = 0.5  # of the mean reward


def lines_of_gains(of: Facts) -> Iterator[Line]:
    """The smallest gain over the logging policy that the log can show, for three policies.

    One-sided with confidence 95 %, and found with a probability of 80 %: ``(z.95 + z.80)`` standard
    errors of the mean of ``(w − 1)(r − r̄)``.
    """
    errors, z = gain_errors(of), NormalDist().inv_cdf(CONFIDENCE) + NormalDist().inv_cdf(POWER)
    rate = abs(of.mean)
    for policy, how in _POLICIES.items():
        gain = z * errors[policy]
        share = gain / rate if rate > 0 else math.nan
        n_needed = of.n_rounds * (10 * share) * (10 * share)
        yield _gain(of, policy, how, gain * of.scale, share, n_needed)
    yield _test_in_public(of, z)


_POLICIES = {
    "alike": "if it shows all that is on offer alike",
    "as logged": "if it shows each visitor one item, every item as often as logged",
    "its own": "if it shows each visitor one item, every item equally often",
}


def _gain(of: Facts, policy: str, how: str, gain: float, share: float, n_needed: float) -> Line:
    text = "none can be shown"
    if gain == 0:
        text = f"0, {how}: it made the log"
    elif np.isfinite(gain):
        text = f"{_amount(of, gain)}, {how}"
    if np.isfinite(share) and share > 0:
        text += f"; of 10% in {short(n_needed)} rounds"
    too_large = policy == "as logged" and (np.isinf(gain) or share > _PROVABLE)
    return line(
        f"smallest gain, {policy}",
        {"gain": gain, "share": share, "per_1000": 1000 * gain, "rounds_for_10_percent": n_needed},
        text,
        f"at most {100 * _PROVABLE:.0f}% of the mean" if policy == "as logged" else "",
        [
            (
                too_large and of.says_no_propensity,
                LOOK,
                "nothing was chosen at random, so that the log compares no two policies.",
                "See the line of propensities.",
            ),
            (
                too_large,
                LOOK,
                "there are few rounds, or few rewards, for so many items: even a much better "
                "policy could not be told from what runs.",
                "A longer log, fewer items to choose from, or a reward that comes more often; or "
                "an A/B test, whose size does not grow with the number of items.",
            ),
        ],
    )


def _amount(of: Facts, gain: float) -> str:
    """A gain in rewards, in clicks of 1,000 rounds and as a share of the mean."""
    mean = abs(of.mean * of.scale)
    text = f"{short(1000 * gain)} clicks per 1,000 rounds" if of.is_clicks else short(gain)
    return f"{text} ({short(100 * gain / mean)}% of the mean)" if mean > 0 else text


def _test_in_public(of: Facts, z: float) -> Line:
    """An A/B test of two halves: each mean has twice the variance of that of all rounds."""
    error, rate = 2 * of.standard_error(of.reward), abs(of.mean)
    n, can = of.n_rounds, rate > 0 and 0 < error < math.inf
    share = z * error / rate if can else math.nan
    n_needed = n * (10 * share) * (10 * share)
    return line(
        "A/B test of a gain of 10%",
        {"rounds": n_needed},
        f"{short(n_needed)} rounds, half of them to each policy",
    )


def gain_errors(of: Facts) -> dict[str, float]:
    """Standard errors of the gain of each policy, in scaled rewards; infinite where nothing tells.

    For n items on offer, and a policy that shows one of them whatever the reward, ``E (w − 1)²`` is
    ``n − 1`` if it shows items as often as the logging policy, and ``Σ_a 1/π_0(a) / n − 1`` if
    equally often. Rounds of a user are as alike as their rewards are.
    """
    n_rounds, square = of.n_rounds, np.square(of.centred)
    if of.says_no_propensity or len(of.units) == 1 or not square.any():
        return dict.fromkeys(_POLICIES, math.inf)
    w, unit = of.weight, max(1.0, float(of.weight.max()))
    alike = of.standard_error((w / unit - 1 / unit) * of.centred) * unit
    if np.ptp(w) == 0:
        alike = 0.0
    of_rows = math.sqrt(square.mean() / n_rounds)
    of_users = max(1.0, of.standard_error(of.reward) / of_rows)
    as_logged = math.sqrt(((of.n_eligible - 1) * square).mean() / n_rounds)
    its_own = of.totals.means["by pscore"] - 1  # of 1/(n π_0²) under π_0: Σ_a 1/π_0(a) / n
    return {
        "alike": alike,
        "as logged": as_logged * of_users,
        "its own": math.sqrt(max(its_own, 0.0)) * of_rows * of_users,
    }
