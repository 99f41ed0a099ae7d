"""Bounds of a mean by bets against it: a gambler who grows rich has shown that the mean is larger.

They need one end of the range of the terms only, so importance weights may be as large as they are.
"""

from __future__ import annotations

import math

import numpy as np

_STAKE = 0.75  # the most that a round may lose, as a share of the wealth
_HALVINGS = 40  # of the interval that holds a bound


def betting(
    terms: np.ndarray, tail: float, low: float, high: float, random_state: int = 0
) -> tuple[float, float]:
    """Bounds that hold for every n, for independent terms (n,) of one distribution on [low, high].

    An end that is infinite leaves the bound on its side infinite. The terms are taken in a random
    order, which `random_state` fixes.

    Examples
    --------
    >>> import numpy as np
    >>> clicks = np.random.default_rng(0).binomial(1, 0.1, size=1000)
    >>> lower, upper = betting(20.0 * clicks, 0.05, 0.0, np.inf)
    >>> round(lower, 2), upper
    (1.53, inf)
    """
    terms = terms[np.random.default_rng(random_state).permutation(len(terms))]
    lower = low + _least_mean(terms - low, tail) if math.isfinite(low) else low
    upper = high - _least_mean(high - terms, tail) if math.isfinite(high) else high
    return lower, upper


def _least_mean(terms: np.ndarray, tail: float) -> float:
    """The smallest mean that bets on nonnegative terms (n,) do not refute.

    If the mean is m, the wealth ``K_t = Π_{i≤t} (1 + λ_i (x_i − m))`` is a nonnegative martingale,
    as long as λ_i looks at the terms before i only: it ever reaches 1 / tail with a probability of
    at most `tail` (Ville). The bet is ``λ_i = sqrt(2 ln(1/tail) / (n s²_{i−1}))``, cut off where
    more than a share of the wealth could be lost: Waudby-Smith and Ramdas, JRSS-B 2024, section 3.
    """
    bet, enough = _bets(terms, tail), math.log(1 / tail)

    def refuted(mean: float) -> bool:
        bounded = np.minimum(bet, _STAKE / mean)
        return bool(np.log1p(bounded * (terms - mean)).cumsum().max() >= enough)

    least, most = 0.0, float(terms.mean())
    if most <= 0:
        return least
    for _ in range(_HALVINGS):
        middle = (least + most) / 2
        least, most = (middle, most) if middle > 0 and refuted(middle) else (least, middle)
    return least


def _bets(terms: np.ndarray, tail: float) -> np.ndarray:
    """Each from the terms before it (n,): from their variance, and the error of their mean.

    Both are of the second order in the terms, so a bound has the unit of the terms.
    """
    n = len(terms)
    number = np.arange(1, n)
    mean = terms.cumsum()[:-1] / number
    around = np.square(terms[1:-1] - mean[:-1]) * number[:-1] / number[1:]  # Welford
    variance = np.append(0.0, around.cumsum() / number[1:]) + np.square(mean) / number
    with np.errstate(divide="ignore"):
        bet = np.sqrt(2 * math.log(1 / tail) / (n * variance))
    return np.append(0.0, np.where(variance > 0, bet, 0.0))
