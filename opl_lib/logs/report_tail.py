"""Lines of the card of a log: whether a few giant rewards decide."""

from __future__ import annotations

import numpy as np

from .report_facts import LOOK, Facts, Line, line
from .support import tail_index
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
    distances = np.sort(np.abs(ends - usual * (of.scale / scale)))
    index, n_largest = tail_index(distances[-len(distances) // 2 :], n_carriers)
    cut = "np.minimum" if giants[-1] > mean else "np.maximum"
    return line(
        "tail of rewards",
        {"of_variance": of_variance, "of_reward": of_reward, "tail_index": index},
        f"the {_N_GIANTS} rounds furthest from the mean have {of_reward:.1%} of the reward and "
        f"{of_variance:.1%} of its variance",
        f"at most {_MOST:.0%} of the variance, or a light tail",
        [
            (
                of_variance > _MOST and index * (1 - _ERRORS / n_largest**0.5) > _HEAVY,
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
