"""Whether the values of a log are in range, and its items were on offer."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import check_rows
from .eligible import Eligible
from .identity import identities

_NEVER = "A logging policy that can never show the logged item cannot be reweighted"
_TINY = float(np.finfo(np.float64).tiny)  # 1 / p is finite from here on
_TOO_SMALL = "Is it a product of many probabilities? Log that of the item alone, or drop the round."


def check_values(log: Any) -> None:
    """Raise, with the first row of a log that is out of range."""
    check_rows(
        "action",
        log.action,
        (log.action >= 0) & (log.action < log.n_actions),
        f"in [0, {log.n_actions - 1}], a row number of action_context",
        "Renumber the items, or pass the features of all of them.",
    )
    for name, p in (("pscore", log.pscore), ("cluster_pscore", log.cluster_pscore)):
        if p is not None:
            check_rows(name, p, (p > 0) & (p <= 1), "in (0, 1]", _no_probability(p))
            check_rows(name, p, p >= _TINY, "such that 1 / p is finite", _TOO_SMALL)
    if log.cluster_pscore is not None:
        check_rows(
            "cluster_pscore",
            log.cluster_pscore,
            log.cluster_pscore >= log.pscore * (1 - 1e-6),
            "at least pscore, for the cluster holds the item",
            "Sum the logging policy's probabilities over the cluster, or raise an estimate "
            "with np.maximum(cluster_pscore, pscore).",
        )
    if log.position is not None:
        check_rows(
            "position",
            log.position,
            log.position >= 0,
            "0 or more",
            "Positions count from 0; leave position out if the log has no slots.",
        )


def _no_probability(p: np.ndarray) -> str:
    """What numbers are that are no probabilities, by the look of all of them."""
    known = p[~np.isnan(p)]
    if len(known) < len(p):
        return "Drop the row if it is one of few; else leave pscore out, and estimate it."
    if known.min() >= 0 and known.max() <= 1:
        return f"{_NEVER} (was epsilon = 0?). Or was it rounded to 0?"
    if known.max() <= 0:
        return "If these are logarithms of probabilities, pass numpy.exp of them."
    if known.min() >= 1:
        return "If these are weights, 1 / p, pass their inverse; if percent, divide by 100."
    if known.min() > 0 and known.max() <= 100 and np.median(known) > 1:
        return "If these are percent, divide by 100. Else it is a weight, or another column."
    return "Below 0 or above 1 is no probability (a weight, a score, or another column?)."


def check_on_offer(action: np.ndarray, eligible: Eligible) -> None:
    """Raise, with the first row whose logged item could not be shown."""
    on_offer = eligible.sets[eligible.number, action]
    if not on_offer.all():
        row = int(np.argmin(on_offer))
        raise ValueError(
            f"eligible: row {row} was shown item {action[row]}, which was not on offer then (of "
            f"such rows there are {np.sum(~on_offer):,}). Correct the item's dates, of which the "
            "last is the first without it, or the mask; or drop the row."
        )


def checked_ids(item_ids: Any, n_actions: int | None = None) -> np.ndarray:
    """What items are called, (n_actions,); raise unless each has a name of its own."""
    ids = identities("item_ids", item_ids)
    if n_actions is not None and len(ids) != n_actions:
        raise ValueError(f"item_ids has {len(ids)} rows, and there are {n_actions} items.")
    if len(set(ids.tolist())) < len(ids):
        raise ValueError("item_ids has the same id twice: keep one row per item.")
    return ids
