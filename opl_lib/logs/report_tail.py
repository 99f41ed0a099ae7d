"""Lines of the card of a log: whether a few giant rewards decide."""

from __future__ import annotations

import numpy as np

from .report_facts import LOOK, Facts, Line, line
from .units import near_one

LEAST_CARRIERS = 1000  # rewards other than the usual one, below which a tail cannot be told
_N_GIANTS = 10
_MOST = 0.35  # of the variance, for so few
_HEAVY = 0.5  # tail index above which the variance of all rewards to come is infinite
_ERRORS = 3  # by which the index is above that


def tail_line(of: Facts) -> Line | None:
    """The share of the rewards furthest from the mean; None for clicks, and where few rounds tell.

    A log-normal reward is called heavy from about σ = 1.5 on, a Pareto one from α = 2 down.
    """
    usual = np.median(of.reward)
    n_carriers = round(float(np.mean(of.reward != usual)) * of.n_rounds)
    if of.is_clicks or n_carriers < LEAST_CARRIERS:
        return None
    ends, scale = near_one(of.totals.ends)
    mean, spread = of.totals.means["reward"] / scale, of.totals.spread / scale
    giants = ends[np.argsort(np.abs(ends - mean))[-_N_GIANTS:]]
    of_variance = float(np.square((giants - mean) / spread).sum()) / of.n_rounds
    of_reward = float(np.abs(giants).sum()) / (of.totals.means["size"] / scale) / of.n_rounds
    index, error = _tail_index(np.abs(ends - usual * (of.scale / scale)), n_carriers)
    cut = "np.minimum" if giants[-1] > mean else "np.maximum"
    return line(
        "tail of rewards",
        {"of_variance": of_variance, "of_reward": of_reward, "tail_index": index},
        f"the {_N_GIANTS} rounds furthest from the mean have {of_reward:.1%} of the reward and "
        f"{of_variance:.1%} of its variance",
        f"at most {_MOST:.0%} of the variance, or a light tail",
        [
            (
                of_variance > _MOST and index - _ERRORS * error > _HEAVY,
                LOOK,
                "the tail is heavy: the log to come may hold a reward larger than all of these, of "
                "which no standard error knows. Intervals of estimates hold the truth less often "
                "than they say, and one round decides which policy looks better.",
                f"Cut rewards off at a value beyond which they are luck, {cut}(reward, value), and "
                "learn and judge by these; or damp giants, with the objective 'log_sum_exp' and "
                "the estimator 'lse'.",
            )
        ],
    )


def _tail_index(distance: np.ndarray, n: int) -> tuple[float, float]:
    """How heavy the tail of n distances is, of which the largest are given; and its error.

    See `tail_index`, of weights.
    """
    n_largest = int(min(0.2 * n, 3 * n**0.5, len(distance) // 2 - 1))
    largest = np.sort(distance)[::-1][: n_largest + 1]
    index = float(np.log(largest[:-1] / largest[-1]).mean())
    return index, index / n_largest**0.5
