"""Mean and spread of the rewards of a log, in memory that does not grow with it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..logs.feedback import BanditFeedback


class Moments(NamedTuple):
    """What a fit needs to know of all rewards: one number each, from passes over the column."""

    mean: float
    scale: float
    root_mean_square: float
    are_clicks: bool


def reward_moments(log: BanditFeedback) -> Moments:
    """Two passes over the rewards of a log, in memory that does not grow with it."""
    size, clicks = 0.0, True
    for reward in log.chunks("reward"):
        size = max(size, float(np.abs(reward).max()))
        clicks = clicks and bool(np.isin(reward, (0, 1)).all())
    n, mean, squares, unit = 0, 0.0, 0.0, size or 1.0
    for reward in log.chunks("reward"):
        part = reward.astype(np.float64) / unit
        away, m = float(part.mean()) - mean, len(part)
        squares += float(np.square(part - part.mean()).sum()) + away * away * n * m / (n + m)
        mean, n = mean + away * m / (n + m), n + m
    spread = math.sqrt(squares / n)
    root = unit * math.sqrt(squares / n + mean * mean)
    scale = unit * spread
    return Moments(unit * mean, scale if scale > 1e-12 * abs(unit * mean) else 0.0, root, clicks)
