"""Lines of the card of a log: when its rounds were, and what changed on the way."""

from __future__ import annotations

import numpy as np

from .report_facts import FEW_CARRIERS, LOOK, Facts, Line, is_far, line, short
from .report_totals import OrderedTimes, half_clock

_N_PARTS = 10  # of the time
_TWICE = 0.01  # of the rounds that are there twice, and are no finding
_LATE = 0.3  # of the rounds: what split_by_time takes for the second log
# A reward rate that differs by less than this share of it is no finding, however sure.
_MATERIAL = 0.25
_CLEARLY = 3.0  # standard errors by which the last rewards are below the mean


def time_line(timestamp: np.ndarray, ordered: OrderedTimes | None) -> Line:
    """From when to when, and the longest time without a round."""
    if ordered is not None and ordered.in_order:
        n_times, steps = ordered.n_moments, np.array([ordered.gap])
        ends = np.array([ordered.first, ordered.last])
    else:
        times = np.unique(timestamp)
        n_times, ends = len(times), times[[0, -1]]
        steps = np.diff(half_clock(times)) if times.dtype.kind in "biufmM" else np.array([])
    text = f"{_moment(ends[0])} to {_moment(ends[1])}"
    gap = np.nan
    if n_times > 1 and len(steps):
        span = float(np.diff(half_clock(ends))[0])
        gap = float(steps.max() / span) if span > 0 else np.nan
        text += f"; longest gap {gap:.1%}"
    return line(
        "time",
        {"moments": n_times, "longest_gap": gap},
        text,
        "no gap above 25%",
        [
            (n_times == 1, LOOK, "all rounds have one time.", "Log when each was shown."),
            (
                n_times >= 100 and gap > 0.25,
                LOOK,
                f"for {gap:.0%} of the time there is no round: a part was not logged, or some "
                "times are wrong (of another unit or year).",
                "Look at numpy.sort(log.timestamp), and leave out what is wrong.",
            ),
        ],
    )


def _moment(time: object) -> str:
    if isinstance(time, np.timedelta64):
        return str(time)
    if isinstance(time, np.datetime64):
        return str(time.astype("M8[m]")).replace("T", " ")
    return short(float(time)) if isinstance(time, np.integer | np.floating) else str(time)


def repeated(of: Facts) -> int:
    """Rounds that are there twice: of one visitor, time, slot and item; 0 if that may be chance.

    Of two draws at the same place the second is the same item with probability `pscore`.
    """
    if of.order is None:
        return 0
    log = of.log
    if log.user_id is not None:
        who = of.units.index
    else:
        mixed = np.random.default_rng(0).uniform(1, 2, log.context.shape[1])
        who = np.unique((log.context * mixed).sum(axis=1), return_inverse=True)[1]
    keys = [who, of.order] if log.position is None else [log.position, who, of.order]
    by_place = np.lexsort(keys)
    again = np.logical_and.reduce([key[by_place][1:] == key[by_place][:-1] for key in keys])
    same = again & (log.action[by_place][1:] == log.action[by_place][:-1])
    chance = of.pscore[by_place][1:][again]
    far = same.sum() - chance.sum() > 5 * np.sqrt((chance * (1 - chance)).sum() + 1)
    return int(same.sum()) if far and same.sum() > _TWICE * log.n_rounds else 0


def returning_line(of: Facts, order: np.ndarray) -> Line:
    """How many of the last users came before, and would be on both sides of a split by time."""
    late = order >= (1 - _LATE) * of.log.n_rounds
    n_late, n_early = (
        np.bincount(of.units.index[rows], minlength=len(of.units)) for rows in (late, ~late)
    )
    back = float((n_early[n_late > 0] > 0).mean()) if late.any() else np.nan
    return line(
        "users who return",
        {"returning": back},
        f"{back:.0%} of those in the last {_LATE:.0%} of the rounds came before",
    )


def drift_line(of: Facts, order: np.ndarray) -> Line:
    """Whether rewards are what they were."""
    part = np.unique(order * _N_PARTS // of.log.n_rounds, return_inverse=True)[1]
    rate, distance = of.by_group(part)
    mean = abs(of.mean * of.scale)
    moved = rate.max() - rate.min() > _MATERIAL * mean and of.carriers >= FEW_CARRIERS
    moved = moved and is_far(distance)
    return line(
        "rewards over time",
        {"least": rate.min(), "most": rate.max()},
        f"{short(rate.min())} to {short(rate.max())} in tenths of the log",
        "differ by less than 25%, or by chance",
        [
            (
                bool(moved and rate[-1] == rate.min() and distance[-1] < -_CLEARLY),
                LOOK,
                "the last rounds have the smallest rewards: they may not all have arrived yet, "
                "which speaks against whatever is new. Or the site changed on the way.",
                "Leave out the rounds that are too young, log[log.timestamp < end - wait], and of "
                "the others count what came within that wait. If nothing is missing, learn on what "
                "came first and judge on what came last, log.split_by_time(), and learn again "
                "soon.",
            ),
            (
                bool(moved),
                LOOK,
                "the site, its visitors or its items changed on the way: what was good then need "
                "not be good tomorrow.",
                "Learn on what came first and judge on what came last, log.split_by_time(), and "
                "learn again soon.",
            ),
        ],
    )
