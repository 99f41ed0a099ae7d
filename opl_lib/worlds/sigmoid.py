"""From logits to probabilities of a click, and how far to shift them for a click rate."""

from __future__ import annotations

import numpy as np

_WIDTH = 8.0  # in standard deviations; a normal variable is farther out once in 10^15
_LEAST_NODES = 8  # in a standard deviation
_MOST_NODES = 1_000


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """``1 / (1 + exp(-logit))``, of any logit."""
    return 1 / (1 + np.exp(-np.clip(logit, -500, 500)))


def shift_to(click_rate: float, intercept: np.ndarray, slope: np.ndarray) -> float:
    """What to add to every logit ``slope[:, a]·x + intercept[a]`` for this mean of the sigmoid.

    The mean is over items and over standard normal contexts, which make an item's logit a normal
    variable: an integral of one dimension, by the trapezoidal rule, and no sample.

    Parameters
    ----------
    click_rate : float in (0, 1)
    intercept : array of shape (n_actions,)
    slope : array of shape (dim_context, n_actions)

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the logit spreads so widely that nearly every probability is 0 or 1.

    Examples
    --------
    >>> import numpy as np
    >>> from opl_lib.worlds.sigmoid import shift_to
    >>> shift = shift_to(0.02, np.zeros(1), np.zeros((3, 1)))  # the logit of 0.02
    >>> bool(np.isclose(shift, np.log(0.02 / 0.98)))
    True
    """
    from scipy.optimize import brentq

    spread = np.sqrt(np.square(slope).sum(axis=0))
    if spread.max() > _MOST_NODES:
        raise ValueError(
            f"click_rate={click_rate} cannot be met: the logit of an item has a standard deviation "
            f"of {spread.max():.3g}, more than {_MOST_NODES}, so that nearly every probability is "
            "0 or 1. Take a smaller scale."
        )
    # fine enough for the steepest sigmoid: the rule's error falls exponentially with 1/step
    step = 1 / max(_LEAST_NODES, spread.max())
    nodes = np.arange(-_WIDTH, _WIDTH, step)
    weights = np.exp(-np.square(nodes) / 2)
    weights /= weights.sum()

    def excess(shift: float) -> float:
        means = [sigmoid(intercept + spread * node + shift).mean() for node in nodes]
        return float(weights @ means) - click_rate

    logit = np.log(click_rate / (1 - click_rate))
    farthest = np.abs(intercept).max() + _WIDTH * spread.max() + 1
    return float(brentq(excess, logit - farthest, logit + farthest, xtol=1e-10))
