"""How large an A/B test has to be."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from ..objectives.regressions import mean_and_scale

# Chance that a test of the advised size sees a gain that is there.
POWER = 0.8
_MOST_DEVIATIONS = 1e9  # that a gain is smaller than the rewards' deviation, in rounds of a test


def rounds_of_a_test(reward: np.ndarray, gain: float, confidence: float) -> int:
    """Rounds an arm of an A/B test that sees a gain, at a one-sided confidence, four times of five.

    ``2 σ² (z_confidence + z_power)² / gain²``, with the variance σ² of the logged rewards.
    """
    return max(1, math.ceil(2 * deviations(reward, gain, confidence) ** 2))


def deviations(reward: np.ndarray, gain: float, confidence: float) -> float:
    """``σ (z_confidence + z_power) / gain``: its square is the rounds that one mean needs."""
    normal = NormalDist()
    z = normal.inv_cdf(confidence) + normal.inv_cdf(POWER)
    _, deviation = mean_and_scale(reward.astype(np.float64))
    return min(z * deviation / float(gain), _MOST_DEVIATIONS)
