"""What to say where a rule chose all that was shown, so that the log judges no other policy."""

from __future__ import annotations

import math

import numpy as np

from ..evaluation.terms import Terms
from ..logs.feedback import BanditFeedback
from ..logs.support import DETERMINISTIC
from ..objectives.regressions import mean_and_scale
from .tests_in_public import POWER, deviations, rounds_of_a_test

EXPLORED = 0.05  # one round in twenty
GAIN = 0.1  # of the mean reward: that of no model


def reasons_of_a_rule(
    best: str, gain: float, terms: Terms, feedback: BanditFeedback, confidence: float
) -> list[str]:
    """Why a candidate is not judged, and what it would take, for a gain that no model promised."""
    said = [
        f"no candidate can be judged: {DETERMINISTIC}",
        f"the reward model promises {best!r} a gain of {gain:.3g}; nothing in the log can check "
        "that, and it says nothing of how large a test has to be",
    ]
    reward = feedback.reward.astype(np.float64)
    mean, deviation = mean_and_scale(reward)
    if mean == 0 or deviation == 0:
        return said
    size = GAIN * abs(mean)
    n_rounds = rounds_of_exploration(terms.weight, n_on_offer(feedback), reward, size, confidence)
    n_arm = rounds_of_a_test(reward, size, confidence)
    said.append(
        f"a gain of {GAIN:.0%} of the mean reward would be seen with probability {POWER:.0%} in "
        f"about {n_rounds:,} rounds of which {EXPLORED:.0%} show any item on offer alike, with its "
        f"probability logged, or in an A/B test of {n_arm:,} rounds an arm. The rounds of "
        "exploration judge every candidate, and those of later; the test judges one"
    )
    return said


def n_on_offer(feedback: BanditFeedback) -> np.ndarray:
    """How many items could be shown in each round, (n_rounds,)."""
    if feedback.eligible is None:
        return np.full(feedback.n_rounds, feedback.n_actions)
    return feedback.eligible.n_eligible


def rounds_of_exploration(
    same: np.ndarray, n_items: np.ndarray, reward: np.ndarray, gain: float, confidence: float
) -> int:
    """Rounds that prove a gain four times of five, if a share of them is drawn uniformly.

    ``σ² E[(w − 1)²] (z_confidence + z_power)² / gain²``. With the rule's item shown with
    probability ``1 − ε + ε/m`` and each other one of m with ``ε/m``, a policy that shows the rule's
    item with probability `same` has ``E[w²]`` of at most
    ``same² / (1 − ε + ε/m) + (1 − same)² m/ε``, which it has if it shows one item.
    """
    each = EXPLORED / n_items
    square = same**2 / (1 - EXPLORED + each) + (1 - same) ** 2 / each
    away = math.sqrt(max(float(square.mean()) - 1, 0.0))
    return max(1, math.ceil((away * deviations(reward, gain, confidence)) ** 2))
