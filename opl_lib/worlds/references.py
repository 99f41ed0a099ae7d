"""The values that others are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

Shown = Iterable[tuple[np.ndarray, np.ndarray, np.ndarray | None]]


def references(shown: Callable[[], Shown], n_actions: int) -> dict[str, float]:
    """The values of `KnownRewards.reference_values`.

    `shown` goes through what the logging policy shows, what that earns and what could be shown.
    """
    logging, optimum, uniform, n = 0.0, 0.0, 0.0, 0
    item_values, n_offered = np.zeros(n_actions), np.zeros(n_actions)
    for pi_0, q, eligible in shown():
        logging += (pi_0 * q).sum()
        n += len(q)
        if eligible is not None:
            n_offered += eligible.sum(axis=0)
            uniform += ((q * eligible).sum(axis=1) / eligible.sum(axis=1)).sum()
            q = np.where(eligible, q, 0)
        optimum += q.max(axis=1).sum()
        item_values += q.sum(axis=0)
    if n_offered.any():
        item_values /= np.maximum(n_offered, 1)
        best = _best_ranking(shown(), item_values) / n
        uniform /= n
    else:
        item_values /= n
        uniform, best = item_values.mean(), item_values.max()
    return {
        "logging": float(logging / n),
        "uniform": float(uniform),
        "best_constant_item": float(best),
        "optimum": float(optimum / n),
    }


def _best_ranking(shown: Shown, item_values: np.ndarray) -> float:
    """What is earned by showing the first item of a ranking that can be shown: a sum."""
    total = 0.0
    for _, q, eligible in shown:
        assert eligible is not None
        best = np.where(eligible, item_values, -1).argmax(axis=1)
        total += q[np.arange(len(q)), best].sum()
    return total
